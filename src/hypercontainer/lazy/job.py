"""What a server of a disk is told when it starts, what it answers, and what it says of itself afterwards."""

from __future__ import annotations

import msgspec

from hypercontainer.image.credentials import Credentials
from hypercontainer.rootfs import LayerLimits

MOUNT, CONTROL, RECORD, LOG = "mnt", "control.sock", "server.json", "log"
GO, LEAVE = b"go\n", b"leave\n"


class Registries(msgspec.Struct, frozen=True):
    """As of the configuration."""

    mirrors: dict[str, tuple[str, ...]] = {}
    insecure: tuple[str, ...] = ()
    ca: dict[str, str] = {}
    parallel_downloads: int = 3


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """``image``: its ID.  ``tree``: the file that gets the disk's metadata.  ``wait_s``: how long a read waits for what
    does not come."""

    image: str
    images: str
    layers: str
    tree: str
    reference: str
    manifest: bytes
    manifest_type: str
    config: bytes
    credentials: Credentials | None
    registries: Registries
    limits: LayerLimits
    wait_s: float


class Answer(msgspec.Struct, frozen=True):
    """``refused``: why the image cannot be had in pieces; else the disk is there, in two parts."""

    tree_bytes: int = 0
    data_bytes: int = 0
    refused: str = ""


class State(msgspec.Struct, frozen=True):
    """``state``: coming, stalled (``why``, and it goes on by itself), whole, or wrong (``why``)."""

    state: str
    why: str = ""
