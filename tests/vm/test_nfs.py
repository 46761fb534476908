"""Directories of an NFS server, which guests mount: nfs-ganesha, by versions 4.2 and 3."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
from hyper import Hyper
from locker import with_locker, work
from nfs_server import ADDRESS, NfsServer, nfs_server

BUSYBOX = busybox_image.REFERENCE
GOLDEN = Path(__file__).parents[1] / "golden/podfile"
ROUNDS = 4
soak = pytest.mark.skipif(not os.environ.get("HYPER_SOAK"), reason="HYPER_SOAK is not set")
GIVEN_UP_S = 60  # by when a server that does not answer is


@pytest.fixture
def server(tmp_path: Path) -> Iterator[NfsServer]:
    with nfs_server(tmp_path) as server:
        yield server


def made(hyper: Hyper, name: str, path: str = "/export", options: str = "rw,nfsvers=4.2") -> None:
    said = ("-o", "type=nfs", "-o", f"o=addr={ADDRESS},{options}", "-o", f"device=:{path}")
    hyper("volume", "create", *said, name)


def refused(hyper: Hyper, *words: str) -> str:
    result = hyper(*words, check=False)
    assert result.returncode != 0
    return result.stderr.decode()


def test_several_vms_have_one(hyper: Hyper, server: NfsServer, tmp_path: Path) -> None:
    """No update is lost, whoever holds the lock; what is made of the volume is what Docker makes of it."""
    image = with_locker(hyper, tmp_path)
    made(hyper, "n")
    begin = "mkdir /d/new; chown 70:71 /d/new; chmod 2770 /d/new; echo 0 | tee /d/count.flock >/d/count.fcntl"
    hyper("run", "--rm", "-v", "n:/d", image, "sh", "-c", begin)
    assert (server.files / "new").stat().st_uid == 70
    for name in ("a", "b"):
        hyper(
            "run",
            "-d",
            "--name",
            name,
            "-v",
            "n:/d",
            image,
            "sh",
            "-c",
            f"{work(ROUNDS)}sleep 1000",
            "sh",
            name,
        )
    wait = f"until [ $(ls /d/new | wc -l) = {2 * ROUNDS} ]; do sleep 0.1; done"
    script = f"{wait}; ls -l /d >/e.l || exit 9; cat /d/count.* /e/a.0; touch /d/x"
    part = "type=volume,source=n,target=/e,volume-subpath=new,readonly"
    result = hyper("run", "--rm", "-v", "n:/d:ro", "--mount", part, image, "sh", "-c", script, check=False)
    assert result.stdout.decode().split("\n") == [*[str(2 * ROUNDS)] * 2, "a 0", ""]
    assert b"Read-only file system" in result.stderr
    (shown,) = hyper.inspect("a")["Mounts"]
    assert (shown["Type"], shown["Name"], shown["Source"]) == ("volume", "n", f"{ADDRESS}:/export")
    hyper("volume", "cp", "n:/count.flock", str(tmp_path / "count"))
    assert (tmp_path / "count").read_text() == f"{2 * ROUNDS}\n"
    hyper("rm", "-f", "a", "b")
    hyper("volume", "rm", "n")
    assert len([*(server.files / "new").iterdir()]) == 2 * ROUNDS


def test_what_a_server_has_is_its_own(hyper: Hyper, server: NfsServer, tmp_path: Path) -> None:
    """What is only for disks is refused by name, and what wants a network."""
    made(hyper, "n")
    (server.files / "f").write_text("kept")
    told = json.loads(hyper.out("volume", "inspect", "n"))[0]
    assert told["Options"] == {"type": "nfs", "o": f"addr={ADDRESS},rw,nfsvers=4.2", "device": ":/export"}
    for words in (
        ("snapshot", "create", "n"),
        ("volume", "resize", "n", "20g"),
        ("volume", "clone", "n", "m"),
        ("volume", "convert", "n"),
        ("volume", "create", "-o", "type=shared", "n"),
    ):
        assert f"{ADDRESS}:/export" in refused(hyper, *words)
    assert "has no network" in refused(hyper, "volume", "cp", "n:/f", str(tmp_path / "f"))
    assert "has no network" in refused(hyper, "create", "--network", "none", "-v", "n:/d", BUSYBOX)
    assert b"n\n" in hyper("volume", "prune", "-af").stdout
    assert (server.files / "f").read_text() == "kept"


def test_a_server_that_comes_and_goes(hyper: Hyper, server: NfsServer) -> None:
    """Who writes goes on when it is there again.  Three containers of a pod have one mount."""
    made(hyper, "n", str(server.files), f"port=2049,mountport={server.mount_port},nfsvers=3")
    hyper("pod", "create", "--name", "p")
    for name in ("a", "b"):
        hyper("run", "-d", "--pod", "p", "--name", name, "-v", "n:/d", BUSYBOX, "sleep", "1000")
    look = "grep -c nfs /proc/mounts; grep -o 'vers=3.*local_lock=[a-z]*' /proc/mounts"
    seen = hyper.out("run", "--rm", "--pod", "p", "-v", "n:/d", BUSYBOX, "sh", "-c", look)
    assert seen.startswith("1\nvers=3,")
    assert seen.endswith("local_lock=all")
    server.stop()
    problem = refused(hyper, "run", "--rm", "-v", "n:/d", BUSYBOX, "true")
    assert f"NFS server {ADDRESS} refuses connections at TCP port 2049" in problem
    hyper("exec", "-d", "a", "sh", "-c", "echo more >/d/f; touch /tmp/written")
    server.start()
    hyper("exec", "a", "sh", "-c", "until [ -e /tmp/written ]; do sleep 0.1; done")
    hyper("pod", "rm", "-f", "p")
    assert (server.files / "f").read_text() == "more\n"


@soak
def test_a_server_that_does_not_answer(hyper: Hyper, server: NfsServer) -> None:
    """A start is given up, and what waits for it ends."""
    made(hyper, "n")
    busy = "echo up; i=0; while :; do i=$((i + 1)); echo $i >/d/f; done"
    hyper("run", "-d", "--name", "a", "-v", "n:/d", BUSYBOX, "sh", "-c", busy)
    hyper.wait_for_log("a", b"up")
    server.freeze()
    begun = time.monotonic()
    problem = refused(hyper, "run", "--rm", "-v", "n:/d", BUSYBOX, "true")
    assert f"NFS server {ADDRESS} does not answer at {ADDRESS}, TCP port 2049" in problem
    given_up = time.monotonic() - begun
    hyper("stop", "-t", "1", "a")
    stopped = time.monotonic() - begun - given_up
    print(f"given up after {given_up:.1f} s, stopped after {stopped:.1f} s")
    assert given_up < GIVEN_UP_S
    assert stopped < GIVEN_UP_S
    server.thaw()


@pytest.mark.each_driver
def test_where_it_is_asked_for(hyper: Hyper, server: NfsServer) -> None:
    """By a mount alone, by a podfile, by a manifest: of the host's own server, by Docker's word for the host."""
    (server.files / "films").mkdir()
    (server.files / "films/f").write_text("a film\n")
    said = f"type=nfs,source={ADDRESS}:/export,target=/d,subpath=films,readonly"
    assert hyper.out("run", "--rm", "--mount", said, BUSYBOX, "cat", "/d/f") == "a film"
    document = json.loads((GOLDEN / "directory_of_a_server.json").read_text())
    write = "cat /media/f /old/films/f; echo more >/home/films/g; touch /media/g"
    document["containers"][0] |= {"name": "c", "image": BUSYBOX, "command": ["sh", "-c", write]}
    media, home, old = document["volumes"]
    media["source"], home["source"] = f"{ADDRESS}:/export/films", f"{ADDRESS}:/export"
    old["source"] = f"{ADDRESS}:{server.files}"
    old["option"]["mount"] += f",port=2049,mountport={server.mount_port}"
    hyper("run", "-d", "--podfile", "-", stdin=json.dumps(document).encode())
    assert hyper.out("wait", "c") == "1"
    logs = hyper("logs", "c")
    assert (logs.stdout, b"Read-only file system" in logs.stderr) == (b"a film\n" * 2, True)
    assert (server.files / "films/g").read_text() == "more\n"
    hyper("pod", "rm", "-f", "media")
    manifest = f"""
apiVersion: v1
kind: Pod
metadata: {{name: k}}
spec:
  restartPolicy: Never
  containers:
  - {{name: c, image: {BUSYBOX}, command: [sh, -c, cat /d/g; touch /d/h], volumeMounts: [{{name: v, mountPath: /d}}]}}
  volumes:
  - {{name: v, nfs: {{server: {ADDRESS}, path: /export/films, readOnly: true}}}}
"""
    hyper("kube", "play", "-", stdin=manifest.encode())
    assert hyper.out("wait", "k-c") == "1"
    assert b"Read-only file system" in hyper("logs", "k-c").stderr
    hyper("kube", "down", "-", stdin=manifest.encode())
