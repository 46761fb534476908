"""Disks that servers have: what the process beside the VM is in, and that each of the two ends with the other."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from disk_servers import nbdkit
from hypercontainer.errors import LaunchError, NotSupported
from hypercontainer.hypervisor.driver import ExitReason, VMRecord
from hypercontainer.hypervisor.remote import RemoteDisk
from hypercontainer.hypervisor.run_dir import read_record
from hypercontainer.linux.process import start_ticks

pytestmark = pytest.mark.vm
Run = Callable[[Callable[[Any], Awaitable[None]]], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[RemoteDisk]:
    file = tmp_path / "disk.raw"
    file.write_bytes(bytes(1 << 20))
    with nbdkit(file) as port:
        yield RemoteDisk("far", False, "nbd", f"nbd://127.0.0.1:{port}/", address="127.0.0.1", port=port)


def daemon(record: VMRecord) -> int:
    return next(one.pid for one in record.helpers if one.name == "disk far")


def gone(record: VMRecord) -> bool:
    return all(start_ticks(one.pid) != one.start_ticks for one in record.helpers)


def test_it_is_shut_in_beside_its_vm(run_qemu: Run, disk: RemoteDisk) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(remotes=(disk,))
        pid, spec = daemon(vm.record), harness.spec()
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        facts = {key: value.split() for key, _, value in (line.partition(":") for line in lines)}
        if spec.owner_uid is not None:
            assert facts["Uid"] == [str(spec.owner_uid)] * 4
        assert int(facts["CapEff"][0], 16) == 0
        assert (facts["NoNewPrivs"], facts["Seccomp"]) == (["1"], ["2"])
        root = Path(f"/proc/{pid}/root")
        assert {path.name for path in root.iterdir()} <= {"dev", "etc", "lib", "lib64", "proc", "usr"}
        assert {path.name for path in (root / "etc").iterdir()} == {"ld.so.cache"}
        assert not Path(f"/proc/{vm.pid}/net/tcp").read_text().count("\n") > 1  # whose network has nothing
        for path in vm.record.cgroups:
            assert str(pid) in (path / "cgroup.procs").read_text().split()
        assert read_record(vm.record.run_dir) == vm.record
        await vm.kill()
        assert gone(vm.record)

    run_qemu(test)


def test_a_vm_ends_with_it(run_qemu: Run, disk: RemoteDisk) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(remotes=(disk,))
        await vm.close()
        vm = await harness.another_driver().adopt(vm.record)
        os.kill(daemon(vm.record), signal.SIGKILL)
        ended = await vm.wait()
        assert ended.reason is ExitReason.CRASH
        assert "the process for disk far had ended" in ended.stderr
        assert gone(vm.record)
        assert not vm.record.run_dir.exists()

    run_qemu(test)


def test_a_server_that_does_not_answer_leaves_nothing(run_qemu: Run) -> None:
    async def test(harness: Any) -> None:
        spec = harness.spec(remotes=(nobody,))
        with pytest.raises(LaunchError, match="disk nbd://127"):
            await harness.driver.launch(spec)
        assert not spec.run_dir.exists()

    nobody = RemoteDisk("far", False, "nbd", "nbd://127.0.0.1:1/", address="127.0.0.1", port=1)
    run_qemu(test)


def test_user_mode_linux_refuses_it(run_uml: Run, disk: RemoteDisk) -> None:
    async def test(harness: Any) -> None:
        with pytest.raises(NotSupported, match="has no disks of the network"):
            await harness.launch(remotes=(disk,))

    run_uml(test)
