"""``kernel.json``, which stands beside every kernel in the cache and is written last.

Written here for packaged kernels; for own ones by ``guest/kernel/build.py``, which adds facts of the build.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

from hypercontainer.contract.devices import UML, VIRTIO
from hypercontainer.kernel.model import Kernel
from hypercontainer.linux.architectures import AMD64

FILE_NAME = "kernel.json"


class Record(msgspec.Struct, frozen=True):
    """``kernel``, ``bzimage`` ("" for none) and ``modules`` are names of files beside it."""

    version: str
    source: Literal["own", "debian"]
    kernel: str
    pvh: bool
    digest: str
    program: bool = False
    architecture: str = AMD64
    modules: list[str] = []
    devices: list[str] = []  # what earlier builds do not say: those of its kind
    bzimage: str = ""

    def __post_init__(self) -> None:
        for name in (self.kernel, *self.modules, *([self.bzimage] if self.bzimage else [])):
            if "/" in name or name in ("", ".", ".."):
                raise ValueError(f"{name!r} is no file name")


def encode(record: Record) -> bytes:
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def load(directory: Path) -> Kernel | None:
    """The kernel in ``directory``, None where there is none or what is there is incomplete."""
    try:
        record = msgspec.json.decode((directory / FILE_NAME).read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return None
    path = directory / record.kernel
    files = tuple(directory / name for name in record.modules)
    bzimage = directory / record.bzimage if record.bzimage else None
    if not all(file.is_file() for file in (path, *files, *([bzimage] if bzimage else []))):
        return None
    return Kernel(
        path,
        record.version,
        record.source,
        files,
        record.pvh,
        record.digest,
        record.program,
        record.architecture,
        frozenset(record.devices or ({UML} if record.program else {VIRTIO})),
        bzimage,
    )
