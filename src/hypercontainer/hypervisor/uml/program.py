"""The program that is the guest's kernel: how one is told, and what it is left where it runs.

Its rights are a file that may be run, which is itself; no other file, no device, no network; of the host's system calls
those that it makes, of which opening a file or a socket is none.
"""

from __future__ import annotations

import mmap
from functools import cache
from pathlib import Path

from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor.uml.argv import PROGRAM
from hypercontainer.linux.confine import Rights

# Only a kernel with guest/kernel/patches/um says this; without them it could be handed nothing.
_MARK = b"hyper_port="
_MAX_BYTES = 1 << 30


def check(kernel: Path) -> None:
    """Raises ``InvalidArgument`` for what this driver cannot run, ``OSError`` for what cannot be read."""
    with kernel.open("rb") as file:
        head = file.read(4)
        size = file.seek(0, 2)
        if head != b"\x7fELF" or size > _MAX_BYTES:
            raise InvalidArgument(f"{kernel} is no User Mode Linux: it is no program")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data.find(_MARK) < 0:
                raise InvalidArgument(
                    f"{kernel} is no User Mode Linux, or one without Hyper's patches",
                    hint="`make kernel FLAVOUR=um` builds one; guest/kernel/patches/um has them",
                )


def rights(kernel: Path, uid: int | None) -> Rights:
    return Rights(
        files=((str(kernel), PROGRAM),),
        network=False,
        uid=uid,
        filter=call_filter(),
        children=True,
        fixed_layout=True,
    )


@cache
def call_filter() -> bytes:
    return b""
