"""Named volumes on the host: a disk with an ext4 each, or a directory, or a server's, and what is known of it.

    ROOT/NAME/volume.json     created, size, labels
    ROOT/NAME/disk.img        a sparse raw file, or
    ROOT/NAME/files           a directory (shared.py), or
    ROOT/NAME/nfs.json        which server has it
    ROOT/NAME/snapshots/      copies of the disk (snapshots.py)
    ROOT/.new-*, ROOT/.gone-*  being made, being removed

A volume has its name only once it is whole and on disk: it is made beside it and renamed.  It loses the name before
the first byte of it is removed.  What a killed process left half-way is swept when the store is opened, so a root
has one process at a time that uses it; threads may be many.  Methods block.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from hypercontainer.contract.answers import VolumeInfo
from hypercontainer.contract.reading import why
from hypercontainer.contract.volumes import NfsShare
from hypercontainer.errors import Conflict, InvalidArgument, NotFound, Remedy, Unavailable
from hypercontainer.linux import disk
from hypercontainer.linux.exchange import exchange
from hypercontainer.volume import shared, snapshots
from hypercontainer.volume.shared import DISK, DISK_KIND, NFS_KIND, SECTOR_BYTES, SHARE, SHARED_KIND

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")  # as long as a directory's may be
DEFAULT_BYTES = 10 << 30
MIN_BYTES = 64 << 20
MAX_BYTES = 1 << 44  # the largest file of an ext4 host
BLOCK_BYTES = 4096
MAX_VOLUMES = 10_000
MAX_LABELS = 256
MAX_RECORD_BYTES = 64 << 10
RECORD = "volume.json"
_NEW, _GONE = ".new-", ".gone-"

log = logging.getLogger(__name__)


class _Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``volume.json``."""

    created: str
    size_bytes: int
    labels: dict[str, str]


class VolumeStore:
    """``make_disk`` makes an empty ext4 of so many bytes in a new file; what it raises is passed on.  ``default_kind``:
    of a new one, where nobody says it."""

    def __init__(
        self, root: Path, make_disk: Callable[[Path, int], None], default_kind: str = DISK_KIND
    ) -> None:
        self.root = root
        self._make_disk = make_disk
        self._default_kind = default_kind
        self._making: set[str] = set()  # names of what is to take a volume's place
        self._lock = threading.Lock()
        with host_disk("open the volumes", root):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for left in root.iterdir():
                if left.name.startswith((_NEW, _GONE)):
                    shared.remove_tree(left)
                else:
                    snapshots.sweep(left)

    def create(
        self,
        name: str,
        size_bytes: int | None = None,
        labels: Mapping[str, str] | None = None,
        kind: str | None = None,
        make_disk: Callable[[Path, int], None] | None = None,
        nfs: NfsShare | None = None,
    ) -> VolumeInfo:
        """InvalidArgument for a name, size, labels or kind that cannot be; Conflict where there is one of this name.
        One of which a size is said is a disk, unless its kind is said too.  ``make_disk``: another than the store's
        own, for one that is not empty.  ``nfs``: a server has it."""
        check_name(name)
        if nfs is not None:
            shared.check_nfs(name, kind, size_bytes)
        chosen = kind or (self._default_kind if size_bytes is None else DISK_KIND)
        shared.check(name, chosen, size_bytes)
        record = _record(name, None if nfs else _size(chosen, size_bytes), labels or {})
        self.check_free(name)
        with host_disk(f"make volume {name}", self.root):
            folder = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.root))
            try:
                _fill(folder, nfs or chosen, record, make_disk or self._make_disk)
                self._give_name(folder, name)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            disk.flush(self.root)
        return self.inspect(name)

    @contextmanager
    def converted(self, name: str, kind: str, size_bytes: int | None = None) -> Iterator[str]:
        """Another volume, of this kind, empty, by a name for this alone: what it is within takes the place of the one
        of this ``name`` after it, at once, with its labels and age.  Where what is done within fails, or this process
        is killed, all is as it was.  NotFound; InvalidArgument."""
        present = self.inspect(name)
        shared.check(name, kind, size_bytes)
        record = msgspec.structs.replace(
            _record(name, _size(kind, size_bytes), present.labels), created=present.created
        )
        with host_disk(f"convert volume {name}", self.root):
            folder = Path(tempfile.mkdtemp(prefix=_NEW, dir=self.root))
        self._making.add(folder.name)
        try:
            with host_disk(f"convert volume {name}", self.root):
                _fill(folder, kind, record, self._make_disk)
            yield folder.name
            with host_disk(f"convert volume {name}", self.root):
                disk.flush_all(shared.content(folder))
                exchange(folder, self._folder(name))
                disk.flush(self.root)
        finally:
            self._making.discard(folder.name)
            with host_disk(f"remove what volume {name} was", self.root):
                shared.remove_tree(folder)

    def obtain(
        self,
        name: str,
        size_bytes: int | None = None,
        labels: Mapping[str, str] | None = None,
        kind: str = "",
        nfs: NfsShare | None = None,
    ) -> Path:
        """The disk of the volume of this name, or its directory, made where there is none; one that is there keeps its
        size and kind."""
        self.make_missing(name, size_bytes, labels, kind, nfs)
        return self.content(name)

    def make_missing(
        self,
        name: str,
        size_bytes: int | None = None,
        labels: Mapping[str, str] | None = None,
        kind: str = "",
        nfs: NfsShare | None = None,
    ) -> bool:
        """Whether there was none of this name, and it was made."""
        if shared.kind_of(self._folder(name)):
            return False
        try:
            self.create(name, size_bytes, labels, kind or None, nfs=nfs)
        except Conflict:  # somebody was quicker
            return False
        return True

    def find(self) -> list[VolumeInfo]:
        """All of them, by name.  One whose record cannot be read is left out, and said in the log."""
        found = []
        for name in self._names():
            try:
                found.append(self.inspect(name))
            except NotFound:  # removed meanwhile
                continue
            except Unavailable as error:
                log.warning("%s", error)
        return found

    def damaged(self) -> list[str]:
        """Names of those whose record cannot be read."""
        found = []
        for name in self._names():
            try:
                self.inspect(name)
            except NotFound:
                continue
            except Unavailable:
                found.append(name)
        return found

    def inspect(self, name: str) -> VolumeInfo:
        """NotFound where there is none; Unavailable where its record cannot be read."""
        folder = self._folder(name)
        try:
            with (folder / RECORD).open("rb") as file:
                record = msgspec.json.decode(file.read(MAX_RECORD_BYTES), type=_Record)
            if not (kind := shared.kind_of(folder)):
                raise FileNotFoundError
            nfs = self.nfs(name) if kind == NFS_KIND else None
            used_bytes, kept = shared.used_bytes(folder), snapshots.kept(folder)
        except (FileNotFoundError, NotADirectoryError):
            if folder.is_dir():
                raise Unavailable(f"volume {name} is damaged", hint=f"see {folder}") from None
            raise _no_volume(name) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Unavailable(
                f"the record of volume {name} cannot be read: {why(error)}", hint=f"see {folder}"
            ) from error
        except OSError as error:
            raise disk.unavailable(f"cannot read volume {name}", folder, error) from error
        return VolumeInfo(
            name=name,
            created=record.created,
            size_bytes=record.size_bytes,
            used_bytes=used_bytes,
            labels=record.labels,
            disk="" if nfs else str(shared.content(folder)),
            kind=kind,
            nfs=nfs,
            snapshots=len(kept),
            snapshots_bytes=sum(each.stat.st_blocks for each in kept) * SECTOR_BYTES,
        )

    def untouched(self, name: str) -> bool:
        """Whether nobody has ever had it.  NotFound."""
        path = self.content(name)
        if path.is_dir():
            return shared.is_empty(path)
        return path.stat().st_mtime_ns <= (path.parent / RECORD).stat().st_mtime_ns

    def kind(self, name: str) -> str:
        """Of one that is not there: the kind that it would have."""
        return shared.kind_of(self._folder(name)) or self._default_kind

    def nfs(self, name: str) -> NfsShare | None:
        """The server's directory that it is; None where it is none, or is not there."""
        return shared.read(self._folder(name))

    def content(self, name: str) -> Path:
        """The raw file of its disk, or its directory.  NotFound."""
        folder = self._folder(name)
        if not shared.kind_of(folder):
            raise _no_volume(name)
        return shared.content(folder)

    def disk(self, name: str) -> Path:
        """The raw file of its disk.  NotFound."""
        path = self._folder(name) / DISK
        if not path.is_file():
            raise _no_volume(name)
        return path

    def grow(self, name: str, size_bytes: int) -> int:
        """Its disk, which may be in use; the new size in bytes.  InvalidArgument for less than it has.

        The file first: where this is broken off, it has what is not used yet, and this can be done again."""
        present = self.inspect(name)
        record = _record(name, size_bytes, present.labels)
        path = self.disk(name)
        if record.size_bytes < present.size_bytes:
            raise InvalidArgument(
                f"volume {name} has {present.size_bytes} bytes, and does not get smaller: {size_bytes}",
                hint="make another of that size, and copy into it",
            )
        with host_disk(f"grow volume {name}", path):
            if path.stat().st_size < record.size_bytes:
                os.truncate(path, record.size_bytes)
                disk.flush(path)
            self._change(path.parent, msgspec.structs.replace(record, created=present.created))
        return record.size_bytes

    def _change(self, folder: Path, record: _Record) -> None:
        with tempfile.TemporaryDirectory(prefix=_NEW, dir=self.root) as made:
            new = Path(made, RECORD)
            _write(new, msgspec.json.encode(record))
            new.replace(folder / RECORD)
        disk.flush(folder)

    def remove(self, name: str) -> None:
        """With all that is in it.  NotFound.  That nobody uses it is the caller's business."""
        folder = self._folder(name)
        with host_disk(f"remove volume {name}", folder):
            gone = Path(tempfile.mkdtemp(prefix=_GONE, dir=self.root))
            try:
                folder.rename(gone)
            except (FileNotFoundError, NotADirectoryError):
                gone.rmdir()
                raise _no_volume(name) from None
            disk.flush(self.root)
            shared.remove_tree(gone)

    def _folder(self, name: str) -> Path:
        if name not in self._making:
            check_name(name)
        return self.root / name

    def _names(self) -> list[str]:
        with host_disk("list the volumes", self.root):
            return sorted(entry.name for entry in self.root.iterdir() if NAME.fullmatch(entry.name))

    def check_free(self, name: str) -> None:
        """Conflict where there is one of this name; Unavailable where there are too many."""
        names = self._names()
        if name in names:
            raise Conflict(f"there is a volume {name} already", remedies=[Remedy("volumes.remove", name)])
        if len(names) >= MAX_VOLUMES:
            raise Unavailable(
                f"there are {MAX_VOLUMES} volumes, no more can be made", remedies=[Remedy("volumes.prune")]
            )

    def _give_name(self, folder: Path, name: str) -> None:
        with self._lock:
            self.check_free(name)
            folder.rename(self.root / name)


def rounded(size_bytes: int) -> int:
    """The size that a volume has for which this one is asked."""
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def _size(kind: str, size_bytes: int | None) -> int | None:
    """In bytes; None of what has none of its own."""
    return DEFAULT_BYTES if size_bytes is None and kind == DISK_KIND else size_bytes


def check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise InvalidArgument(
            f"volume name {name!r}: a letter or digit, then up to 254 of these and '_', '.', '-'"
        )


def _record(name: str, size_bytes: int | None, labels: Mapping[str, str]) -> _Record:
    if size_bytes is not None and not MIN_BYTES <= size_bytes <= MAX_BYTES:
        raise InvalidArgument(
            f"volume {name} of {size_bytes} bytes: from {MIN_BYTES} to {MAX_BYTES} are possible"
        )
    seconds, rest = divmod(time.time_ns(), 1_000_000_000)
    created = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09d}Z"
    record = _Record(created, rounded(size_bytes or 0), dict(labels))
    if len(labels) > MAX_LABELS or len(msgspec.json.encode(record)) > MAX_RECORD_BYTES:
        raise InvalidArgument(
            f"labels of volume {name}: at most {MAX_LABELS}, and {MAX_RECORD_BYTES} bytes together"
        )
    return record


def _fill(
    folder: Path, kind: str | NfsShare, record: _Record, make_disk: Callable[[Path, int], None]
) -> None:
    if isinstance(kind, NfsShare):
        _write(folder / SHARE, msgspec.json.encode(kind))
    elif kind == SHARED_KIND:
        shared.make(folder)
    else:
        make_disk(folder / DISK, record.size_bytes)
    _write(folder / RECORD, msgspec.json.encode(record))
    disk.flush(shared.content(folder))
    disk.flush(folder)


def _no_volume(name: str) -> NotFound:
    return NotFound(f"there is no volume {name}", remedies=[Remedy("volumes.find", aim="to see them")])


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def host_disk(what: str, where: Path) -> Iterator[None]:
    """Says of an ``OSError`` within what could not be done."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise Conflict(f"cannot {what}: {error.filename2 or error.filename} exists") from error
        raise disk.unavailable(f"cannot {what}", where, error) from error
