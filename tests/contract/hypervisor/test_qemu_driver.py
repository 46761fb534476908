"""What only a real hypervisor process can get wrong: confinement, limits, launches that fail half way, restarts."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError, LaunchError
from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.hypervisor.qemu import driver as qemu_driver
from hypercontainer.hypervisor.qemu import probe, qmp
from hypercontainer.hypervisor.qemu.driver import QemuDriver
from hypercontainer.hypervisor.run_dir import read_record
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec, Limits
from hypercontainer.linux.cgroup import Cgroups
from nics import nat_nic

pytestmark = pytest.mark.vm

Run = Callable[[Callable[[Any], Awaitable[None]]], None]
MEBIBYTE = 1 << 20
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a VM a uid of its own")


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that every uid may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        path.chmod(0o711)
        yield path


def stand_in(path: Path, instead: str) -> str:
    """A program that is QEMU when it is asked about itself, and runs ``instead`` when it is to run a VM."""
    path.write_text(
        f'#!/bin/sh\ncase "$*" in *-append*) {instead};; *) exec qemu-system-x86_64 "$@";; esac\n'
    )
    path.chmod(0o755)
    return str(path)


async def refused(harness: Any, driver: QemuDriver | None = None, **changes: Any) -> LaunchError:
    spec = harness.spec(**changes)
    with pytest.raises(LaunchError) as caught:
        await (driver or harness.driver).launch(spec)
    assert not spec.run_dir.exists()
    return caught.value


@as_root
def test_qemu_is_confined(run_qemu: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(memory_mib=32, limits=Limits(memory_bytes=300 * MEBIBYTE, cpus=0.5))
        proc = Path(f"/proc/{vm.pid}")
        facts = status(vm.pid)
        uid = str(harness.spec().owner_uid)
        assert facts["Uid"].split() == facts["Gid"].split() == [uid] * 4
        assert facts["Groups"] == ""
        for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(facts[name], 16) == 0, name
        assert facts["NoNewPrivs"] == "1"
        assert facts["Seccomp"] == "2"
        assert (proc / "environ").read_bytes() == b"MALLOC_ARENA_MAX=1\0"
        assert os.getsid(vm.pid) == vm.pid
        assert os.readlink(proc / "cwd") == "/"
        for kind in ("mnt", "pid", "ipc", "uts", "net"):
            assert os.readlink(proc / "ns" / kind) != os.readlink(f"/proc/self/ns/{kind}")
        devices = (proc / "net/dev").read_text().splitlines()[2:]
        assert [line.partition(":")[0].strip() for line in devices] == ["lo"]
        assert re.search(r"Max core file size +0 +0 ", (proc / "limits").read_text())
        files = {os.readlink(link) for link in (proc / "fd").iterdir()}
        named = {file for file in files if file.startswith("/") and not file.startswith(("/dev/", "/memfd:"))}
        assert named <= {str(vm.record.run_dir / "stderr"), str(harness.folder / "kernel")}

    run_qemu(test)


@as_root
def test_the_run_directory_is_closed_to_qemu(run_qemu: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch()
        look = [
            "setpriv",
            "--reuid",
            str(harness.spec().owner_uid),
            "--clear-groups",
            "ls",
            vm.record.run_dir,
        ]
        assert subprocess.run(look, capture_output=True).returncode != 0

    run_qemu(test)


def test_limits_are_those_asked_for(run_qemu: Run) -> None:
    async def test(harness: Any) -> None:
        if Cgroups.detect().not_limited:
            assert (await harness.driver.capabilities()).not_limited
            return
        vm = await harness.launch(limits=Limits(memory_bytes=300 * MEBIBYTE, cpus=0.5))
        texts: dict[str, str] = {}
        for path in vm.record.cgroups:
            assert str(vm.pid) in (path / "cgroup.procs").read_text().split()
            texts |= {file.name: file.read_text().strip() for file in path.glob("*") if readable(file)}
        assert texts.get("memory.limit_in_bytes", texts.get("memory.max")) == str(300 * MEBIBYTE)
        assert texts.get("cpu.cfs_quota_us", texts.get("cpu.max", "").split(" ")[0]) == "50000"
        assert texts["pids.max"] == str(qemu_driver.MAX_TASKS)

    run_qemu(test)


def readable(path: Path) -> bool:
    with suppress(OSError):
        path.read_text()
        return True
    return False


def test_a_vm_over_its_memory_limit_is_said_to_be(run_qemu: Run) -> None:
    async def test(harness: Any) -> None:
        if any("memory" in line for line in Cgroups.detect().not_limited):
            return
        error = await refused(harness, limits=Limits(memory_bytes=8 * MEBIBYTE))
        assert "more memory than its limit" in str(error)
        assert error.exit_code == -signal.SIGKILL

    run_qemu(test)


def test_a_qemu_killed_by_somebody_else_has_crashed(run_qemu: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch()
        os.kill(vm.pid, signal.SIGKILL)
        ended = await vm.wait()
        assert (ended.reason, ended.exit_code) == (ExitReason.CRASH, -signal.SIGKILL)
        with pytest.raises(HypervisorError):
            await vm.pause()

    run_qemu(test)


def test_a_vm_outlives_the_daemon_that_started_it(run_qemu: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        spec = harness.spec()
        program = (
            "import asyncio, os\nfrom pathlib import Path\n"
            "from hypercontainer.hypervisor.spec import *\n"
            "from hypercontainer.hypervisor.qemu.driver import QemuDriver\n"
            f"spec = VMSpec(id={spec.id!r}, name='x', run_dir=Path({str(spec.run_dir)!r}), "
            f"kernel=Path({str(spec.kernel)!r}), initrd=None, kernel_args=('h',), memory_mib=16, vcpus=1, "
            f"owner_uid={spec.owner_uid!r})\n"
            f"asyncio.run(QemuDriver(Path({str(tmp_path / 'facts')!r})).launch(spec))\n"
            "os.kill(os.getpid(), 9)\n"
        )
        daemon = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program])
        assert daemon.returncode == -signal.SIGKILL
        record = read_record(spec.run_dir)
        assert record is not None
        vm = await harness.driver.adopt(record)
        assert vm is not None
        ended = await vm.kill()
        assert (ended.reason, ended.exit_code) == (ExitReason.HOST_KILL, None)

    run_qemu(test)


def test_no_qemu_says_how_to_get_one(run_qemu: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        error = await refused(harness, QemuDriver(tmp_path / "facts", binary="qemu-system-nothing"))
        assert "qemu-system-nothing" in str(error)
        assert "apt-get install" in str(error)

    run_qemu(test)


def test_a_file_that_is_no_kernel_is_refused(run_qemu: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        bad = tmp_path / "bad-kernel"
        bad.write_bytes(os.urandom(100_000))
        assert "bad-kernel is no kernel" in str(await refused(harness, kernel=bad))
        bad.write_bytes(b"")
        assert "bad-kernel is no kernel" in str(await refused(harness, kernel=bad))

    run_qemu(test)


def test_a_kernel_cut_short_shows_what_qemu_says(run_qemu: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        cut = tmp_path / "cut"
        cut.write_bytes(harness.spec().kernel.read_bytes()[:1024])
        error = await refused(harness, kernel=cut)
        assert error.exit_code == 1
        assert "invalid kernel header" in error.stderr
        assert "-kernel" in error.command

    run_qemu(test)


def test_more_memory_than_there_is_shows_what_qemu_says(run_qemu: Run) -> None:
    async def test(harness: Any) -> None:
        error = await refused(harness, memory_mib=1 << 27)
        assert error.exit_code == 1
        assert "memory" in error.stderr

    run_qemu(test)


def test_a_kernel_only_root_may_read_boots(run_qemu: Run) -> None:
    async def test(harness: Any) -> None:
        spec = harness.spec("s")
        spec.kernel.chmod(0o600)
        vm = await harness.driver.launch(spec)
        assert (await vm.wait()).reason is ExitReason.GUEST_SHUTDOWN

    run_qemu(test)


def test_two_vms_do_not_write_to_one_disk(run_qemu: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        (tmp_path / "disk").write_bytes(bytes(MEBIBYTE))
        disk = DiskSpec("disk", ((tmp_path / "disk", MEBIBYTE),), read_only=False)
        await harness.launch(disks=(disk,))
        assert "lock" in (await refused(harness, disks=(disk,))).stderr

    run_qemu(test)


def test_a_qcow2_file_opens_no_other(run_qemu: Run, tmp_path: Path) -> None:
    """Also one whose header was changed after it had been looked at."""

    async def test(harness: Any) -> None:
        base, path = tmp_path / "base", tmp_path / "disk"
        base.write_bytes(bytes(MEBIBYTE))
        base.chmod(0o644)
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", path], check=True)
        disk = DiskSpec("disk", ((path, MEBIBYTE),), read_only=False, format="qcow2")
        vm = await harness.launch(disks=(disk,))
        await vm.attach_disk(replace(disk, serial="again", read_only=True))
        opened = {os.readlink(link) for link in Path(f"/proc/{vm.pid}/fd").iterdir()}
        assert str(path) in opened
        assert str(base) not in opened

    run_qemu(test)


def test_two_vms_do_not_write_to_one_qcow2_file(run_qemu: Run, tmp_path: Path) -> None:
    async def test(harness: Any) -> None:
        path = tmp_path / "disk"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1M"], check=True)
        disk = DiskSpec("disk", ((path, MEBIBYTE),), read_only=False, format="qcow2")
        await harness.launch(disks=(disk,))
        assert "lock" in (await refused(harness, disks=(disk,))).stderr

    run_qemu(test)


def says(pid: int, name: str) -> bool:
    """Whether the process is by now a program of this name."""
    return Path(f"/proc/{pid}/comm").read_text().strip() == name


def test_a_killed_launch_is_an_error_with_its_signal(run_qemu: Run, tmp_path: Path, open_dir: Path) -> None:
    async def test(harness: Any) -> None:
        script = "echo late >&2; exec sleep 1000"
        driver = QemuDriver(tmp_path / "facts", binary=stand_in(open_dir / "qemu", script))
        await driver.capabilities()
        spec = harness.spec()
        launching = asyncio.create_task(driver.launch(spec))
        async with asyncio.timeout(10):
            while (record := read_record(spec.run_dir)) is None or not says(record.pid, "sleep"):
                await asyncio.sleep(0.005)
        os.kill(record.pid, signal.SIGKILL)
        with pytest.raises(LaunchError) as caught:
            await launching
        assert caught.value.exit_code == -signal.SIGKILL
        assert caught.value.stderr == "late\n"

    run_qemu(test)


def test_a_flood_of_errors_is_bounded_and_blocks_nobody(
    run_qemu: Run, tmp_path: Path, open_dir: Path
) -> None:
    async def test(harness: Any) -> None:
        flood = "dd if=/dev/zero bs=4096 count=1000 >&2; exit 3"
        driver = QemuDriver(tmp_path / "facts", binary=stand_in(open_dir / "qemu", flood))
        error = await refused(harness, driver)
        assert error.exit_code == 3
        assert len(error.stderr) <= 65536

    run_qemu(test)


def test_a_qemu_that_never_answers_is_given_up(
    run_qemu: Run, tmp_path: Path, open_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(harness: Any) -> None:
        driver = QemuDriver(tmp_path / "facts", binary=stand_in(open_dir / "qemu", "exec sleep 1000"))
        await driver.capabilities()
        monkeypatch.setattr(qemu_driver, "LAUNCH_TIMEOUT_S", 0.2)
        error = await refused(harness, driver)
        assert "did not answer within 0.2 s" in str(error)
        assert error.exit_code == -signal.SIGKILL

    run_qemu(test)


@pytest.mark.parametrize("times", [1, 2])
def test_a_cancelled_launch_leaves_nothing(run_qemu: Run, tmp_path: Path, open_dir: Path, times: int) -> None:
    async def test(harness: Any) -> None:
        driver = QemuDriver(tmp_path / "facts", binary=stand_in(open_dir / "qemu", "exec sleep 1000"))
        await driver.capabilities()
        spec = harness.spec()
        launching = asyncio.create_task(driver.launch(spec))
        async with asyncio.timeout(10):
            while read_record(spec.run_dir) is None:
                await asyncio.sleep(0.005)
        for _ in range(times):
            launching.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await launching
        async with asyncio.timeout(10):
            while spec.run_dir.exists():  # after a second cancellation the first still cleans up
                await asyncio.sleep(0.005)

    run_qemu(test)


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    point = tmp_path / "full"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "none", point], check=True)
    yield point
    subprocess.run(["umount", point], check=True)


@as_root
def test_a_full_disk_says_so(run_qemu: Run, full_disk: Path) -> None:
    async def test(harness: Any) -> None:
        assert "No space left" in str(await refused(harness, run_dir=full_disk / "vm"))

    run_qemu(test)


@as_root
def test_a_low_port_needs_no_root(run_qemu: Run) -> None:
    async def test(harness: Any) -> None:
        """Who has the right is who forwards it, and QEMU has not."""
        vm = await harness.launch(nics=(nat_nic(PortMapping(80, 987, "127.0.0.1")),))
        (helper,) = vm.record.helpers
        assert int(status(vm.pid)["CapEff"], 16) == 0
        assert int(status(helper.pid)["CapEff"], 16) in (0, 1 << 10)

    run_qemu(test)


def test_extents_follow_one_another(run_qemu: Run, tmp_path: Path) -> None:
    """QEMU's own reader tells what is where, beyond 2 GiB and at the seams."""

    async def test(harness: Any) -> None:
        sizes = [MEBIBYTE, 3 << 30, 4096]
        extents = []
        for number, size in enumerate(sizes, 1):
            path = tmp_path / f"extent{number}"
            with path.open("wb") as file:
                file.truncate(size)
                file.write(bytes([number]) * 512)
                file.seek(size - 512)
                file.write(bytes([number]) * 512)
            extents.append((path, size))
        vm = await harness.launch(disks=(DiskSpec("layers", tuple(extents), read_only=True),))
        offset = 0
        for number, size in enumerate(sizes, 1):
            for place in (offset, offset + size - 512):
                line = f'qemu-io disk-layers "read -P {number} {place} 512"'
                said = (await vm._qmp.execute("human-monitor-command", {"command-line": line})).strip()
                assert "Pattern verification failed" not in said, (number, place)
                assert said == "" or "512/512" in said
            offset += size
        answer = await vm._qmp.execute("query-named-block-nodes")
        assert next(n for n in answer if n["node-name"] == "disk-layers")["image"]["virtual-size"] == sum(
            sizes
        )

    run_qemu(test)


def test_a_verdict_on_kvm_comes_quickly_and_is_remembered(
    run_qemu: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def test(harness: Any) -> None:
        start = time.monotonic()
        verdict = await harness.driver.probe(Accelerator.KVM)
        assert time.monotonic() - start < 2 * probe.GUEST_TIMEOUT_S
        assert verdict.reason

        async def never(*_: object) -> None:
            raise AssertionError("asked again")

        monkeypatch.setattr(probe, "probe", never)
        assert await harness.another_driver().probe(Accelerator.KVM) == verdict
        (tmp_path / "facts.json").write_bytes(b'{"damaged')
        with pytest.raises(AssertionError, match="asked again"):
            await harness.another_driver().probe(Accelerator.KVM)

    run_qemu(test)


@pytest.mark.parametrize(
    ("instead", "words"),
    [
        ("echo no such luck >&2; kill -ABRT $$", "signal 6 under a probe guest: no such luck"),
        ("exec sleep 1000", "did not get through its start within 0.2 s"),
        ("exit 0", "was reset"),
        ("exit 1", "ended with status 1"),
    ],
)
def test_every_way_a_probe_fails_means_unusable(
    run_qemu: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instead: str, words: str
) -> None:
    async def test(_: Any) -> None:
        monkeypatch.setattr(probe, "GUEST_TIMEOUT_S", 0.2)
        script = tmp_path / "qemu"
        stand_in(script, ":")
        script.write_text(
            script.read_text().replace("*-append*", "*-bios*").replace(") :;;", f") {instead};;")
        )
        verdict = await QemuDriver(tmp_path / "facts", binary=str(script)).probe(Accelerator.TCG)
        assert not verdict.usable
        assert words in verdict.reason

    run_qemu(test)


def test_a_kernel_that_does_not_boot_makes_the_accelerator_unusable(
    run_qemu: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(harness: Any) -> None:
        monkeypatch.setitem(probe.KERNEL_TIMEOUT_S, Accelerator.TCG, 1.0)
        verdict = await harness.driver.probe(Accelerator.TCG, harness.spec().kernel)
        assert not verdict.usable
        assert "kernel kernel did not get through its start within 1 s: test guest is up" in verdict.reason

    run_qemu(test)


def test_a_qemu_that_breaks_its_protocol_is_ended(run_qemu: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that floods us, say; it is no use any more, and nobody can tell it anything."""

    async def test(harness: Any) -> None:
        vm = await harness.launch()
        monkeypatch.setattr(qmp, "MESSAGES_PER_S", 0)
        with pytest.raises(HypervisorError, match="broke the protocol"):
            await vm.pause()
        ended = await vm.wait()
        assert (ended.reason, ended.exit_code) == (ExitReason.CRASH, -signal.SIGKILL)
        assert "the VM was ended, since QEMU broke the protocol: " in ended.stderr

    run_qemu(test)
