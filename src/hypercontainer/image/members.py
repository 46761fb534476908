"""An image archive's members, taken out of the tar stream into a staging folder.

Names in the archive are keys of a dictionary and nothing else: each member is kept in a file named by its
number, so no name ever becomes a path of the host.  Bounded: members, the size of one and of all, header
sizes.  Links inside the archive (old ``docker save`` links equal layers) are followed by name, boundedly.
"""

from __future__ import annotations

import hashlib
import posixpath
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from hypercontainer.errors import DigestMismatch, ImageError
from hypercontainer.image.blobs import CHUNK_BYTES, compression_of, hasher
from hypercontainer.image.cancel import Guard
from hypercontainer.image.streams import HEAD_BYTES, STORED, Metered, damage_errors, decompressed, sniffed
from hypercontainer.linux import disk

MAX_MEMBERS = 50_000
MAX_LINKS = 16
MAX_HEADER_BYTES = 4 << 20
_WHAT = "image archive"


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Member:
    """A file of the archive; ``digest`` is its sha256."""

    path: Path
    size: int
    digest: str

    def compression(self) -> str:
        with self.path.open("rb") as file:
            return compression_of(file.read(HEAD_BYTES))


class Members:
    """The archive's files by normalized name.  ``limit_bytes``: of one that is unpacked."""

    def __init__(self, limit_bytes: int, guard: Guard) -> None:
        self._files: dict[str, Member] = {}
        self._links: dict[str, str] = {}
        self._unpacked: dict[Path, Member] = {}
        self._limit_bytes, self._guard = limit_bytes, guard

    def add(self, name: str, member: Member) -> None:
        self._links.pop(name, None)
        self._files[name] = member

    def link(self, name: str, target: str) -> None:
        self._files.pop(name, None)
        self._links[name] = target

    def get(self, name: str) -> Member | None:
        """The file ``name``, through links; None if there is none.  ImageError for a loop of links."""
        name = normalized(name)
        for _ in range(MAX_LINKS):
            if name not in self._links:
                return self._files.get(name)
            name = self._links[name]
        raise ImageError(f"{_WHAT}: entry {name!r} is a link through more than {MAX_LINKS} links")

    def need(self, name: str) -> Member:
        member = self.get(name)
        if member is None:
            raise ImageError(f"{_WHAT}: it has no entry {name[:300]!r}, which it refers to")
        return member

    def storable(self, name: str) -> Member:
        """The file ``name``, unpacked where no specification of images has its compression."""
        member = self.need(name)
        compression = member.compression()
        if compression in STORED:
            return member
        if member.path not in self._unpacked:
            target = member.path.with_suffix(".plain")
            with member.path.open("rb") as file, damage_errors(f"{_WHAT}: entry {name[:300]!r}"):
                raw = Metered(file, self._guard, member.size, _WHAT)
                plain = Metered(decompressed(raw, compression), self._guard, self._limit_bytes, _WHAT)
                self._unpacked[member.path] = _kept(plain, target)
        return self._unpacked[member.path]

    def read(self, name: str, limit: int) -> bytes:
        member = self.need(name)
        if member.size > limit:
            raise ImageError(f"{_WHAT}: entry {name[:300]!r} has {member.size} bytes, at most {limit}")
        return member.path.read_bytes()


def normalized(name: str) -> str:
    """``./a//b/../c`` as ``a/c``: what the name is a key for."""
    return posixpath.normpath("/" + name).lstrip("/")


def verify(member: Member, digest: str, size: int, what: str) -> None:
    """Check that a member is the blob ``digest`` of ``size`` bytes."""
    actual = member.digest
    if not digest.startswith("sha256:"):
        made = hasher(digest)
        with member.path.open("rb") as file:
            while data := file.read(CHUNK_BYTES):
                made.update(data)
        actual = f"{digest.partition(':')[0]}:{made.hexdigest()}"
    if actual != digest or member.size != size:
        raise DigestMismatch(
            what, expected=f"{digest} of {size} bytes", actual=f"{actual} of {member.size} bytes"
        )


def take(stream: BinaryIO, folder: Path, limit_bytes: int, guard: Guard) -> Members:
    """Read the whole archive, plain or compressed, into ``folder``."""
    raw = Metered(stream, guard, limit_bytes, _WHAT)
    with damage_errors(_WHAT):
        plain = Metered(sniffed(raw), guard, limit_bytes, _WHAT)
        plain.budget = MAX_HEADER_BYTES  # opening reads the first header
        members, count = Members(limit_bytes, guard), 0
        try:
            with tarfile.open(fileobj=plain, mode="r|", bufsize=CHUNK_BYTES) as tar:
                while (info := _next(tar, plain)) is not None:
                    count += 1
                    if count > MAX_MEMBERS:
                        raise ImageError(f"{_WHAT}: more than {MAX_MEMBERS} entries")
                    _check_size(info, limit_bytes)
                    _take_one(tar, info, members, folder / str(count))
                while plain.read(CHUNK_BYTES):
                    pass  # whoever writes into the pipe may finish
        except (tarfile.TarError, ValueError, OverflowError) as error:
            raise ImageError(f"{_WHAT}: not a readable tar archive: {error}") from error
    return members


def _next(tar: tarfile.TarFile, plain: Metered) -> tarfile.TarInfo | None:
    """The next header.  Extended headers are read into memory: only so many bytes may be read for one."""
    plain.budget = MAX_HEADER_BYTES
    info = tar.next()
    plain.budget = None
    return info


def _check_size(info: tarfile.TarInfo, limit_bytes: int) -> None:
    """What an entry says of its size costs nothing to say: that many bytes are skipped, piece by piece, past the end of
    the archive, too; and a sparse one is written out, holes and all."""
    if info.size > limit_bytes:
        raise ImageError(f"{_WHAT}: larger than {limit_bytes} bytes, for an entry alone has {info.size}")
    if info.issparse():
        raise ImageError(f"{_WHAT}: a sparse entry, which image archives have none of")


def _take_one(tar: tarfile.TarFile, info: tarfile.TarInfo, members: Members, path: Path) -> None:
    name = normalized(info.name)
    if info.issym():
        members.link(name, normalized(posixpath.join("/", posixpath.dirname(name), info.linkname)))
    elif info.islnk():
        members.link(name, normalized(info.linkname))
    elif info.isfile():
        source = tar.extractfile(info)
        assert source is not None, "a regular file has content"
        members.add(name, _kept(source, path))


def _kept(source: Readable, path: Path) -> Member:
    """``source`` in a new file at ``path``."""
    made = hashlib.sha256()
    size = 0
    with path.open("xb", buffering=0) as file:
        while data := source.read(CHUNK_BYTES):
            disk.keep_room(file.fileno())
            made.update(data)
            file.write(data)
            size += len(data)
    return Member(path, size, f"sha256:{made.hexdigest()}")
