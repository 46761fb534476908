"""Images of Ceph's as disks: a real monitor and a real OSD, QEMU's initiator, a user of its own for the pool."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
from audit import kill_process
from ceph import NAMESPACE, POOL, USER, Ceph, ceph, new_key
from disk_servers import all_that_can_be_seen, ext4
from free_port import free_port
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from hypercontainer.volume import ceph as keyrings

BUSYBOX = busybox_image.REFERENCE
pytestmark = pytest.mark.needs("network disks")


@pytest.fixture(scope="module")
def pool() -> Iterator[Ceph]:
    """In memory: a monitor waits for its disk at each of its steps."""
    place = tempfile.TemporaryDirectory(prefix="hyper-ceph-", dir="/dev/shm")
    with place as folder, ceph(Path(folder) / "cluster") as made:
        yield made


@pytest.fixture
def hyper(hypervisor: str, pool: Ceph, tmp_path: Path) -> Iterator[Hyper]:
    """Its configuration has the cluster, and some that cannot be used."""
    wrong, other = tmp_path / "wrong", tmp_path / "other"
    wrong.write_text(f"[client.{USER}]\n\tkey = {new_key()}\n")
    other.write_text(f"[client.nobody]\n\tkey = {new_key()}\n")
    tables = [pool.table(), pool.table("far")]
    tables.append(pool.table("wrong").replace(str(pool.keyring), str(wrong)))
    tables.append(pool.table("nobody", "nobody").replace(str(pool.keyring), str(other)))
    tables.append(pool.table("keyless", "nobody"))
    tables.append(pool.table("gone").replace(pool.monitor, f"127.0.0.1:{free_port()}"))
    with hyper_context(NO_POOL + "".join(tables), hypervisor=hypervisor) as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        yield made


def mount(image: str, target: str, more: str = "") -> tuple[str, str]:
    return "--mount", f"type=rbd,source={POOL}/{image},target={target}{more}"


def test_an_image_from_its_first_vm_to_the_next(hyper: Hyper, pool: Ceph, tmp_path: Path) -> None:
    disk = ext4(tmp_path / "disk.raw")
    pool.image(disk, "one")
    hyper("run", "--rm", *mount("one", "/d"), BUSYBOX, "sh", "-c", "echo first > /d/note")
    assert b"Watchers: none" in pool.rbd("status", f"{POOL}/one")  # nobody has to wait for who has gone
    assert pool.content("one", "/note") == b"first\n"
    pool.rbd("snap", "create", f"{POOL}/one@before")
    script = "cat /s/note; touch /s/x; echo second > /d/note; sync; echo up; exec sleep 600"
    both = (*mount("one", "/d"), *mount("one@before", "/s"))
    hyper("run", "-d", "--name", "two", *both, BUSYBOX, "sh", "-c", script)
    hyper.wait_for_log("two", b"up")
    said = hyper("logs", "two")
    assert (said.stdout, said.stderr) == (b"first\nup\n", b"touch: /s/x: Read-only file system\n")
    mounts = {one["Destination"]: one for one in hyper.inspect("two")["Mounts"]}
    assert [mounts[at]["Source"] for at in ("/d", "/s")] == [
        f"rbd://ceph/{POOL}/one{s}" for s in ("", "@before")
    ]
    assert [mounts[at]["RW"] for at in ("/d", "/s")] == [True, False]
    key = keyrings.key(pool.keyring.read_bytes(), USER)
    assert key is not None
    assert key not in hyper.out("inspect", "two") + all_that_can_be_seen(hyper)
    second = hyper("run", "--rm", *mount("one", "/d"), BUSYBOX, "true", check=False)
    assert second.returncode == 125
    assert (
        f"disk rbd://ceph/{POOL}/one is in use by container two, which writes to it".encode() in second.stderr
    )

    assert kill_process(hyper.daemon_pid())
    hyper("exec", "two", "sh", "-c", "echo third >> /d/note; sync")
    assert kill_process(hyper.vm_pid("two"))
    hyper("wait", "two")
    said = hyper("run", "--rm", *mount("one", "/d"), BUSYBOX, "cat", "/d/note")
    assert said.stdout == b"second\nthird\n"
    _of_a_podfile(hyper, pool, disk)


def _of_a_podfile(hyper: Hyper, pool: Ceph, disk: Path) -> None:
    pool.image(disk, "two")
    document = json.loads((Path(__file__).parents[1] / "golden/podfile/images_of_ceph.json").read_text())
    look = "cat /there/note /here/note; ls /elsewhere; touch /here/x"
    document["containers"][0] |= {"name": "c", "image": BUSYBOX, "command": ["sh", "-c", look]}
    here, there, elsewhere = document["volumes"]
    here["source"], there["source"] = f"{POOL}/one", f"rbd:{POOL}/one@before"
    elsewhere["source"] = f"{POOL}/two"
    elsewhere["option"] = {"user": USER, "keyring": str(pool.keyring), "monitors": [pool.monitor]}
    hyper("run", "-d", "--podfile", "-", stdin=json.dumps(document).encode())
    assert hyper.out("wait", "c") == "0", hyper("logs", "c").stderr
    assert hyper("logs", "c").stdout == b"first\nsecond\nthird\nlost+found\n"
    hyper("pod", "rm", "-f", "images")


REFUSED = {
    "wrong": f"its monitors answer and do not let client.{USER} in",
    "nobody": "its monitors answer and do not let client.nobody in",
    "keyless": "user.keyring has no key of client.nobody",
    "gone": "no monitor of its cluster can be reached: 127.0.0.1:",
    "other": "hyperd knows no Ceph cluster other",
}


def test_what_cannot_be_had_is_said_in_words(hyper: Hyper, pool: Ceph) -> None:
    def start(image: str, more: str = "") -> subprocess.Popen[bytes]:
        words = ("run", "--rm", *mount(image, "/d", more), BUSYBOX, "true")
        return hyper.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    started = {f"rbd://{name}/{POOL}/one": start("one", f",cluster={name}") for name in REFUSED}
    wanted = {f"rbd://{name}/{POOL}/one": said for name, said in REFUSED.items()}
    for image in ("none", "one@none", f"{NAMESPACE}/none"):
        started[f"rbd://ceph/{POOL}/{image}"] = start(image)
        wanted[f"rbd://ceph/{POOL}/{image}"] = "No such file or directory"
    for disk, client in started.items():
        _, said = client.communicate(timeout=60)
        assert client.returncode == 125
        assert f"disk {disk}: ".encode() in said
        assert wanted[disk].encode() in said, said
