"""Processes in a real guest: how they start and end, who they are, what they may do."""

from __future__ import annotations

import errno
import resource
import signal
import struct
from typing import Any

import pytest

from guest_machine import (
    DOCKER_CAPABILITIES,
    Machine,
    RunScenario,
    Scenario,
    Session,
    container_plan,
    process_plan,
)
from hypercontainer.agent.operations import Rlimit
from hypercontainer.agent.wire import Stream
from hypercontainer.errors import GuestError

pytestmark = pytest.mark.vm


async def idle_container(session: Session, name: str = "c", **changes: Any) -> None:
    await session.agent.create_container(container_plan(name, **changes))
    await session.agent.start_process(process_plan(name, hash(name) % 1000 + 1, "sleep", "1000", init=True))


async def refused(session: Session, *args: str, **changes: Any) -> GuestError:
    with pytest.raises(GuestError) as caught:
        await session.run("c", *args, **changes)
    return caught.value


async def statuses_and_errors(vm: Machine, session: Session) -> None:
    await idle_container(session)
    for status in (0, 1, 7, 125, 126, 127, 128, 255):
        assert await session.run("c", "sh", "-c", f"exit {status}") == (status, "")
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
        assert (await session.run("c", "sh", "-c", f"kill -{int(number)} $$"))[0] == 128 + number

    missing = await refused(session, "nothing")
    assert missing.errno == errno.ENOENT
    assert 'exec: "nothing": executable file not found in $PATH' in str(missing)
    missing = await refused(session, "/bin/nothing")
    assert missing.errno == errno.ENOENT
    assert "stat /bin/nothing: no such file or directory" in str(missing)
    assert (await refused(session, "/bin/nointerpreter")).errno == errno.ENOENT
    assert (await refused(session, "/bin/noexec")).errno == errno.EACCES
    assert (await refused(session, "/bin/noformat")).errno == errno.ENOEXEC
    assert (await refused(session, "/tmp")).errno == errno.EISDIR
    assert (await refused(session, "ls", cwd="/nowhere")).errno == errno.ENOENT
    assert (await refused(session, "ls", cwd="relative")).errno == errno.EINVAL
    # Nothing of those is left: their numbers are free, and the container goes on.
    assert await session.run("c", "echo", "still here") == (0, "still here\n")


async def identities(vm: Machine, session: Session) -> None:
    await idle_container(session)

    async def identity(user: str, **changes: Any) -> str:
        status, text = await session.run("c", "sh", "-c", "id 2>/dev/null; echo $HOME", user=user, **changes)
        assert status == 0, text
        return text

    assert await identity("") == "uid=0(root) gid=0(root) groups=0(root)\n/root\n"
    assert (
        await identity("user")
        == "uid=1000(user) gid=1001(users) groups=1001(users),1002(extra),1003(more)\n/home/user\n"
    )
    assert await identity("1000") == await identity("user")
    assert await identity("user:extra") == "uid=1000(user) gid=1002(extra) groups=1002(extra)\n/home/user\n"
    assert await identity("4242:77") == "uid=4242 gid=77 groups=77\n/\n"
    assert await identity("4242") == "uid=4242 gid=0(root) groups=0(root)\n/\n"
    assert "groups=42,1001(users),1002(extra),1003(more)\n" in await identity("user", groups=("42", "extra"))
    assert (await identity("user", env=("PATH=/bin", "HOME=/else"))).endswith("\n/else\n")
    for user, words in (
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("broken", "unable to find user broken"),
        ("user:nogroup", "unable to find group nogroup"),
        ("4294967296", "must be in range"),
    ):
        error = await refused(session, "true", user=user)
        assert error.errno == errno.EINVAL
        assert words in str(error)


async def proc_status(session: Session, *names: str, **changes: Any) -> list[str]:
    _, text = await session.run("c", "cat", "/proc/self/status", **changes)
    values = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
    return [values[name] for name in names]


async def capabilities(vm: Machine, session: Session) -> None:
    await idle_container(session)
    docker, none, net = f"{DOCKER_CAPABILITIES:016x}", f"{0:016x}", f"{1 << 10:016x}"

    async def sets(**changes: Any) -> list[str]:
        return await proc_status(session, "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", **changes)

    assert await sets() == [none, docker, docker, docker, none]
    assert await sets(user="user") == [none, none, none, docker, none]
    ambient = await sets(user="user", cap_inheritable=1 << 10, cap_ambient=1 << 10)
    assert ambient == [net, net, net, docker, net]
    assert await sets(cap_bounding=0, cap_effective=0, cap_permitted=0) == [none] * 5


async def seccomp(vm: Machine, session: Session) -> None:
    """A filter that has mkdir(2) fail with errno 77 and allows everything else, with and without privileges."""
    await idle_container(session)
    program = b"".join(
        struct.pack("<HBBI", *line)
        for line in ((0x20, 0, 0, 0), (0x15, 0, 1, 83), (0x06, 0, 0, 0x50000 | 77), (0x06, 0, 0, 0x7FFF0000))
    )
    for user in ("", "user"):
        for no_new_privs in (False, True):
            changes: dict[str, Any] = {"user": user, "no_new_privs": no_new_privs, "seccomp": program}
            said = await proc_status(session, "Seccomp", "NoNewPrivs", **changes)
            assert said == ["2", str(int(no_new_privs))]
            status, text = await session.run("c", "mkdir", "/tmp/x", **changes)
            assert status == 1
            assert "File descriptor in bad state" in text
    assert (await refused(session, "true", seccomp=b"123")).errno == errno.EINVAL
    assert await proc_status(session, "Seccomp", "NoNewPrivs") == ["0", "0"]


async def what_a_process_starts_with(vm: Machine, session: Session) -> None:
    await idle_container(session)
    none = f"{0:016x}"
    assert await proc_status(session, "SigBlk", "SigIgn", "SigCgt") == [none] * 3
    limits = (Rlimit(resource.RLIMIT_NOFILE, 100, 200), Rlimit(resource.RLIMIT_CORE, 0, 0))
    script = "ulimit -Sn; ulimit -Hn; umask"
    status, text = await session.run("c", "sh", "-c", script, rlimits=limits, umask=0o27)
    assert (status, text.split()) == (0, ["100", "200", "0027"])
    assert (await session.run("c", "sh", "-c", script))[1].split() == ["1024", "524288", "0022"]
    _, text = await session.run("c", "cat", "/proc/self/oom_score_adj", oom_score_adj=-321)
    assert text == "-321\n"
    _, text = await session.run("c", "ls", "/proc/self/fd")
    assert text.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads
    _, text = await session.run("c", "sh", "-c", "cut -d' ' -f6 /proc/self/stat; echo $$")
    assert len(set(text.split())) == 1  # the leader of its own session
    _, text = await session.run("c", "env", env=("PATH=/bin", "A=b c", "EMPTY="))
    assert sorted(text.splitlines()) == ["A=b c", "EMPTY=", "HOME=/root", "PATH=/bin"]


async def terminals(vm: Machine, session: Session) -> None:
    await session.agent.create_container(container_plan("c"))
    plan = process_plan("c", 1, "sh", init=True, tty=True, stdin=True, rows=24, columns=80)
    started = session.agent.start_process(plan)
    screen = session.collect(1)
    await started
    stdin = session.agent.input(1)
    await stdin.write(b"tty; stty size; ls -l /dev/console; echo to-console >/dev/console\n")
    await screen.until(b"to-console\r\n")
    text = await screen.until(b"24 80")
    assert b"/dev/pts/0\r\n" in text
    assert b"136,   0" in text
    await session.agent.resize(1, 50, 132)
    await stdin.write(b"stty size\n")
    await screen.until(b"50 132")
    # Ctrl-C reaches the foreground process, not the shell.
    await stdin.write(b"sh -c 'echo go; exec sleep 1000'\n")
    await screen.until(b"go\r\n")
    await stdin.write(b"\x03")
    await stdin.write(b"echo after=$?\n")
    await screen.until(b"after=130\r\n")

    status, text2 = await session.run("c", "sh", "-c", "tty; id -u; ls -ln $(tty)", tty=True, user="user")
    assert status == 0
    lines = text2.split("\r\n")
    assert lines[0] == "/dev/pts/1"
    assert lines[1] == "1000"
    assert lines[2].split()[2:4] == ["1000", "5"]
    await stdin.write(b"exit 42\n")
    assert await session.status(1) == 42
    assert (await screen.text()).endswith("exit 42\r\n")
    with pytest.raises(GuestError):
        await session.agent.resize(1, 1, 1)


async def signals(vm: Machine, session: Session) -> None:
    agent = session.agent
    await agent.create_container(container_plan("c"))
    script = "trap 'echo term; exit 3' TERM; trap 'echo hup' HUP; echo ready; while :; do sleep 1000 & wait $!; done"
    started = agent.start_process(process_plan("c", 1, "sh", "-c", script, init=True))
    output = session.collect(1)
    await started
    await output.until(b"ready\n")
    await agent.signal(1, signal.SIGHUP)
    await output.until(b"hup\n")
    # An init without a handler is not ended by SIGUSR1, as in Docker; a process of exec is.
    await agent.signal(1, signal.SIGUSR1)
    await agent.start_process(process_plan("c", 2, "sleep", "1000"))
    await agent.signal(2, signal.SIGUSR1)
    assert await session.status(2) == 128 + signal.SIGUSR1
    with pytest.raises(GuestError) as caught:
        await agent.signal(2, signal.SIGUSR1)
    assert caught.value.errno == errno.ESRCH
    with pytest.raises(GuestError) as caught:
        await agent.signal(1, 99)
    assert caught.value.errno == errno.EINVAL
    await agent.start_process(process_plan("c", 3, "sleep", "1000"))
    await agent.signal(1, signal.SIGKILL, all=True)
    assert [await session.status(number) for number in (1, 3)] == [137, 137]
    with pytest.raises(GuestError) as caught:
        await session.run("c", "true")
    assert caught.value.errno == errno.ESRCH
    await agent.destroy_container("c")
    for number, patient in ((4, True), (5, False)):
        await _signalled_too_early(session, number, patient=patient)


async def _signalled_too_early(session: Session, number: int, *, patient: bool) -> None:
    """A program that has no handler yet, and an exec beside it, which needs none."""
    agent = session.agent
    await agent.create_container(container_plan("c"))
    script = "read a; trap 'echo heard; exit 4' TERM; read b; echo deaf; sleep 1000"
    started = agent.start_process(process_plan("c", number, "sh", "-c", script, init=True, stdin=True))
    output, stdin = session.collect(number), agent.input(number)
    await started
    await agent.start_process(process_plan("c", number + 10, "sleep", "1000"))
    for process in (number, number + 10):
        await agent.signal(process, signal.SIGTERM, patient=patient)
    assert await session.status(number + 10) == 128 + signal.SIGTERM
    await stdin.write(b"\n")
    if patient:
        assert await session.status(number) == 4
        assert await output.text() == "heard\n"
    else:
        await stdin.write(b"\n")
        await output.until(b"deaf\n")
        await agent.signal(number, signal.SIGKILL)
        assert await session.status(number) == 128 + signal.SIGKILL
    await agent.destroy_container("c")


async def reapers(vm: Machine, session: Session) -> None:
    agent = session.agent
    await agent.create_container(container_plan("c"))
    script = (
        "trap 'exit 9' TERM; ps -o pid,comm; (sleep 0 &) ; echo ready; while :; do sleep 1000 & wait $!; done"
    )
    started = agent.start_process(process_plan("c", 1, "sh", "-c", script, init=True, reaper=True))
    output = session.collect(1)
    await started
    text = await output.until(b"ready\n")
    assert b"    1 hyper-init" in text
    await agent.signal(1, signal.SIGTERM)
    assert await session.status(1) == 9
    await agent.destroy_container("c")

    await agent.create_container(container_plan("c"))
    with pytest.raises(GuestError) as caught:
        await agent.start_process(process_plan("c", 2, "nothing", init=True, reaper=True))
    assert caught.value.errno == errno.ENOENT
    await agent.destroy_container("c")
    await agent.create_container(container_plan("c"))
    await agent.start_process(process_plan("c", 3, "sh", "-c", "kill -9 $$", init=True, reaper=True))
    assert await session.status(3) == 137


async def standard_streams(vm: Machine, session: Session) -> None:
    await idle_container(session)
    agent = session.agent
    assert await session.run("c", "cat", stdin=b"hello") == (0, "hello")
    assert await session.run("c", "cat") == (0, "")  # without input it is /dev/null
    script = "echo out; echo err >&2; echo again >/dev/stdout; echo also >/dev/stderr"
    started = agent.start_process(process_plan("c", 50, "sh", "-c", script, user="user"))
    out, err = session.collect(50), session.collect(50, Stream.STDERR)
    await started
    assert await out.text() == "out\nagain\n"
    assert await err.text() == "err\nalso\n"
    # The output of an exited process ends although a child of it still holds the pipe.
    assert await session.run("c", "sh", "-c", "echo parent; sleep 1000 &") == (0, "parent\n")
    status, text = await session.run(
        "c", "sh", "-c", "head -c 1; exec 0<&-; sleep 1; echo done", stdin=b"x" * 300000
    )
    assert (status, text) == (0, "xdone\n")


@pytest.mark.parametrize(
    "scenario",
    [
        statuses_and_errors,
        identities,
        capabilities,
        pytest.param(seccomp, marks=pytest.mark.each_driver),
        what_a_process_starts_with,
        pytest.param(terminals, marks=pytest.mark.each_driver),
        signals,
        reapers,
        standard_streams,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_processes(guest: RunScenario, scenario: Scenario) -> None:
    guest(scenario)
