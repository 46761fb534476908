"""What a container sees of its image, by a program that needs nothing of the image (describe.c)."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("describe.c")


@dataclass(frozen=True)
class Seen:
    """``content``: a file's first kilobyte, a link's target; ``device``: as in st_rdev, 0 for what is none."""

    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    links: int
    inode: int
    device: int
    content: bytes
    xattrs: dict[bytes, bytes]

    @property
    def owner(self) -> tuple[int, int]:
        return self.uid, self.gid


@functools.cache
def program() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "describe")
        flags = ["-std=gnu11", "-Os", "-static", "-s", "-Wall", "-Wextra", "-Werror"]
        subprocess.run(["musl-gcc", *flags, "-o", out, SOURCE], check=True)
        return out.read_bytes()


def parse(text: bytes) -> dict[bytes, Seen]:
    return dict(_parse_line(line) for line in text.decode("ascii").splitlines())


def _parse_line(line: str) -> tuple[bytes, Seen]:
    path, mode, *numbers, content, attributes = line.split(" ")
    uid, gid, size, seconds, nanoseconds, links, inode, major, minor = map(int, numbers)
    pairs = [pair.split("=") for pair in attributes.split(",")] if attributes != "-" else []
    return _bytes(path), Seen(
        mode=int(mode, 8),
        uid=uid,
        gid=gid,
        size=size,
        mtime_ns=seconds * 1_000_000_000 + nanoseconds,
        links=links,
        inode=inode,
        device=os.makedev(major, minor),
        content=_bytes(content),
        xattrs={_bytes(name): _bytes(value) for name, value in pairs},
    )


def _bytes(text: str) -> bytes:
    return b"" if text == "-" else bytes.fromhex(text)
