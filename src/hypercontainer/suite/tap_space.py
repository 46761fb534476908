"""A network namespace of a test's own, with tap devices in it; all of it goes with the test.  Needs root.

It is a thread's, which does whatever is to be done in there; sockets that it makes stay in the namespace.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")
CLONE_NEWNET = 0x40000000
# linux/if_tun.h
TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6 = 1, 2, 4


class TapSpace:
    def __init__(self) -> None:
        self._inside = ThreadPoolExecutor(1, initializer=_unshare)
        self.ip("link", "set", "lo", "up")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._inside.shutdown()

    def do(self, work: Callable[[], T]) -> T:
        return self._inside.submit(work).result()

    def ip(self, *words: str) -> str:
        """`ip` in there, and what it says."""
        command = ["ip", *words]
        return self.do(lambda: subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def tap(self, control: Path, name: str) -> int:
        """As ``linux.netns.tap``; whatever is asked of it, ``control`` is not."""
        return self.do(lambda: opened(name, IFF_VNET_HDR, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6))

    def machine(self, name: str) -> int:
        """A tap whose frames are a test's: whole ones, with their checksums."""
        return self.do(lambda: opened(name, 0, 0))

    def server(self, address: tuple[str, int]) -> socket.socket:
        return self.do(lambda: socket.create_server(address))

    def links(self) -> set[str]:
        """All that there is but loopback."""
        lines = self.ip("-o", "link", "show").splitlines()
        return {line.split(":")[1].strip() for line in lines} - {"lo"}


def _unshare() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def opened(name: str, flags: int, offloads: int) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | flags))
        fcntl.ioctl(fd, TUNSETOFFLOAD, offloads)
    except BaseException:
        os.close(fd)
        raise
    return fd
