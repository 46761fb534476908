"""A small disk under hyperd's state that is full, again and again: errors name it and the remedy, nothing half done
stays, everything works once there is room, and what takes the room can always be removed."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
from audit import Audit, daemon_pid, kill_process, names
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from registry import Registry

BUSYBOX = busybox_image.REFERENCE
ARCHIVE = busybox_image.archive([busybox_image.layer()])
SIZE = "40m"


@pytest.fixture
def small(hypervisor: str) -> Iterator[Hyper]:
    """A hyperd with 40 MiB for all it has."""
    with _small(NO_POOL, hypervisor) as hyper:
        yield hyper


@pytest.fixture
def small_and_quiet(hypervisor: str) -> Iterator[Hyper]:
    """The same, which makes no templates: what is taken for one that then has no room would be room again."""
    with _small(f"{NO_POOL}template = false\n", hypervisor) as hyper:
        yield hyper


@contextlib.contextmanager
def _small(config: str, hypervisor: str) -> Iterator[Hyper]:
    with hyper_context(config, hypervisor=hypervisor) as hyper:
        hyper.root.mkdir(exist_ok=True)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "hyper-test", hyper.root], check=True
        )
        try:
            yield hyper
        finally:
            hyper.stop()
            subprocess.run(["umount", hyper.root], check=True)


@contextlib.contextmanager
def full(hyper: Hyper, *, but_bytes: int = 0) -> Iterator[None]:
    """Somebody else has taken all the room, or all but so much."""
    room = os.statvfs(hyper.root)
    path = hyper.root / "taken"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - but_bytes)
    try:
        yield
    finally:
        path.unlink()


def refused(hyper: Hyper, *words: str, stdin: bytes | None = None, where: Path) -> None:
    """Fails with the place and the remedy; hyperd is the same as before."""
    before = daemon_pid(hyper)
    done = hyper(*words, stdin=stdin, check=False)
    assert done.returncode in (1, 125)
    why = "(No space left on device|MiB are left, which are kept free for what runs)"
    assert re.search(f"{why}: {re.escape(str(where))}", done.stderr.decode())
    assert b"free some space there, e.g. with `hyper system prune`" in done.stderr
    assert daemon_pid(hyper) == before


def test_images(small: Hyper, registry: Registry) -> None:
    hyper, remote = small, f"{registry.address}/busybox:latest"
    hyper("ps")
    with full(hyper, but_bytes=500_000):
        refused(hyper, "load", stdin=ARCHIVE, where=hyper.root / "images")
        assert hyper.out("images", "-q") == ""
    hyper("load", stdin=ARCHIVE)
    hyper("tag", BUSYBOX, remote)
    hyper("push", "-q", remote)
    with full(hyper):  # what is there can be removed
        hyper("rmi", "-f", hyper.out("images", "-q").split()[0])
    hyper("system", "prune", "-af")
    with full(hyper, but_bytes=300_000):
        refused(hyper, "pull", "-q", remote, where=hyper.root / "images")
        assert hyper.out("images", "-q") == ""
    hyper("pull", "-q", remote)
    assert hyper.out("run", "--rm", remote, "echo", "hello") == "hello"


def test_containers(small: Hyper) -> None:
    hyper = small
    hyper("load", stdin=ARCHIVE)
    for room in (20_000, 0):
        with full(hyper, but_bytes=room):
            refused(hyper, "run", "--name", "c", BUSYBOX, "true", where=hyper.root / "containers")
            assert hyper.out("ps", "-aq") == ""
            assert names(hyper.root / "containers") == set()
    assert hyper.out("run", "--rm", BUSYBOX, "echo", "hello") == "hello"


@pytest.mark.each_driver
def test_a_guest_that_fills_it_waits_for_room(small: Hyper) -> None:
    """And can be ended meanwhile."""
    hyper = small
    hyper("load", stdin=ARCHIVE)
    hyper(
        "run",
        "-d",
        "--name",
        "c",
        BUSYBOX,
        "dd",
        "if=/dev/zero",
        "of=/big",
        "bs=1M",
        "count=60",
        "conv=fsync",
    )
    hyper.wait_for_events("disk_full", of="container")
    # It tries again, and what little room there is by then lets it go on for a moment.
    hyper.until(lambda: "(Disk full)" in hyper.out("ps", "--format", "{{.Status}}"), "what ps says of it")
    hyper.until(lambda: hyper.inspect("c")["VM"]["DiskFull"], "what inspect says of it")
    assert "No space left on device" in (hyper.root / "hyperd.log").read_text()
    hyper("rm", "-f", "c")
    assert hyper.out("run", "--rm", BUSYBOX, "echo", "hello") == "hello"


@pytest.mark.each_driver
def test_neighbours_go_on_once_there_is_room(small_and_quiet: Hyper) -> None:
    """Their root, and a volume; also with a hyperd that comes later.  Nothing they write fails."""
    hyper = small_and_quiet
    hyper("load", stdin=ARCHIVE)
    places = {"root": "/", "volume": "/v"}
    write = "for i in $(seq 50); do dd if=/dev/zero of=$0/f$i bs=64k count=1 conv=fsync || touch /dev/shm/failed; done"
    for name in places:
        hyper("run", "-d", "--name", name, "-v", f"{name}:/v", BUSYBOX, "sleep", "1000")
    with full(hyper):
        for name, place in places.items():
            hyper("exec", "-d", name, "sh", "-c", f"{write}; touch /dev/shm/done", place)
        hyper.wait_for_events("disk_full", of="container", times=2)
        kill_process(daemon_pid(hyper))
    hyper.wait_for_events("disk_room", of="container", times=2)
    for name, place in places.items():
        done = "until [ -e /dev/shm/done ]; do usleep 10000; done; ls /dev/shm"
        assert hyper.out("exec", name, "sh", "-c", f"{done}; echo x > {place}/after && sync") == "done"
        assert "full" not in hyper.out("ps", "--filter", f"name={name}", "--format", "{{.Status}}")
        hyper("rm", "-f", name)


@pytest.mark.each_driver
def test_guests_are_told_of_it_where_that_is_configured(hypervisor: str) -> None:
    """Who writes is; everybody goes on, what was written down before stays, and the disk is whole."""
    write = "dd if=/dev/zero of=/v/f bs=64k count=160 conv=fsync 2>&1 | tail -n 1"
    wait = "until test -e /go; do usleep 10000; done"
    script = f"echo kept >/v/kept; sync; echo ready; {wait}; {write}; echo on; sleep 1000"
    with _small(f'{NO_POOL}template = false\n[machine]\ndisk_full = "error"\n', hypervisor) as hyper:
        hyper("load", stdin=ARCHIVE)
        hyper("run", "-d", "--name", "other", BUSYBOX, "sleep", "1000")
        hyper("run", "-d", "--name", "c", "-v", "v:/v", BUSYBOX, "sh", "-c", script)
        hyper.wait_for_log("c", b"ready\n")
        with full(hyper, but_bytes=4_000_000):
            hyper("exec", "c", "touch", "/go")
            hyper.wait_for_log("c", b"on\n")
            _, error, _ = hyper.out("logs", "c").splitlines()
            assert re.search(r"No space left on device|Input/output error", error)
            assert hyper.out("exec", "other", "echo", "hello") == "hello"
            assert hyper.out("exec", "c", "cat", "/v/kept") == "kept"
            assert "full" not in hyper.out("ps", "-a", "--format", "{{.Status}}")
            hyper("kill", "c")
        assert "stands still" not in hyper.log()
        look = ("sh", "-c", "cat /v/kept; rm -f /v/f; echo new >/v/new && cat /v/new")
        assert hyper.out("run", "--rm", "-v", "v:/v", BUSYBOX, *look).split() == ["kept", "new"]
        disk = hyper.root / "volumes" / "v" / "disk.img"
        checked = subprocess.run(
            ["/usr/sbin/e2fsck", "-fn", disk], capture_output=True, text=True, check=False
        )
        assert checked.returncode == 0, checked.stdout


def test_a_full_log_loses_output_and_says_so(small: Hyper) -> None:
    hyper = small
    hyper("load", stdin=ARCHIVE)
    count = "i=0; while [ $i -lt 20000 ]; do echo line $i of many; i=$((i+1)); done"
    script = f"echo ready; read x; {count}; read x; echo last"
    with hyper.popen("run", "-i", "--name", "c", BUSYBOX, "sh", "-c", script, stdin=-1, stdout=-1) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        assert client.stdout.readline() == b"ready\n"
        with full(hyper, but_bytes=50_000):
            client.stdin.write(b"go\n")
            client.stdin.flush()
            for number in range(20000):  # a client gets all of it
                assert client.stdout.readline() == f"line {number} of many\n".encode()
        client.stdin.write(b"on\n")
        client.stdin.flush()
        assert client.stdout.readline() == b"last\n"
        assert client.wait(60) == 0
    logs = hyper("logs", "c")
    lines = logs.stdout.decode().splitlines()
    assert lines[:2] == ["ready", "line 0 of many"]
    assert lines[-1] == "last"
    assert b"bytes of output were dropped: the disk was full" in logs.stderr


def test_hyperd_begins_and_removes_without_any_room(small: Hyper) -> None:
    hyper, audit = small, Audit(small)
    hyper("load", stdin=ARCHIVE)
    hyper("run", "-d", "--name", "c", BUSYBOX, "sleep", "1000")
    with full(hyper):
        kill_process(daemon_pid(hyper))
        assert hyper.out("ps", "--format", "{{.Names}}") == "c"
        assert hyper.out("exec", "c", "echo", "hello") == "hello"
        hyper("stop", "-t", "0", "c")
        hyper("rm", "c")
        audit.nothing()
        hyper("system", "prune", "-af")
        assert hyper.out("images", "-q") == ""
