"""Limits of what is written, with real guests: of an empty directory, and of what containers write to their roots."""

from __future__ import annotations

import busybox_image
from hyper import Hyper
from manifests import Cluster, container, lines, pod

BUSYBOX = busybox_image.REFERENCE
MIB = 1 << 20
WRITE = "dd if=/dev/zero of={} bs=64k count={} 2>&1 | grep -o 'No space.*'; sync; stat -c %s {}"


def written(path: str, mib: int) -> str:
    """Tries to write so much: an error where it fails, and what is there of it."""
    return WRITE.format(path, mib * 16, path)


def test_an_empty_directory_has_its_limit_and_others_go_on(cluster: Cluster) -> None:
    hyper = cluster.hyper
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("small", "free", "odd")]
    volumes = [
        {"name": "small", "emptyDir": {"sizeLimit": "4Mi"}},
        {"name": "free", "emptyDir": {}},
        {"name": "odd", "emptyDir": {"sizeLimit": "100k"}},
    ]
    fill = (
        f"{written('/small/a', 4)}; rm /small/a; {written('/small/b', 6)}; ls -A /small; stat -c %a:%u /small"
    )
    script = f"{fill}; {written('/odd/a', 1)}; touch /free/full; sleep 1000"
    other = f"until test -e /free/full; do usleep 10000; done; {written('/free/b', 6)}; {written('/b', 4)}; ls /small"
    played = pod(
        "tight",
        container("a", script, volumeMounts=mounts),
        container("b", other, volumeMounts=mounts),
        volumes=volumes,
    )
    cluster.play(played)
    _, text = cluster.ends("tight-b")
    assert lines(text) == [str(6 * MIB), str(4 * MIB), "b"]
    whole, error, b, name, mode, odd_error, odd = lines(hyper.out("logs", "tight-a"))
    assert (whole, name, mode) == (str(4 * MIB), "b", "777:0")
    assert error == odd_error == "No space left on device"
    assert 4 * MIB <= int(b) < 5 * MIB
    assert 100_000 <= int(odd) < 400_000
    # What is there stays for as long as the pod, whose containers come and go, and its VM.
    hyper("kill", "tight-a")
    assert hyper.inspect("tight-a")["State"]["Running"] is False
    assert hyper.out("start", "-a", "tight-b").splitlines()[-1] == "b"
    assert "sizeLimit: 4Mi" in hyper.out("generate", "kube", "tight")
    cluster.down(played)
    assert not [*hyper.root.glob("pods/*")]


def test_the_writable_layer_has_its_limit(hyper: Hyper) -> None:
    over = f"{written('/f', 64)}; rm /f; {written('/v/f', 4)}; echo x >/g && echo on"
    done = hyper.out("run", "--rm", "--storage-opt", "size=64m", "-v", "v:/v", BUSYBOX, "sh", "-c", over)
    error, size, volume, on = done.splitlines()
    assert (error, on) == ("No space left on device", "on")
    assert 52 * MIB < int(size) < 64 * MIB
    assert int(volume) == 4 * MIB
    hyper("volume", "rm", "v")
