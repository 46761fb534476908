"""A saved VM: its memory and its devices' state, in files in memory, and the folder that keeps them for good.

Nothing can write to a snapshot's files: they are sealed (memfd_create(2)), so a hypervisor that its guest has taken
over changes no other clone.  A folder is whole or not there, and what is read from it is what was written, or
``SnapshotDamaged``: the digests cover every byte that is not zero, wherever the host's file system keeps holes.

    memory       the guest's memory, sparse
    state        the devices' state, in the hypervisor's own format
    digest.json  of both
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hypercontainer.errors import HypervisorError
from hypercontainer.linux import sparse

CHUNK_BYTES = 1 << 16
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
_MAX_DIGEST_FILE_BYTES = 4096


class SnapshotDamaged(HypervisorError):
    """What a folder holds is not what was written there."""


@dataclass(frozen=True)
class Snapshot:
    """Two sealed files; ``close`` them.  VMs that were made from them keep what they need."""

    memory_fd: int
    state_fd: int

    def close(self) -> None:
        os.close(self.memory_fd)
        os.close(self.state_fd)


class _Digest(msgspec.Struct, forbid_unknown_fields=True):
    memory_bytes: int
    memory: str
    state_bytes: int
    state: str


def memory_file(name: str, size_bytes: int = 0) -> int:
    """An empty file in memory that can be sealed."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.truncate(fd, size_bytes)
    return fd


def sealed(memory_fd: int, state_fd: int) -> Snapshot:
    """Takes both over.  Raises ``OSError`` (EBUSY) while somebody still has one mapped to write."""
    for fd in (memory_fd, state_fd):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    return Snapshot(memory_fd, state_fd)


def sealed_copy(memory_fd: int, state_fd: int) -> Snapshot:
    """For files that a process had mapped: whoever still looks at that process keeps them from being sealed."""
    copies = [memory_file(name) for name in ("memory", "state")]
    try:
        for source, copy in zip((memory_fd, state_fd), copies, strict=True):
            _copy(source, copy)
        return sealed(copies[0], copies[1])
    except BaseException:
        for copy in copies:
            os.close(copy)
        raise


def write(snapshot: Snapshot, folder: Path) -> None:
    """Makes ``folder``, which may exist: then what is there stays.  Raises ``OSError``, and nothing is left."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".saving-{folder.name}-", dir=folder.parent) as made:
        whole = Path(made, "whole")
        whole.mkdir(mode=0o700)
        sizes, digests = [], []
        for name, fd in (("memory", snapshot.memory_fd), ("state", snapshot.state_fd)):
            with (whole / name).open("xb", buffering=0) as file:
                digests.append(_copy(fd, file.fileno()))
            sizes.append(os.fstat(fd).st_size)
        digest = _Digest(sizes[0], digests[0], sizes[1], digests[1])
        (whole / "digest.json").write_bytes(msgspec.json.encode(digest))
        with contextlib.suppress(FileExistsError):
            _rename(whole, folder)


def sweep(folder: Path) -> None:
    """Removes what writers of ``folder`` left who were killed; nobody may be writing it."""
    for left in folder.parent.glob(f".saving-{folder.name}-*"):
        shutil.rmtree(left, ignore_errors=True)


def _rename(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        raise FileExistsError(target) from None


def read(folder: Path) -> Snapshot:
    """Raises ``FileNotFoundError`` where there is none, ``SnapshotDamaged``, or another ``OSError``."""
    digest = _read_digest(folder)
    with contextlib.ExitStack() as undo:
        fds = []
        for name, size, wanted in (
            ("memory", digest.memory_bytes, digest.memory),
            ("state", digest.state_bytes, digest.state),
        ):
            with _open(folder / name) as file:
                if os.fstat(file).st_size != size:
                    raise SnapshotDamaged(f"{folder / name} has not the size that it was written with")
                fds.append(memory_file(name, size))
                undo.callback(os.close, fds[-1])
                if _copy(file, fds[-1]) != wanted:
                    raise SnapshotDamaged(f"{folder / name} is not what was written")
        snapshot = sealed(fds[0], fds[1])
        undo.pop_all()
    return snapshot


def _read_digest(folder: Path) -> _Digest:
    try:
        with (folder / "digest.json").open("rb") as file:
            return msgspec.json.decode(file.read(_MAX_DIGEST_FILE_BYTES), type=_Digest)
    except FileNotFoundError:
        if folder.is_dir():
            raise SnapshotDamaged(f"{folder} has no digests") from None
        raise
    except (msgspec.MsgspecError, ValueError) as error:
        raise SnapshotDamaged(f"{folder / 'digest.json'}: {error}") from error


@contextlib.contextmanager
def _open(path: Path) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise SnapshotDamaged(f"{path} is gone") from None
    try:
        yield fd
    finally:
        os.close(fd)


def _copy(source: int, target: int) -> str:
    """Copies what is not zero, and digests it with its places; ``target`` has its whole size afterwards."""
    digest = hashlib.blake2b(digest_size=32)
    size = os.fstat(source).st_size
    os.truncate(target, size)
    for start, end in sparse.data_ranges(source, size, CHUNK_BYTES):
        for at in range(start, end, CHUNK_BYTES):
            chunk = os.pread(source, min(CHUNK_BYTES, size - at), at)
            if chunk.count(0) == len(chunk):
                continue
            digest.update(at.to_bytes(8, "little"))
            digest.update(chunk)
            sparse.write_all(target, chunk, at)
    return digest.hexdigest()


def remove(folder: Path) -> None:
    """Out of sight at once, then away."""
    with contextlib.suppress(FileNotFoundError):
        hidden = Path(tempfile.mkdtemp(prefix=".removed-", dir=folder.parent))
        with contextlib.suppress(OSError):
            folder.rename(hidden / "folder")
        shutil.rmtree(hidden, ignore_errors=True)
