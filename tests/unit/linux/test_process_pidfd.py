"""Processes by pidfd, the gate before a confined program, and unix sockets at long paths."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hypercontainer.linux import confine, process, unix
from hypercontainer.linux.process import Process


@pytest.fixture
def stdio() -> Iterator[tuple[int, int, int]]:
    fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    yield fd, fd, fd
    os.close(fd)


def shell(script: str, stdio: tuple[int, int, int], inherited: tuple[int, ...] = ()) -> Process:
    return Process.spawn(["/bin/sh", "-c", script], env={}, stdio=stdio, inherited=inherited)


def end(child: Process) -> int | None:
    try:
        return asyncio.run(asyncio.wait_for(child.wait(), 10))
    finally:
        child.close()


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9)])
def test_exit_statuses(stdio: tuple[int, int, int], script: str, code: int) -> None:
    assert end(shell(script, stdio)) == code


def test_many_wait_and_a_cancelled_one_disturbs_nobody(stdio: tuple[int, int, int]) -> None:
    stdin, feed = os.pipe2(os.O_CLOEXEC)
    child = shell("read line; exit 3", (stdin, *stdio[1:]))
    os.close(stdin)

    async def main() -> None:
        waiters = [asyncio.create_task(child.wait()) for _ in range(3)]
        await asyncio.sleep(0.01)
        waiters[0].cancel()
        assert not child.ended()
        os.close(feed)
        assert await asyncio.gather(*waiters[1:]) == [3, 3]
        assert child.ended()
        assert await child.wait() == 3
        child.kill()  # nothing happens to whoever has the pid now

    asyncio.run(main())
    child.close()
    child.close()


def test_a_child_has_its_descriptors_in_order_and_no_others(tmp_path: Path) -> None:
    leaked = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(leaked, True)
    program = (
        "import os\n"
        "for n in range(100):\n"
        "    try: print(n, os.path.basename(os.readlink(f'/proc/self/fd/{n}')))\n"
        "    except OSError: pass\n"
    )
    files = [os.open(tmp_path / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC) for name in "abc"]
    a, b, c = files
    # Sources may be where targets are: nothing may be overwritten before it is copied.
    child = Process.spawn([sys.executable, "-c", program], env={}, stdio=(b, a, c), inherited=[c, b])
    assert end(child) == 0
    said = (tmp_path / "a").read_text().splitlines()
    assert said == ["0 b", "1 a", "2 c", "3 c", "4 b"]
    for fd in [leaked, *files]:
        os.close(fd)


def test_a_child_has_a_session_no_environment_and_pythons_signals_reset(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as out, open(os.devnull, "rb") as null:
        argv = ["/usr/bin/env", "cat", "/proc/self/status", "/proc/self/environ"]
        child = Process.spawn(argv, env={}, stdio=(null.fileno(), out.fileno(), out.fileno()))
        assert end(child) == 0
    facts = dict(line.split(":", 1) for line in (tmp_path / "out").read_text().splitlines())
    assert signal.getsignal(signal.SIGPIPE) is signal.SIG_IGN
    assert not int(facts["SigIgn"], 16) & (1 << (signal.SIGPIPE - 1))
    assert int(facts["SigBlk"], 16) == 0
    assert facts["NSsid"].split()[-1] == str(child.pid)
    assert list(facts)[-1] == "nonvoluntary_ctxt_switches"


def test_a_program_that_is_not_there_is_an_error(stdio: tuple[int, int, int]) -> None:
    with pytest.raises(FileNotFoundError):
        Process.spawn(["/no/such/program"], env={}, stdio=stdio)


def test_a_process_that_is_not_ours_is_waited_for_without_a_status() -> None:
    outer = subprocess.Popen(
        ["sh", "-c", "sleep 60 >/dev/null & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert outer.stdout is not None
    pid = int(outer.stdout.readline())
    ticks = process.start_ticks(pid)
    assert ticks
    held = Process.open(process.Identity(pid, ticks, process.boot_id()))
    assert held is not None
    held.kill()
    assert end(held) is None
    outer.wait()
    outer.stdout.close()


def test_a_reused_pid_is_not_mistaken() -> None:
    ticks = process.start_ticks(os.getpid())
    assert ticks
    us = process.Identity(os.getpid(), ticks, process.boot_id())
    held = Process.open(us)
    assert held is not None
    held.close()
    assert Process.open(replace(us, start_ticks=ticks - 1)) is None
    assert Process.open(replace(us, boot_id="another")) is None
    with subprocess.Popen(["true"]) as gone:
        pass
    assert Process.open(replace(us, pid=gone.pid)) is None
    assert process.start_ticks(gone.pid) is None
    assert process.cpu_ns(gone.pid) == 0
    assert process.resident_bytes(gone.pid) == 0
    assert process.cpu_ns(os.getpid()) > 0
    assert process.resident_bytes(os.getpid()) > 1 << 20


@pytest.mark.parametrize(("word", "code"), [(confine.GATE_OPEN, 0), (b"", 125), (b"no\n", 125)])
def test_nothing_runs_before_the_gate_opens(
    tmp_path: Path, stdio: tuple[int, int, int], word: bytes, code: int
) -> None:
    gate, opener = os.pipe2(os.O_CLOEXEC)
    script = 'umask; pwd; ls /proc/self/fd; ulimit -c; export -p; printf %s "$0"'
    with (tmp_path / "out").open("wb") as out:
        argv = confine.gated(tmp_path, ["/bin/sh", "-c", script, "a b;$(touch evil)"])
        child = Process.spawn(argv, env={}, stdio=(stdio[0], out.fileno(), out.fileno()), inherited=[gate])
        os.close(gate)
        assert not child.ended()
        os.write(opener, word)
        os.close(opener)
        assert end(child) == code
    said = (tmp_path / "out").read_text()
    if code == 0:
        lines = said.splitlines()
        assert lines[:2] == ["0077", str(tmp_path)]
        assert lines[2:6] == ["0", "1", "2", "3"]  # 3 is the listing's own
        assert lines[6] == "0"
        assert "a b;$(touch evil)" in lines[-1]
    else:
        assert said == ""
    assert os.listdir(tmp_path) == ["out"]


def test_sockets_at_paths_of_any_length(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100) / ("y" * 100)
    deep.mkdir(parents=True)
    server = unix.listen(deep / "sock")
    client = unix.connect(deep / "sock")
    assert not client.getblocking()
    peer, _ = server.accept()
    peer.sendall(b"hello")
    client.setblocking(True)
    assert client.recv(10) == b"hello"
    for one in (server, client, peer):
        one.close()
    with pytest.raises(ConnectionRefusedError):
        unix.connect(deep / "sock")
    with pytest.raises(OSError, match="in use"):
        unix.listen(deep / "sock")
    with pytest.raises(FileNotFoundError):
        unix.connect(deep / "other")
