"""A context that is an archive already."""

from __future__ import annotations

import io
import tarfile

from hypercontainer.client.context import DOCKERFILE, IGNORE
from hypercontainer.client.ignoring import clean
from hypercontainer.errors import InvalidArgument


def archive_of(data: bytes) -> bytes | None:
    """``data`` as a plain tar; None where it is no archive."""
    for begins, module in ((b"\x1f\x8b", "gzip"), (b"BZh", "bz2"), (b"\xfd7zXZ\0", "lzma")):
        if data.startswith(begins):
            data = bytes(__import__(module).decompress(data))
    return data if tarfile.is_tarfile(io.BytesIO(data)) else None


def dockerfile_of(archive: bytes, file: str) -> dict[str, str]:
    """Fields of a BuildSpec."""
    wanted = clean(file or DOCKERFILE)
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        found = {clean(each.name): each for each in tar if each.isfile()}
        if wanted not in found:
            raise InvalidArgument(f"the archive has no {wanted}")
        said = {"dockerfile": wanted, "ignore": f"{wanted}{IGNORE}"}
        texts = {}
        for field, name in said.items():
            if name in found and (content := tar.extractfile(found[name])) is not None:
                texts[field] = content.read().decode(errors="surrogateescape")
    return texts | {"dockerfile_name": wanted.rpartition("/")[2]}
