"""Users' disk files: taken by the format that is named, refused where another file would be opened."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from hypercontainer.errors import InvalidArgument, NotFound, Unavailable
from hypercontainer.volume.images import check

MIB = 1 << 20


def qemu_img(*words: object) -> None:
    subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True)


def test_a_raw_file_is_as_long_as_its_disk(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(bytes(1024))
    assert check(str(path), "raw", write=True).size_bytes == 1024
    for size in (0, 1023):
        os.truncate(path, size)
        with pytest.raises(InvalidArgument, match=f"{size} bytes"):
            check(str(path), "raw", write=True)


def test_a_format_is_never_guessed(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    qemu_img("create", "-q", "-f", "qcow2", path, 64 * MIB)
    os.truncate(path, 256 << 10)
    assert check(str(path), "raw", write=False).size_bytes == path.stat().st_size
    for format_ in ("", "qcow", "vhd", "RAW"):
        with pytest.raises(InvalidArgument, match="raw, qcow2, vdi or vmdk"):
            check(str(path), format_, write=False)


def test_only_regular_files_at_absolute_paths(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(512))
    (tmp_path / "link").symlink_to(disk)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    for name, word in (
        ("link", "symbolic link"),
        ("fifo", "FIFO"),
        ("folder", "directory"),
        ("socket", "socket"),
    ):
        with pytest.raises(InvalidArgument, match=word):
            check(str(tmp_path / name), "raw", write=False)
    with pytest.raises(InvalidArgument, match="character device"):
        check("/dev/null", "raw", write=False)
    with pytest.raises(InvalidArgument, match="absolute"):
        check("disk", "raw", write=False)
    with pytest.raises(InvalidArgument, match="absolute"):
        check("/a\0b", "raw", write=False)
    with pytest.raises(NotFound, match="gone"):
        check(str(tmp_path / "gone"), "raw", write=False)
    with pytest.raises(Unavailable):
        check(str(tmp_path / "disk" / "below"), "raw", write=False)
