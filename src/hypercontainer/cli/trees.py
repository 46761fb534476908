"""Archives as files of this machine.

What comes from a container is hostile: nothing is laid outside of the directory that it is for, by whatever names and
links an archive has.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tarfile
from typing import TYPE_CHECKING

from hypercontainer.client.packing import CHUNK_BYTES, TYPES
from hypercontainer.errors import Conflict, InvalidArgument
from hypercontainer.linux.resolving import BENEATH, open_resolved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO

# More is slower (findings/tarfile-larger-is-slower.sh).
READ_AHEAD_BYTES = 65536
_KNOWN = frozenset(
    {*TYPES.values(), tarfile.AREGTYPE, tarfile.LNKTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE}
)


def unpacked(archive: BinaryIO, directory: str, renamed: Callable[[str], str]) -> int:
    """Lays an archive into a directory that is there; the bytes of its files.  ``renamed`` says of each path in the
    archive which it has here."""
    place = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with (
            tarfile.open(
                fileobj=archive, mode="r|", bufsize=READ_AHEAD_BYTES, errors="surrogateescape"
            ) as entries,
            contextlib.closing(_Unpacking(place, entries, renamed)) as unpacking,
        ):
            return unpacking.all()
    except tarfile.TarError as error:
        raise InvalidArgument(f"the container's archive cannot be read: {error}") from error
    finally:
        os.close(place)


class _Unpacking:
    def __init__(self, place: int, entries: tarfile.TarFile, renamed: Callable[[str], str]) -> None:
        self._place, self._entries, self._renamed = place, entries, renamed
        self._times: list[tuple[str, int]] = []
        # The directory of the last entry, which mostly is that of the next one too, and the path that leads there, if
        # it is known to do so still.
        self._folder: str | None = None
        self._folder_fd = -1

    def close(self) -> None:
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
        self._folder, self._folder_fd = None, -1

    def all(self) -> int:
        total = 0
        for info in self._entries:
            path = self._clean(self._renamed(info.name))
            if info.type not in _KNOWN:
                continue
            if path:
                total += info.size if info.isreg() else 0
                self._lay(info, path)
        # Directories last: what is laid into them changes their times.
        for path, when in reversed(self._times):
            with contextlib.suppress(OSError), _opened(self._directory(path)) as fd:
                os.utime(fd, (when, when))
        return total

    @staticmethod
    def _clean(path: str) -> str:
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts or "\0" in path:
            raise InvalidArgument(f"the container's archive has a path that leads out: {path!r}")
        return "/".join(parts)

    def _directory(self, path: str) -> int:
        """Below the place, wherever links lead."""
        try:
            return open_resolved(self._place, path or ".", os.O_RDONLY | os.O_DIRECTORY, BENEATH)
        except OSError as error:
            if error.errno in (errno.EXDEV, errno.ELOOP):
                raise Conflict(f"{path!r} leads out of the directory that is copied to") from error
            raise

    def _parent(self, path: str) -> int:
        folder = path.rpartition("/")[0]
        try:
            return self._directory(folder)
        except FileNotFoundError:
            with _opened(self._parent(folder)) as above:
                os.mkdir(folder.rpartition("/")[2], dir_fd=above)
            return self._directory(folder)

    def _folder_of(self, path: str) -> int:
        """As ``_parent``, which stays open for the next entry."""
        folder = path.rpartition("/")[0]
        if folder != self._folder:
            self.close()
            self._folder_fd = self._parent(path)
            self._folder = folder
        return self._folder_fd

    def _lay(self, info: tarfile.TarInfo, path: str) -> None:
        name, parent = path.rpartition("/")[2], self._folder_of(path)
        there = self._make_way(info, name, parent, path)
        if info.isdir():
            self._lay_directory(info, name, parent, path, there=there)
        elif info.islnk():
            self._lay_link(info, name, parent)
        elif info.issym():
            os.symlink(info.linkname, name, dir_fd=parent)
            os.utime(name, (info.mtime, info.mtime), dir_fd=parent, follow_symlinks=False)
        elif info.isreg():
            self._lay_file(info, name, parent)
        else:
            self._lay_node(info, name, parent)
        if not (info.isdir() or info.isreg()):
            self._folder = None  # by links it may lead elsewhere now

    def _make_way(self, info: tarfile.TarInfo, name: str, parent: int, path: str) -> bool:
        """Whether a directory is there, and stays."""
        try:
            there = os.lstat(name, dir_fd=parent)
        except FileNotFoundError:
            return False
        if stat.S_ISDIR(there.st_mode) and not info.isdir():
            raise Conflict(f"cannot overwrite directory {path!r} with non-directory")
        if info.isdir() and not stat.S_ISDIR(there.st_mode):
            raise Conflict(f"cannot overwrite non-directory {path!r} with directory")
        if not info.isdir():
            os.unlink(name, dir_fd=parent)
            self._folder = None  # by a link that was there
        return info.isdir()

    def _lay_directory(
        self, info: tarfile.TarInfo, name: str, parent: int, path: str, *, there: bool
    ) -> None:
        if not there:
            os.mkdir(name, 0o700, dir_fd=parent)
        os.chmod(name, info.mode & 0o7777, dir_fd=parent)
        self._times.append((path, int(info.mtime)))

    def _lay_file(self, info: tarfile.TarInfo, name: str, parent: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent)
        # What tarfile gives to read from takes a stream that can be asked whether it can be sought in; its own cannot.
        source: Any = self._entries.fileobj
        source.seek(info.offset_data)
        parts: Any = info.sparse  # pairs of an offset and a size, whatever typeshed says
        with open(fd, "wb", buffering=0) as file:
            for offset, size in [(0, info.size)] if parts is None else parts:
                file.seek(offset)
                self._copy(source, fd, size)
            file.truncate(info.size)
            os.fchmod(fd, info.mode & 0o7777)
            os.utime(fd, (info.mtime, info.mtime))

    @staticmethod
    def _copy(source: Any, fd: int, size: int) -> None:
        while size:
            data = source.read(min(size, CHUNK_BYTES))
            if not data:
                raise InvalidArgument("the container's archive ends in the middle")
            size -= len(data)
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]

    def _lay_link(self, info: tarfile.TarInfo, name: str, parent: int) -> None:
        target = self._clean(self._renamed(info.linkname))
        with _opened(self._parent(target)) as source:
            os.link(
                target.rpartition("/")[2], name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False
            )

    def _lay_node(self, info: tarfile.TarInfo, name: str, parent: int) -> None:
        """A pipe; a device, which takes root."""
        kind = stat.S_IFIFO if info.isfifo() else stat.S_IFCHR if info.ischr() else stat.S_IFBLK
        os.mknod(name, kind | 0o600, os.makedev(info.devmajor, info.devminor), dir_fd=parent)
        os.chmod(name, info.mode & 0o7777, dir_fd=parent)
        os.utime(name, (info.mtime, info.mtime), dir_fd=parent, follow_symlinks=False)


@contextlib.contextmanager
def _opened(fd: int) -> Iterator[int]:
    try:
        yield fd
    finally:
        os.close(fd)
