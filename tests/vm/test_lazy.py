"""Images that are used while their layers come: from a registry that is slow, is gone for a while, or lies."""

from __future__ import annotations

import hashlib
import random
import subprocess
from collections.abc import Iterator

import pytest

import busybox_image
import stargz
from audit import kill_process
from fake_registry import Fake, hold_large_ranges
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context

MIB = 1 << 20
LAZY = NO_POOL + '[images]\nlazy_min_size = "1m"\nlazy_wait_s = 3\n'
CONFIG = {"Env": ["PATH=/bin:/usr/bin:/sbin:/usr/sbin"]}
NEEDED, LAST = random.Random(1).randbytes(3 * MIB), random.Random(2).randbytes(2 * MIB)


def layers() -> list[stargz.Made]:
    """Of both kinds."""
    items = [
        stargz.folder("data"),
        stargz.Item("data/needed", NEEDED),
        stargz.Item("data/rest", random.Random(3).randbytes(12 * MIB)),
        stargz.Item("data/last", LAST, mode=0o600, xattrs={"user.note": b"kept"}),
        stargz.Item("bin/.wh.vi"),
    ]
    return [stargz.chunked(stargz.items_of(busybox_image.layer())), stargz.stargz(items)]


@pytest.fixture
def lazy(hypervisor: str) -> Iterator[Hyper]:
    with hyper_context(LAZY, hypervisor=hypervisor) as made:
        yield made


@pytest.fixture
def registry() -> Iterator[Fake]:
    with Fake() as made:
        yield made


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.each_driver
def test_a_program_runs_before_its_image_is_here(lazy: Hyper, registry: Fake) -> None:
    registry.add_layers("1", *layers(), config=CONFIG)
    reference = f"{registry.host}/large:1"
    let = hold_large_ranges(registry)
    script = "cd /data; sha256sum needed; sha256sum last; stat -c %a last; read line; sha256sum rest"
    words = ("run", "-i", "--rm", "--name", "c", reference, "sh", "-c", script)
    with lazy.popen(*words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as client:
        assert client.stdin is not None and client.stdout is not None
        lines = [client.stdout.readline().split()[0].decode() for _ in range(3)]
        assert lines == [digest(NEEDED), digest(LAST), "600"]
        assert "(coming)" in lazy.out("images")
        assert "still coming" in lazy("save", reference, check=False).stderr.decode()
        let.set()
        lazy.wait_for_events("whole", of="image")
        assert "(coming)" not in lazy.out("images")
        said, _ = client.communicate(b"go\n", timeout=60)
        assert digest(random.Random(3).randbytes(12 * MIB)) in said.decode()
    assert lazy.out("run", "--rm", reference, "sha256sum", "/data/last").split()[0] == digest(LAST)
    lazy("save", "-o", str(lazy.base / "saved.tar"), reference)


def test_a_registry_that_is_gone_is_an_input_error_and_no_more(lazy: Hyper, registry: Fake) -> None:
    registry.add_layers("1", *layers(), config=CONFIG)
    reference = f"{registry.host}/large:1"
    hold_large_ranges(registry)
    # What they need of their own program is here before the registry is gone.
    script = "sleep 0; cat /data/needed >/dev/null; echo up; exec sleep 1000"
    lazy("run", "-d", "--name", "c", reference, "sh", "-c", script)
    lazy.wait_for_log("c", b"up")
    blobs, registry.blobs = registry.blobs, {}
    assert "error" in lazy("exec", "c", "cat", "/data/last", check=False).stderr.decode().lower()
    registry.blobs = blobs
    assert lazy.out("exec", "c", "sha256sum", "/data/last").split()[0] == digest(LAST)
    lazy("rm", "-f", "c")
    lazy("rmi", reference)
    assert not lazy.out("images", "-q")


def test_hyperd_dies_and_the_disk_does_not(lazy: Hyper, registry: Fake) -> None:
    registry.add_layers("1", *layers(), config=CONFIG)
    let = hold_large_ranges(registry)
    lazy("run", "-d", "--name", "c", f"{registry.host}/large:1", "sleep", "1000")
    lazy_pid = lazy.daemon_pid()
    kill_process(lazy_pid)
    assert lazy.out("exec", "c", "sha256sum", "/data/needed").split()[0] == digest(NEEDED)
    assert "(coming)" in lazy.out("images")
    let.set()
    lazy.wait_for_events("whole", of="image")


def test_wrong_bytes_reach_no_guest(lazy: Hyper, registry: Fake) -> None:
    made = layers()
    registry.add_layers("1", *made, config=CONFIG)
    wrong = bytearray(made[1].blob)
    place = next(x["offset"] for x in made[1].table["entries"] if x["name"] == "data/last")
    wrong[place + 5000] ^= 1
    let = hold_large_ranges(registry)
    key = f"sha256:{digest(made[1].blob)}"
    registry.blobs[key] = bytes(wrong)
    reference = f"{registry.host}/large:1"
    lazy("run", "-d", "--name", "c", reference, "sleep", "1000")
    assert "error" in lazy("exec", "c", "cat", "/data/last", check=False).stderr.decode().lower()
    assert lazy.out("exec", "c", "sha256sum", "/data/needed").split()[0] == digest(NEEDED)
    let.set()
    lazy.wait_for_events("wrong", of="image")
    assert "is not what it said" in lazy("run", "--rm", reference, "true", check=False).stderr.decode()
