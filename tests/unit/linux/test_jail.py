"""The jail, with a shell in it instead of QEMU: what it opens, who it is, whom it reaches."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hypercontainer.hypervisor.qemu import binary as binaries
from hypercontainer.hypervisor.qemu.machines import MACHINES
from hypercontainer.linux import confine
from hypercontainer.linux.confine import GATE_FD, GATE_OPEN, Means, Rights, entered, jail_argv
from hypercontainer.linux.process import Process
from passing import children

BUSYBOX = "/bin/busybox"
OTHER = 12_345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become others")
SHELL = Rights(
    files=((BUSYBOX, BUSYBOX), ("/proc/self/status", "/status")), devices=(("/dev/null", "/dev/null"),)
)
FULL, LANDLOCK_ONLY = Means(True, 1), Means(False, 1)


def test_command_lines() -> None:
    rights = Rights(
        files=(("/a", "/b"),),
        devices=(("/dev/kvm", "/dev/kvm"),),
        disks=(("/d", "/e"),),
        images=(("/f", "/g"),),
        sockets=(("/h", "/i"),),
        links=(("/a", "/c"),),
        reopened=(7,),
        network=False,
        uid=5,
        groups=(6, 7),
        low_ports=True,
        filter=b"\x01\xff",
    )
    named = ["file", "/a", "/b", "device", "/dev/kvm", "/dev/kvm", "disk", "/d", "/e", "image", "/f", "/g"]
    named += ["sockets", "/h", "/i", "link", "/a", "/c", "reopen", "7"]
    assert jail_argv(["x", "y"], rights, Means(True, 3), root=True, gate=3) == [
        *(str(confine.JAIL), "gate", "3", "pids", "root", "network", *named, "landlock"),
        *("uid", "5", "groups", "6,7", "low-ports", "filter", "01ff", "--", "x", "y"),
    ]
    assert jail_argv(["x"], rights, Means(False, 0), root=False, gate=3) == [
        *(str(confine.JAIL), "gate", "3", *named, "filter", "01ff", "--", "x")
    ]
    assert jail_argv(["x"], Rights(), Means(True, 0), root=False) == [
        *(str(confine.JAIL), "root", "user", "--", "x")
    ]
    assert 0 <= confine.unprivileged_port_start() <= 65536


@pytest.fixture(params=["root", "user"])
def became(request: pytest.FixtureRequest) -> list[str]:
    """What makes who starts the jail, in an ordinary group as users are."""
    if os.geteuid() != 0:
        return []
    user = ["setpriv", "--reuid", str(OTHER), "--regid", str(OTHER), f"--groups={OTHER}", "--"]
    return user if request.param == "user" else []


def said(became: list[str], script: str, means: Means, rights: Rights = SHELL) -> str:
    """Of a shell whose programs are its own, with standard error."""
    root = os.geteuid() == 0 and not became
    argv = [*became, *jail_argv([BUSYBOX, "sh", "-c", script], rights, means, root=root)]
    done = subprocess.run(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, env={}
    )
    return done.stdout


def reachable(path: Path) -> None:
    """For other users."""
    path.chmod(0o777)
    for parent in path.parents:
        if parent != Path("/tmp") and parent.is_relative_to("/tmp"):
            parent.chmod(0o711)


@pytest.mark.parametrize("means", [FULL, LANDLOCK_ONLY, Means(True, 0)])
def test_no_file_of_the_host_can_be_opened(became: list[str], means: Means, tmp_path: Path) -> None:
    reachable(tmp_path)
    (tmp_path / "secret").write_text("secret of the host\n")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen()
    (tmp_path / "socket").chmod(0o777)
    with listener:
        tried = [f"read x < {path}" for path in (tmp_path / "secret", "/etc/passwd", "/proc/1/cmdline")]
        tried += [f"echo x > {path}" for path in (tmp_path / "made", "/tmp/hyper-made", "/dev/full", "/made")]
        script = "; ".join(f"( {one} ) && echo opened '{one}'" for one in tried)
        answer = said(became, f"{script}; echo end > /dev/null && echo end", means)
    assert "opened" not in answer
    assert answer.endswith("end\n")
    assert not (tmp_path / "made").exists()
    assert not Path("/tmp/hyper-made").exists()


@pytest.mark.parametrize("means", [FULL, LANDLOCK_ONLY])
def test_a_program_by_the_name_that_it_has_there(became: list[str], means: Means) -> None:
    """Where it has no root of its own, too."""
    rights = replace(SHELL, files=((BUSYBOX, "/linux"),))
    root = os.geteuid() == 0 and not became
    argv = [*became, *jail_argv(["/linux", "echo", "it is"], rights, means, root=root)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, env={})
    assert "applet not found" in done.stderr, "busybox, called linux"


def test_its_root_has_what_was_given_and_nothing_else(became: list[str]) -> None:
    rights = replace(SHELL, links=(("/status", "/in/deep/link"),))
    answer = said(became, f"{BUSYBOX} find / -xdev -maxdepth 2 | {BUSYBOX} sort", Means(True, 0), rights)
    assert answer.split() == [
        *("/", "/bin", BUSYBOX, "/dev", "/dev/fd", "/dev/null", "/in", "/in/deep"),
        *("/proc", "/proc/self", "/status"),
    ]


def test_it_has_no_privilege_and_no_way_to_any(became: list[str]) -> None:
    rights = replace(SHELL, uid=70_001, groups=(5,))
    answer = said(became, f"{BUSYBOX} cat /status", FULL, rights)
    facts = dict(line.split(":", 1) for line in answer.splitlines())
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(facts[name], 16) == 0, name
    assert facts["NoNewPrivs"].strip() == "1"
    uid = OTHER if became else 70_001 if os.geteuid() == 0 else os.geteuid()
    assert facts["Uid"].split() == [str(uid)] * 4
    if os.geteuid() == 0 and not became:
        assert facts["Groups"].split() == ["5"]


def with_disks(folder: Path) -> Rights:
    """A disk and an image, of which nobody but their owner has anything else; and a place for sockets."""
    for name, mode in (("disk", 0o600), ("image", 0o400)):
        (folder / name).write_text(f"{name} of mine\n")
        (folder / name).chmod(mode)
    (folder / "vm").mkdir(mode=0o700)
    return replace(
        SHELL,
        files=(*SHELL.files, (f"{folder}/knock", "/knock")),
        disks=((f"{folder}/disk", "/disks/disk"),),
        images=((f"{folder}/image", "/disks/image"),),
        sockets=((f"{folder}/vm", "/vm"),),
    )


KNOCK = 'int main(void){struct sockaddr_un a={AF_UNIX,"/vm/s"};return bind(socket(AF_UNIX,1,0),(void*)&a,sizeof a);}'


@pytest.mark.parametrize("uid", [pytest.param(OTHER, marks=as_root), None])
@pytest.mark.parametrize("landlock", [0, 1])
def test_disks_are_its_own_whoever_has_them(uid: int | None, landlock: int, tmp_path: Path) -> None:
    """Nothing of them changes: not their owner, nor their rights; and beside sockets it makes nothing."""
    source = tmp_path / "knock.c"
    source.write_text(f"#include <sys/socket.h>\n#include <sys/un.h>\n{KNOCK}\n")
    subprocess.run(["gcc", "-static", "-w", "-o", tmp_path / "knock", source], check=True)
    rights = replace(with_disks(tmp_path), uid=uid)
    if uid is not None:
        os.chown(tmp_path / "vm", uid, uid)
    script = (
        "/bin/busybox cat /disks/disk /disks/image; echo changed > /disks/disk; echo changed > /disks/image;"
        "/knock && echo knocked; echo x > /vm/file; /bin/busybox ln -s / /vm/link; /bin/busybox mkdir /vm/d"
    )
    seen = said([], script, Means(True, landlock), rights)
    assert "disk of mine\nimage of mine\n" in seen
    assert "/disks/image: " in seen  # and why not
    assert "knocked" in seen
    assert (tmp_path / "disk").read_text() == "changed\n"
    assert (tmp_path / "image").read_text() == "image of mine\n"
    assert {(tmp_path / name).stat().st_uid for name in ("disk", "image")} == {os.geteuid()}
    if landlock:
        assert [path.name for path in (tmp_path / "vm").iterdir()] == ["s"]


@as_root
def test_low_ports_are_the_one_capability_there_is() -> None:
    facts = said([], f"{BUSYBOX} cat /status", FULL, replace(SHELL, uid=70_001, low_ports=True))
    for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert f"{name}:\t{1 << 10:016x}\n" in facts


@pytest.mark.parametrize("means", [FULL, Means(False, 0)])
def test_it_sends_signals_to_nobody(became: list[str], means: Means) -> None:
    """Where it has the same user as others, and knows their pids."""
    user = became or ["env"]
    with subprocess.Popen([*user, "sleep", "1000"]) as victim:
        try:
            answer = said(
                became, f"kill -9 {victim.pid}; kill -0 {victim.pid}; kill -0 $$ && echo itself", means
            )
            assert victim.poll() is None
        finally:
            victim.kill()
    assert answer.endswith("itself\n")
    assert answer.count("kill") == 2


def close_one(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        server.accept()[0].close()


@pytest.mark.parametrize("network", [True, False])
def test_a_network_of_its_own_leads_nowhere(became: list[str], network: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=close_one, args=[server], daemon=True).start()
        script = f"{BUSYBOX} nc -w 5 127.0.0.1 {port} < /dev/null && echo reached"
        connected = "reached" in said(became, script, FULL, replace(SHELL, network=network))
        server.shutdown(socket.SHUT_RDWR)
    assert connected is network


@pytest.fixture
def null() -> Iterator[tuple[int, int, int]]:
    fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    yield fd, fd, fd
    os.close(fd)


def test_behind_the_gate_it_is_a_child_of_ours_in_a_pid_namespace(null: tuple[int, int, int]) -> None:
    async def test() -> None:
        opener, gate = socket.socketpair()
        with opener, gate:
            argv = jail_argv([BUSYBOX, "sleep", "1000"], SHELL, FULL, root=os.geteuid() == 0, gate=GATE_FD)
            launcher = Process.spawn(argv, env={}, stdio=null, inherited=[gate.fileno()])
            process = await entered(launcher, opener)
            assert process.pid != launcher.pid
            opener.send(GATE_OPEN)
            process.kill()
            assert await process.wait() == -signal.SIGKILL
            process.close()

    asyncio.run(test())


def test_the_end_of_who_holds_the_gate_is_the_end(null: tuple[int, int, int]) -> None:
    async def test() -> None:
        opener, gate = socket.socketpair()
        argv = jail_argv([BUSYBOX, "sleep", "1000"], SHELL, FULL, root=os.geteuid() == 0, gate=GATE_FD)
        with gate:
            launcher = Process.spawn(argv, env={}, stdio=null, inherited=[gate.fileno()])
        process = await entered(launcher, opener)
        opener.close()
        assert await process.wait() == 125
        process.close()

    asyncio.run(test())


@pytest.mark.parametrize("times", [1, 3])
def test_who_is_cancelled_while_it_enters_leaves_nothing(null: tuple[int, int, int], times: int) -> None:
    async def test() -> None:
        opener, gate = socket.socketpair()
        before, others = os.listdir("/proc/self/fd"), children()
        with opener, gate:
            argv = jail_argv([BUSYBOX, "sleep", "1000"], SHELL, FULL, root=os.geteuid() == 0, gate=GATE_FD)
            launcher = Process.spawn(argv, env={}, stdio=null, inherited=[gate.fileno()])
            entering = asyncio.create_task(entered(launcher, opener))
            await asyncio.sleep(0)
            for _ in range(times):
                entering.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await entering
            assert children() == others
            assert os.listdir("/proc/self/fd") == before

    asyncio.run(test())


@pytest.mark.parametrize("means", [FULL, Means(True, 0)])
def test_a_program_below_a_directory_that_it_has_too(
    became: list[str], means: Means, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that runs QEMU, and may run anything of where programs are."""
    reachable(tmp_path)
    program, beside = tmp_path / "bin" / "qemu", tmp_path / "lib" / "beside"
    for path in (program, beside):
        path.parent.mkdir()
        path.write_text(f"#!{BUSYBOX} sh\necho QEMU emulator version 9.0.0 {path.name}\n")
        path.chmod(0o755)
    monkeypatch.setattr(binaries, "PROGRAM_PLACES", (str(tmp_path),))
    files = (*asyncio.run(binaries.inspect(program, MACHINES["amd64"])).files, str(beside))
    rights = replace(SHELL, files=(*SHELL.files, *((file, file) for file in files)))
    answer = said(became, f"{program}; {beside}", means, rights)
    assert [line.split()[-1] for line in answer.splitlines()] == ["qemu", "beside"]


def test_what_cannot_be_done_is_named(null: tuple[int, int, int]) -> None:
    answer = said([], "true", FULL, replace(SHELL, files=(("/no/such", "/x"),)))
    assert answer == "cannot be confined: /no/such: No such file or directory\n"
    done = subprocess.run([confine.JAIL, "filter"], capture_output=True)
    assert done.returncode == 125
