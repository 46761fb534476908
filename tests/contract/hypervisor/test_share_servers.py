"""Shares: what only real servers get wrong."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from hypercontainer.errors import LaunchError
from hypercontainer.hypervisor import shares
from hypercontainer.hypervisor.driver import ExitReason, Helper, VMRecord
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.run_dir import read_record
from hypercontainer.hypervisor.shares import Kind, Server
from hypercontainer.hypervisor.spec import P9, VIRTIOFS, ShareSpec
from hypercontainer.linux.process import start_ticks
from hypercontainer.linux.users import User

Run = Callable[[Callable[[Any], Awaitable[None]]], None]
USER = User(12_345, 12_345)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may act as other users")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that anybody may enter, which pytest's own are not."""
    with TemporaryDirectory() as name:
        path = Path(name).resolve()
        path.chmod(0o755)
        (path / "folder").mkdir()
        (path / "file").write_text("content\n")
        yield path


def two(place: Path, **changes: Any) -> tuple[ShareSpec, ShareSpec]:
    folder = ShareSpec("folder", place / "folder", read_only=False)
    return replace(folder, **changes), ShareSpec("file", place / "file", read_only=True)


def servers(record: VMRecord) -> list[Helper]:
    """Of its shares; a VM may have helpers besides."""
    return [one for one in record.helpers if one.name.startswith("share ")]


def alive(record: VMRecord) -> list[str]:
    """The VM's servers that run."""
    return [
        one.name for one in servers(record) if start_ticks(one.pid) == one.start_ticks and not zombie(one.pid)
    ]


def zombie(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.vm
def test_servers_are_in_the_vms_cgroup_and_written_down(run_sharing: Run, place: Path) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(shares=two(place))
        record = vm.record
        assert read_record(record.run_dir) == record
        assert alive(record) == ["share folder", "share file"]
        for path in record.cgroups:
            pids = {int(pid) for pid in (path / "cgroup.procs").read_text().split()}
            assert pids >= {vm.pid, *(one.pid for one in record.helpers)}
        await vm.kill()
        assert alive(record) == []

    run_sharing(test)


@pytest.mark.vm
@pytest.mark.parametrize("adopted", [False, True])
def test_a_vm_ends_with_its_server(run_sharing: Run, place: Path, adopted: bool) -> None:
    """Its guest would wait for its files for ever."""

    async def test(harness: Any) -> None:
        vm = await harness.launch(shares=two(place))
        if adopted:
            await vm.close()
            vm = await harness.another_driver().adopt(vm.record)
        os.kill(servers(vm.record)[1].pid, signal.SIGKILL)
        ended = await vm.wait()
        assert ended.reason is ExitReason.CRASH
        assert "share file" in ended.stderr
        assert alive(vm.record) == []
        assert not vm.record.run_dir.exists()

    run_sharing(test)


@pytest.mark.vm
def test_servers_end_with_a_vm_that_somebody_else_kills(run_sharing: Run, place: Path) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(shares=two(place))
        os.kill(vm.pid, signal.SIGKILL)
        ended = await vm.wait()
        assert (ended.reason, ended.exit_code) == (ExitReason.CRASH, -signal.SIGKILL)
        assert "virtio" not in ended.stderr  # whose last word is none of the VM's
        assert alive(vm.record) == []

    run_sharing(test)


@pytest.mark.vm
@pytest.mark.parametrize("first", ["server", "vm", "both", "nobody"])
def test_what_died_while_no_daemon_ran_is_cleaned_up(run_sharing: Run, place: Path, first: str) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(shares=two(place))
        await vm.close()
        doomed = {"server": [servers(vm.record)[0].pid], "vm": [vm.pid], "nobody": []}
        doomed["both"] = doomed["server"] + doomed["vm"]
        for pid in doomed[first]:
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED)
        driver = harness.another_driver()
        if first == "nobody":
            await driver.destroy(vm.record)
        else:
            assert await driver.adopt(vm.record) is None
        assert alive(vm.record) == []
        assert not Path(f"/proc/{vm.pid}").exists()
        assert not vm.record.run_dir.exists()

    run_sharing(test)


@pytest.mark.vm
def test_a_daemon_that_dies_leaves_servers_that_the_next_one_ends(
    run_qemu: Run, place: Path, tmp_path: Path
) -> None:
    async def test(harness: Any) -> None:
        spec = harness.spec()
        program = (
            "import asyncio, os\nfrom pathlib import Path\n"
            "from hypercontainer.hypervisor.spec import *\n"
            "from hypercontainer.hypervisor.qemu.driver import QemuDriver\n"
            f"spec = VMSpec(id={spec.id!r}, name='x', run_dir=Path({str(spec.run_dir)!r}), "
            f"kernel=Path({str(spec.kernel)!r}), initrd=None, kernel_args=('h',), memory_mib=16, vcpus=1, "
            f"owner_uid={spec.owner_uid!r}, "
            f"shares=(ShareSpec('folder', Path({str(place / 'folder')!r}), False),))\n"
            f"asyncio.run(QemuDriver(Path({str(tmp_path / 'facts')!r})).launch(spec))\n"
            "os.kill(os.getpid(), 9)\n"
        )
        daemon = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", program])
        assert daemon.returncode == -signal.SIGKILL
        record = read_record(spec.run_dir)
        assert record is not None
        assert alive(record) == ["share folder"]
        vm = await harness.driver.adopt(record)
        assert vm is not None
        await vm.kill()
        assert alive(record) == []

    run_qemu(test)


@pytest.mark.vm
def test_a_cancelled_launch_leaves_no_server(run_sharing: Run, place: Path) -> None:
    """The fixture looks for children."""

    async def test(harness: Any) -> None:
        for delay_s in (0.0, 0.01, 0.03, 0.06, 0.1):
            spec = harness.spec(shares=two(place))
            launching = asyncio.create_task(harness.driver.launch(spec))
            await asyncio.wait([launching], timeout=delay_s)
            launching.cancel()
            result = (await asyncio.gather(launching, return_exceptions=True))[0]
            if not isinstance(result, BaseException):
                await result.kill()
            assert not spec.run_dir.exists()

    run_sharing(test)


@pytest.mark.vm
def test_a_server_that_fails_is_heard(run_sharing: Run, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(harness: Any) -> None:
        for broken, word in ((Path("/usr/bin/gone"), "No such file"), (Path("/bin/false"), "")):

            async def found(_: FactCache, *, path: Path = broken, p9: bool = True) -> Server:
                return Server(path, Kind.OLD)

            monkeypatch.setattr(shares, "find", found)
            spec = harness.spec(shares=two(place))
            with pytest.raises(LaunchError) as caught:
                await harness.driver.launch(spec)
            assert word in caught.value.stderr
            assert not spec.run_dir.exists()

    run_sharing(test)


@pytest.mark.vm
def test_without_a_server_there_are_no_shares(
    run_sharing: Run, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(harness: Any) -> None:
        monkeypatch.setattr(shares, "PLACES", ())
        for name in ("PROGRAM", "PROXY"):
            monkeypatch.setattr(shares, name, "program-of-nobody")
        assert (await harness.driver.capabilities()).shares == ""
        with pytest.raises(LaunchError, match="virtiofsd") as caught:
            await harness.driver.launch(harness.spec(shares=two(place)))
        assert "install virtiofsd" in str(caught.value)

    run_sharing(test)


@as_root
@pytest.mark.vm
def test_a_server_is_shut_in_with_what_it_serves(run_sharing: Run, place: Path) -> None:
    # chown dac_override fowner fsetid setgid setuid, and mknod, of which its filter leaves nothing
    async def test(harness: Any) -> None:
        capabilities = {VIRTIOFS: 0xDB, P9: 0x80000DB}[harness.filesystem]
        os.chown(place / "folder", USER.uid, USER.gid)
        for user in (None, USER):
            vm = await harness.launch(shares=two(place, user=user))
            proc = Path(f"/proc/{servers(vm.record)[0].pid}")
            status = dict(
                line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line
            )
            mounts = [line.split()[3:6] for line in (proc / "mountinfo").read_text().splitlines()]
            assert len(mounts) == 1
            assert mounts[0][0].endswith("/folder")
            assert {"nosuid", "nodev", "noexec"} <= set(mounts[0][2].split(","))
            assert status["NoNewPrivs"] == "1"
            assert status["Seccomp"] == "2"
            assert int(status["CapBnd"], 16) == 0
            assert int(status["CapEff"], 16) == capabilities
            assert status["Uid"].split() == [str(user.uid if user else 0)] * 4
            kinds = {"mnt", "net", "ipc", "uts"} | ({"user"} if user else set())
            for kind in kinds:
                assert os.readlink(proc / "ns" / kind) != os.readlink(f"/proc/self/ns/{kind}")
            await vm.kill()

    run_sharing(test)


@as_root
@pytest.mark.vm
def test_nobody_is_served_what_they_may_not_read(run_sharing: Run, place: Path) -> None:
    async def test(harness: Any) -> None:
        (place / "folder").chmod(0o700)
        (place / "folder" / "inner").mkdir()
        share = ShareSpec("it", place / "folder/inner", read_only=True, user=USER)
        with pytest.raises(LaunchError, match="Permission denied"):
            await harness.driver.launch(harness.spec(shares=(share,)))

    run_sharing(test)


@pytest.mark.vm
@pytest.mark.parametrize("filesystem", [VIRTIOFS, P9])
def test_what_serves_is_found_out_by_asking_it(
    tmp_path: Path, filesystem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if filesystem == P9:
        monkeypatch.setattr(shares, "PROGRAM", "virtiofsd-of-nobody")
    facts = FactCache(tmp_path / "facts")
    assert asyncio.run(shares.probe(facts)) == shares.Usable(filesystem)
    server = asyncio.run(shares.find(facts))
    broken = Server(Path("/bin/true"), server.kind)

    async def found(_: FactCache, *, p9: bool = True) -> Server:
        return broken

    monkeypatch.setattr(shares, "find", found)
    monkeypatch.setattr(shares, "PROBE_TIMEOUT_S", None)  # its end is waited for, not a deadline
    assert asyncio.run(shares.probe(facts)) == shares.Usable("", "/bin/true does not answer")
    broken = Server(tmp_path / "gone", server.kind)
    assert "No such file" in asyncio.run(shares.probe(facts, refresh=True)).reason


def test_modern_servers_have_other_options() -> None:
    modern = shares.server_argv(Server(Path("/v"), Kind.MODERN), squash=False)
    assert modern == [
        *("/v", "--fd=4", "--shared-dir=/share", "--sandbox=chroot", "--cache=auto"),
        *("--modcaps=-mknod:-setfcap", "--log-level=error", "--rlimit-nofile=0"),
    ]
    of_old = shares.server_argv(Server(Path("/v"), Kind.OLD), squash=False)
    options = "source=/share,sandbox=chroot,cache=auto,modcaps=-mknod:-setfcap,log_level=err"
    assert of_old == ["/v", "--fd=4", "-f", "-o", options, "--rlimit-nofile=0"]


@pytest.mark.parametrize(
    ("said", "status", "kind"),
    [
        ("virtiofsd version 7.2.22 (Debian 1:7.2)", 0, Kind.OLD),
        ("setgroups() failed: Operation not permitted", 1, Kind.OLD),  # to who has groups and is not root
        ("virtiofsd backend 1.4.0", 0, Kind.MODERN),
        ("virtiofsd 1.13.2", 0, Kind.MODERN),
    ],
)
def test_kinds_of_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, status: int, kind: Kind
) -> None:
    program = tmp_path / "virtiofsd"
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit {status}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert asyncio.run(shares.find(FactCache(tmp_path / "facts"))).kind is kind
