"""Disks of the user's own: files of each format, and block devices of the host."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
from hyper import Hyper

BUSYBOX = busybox_image.REFERENCE
FORMATS = ("raw", "qcow2", "vdi", "vmdk")


def ext4(path: Path) -> Path:
    """A disk with nothing on it."""
    path.touch()
    os.truncate(path, 32 << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", path], check=True)
    return path


def note(disk: Path) -> bytes:
    """What stands in a file of a raw disk that nobody uses."""
    words = ["debugfs", "-R", "cat /note", str(disk)]
    return subprocess.run(words, capture_output=True, check=True).stdout


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Path]:
    """A block device with an ext4, by one of the names that udev would give it."""
    file = ext4(tmp_path / "device.raw")
    found = subprocess.run(["losetup", "-f", "--show", file], check=True, capture_output=True, text=True)
    link = tmp_path / "by-id"
    link.symlink_to(found.stdout.strip())
    yield link
    subprocess.run(["losetup", "-d", found.stdout.strip()], check=True)


@pytest.mark.needs("qcow2")
def test_disk_files_of_each_format(hyper: Hyper, tmp_path: Path) -> None:
    raw = ext4(tmp_path / "d.raw")
    mounts = []
    for kind in FORMATS:
        file = tmp_path / f"d.{kind}"
        if kind != "raw":
            subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", kind, raw, file], check=True)
        said = f"type=disk,source={file},target=/{kind}"
        mounts += ["--mount", f"{said},format=raw" if kind == "raw" else said]
    script = f"for kind in {' '.join(FORMATS)}; do echo it is $kind > /$kind/note; done; sync"
    hyper("run", "--rm", *mounts, BUSYBOX, "sh", "-c", script)
    for kind in FORMATS:
        file = tmp_path / f"d.{kind}"
        if kind != "raw":
            subprocess.run(["qemu-img", "convert", "-f", kind, "-O", "raw", file, raw], check=True)
        assert note(raw) == f"it is {kind}\n".encode()
    backing = tmp_path / "backing.qcow2"
    words = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", str(backing)]
    subprocess.run(words, check=True)
    podfile = {
        "id": "disks",
        "volumes": [{"name": "d", "source": str(backing), "format": "qcow2"}],
        "containers": [{"name": "a", "image": BUSYBOX, "volumes": [{"volume": "d", "path": "/d"}]}],
    }
    refused = hyper("create", "--podfile", "-", stdin=json.dumps(podfile).encode(), check=False)
    assert refused.returncode != 0
    assert b"backing file" in refused.stderr


def test_other_formats_are_refused_by_name(hyper: Hyper, hypervisor: str, tmp_path: Path) -> None:
    if hypervisor != "uml":
        pytest.skip("QEMU has them")
    path = tmp_path / "d.vdi"
    subprocess.run(["qemu-img", "create", "-q", "-f", "vdi", path, "1M"], check=True)
    words = ("run", "--rm", "--mount", f"type=disk,source={path},target=/d", BUSYBOX, "true")
    refused = hyper(*words, check=False)
    assert refused.returncode == 125
    assert f"disk {path}: User Mode Linux has raw disks, not vdi".encode() in refused.stderr
    assert b"run it on QEMU: hypervisor qemu" in refused.stderr


def test_a_block_device(hyper: Hyper, device: Path, tmp_path: Path) -> None:
    """One VM alone writes to it, and nobody else on the host meanwhile."""
    real, place = device.resolve(), tmp_path / "place"
    place.mkdir()
    mount = ("--mount", f"type=disk,source={device},target=/d")
    hyper(
        "run",
        "-d",
        "--name",
        "writer",
        *mount,
        BUSYBOX,
        "sh",
        "-c",
        "echo here > /d/note; sync; exec sleep 600",
    )
    second = hyper(
        "run", "--rm", "--mount", f"type=disk,source={real},target=/d", BUSYBOX, "true", check=False
    )
    assert second.returncode == 125
    assert b"in use, by the host or by another virtual machine" in second.stderr
    mounted = subprocess.run(["mount", real, place], capture_output=True, check=False)
    assert mounted.returncode != 0
    hyper("rm", "-f", "writer")
    subprocess.run(["mount", "-o", "ro", real, place], check=True)
    try:
        refused = hyper("run", "--rm", *mount, BUSYBOX, "true", check=False)
        assert refused.returncode == 125
        assert b"is it, or a part of it, mounted" in refused.stderr
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.needs("user mode linux")  # what opens it is the same for all
def test_several_read_a_block_device(hyper: Hyper, device: Path) -> None:
    subprocess.run(["debugfs", "-w", "-R", "mkdir /seed", device.resolve()], check=True, capture_output=True)
    mount = ("--mount", f"type=disk,source={device},target=/d,readonly")
    hyper("run", "-d", "--name", "first", *mount, BUSYBOX, "sleep", "600")
    done = hyper("run", "--rm", *mount, BUSYBOX, "sh", "-c", "ls -d /d/seed; touch /d/x || echo refused")
    assert done.stdout == b"/d/seed\nrefused\n"
