"""OCI artifacts: what is no container image, and what its layers are as file systems.

    an archive      the media type says tar, and the bytes are one: unpacked, as an image's layers are
    a file          anything else: called as its title says, or by its digest
    nothing         ``application/vnd.oci.empty.v1+json``, which stands where a manifest must have something

A file, or nothing, is a layer as well: the tar that would have it alone, which is never written, and whose diff ID
is as good as any other's.  Sources: OCI image specification 1.1 (manifest, "Guidelines for Artifact Usage";
annotations), the ModelPack specification 0.0.7 for the second annotation.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

from hypercontainer.errors import ImageError, InvalidArgument
from hypercontainer.image.blobs import BlobStore
from hypercontainer.image.cancel import Guard
from hypercontainer.image.documents import EMPTY, Descriptor
from hypercontainer.image.model import Layer
from hypercontainer.image.streams import Metered, begins_as_tar, damage_errors, decompressed, pieces

TITLE: Final = "org.opencontainers.image.title"
FILE_PATH: Final = "org.cncf.model.filepath"
MAX_NAME_BYTES: Final = 255
MAX_PATH_BYTES: Final = 1024
_TAR_TYPE: Final = re.compile(r"[a-z]+/(?:.*[.-])?tar(?:[.+](?:gzip|zstd))?")
_BLOCK: Final = 512
_WHITEOUT: Final = ".wh."


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def not_to_run(reference: str, artifact_type: str) -> InvalidArgument:
    return InvalidArgument(
        f"{reference} is no container image but an artifact, {artifact_type}",
        field="image",
        hint="a container can mount it as a volume: it cannot be its root",
    )


def layer_of(store: BlobStore, descriptor: Descriptor, limit: int, guard: Guard) -> Layer:
    """The layer whose verified blob is in ``store``.  ``limit``: bytes of it unpacked.  ImageError for a name that is
    none."""
    digest = descriptor.digest
    layer = Layer(digest, "", descriptor.media_type, descriptor.size, "none", _file_name(descriptor))
    if _TAR_TYPE.fullmatch(descriptor.media_type.partition(";")[0].strip()):
        compression = store.compression(digest)
        if diff_id := _diff_id_of_tar(store.path(digest), compression, limit, guard, f"layer {digest}"):
            return Layer(digest, diff_id, descriptor.media_type, descriptor.size, compression)
    with unpackable(layer, store.path(digest)) as source:
        made = hashlib.sha256()
        while data := source.read(1 << 20):
            guard.check()
            made.update(data)
    return Layer(
        digest, f"sha256:{made.hexdigest()}", layer.media_type, layer.size_bytes, "none", layer.file_name
    )


def check_names(layers: Sequence[Layer], what: str) -> None:
    """ImageError where two files are called the same."""
    names = [layer.file_name for layer in layers if layer.file_name]
    for name in names:
        if names.count(name) > 1:
            raise ImageError(f"{what}: two of its files are called {name!r}")


@contextmanager
def unpackable(layer: Layer, blob: Path) -> Iterator[Readable]:
    """The archive that is ``layer``, in the compression that it says: its blob, or one with what the blob is."""
    with blob.open("rb", buffering=0) as file:
        if layer.file_name is None:
            yield cast(Readable, file)
        elif not layer.file_name:
            yield io.BytesIO(bytes(2 * _BLOCK))
        else:
            info = tarfile.TarInfo(layer.file_name)
            info.size, info.mode = layer.size_bytes, 0o644
            header = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")
            yield _Joined([io.BytesIO(header), file, io.BytesIO(bytes(-info.size % _BLOCK + 2 * _BLOCK))])


class _Joined:
    """One stream after the other."""

    def __init__(self, streams: list[io.BytesIO | io.FileIO]) -> None:
        self._streams = streams

    def read(self, size: int, /) -> bytes:
        while self._streams:
            if data := self._streams[0].read(size):
                return data
            self._streams.pop(0)
        return b""


def _diff_id_of_tar(path: Path, compression: str, limit: int, guard: Guard, what: str) -> str:
    """ "" where it is no tar."""
    made, first = hashlib.sha256(), b""
    with path.open("rb") as file, damage_errors(what):
        plain = decompressed(Metered(file, guard, limit, what), compression)
        while len(first) < _BLOCK and (more := plain.read(_BLOCK - len(first))):
            first += more
        if not begins_as_tar(first):
            return ""
        made.update(first)
        for data in pieces(cast(BinaryIO, Metered(plain, guard, limit, what))):
            made.update(data)
    return f"sha256:{made.hexdigest()}"


def _file_name(descriptor: Descriptor) -> str:
    """What its file is called; "" of what is nothing."""
    if descriptor.media_type == EMPTY:
        return ""
    if title := descriptor.annotation(TITLE):
        return _checked(title, [title], descriptor)
    if path := descriptor.annotation(FILE_PATH):
        return _checked(path, path.split("/"), descriptor)
    return descriptor.digest.replace(":", "-")


def _checked(name: str, parts: Sequence[str], descriptor: Descriptor) -> str:
    good = len(name) <= MAX_PATH_BYTES and all(map(_is_name, parts))
    if not good:
        raise ImageError(
            f"layer {descriptor.digest}: {name[:80]!r} is no name for a file",
            hint=f"at most {MAX_NAME_BYTES} bytes, no '/', no '..', nothing that layers have a meaning for",
        )
    return name


def _is_name(part: str) -> bool:
    try:
        size = len(part.encode())
    except UnicodeEncodeError:
        return False
    printable = "/" not in part and all(ord(char) >= 32 and ord(char) != 127 for char in part)
    return (
        0 < size <= MAX_NAME_BYTES
        and printable
        and part not in (".", "..")
        and not part.startswith(_WHITEOUT)
    )
