"""A real virtual machine whose init means harm: it costs its own pod, which says so; nobody else notices."""

from __future__ import annotations

import contextlib
import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
from audit import Audit, daemon_pid, virtual_machines
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from hypercontainer.kernel import KernelStore, build_initrd, cache_dir

BUSYBOX = busybox_image.REFERENCE
HERE = Path(__file__).parents[1] / "support"
CONTRACT = Path(__file__).parents[2] / "guest" / "include"
MOST_MIB = 30
BROKEN = "its VM was ended: its guest broke the wire contract: "


@pytest.fixture(scope="module")
def initrd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("hostile")
    program = directory / "init"
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-Os", "-static"]
    subprocess.run(
        [
            "musl-gcc",
            *flags,
            f"-I{CONTRACT}",
            "-idirafter",
            "/usr/include",
            "-o",
            program,
            HERE / "hostile_init.c",
        ],
        check=True,
    )
    return build_initrd(program, KernelStore(cache_dir()).default(), directory)


@pytest.fixture(scope="module")
def beside() -> Iterator[Hyper]:
    """A hyperd with a well-behaved container, ``good``."""
    with hyper_context(f"{NO_POOL}[machine]\nboot_timeout_s = 10\n") as hyper:
        hyper("load", stdin=busybox_image.archive([busybox_image.layer()]))
        hyper("run", "-d", "--name", "good", BUSYBOX, "sleep", "10000")
        yield hyper


class Neighbour:
    """Runs a program in ``good`` again and again, and counts how often it went well."""

    def __init__(self, hyper: Hyper) -> None:
        self._hyper = hyper
        self._stop = threading.Event()
        self._more = threading.Condition()
        self.times = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._stop.is_set():
                assert self._hyper.out("exec", "good", "echo", "fine") == "fine"
                with self._more:
                    self.times += 1
                    self._more.notify_all()
        except BaseException as error:
            with self._more:
                self.failure = error
                self._more.notify_all()

    def does_more(self, times: int) -> None:
        """Waits until it went well so many times from now."""
        with self._more:
            wanted = self.times + times
            assert self._more.wait_for(lambda: self.failure or self.times >= wanted, timeout=120)
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        self._stop.set()


@contextlib.contextmanager
def neighbour(hyper: Hyper) -> Iterator[Neighbour]:
    """At the end: it never failed, hyperd's memory has not grown beyond its bound, nothing is left of the other."""
    audit, pid = Audit(hyper), daemon_pid(hyper)
    before_kib = peak_kib(pid, reset=True)
    made = Neighbour(hyper)
    thread = threading.Thread(target=made.run)
    thread.start()
    try:
        yield made
        made.does_more(1)
    finally:
        made.stop()
        thread.join()
        hyper("rm", "-f", "bad", "worse")
    assert daemon_pid(hyper) == pid
    grown_mib = (peak_kib(pid) - before_kib) / 1024
    assert grown_mib < MOST_MIB, f"hyperd has grown by {grown_mib:.0f} MiB"
    assert len(audit.check()) == 1


def peak_kib(pid: int, *, reset: bool = False) -> int:
    """The most memory hyperd had, since the last reset (proc(5), clear_refs)."""
    if reset:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def hostile(initrd: Path, lie: str, name: str = "bad") -> list[str]:
    return ["--name", name, "--initrd", str(initrd), "--kernel-args", f"lie={lie}", BUSYBOX, "true"]


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        ("random", ""),
        ("length", "a DATA frame of 4294967295 bytes"),
        ("exit", "the exit of process 99, which was not started"),
        # Where the data overtakes the attaching of the stream, nothing was granted yet.
        ("data", "data beyond what was granted|DATA on stream 5, which takes none"),
        ("pings", "a flood of pings"),
        ("events", "a flood of events"),
    ],
)
def test_what_breaks_the_contract_costs_the_pod(beside: Hyper, initrd: Path, lie: str, why: str) -> None:
    with neighbour(beside):
        done = beside("run", *hostile(initrd, lie), check=False)
        assert done.returncode == 255
        assert f"hyper: container bad: {BROKEN}".encode() in done.stderr
        assert re.search(why.encode(), done.stderr)
        state = beside.inspect("bad")["State"]
        assert (state["Status"], state["ExitCode"], state["Pid"]) == ("exited", 255, 0)
        assert state["Error"].startswith(BROKEN)


def test_silence_at_the_start_ends_at_the_deadline(beside: Hyper, initrd: Path) -> None:
    """From the first byte on, and in mid-frame."""
    with neighbour(beside) as other:
        silent = {"bad": "mute", "worse": "half-start"}
        clients = [
            beside.popen("run", *hostile(initrd, lie, name), stderr=subprocess.PIPE)
            for name, lie in silent.items()
        ]
        other.does_more(3)
        for client in clients:
            _, said = client.communicate(timeout=60)
            assert client.returncode == 125
            assert b"did not answer within 10 s" in said
        assert len(virtual_machines(beside.base)) == 1


@pytest.mark.parametrize("lie", ["half", "console"])
def test_what_only_takes_time_disturbs_nobody_and_can_be_removed(
    beside: Hyper, initrd: Path, lie: str
) -> None:
    """Silence in mid-frame after a good start, and a console that never stops."""
    with neighbour(beside) as other:
        beside("run", "-d", *hostile(initrd, lie))
        other.does_more(5)
        assert beside.inspect("bad")["State"]["Running"]
        beside("rm", "-f", "bad", timeout_s=30)
