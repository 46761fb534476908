"""Clones with real guests: no two are alike, none is worse than a boot, and nothing of them stays.

What every run is, is what `hyper run --timings` says of it: "cold" (booted), "clone" (of a template) or "warm" (a
clone that stood ready).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import busybox_image
import identity
from audit import cgroups, daemon_pid, kill_process, names
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from hypercontainer.engine.creation import DISK_BYTES
from hypercontainer.hypervisor import snapshot
from hypercontainer.kernel import KernelStore, cache_dir
from hypercontainer.linux.architectures import AMD64
from pools import (
    POOL_OF_2,
    free_port,
    furnished,
    glob,
    nothing_runs,
    ready,
    started_as,
    virtual_machines,
)
from reach import http_get
from soak import rounds

pytestmark = pytest.mark.needs("templates")

BUSYBOX = busybox_image.REFERENCE
TRUE = (BUSYBOX, "true")
MIB = 1 << 20
CLOCK_S = 0.05  # a guest's clock may be off by so much


@contextlib.contextmanager
def own_cache() -> Iterator[Path]:
    """With the user's kernels, and without templates."""
    with tempfile.TemporaryDirectory(prefix="hyper-cache-") as folder:
        for name in ("kernel", "initrd"):
            Path(folder, name).symlink_to(cache_dir() / name)
        yield Path(folder)


@pytest.fixture
def cache() -> Iterator[Path]:
    """For a test that makes templates, or does them harm; afterwards there is nothing else among them."""
    with own_cache() as made:
        yield made
        left = {name for name in names(made / "templates") if not is_key(name)}
        assert not left, left


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """The folder of a template that is not touched."""
    with own_cache() as cache, hyper_context(NO_POOL, HYPER_CACHE=str(cache)) as hyper:
        assert furnished(hyper).kind(*TRUE) == "cold"
        hyper.wait_for_events("make")
        (folder,) = (cache / "templates").iterdir()
        yield folder


@pytest.fixture
def copied(cache: Path, made: Path) -> Path:
    """That template once more, in ``cache``."""
    (cache / "templates").mkdir(mode=0o700)
    subprocess.run(["cp", "-a", "--sparse=always", made, cache / "templates"], check=True)
    return cache / "templates" / made.name


@pytest.fixture
def fresh(cache: Path) -> Iterator[Hyper]:
    """A hyperd that keeps no clones ready, with the templates that are in ``cache`` by then."""
    with hyper_context(NO_POOL, HYPER_CACHE=str(cache)) as hyper:
        yield furnished(hyper)


def is_key(name: str) -> bool:
    return len(name) == 32 and set(name) <= set("0123456789abcdef")


# ---------------------------------------------------------------------------- identity


def identities(hyper: Hyper, count: int, allowed: set[str], *, at_once: int) -> list[dict[str, str]]:
    """Runs so many, each in a VM of a kind that is allowed; what is right of each by itself is looked at here."""

    def one(_: int) -> dict[str, str]:
        script = f"identity && {identity.KEY}"
        before = time.time()
        done = hyper("run", "--rm", "--timings", identity.IMAGE, "sh", "-c", script)
        after = time.time()
        assert done.stderr.decode().partition(" ")[0] in allowed
        found = identity.parse(done.stdout.decode())
        assert before - CLOCK_S < int(found.pop("time_ns")) / 1e9 < after + CLOCK_S
        return found

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(one, range(count)))


def assert_no_two_are_alike(found: list[dict[str, str]]) -> None:
    wanted = {"hostname", "urandom", "getrandom", "auxv", "boot_id", "uuid", "mac", "key"}
    assert all(set(each) - {"machine_id"} == wanted for each in found)
    assert all("PRIVATE KEY" in each["key"] and each["mac"].startswith("02:") for each in found)
    for name in wanted:
        assert len({each[name] for each in found}) == len(found), name
    machines = [each["machine_id"] for each in found if "machine_id" in each]
    assert len(set(machines)) == len(machines)


def test_no_two_clones_are_alike(hyper: Hyper) -> None:
    """What is to be unique is, what is to be secret is fresh, and the clock is right, from the first process on."""
    hyper("load", stdin=identity.archive())
    hyper.has_template(*TRUE)
    found = identities(hyper, rounds(short=6, soak=80), {"clone"}, at_once=2)
    with hyper_context(POOL_OF_2) as pooled:
        pooled("load", stdin=identity.archive())
        for already in range(0, rounds(short=2, soak=20), 2):
            if not already:
                pooled.kind(identity.IMAGE)
            pooled.until(lambda: ready(pooled) == 2, "two clones that stand ready")
            found += identities(pooled, 2, {"warm"}, at_once=1)
    assert len(found) == rounds(short=8, soak=100)
    assert_no_two_are_alike(found)


# ---------------------------------------------------------------------------- whatever a user asks for


def test_a_clone_does_what_a_boot_does(hyper: Hyper) -> None:
    odd = ("-m", "256m", "--cpus", "2", "--network", "none")
    script = "nproc; grep MemTotal /proc/meminfo | tr -dc 0-9; echo; ls /sys/class/net; cat /proc/mounts | grep -c ."
    seen = {}
    for way in ("clone", "cold"):
        words = (*odd, *(("--no-template",) if way == "cold" else ()), BUSYBOX, "sh", "-c", script)
        if way == "clone":
            hyper.has_template(*words)
        done = hyper("run", "--rm", "--timings", *words)
        assert done.stderr.decode().startswith(f"{way} start")
        seen[way] = done.stdout.decode().split()
    cpus, memory_kib, *_ = seen["clone"]
    assert cpus == "2"
    assert 200 * 1024 < int(memory_kib) < 256 * 1024
    assert "lo" in seen["clone"]
    assert "eth0" not in seen["clone"]
    assert seen["clone"] == seen["cold"]


KERNELS = sorted(
    {
        kernel.name
        for kernel in KernelStore(cache_dir()).list()
        if not kernel.program and kernel.architecture == AMD64
    }
)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_clone_sees_its_disk_as_large_as_it_is(hyper: Hyper, kernel: str) -> None:
    """Its template had none; not every kernel asks again by itself."""
    words = ("--kernel", kernel, BUSYBOX, "sh", "-c", "df -k / | tail -n 1; cat /sys/block/*/size")
    hyper.has_template(*words)
    done = hyper("run", "--rm", "--timings", *words)
    assert done.stderr.startswith(b"clone")
    first, *sectors = done.stdout.decode().splitlines()
    assert 0.9 * DISK_BYTES < int(first.split()[1]) * 1024 < DISK_BYTES
    assert max(map(int, sectors)) * 512 == DISK_BYTES


@pytest.mark.parametrize(("memory", "fewest", "most"), [("48m", 0, 18), ("128m", 19, 19)])
def test_what_is_made_ahead_leaves_a_small_guest_its_memory(
    hyper: Hyper, memory: str, fewest: int, most: int
) -> None:
    hyper.has_template("-m", memory, *TRUE)
    script = "cat /proc/meminfo; exec sleep 1000"
    hyper("run", "-d", "--name", "c", "-m", memory, BUSYBOX, "sh", "-c", script)
    hyper.wait_for_log("c", b"DirectMap2M")
    names = hyper("exec", "--vm", "c", "sh", "-c", "cat /proc/[0-9]*/comm").stdout.split()
    assert fewest <= names.count(b"hyper-holder") <= most
    said = dict(line.split(":") for line in hyper.out("logs", "c").splitlines())
    total, free = (int(said[name].split()[0]) for name in ("MemTotal", "MemFree"))
    assert free > total / 5
    hyper("rm", "-f", "c")


def test_a_root_that_is_read_only(hyper: Hyper) -> None:
    hyper.has_template(*TRUE)
    words = ("--read-only", "--tmpfs", "/scratch:size=4m", BUSYBOX, "sh", "-c")
    done = hyper("run", "--rm", "--timings", *words, "touch /x; touch /scratch/x && ls /scratch")
    assert b"Read-only file system" in done.stderr
    assert b"clone start" in done.stderr
    assert done.stdout == b"x\n"


def test_restart_stop_and_start_keep_the_writable_disk(hyper: Hyper) -> None:
    hyper.has_template(*TRUE)
    script = "echo line >>/kept; cat /kept; echo end; trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"
    hyper("run", "-d", "--name", "c", BUSYBOX, "sh", "-c", script)
    hyper.wait_for_log("c", b"end")
    hyper("restart", "c")
    hyper.wait_for_log("c", b"end", times=2)
    hyper("stop", "c")
    hyper("start", "c")
    hyper.wait_for_log("c", b"end", times=3)
    lines = hyper.out("logs", "c").split()
    assert lines == ["line", "end", *["line"] * 2, "end", *["line"] * 3, "end"]
    assert started_as(hyper, "c").split() == ["clone"] * 3


@pytest.mark.parametrize("low", [False, True], ids=["any", "privileged"])
def test_published_ports(hyper: Hyper, low: bool) -> None:
    hyper.has_template(*TRUE)
    port = free_port(700, 1024) if low else free_port(20000, 21000)
    serve = ("httpd", "-f", "-p", "8000", "-h", "/etc")
    hyper("run", "-d", "--name", "c", "-p", f"127.0.0.1:{port}:8000", BUSYBOX, *serve)
    assert http_get(f"127.0.0.1:{port}", "/hostname")[1].strip().decode() == hyper.out("ps", "-q")
    assert started_as(hyper, "c") == "clone"


# ---------------------------------------------------------------------------- templates that are no good


def test_a_damaged_template_is_made_again_by_one_of_two_hyperds(
    copied: Path, fresh: Hyper, cache: Path
) -> None:
    flip(copied / "memory")
    with hyper_context(NO_POOL, HYPER_CACHE=str(cache)) as other:
        both = (fresh, furnished(other))
        clients = [each.popen("run", "--rm", BUSYBOX, "echo", "here", stdout=-1) for each in both]
        assert [client.communicate(timeout=60)[0] for client in clients] == [b"here\n"] * 2
        assert f"template {copied.name} is damaged and thrown away" in fresh.log() + other.log()
        fresh.until(lambda: names(copied.parent) == {copied.name}, f"{copied.name} and nothing else")
        inode = copied.stat().st_ino
        assert [each.kind(*TRUE) for each in both] == ["clone"] * 2
        making = [virtual_machines(each, "template") for each in both]
        assert making == [set(), set()]
        assert (names(copied.parent), copied.stat().st_ino) == ({copied.name}, inode)


def flip(path: Path) -> None:
    """One bit of it, in the middle of what is not zero."""
    with path.open("r+b") as file:
        data = os.lseek(file.fileno(), path.stat().st_size // 3, os.SEEK_DATA)
        file.seek(data)
        byte = file.read(1)
        file.seek(data)
        file.write(bytes([byte[0] ^ 0x10]))


def test_a_template_whose_guest_is_broken_is_thrown_away(copied: Path, fresh: Hyper) -> None:
    """It is whole, by its digests, but nothing comes of its clones."""
    good = snapshot.read(copied)
    state_fd = snapshot.memory_file("state")
    os.sendfile(state_fd, good.state_fd, 0, os.fstat(good.state_fd).st_size)
    zeros_fd = snapshot.memory_file("memory", os.fstat(good.memory_fd).st_size)
    broken = snapshot.sealed(zeros_fd, state_fd)
    snapshot.remove(copied)
    snapshot.write(broken, copied)
    for each in (good, broken):
        each.close()
    assert fresh.kind(*TRUE) == "cold"
    assert f"template {copied.name} is thrown away" in fresh.log()
    (event,) = fresh.wait_for_events("discard")
    assert event["Actor"]["ID"] == copied.name


def test_a_clone_that_is_killed_before_it_speaks_costs_nobody_the_start(copied: Path, fresh: Hyper) -> None:
    fresh("create", "--name", "c", BUSYBOX, "echo", "here")
    client = fresh.popen("start", "-a", "c", stdout=subprocess.PIPE)
    pods = fresh.run_dir / "pods"
    (record,) = fresh.until(lambda: list(pods.glob("*/vm.json")), "a VM")
    kill_process(json.loads(record.read_bytes())["pid"])
    assert client.communicate(timeout=60)[0] == b"here\n"
    assert started_as(fresh, "c") == "cold"
    assert copied.is_dir()  # it is no fault of the template
    assert "thrown away" not in fresh.log()
    assert fresh.kind(*TRUE) == "clone"


# ---------------------------------------------------------------------------- hyperd is killed


def test_hyperd_killed_while_it_makes_a_template(fresh: Hyper, cache: Path) -> None:
    for moment in ("template-*/vm.json", ".saving-*")[: rounds(short=1, soak=2)]:
        assert fresh.kind(*TRUE) == "cold"
        place = cache / "templates" if moment.startswith(".") else fresh.run_dir / "pods"
        fresh.until(partial(glob, place, moment), moment)
        kill_process(daemon_pid(fresh))
        left = virtual_machines(fresh, "template")
        fresh("ps")
        assert nothing_runs(fresh), moment
        assert cgroups(left) == set()
    assert fresh.kind(*TRUE) in ("cold", "clone")  # it may have been whole
    fresh.has_template(*TRUE)
