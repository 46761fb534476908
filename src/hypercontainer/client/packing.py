"""Files and trees of this machine as archives."""

from __future__ import annotations

import errno
import itertools
import os
import stat
import tarfile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    class Sieve(Protocol):
        """What is to be packed, at one directory."""

        def below(self, name: str, *, directory: bool) -> Sieve | None:
            """For what has this name in it; None: it is left out, with all that is in it."""


CHUNK_BYTES = 1024 * 1024
END = bytes(2 * tarfile.BLOCKSIZE)
TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}  # sockets are left out


def packed(path: str, name: str, *, follow: bool, sieve: Sieve | None = None) -> Iterator[bytes]:
    """An archive, in pieces none of which is empty, of what is at ``path``, as ``name``, and of what is below it.
    ``follow``: of a link, what it leads to; below it links are links.  OSError where something cannot be read."""
    where = os.path.realpath(path) if follow or path.endswith("/") else path
    yield from _entry(where, name, {}, sieve)
    yield END


def _entry(path: str, name: str, links: dict[tuple[int, int], str], sieve: Sieve | None) -> Iterator[bytes]:
    facts = os.lstat(path)
    kind = TYPES.get(stat.S_IFMT(facts.st_mode))
    if kind is None:
        return
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, stat.S_IMODE(facts.st_mode), int(facts.st_mtime)
    info.uid, info.gid = facts.st_uid, facts.st_gid
    if kind == tarfile.REGTYPE:
        inode = (facts.st_dev, facts.st_ino)
        if facts.st_nlink > 1 and inode in links:
            info.type, info.linkname = tarfile.LNKTYPE, links[inode]
        else:
            links[inode] = name
            yield from _content(path, info)
            return
    elif kind == tarfile.SYMTYPE:
        info.linkname = os.readlink(path)
    elif kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        info.devmajor, info.devminor = os.major(facts.st_rdev), os.minor(facts.st_rdev)
    yield info.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape")
    if kind == tarfile.DIRTYPE:
        yield from _below(path, name, links, sieve)


def _below(path: str, name: str, links: dict[tuple[int, int], str], sieve: Sieve | None) -> Iterator[bytes]:
    with os.scandir(path) as found:
        inside = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
    for each, directory in inside:
        finer = None
        if sieve is not None and (finer := sieve.below(each, directory=directory)) is None:
            continue
        yield from _entry(f"{path}/{each}", f"{name}/{each}", links, finer)


def _content(path: str, info: tarfile.TarInfo) -> Iterator[bytes]:
    """As long as it is when it is opened; what is none of its data is not sent (GNU's sparse format 1.0)."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(fd, "rb", buffering=0) as file:
        facts = os.fstat(fd)
        parts, first = [(0, facts.st_size)], b""
        if facts.st_blocks * 512 < facts.st_size:
            parts = list(_parts(fd, facts.st_size))
            first = b"".join(b"%d\n" % number for number in (len(parts), *itertools.chain(*parts)))
            first += bytes(-len(first) % tarfile.BLOCKSIZE)
            realsize = str(facts.st_size)
            said = {"major": "1", "minor": "0", "name": info.name, "realsize": realsize}
            info.pax_headers = {f"GNU.sparse.{name}": value for name, value in said.items()}
            info.name = "GNUSparseFile.0/entry"
        info.size = len(first) + sum(size for _, size in parts)
        first = info.tobuf(tarfile.PAX_FORMAT, errors="surrogateescape") + first
        for offset, size in parts:
            file.seek(offset)
            while size:
                data = file.read(min(size, CHUNK_BYTES))
                if not data:
                    raise OSError(errno.EIO, "it became shorter while it was read", path)
                size -= len(data)
                yield first + data
                first = b""
        if rest := first + bytes(-info.size % tarfile.BLOCKSIZE):
            yield rest


def _parts(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of a file's data; the last says where the file ends."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:  # no more data
                raise
            break
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if start < end:
            yield start, end - start
    if end < size:
        yield size, 0
