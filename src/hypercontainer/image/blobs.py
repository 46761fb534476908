"""Content-addressed layer blobs on disk.

    ROOT/blobs/sha256/<hex>      verified; never changes
    ROOT/partial/sha256-<hex>    a download under way or waiting to be resumed; locked (flock) by its writer
    ROOT/staging/<random>/       what an archive brought, until it is known what it is

Invariants: a file is in ``blobs`` only after every byte was checked against its name, and gets there by an
atomic rename.  Files are 0600, folders 0700.  Who writes blobs holds the *session* lock shared until its
image is registered; who deletes holds it alone, so nothing is deleted under a pull, in whichever process.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hypercontainer.errors import DigestMismatch
from hypercontainer.image.cancel import Guard
from hypercontainer.linux import disk

if TYPE_CHECKING:
    from hashlib import _Hash

log = logging.getLogger(__name__)

CHUNK_BYTES = 512 << 10
ALGORITHMS = ("sha256", "sha512")


def hasher(digest: str) -> _Hash:
    """A hash object of the digest's algorithm."""
    return hashlib.new(digest.partition(":")[0])


def digest_of(data: bytes, like: str = "sha256:") -> str:
    """The digest of ``data``, by the algorithm of the digest ``like``."""
    made = hasher(like)
    made.update(data)
    return f"{like.partition(':')[0]}:{made.hexdigest()}"


def check_bytes(data: bytes, digest: str, what: str) -> None:
    actual = digest_of(data, digest)
    if actual != digest:
        raise DigestMismatch(what, expected=digest, actual=actual)


@contextmanager
def disk_errors(what: str, where: Path) -> Iterator[None]:
    """Turns a full or failing disk into Unavailable."""
    try:
        yield
    except OSError as error:
        raise disk.unavailable(what, where, error) from error


class PartialBlob:
    """A blob that is being written, from wherever an earlier writer got.  One owner; see `BlobStore.partial`."""

    def __init__(self, fd: int, path: Path, target: Path, digest: str) -> None:
        self._fd, self._path, self._target, self._digest = fd, path, target, digest
        self._hash = hasher(digest)
        self.offset = 0

    def rehash(self, guard: Guard, limit: int) -> None:
        """Take over what is there already; what is longer than ``limit`` bytes is thrown away."""
        if os.fstat(self._fd).st_size > limit:
            self.restart()
        buffer = bytearray(CHUNK_BYTES)
        while count := os.readv(self._fd, [buffer]):
            guard.check()
            self._hash.update(memoryview(buffer)[:count])
            self.offset += count

    def restart(self) -> None:
        """Forget everything written."""
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._hash = hasher(self._digest)
        self.offset = 0

    def discard(self) -> None:
        """Give up for good: nothing of this is worth going on with."""
        self._path.unlink()

    def reader(self) -> int:
        """A descriptor of what is here and will be, which is the caller's; what it reads is not verified yet."""
        return os.dup(self._fd)

    def append(self, data: bytes | memoryview) -> None:
        disk.keep_room(self._fd)
        view = memoryview(data)
        self._hash.update(view)
        self.offset += len(view)
        while view:
            view = view[os.write(self._fd, view) :]

    def commit(self, size: int, what: str) -> None:
        """Check size and digest and make it a blob; wrong content is thrown away."""
        actual = f"{self._digest.partition(':')[0]}:{self._hash.hexdigest()}"
        if self.offset != size or actual != self._digest:
            got = actual if self.offset == size else f"{actual} of {self.offset} bytes"
            self.discard()
            raise DigestMismatch(what, expected=self._digest, actual=got)
        os.fdatasync(self._fd)
        self._path.replace(self._target)


class BlobStore:
    """The folder of blobs below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("partial", "staging", *(f"blobs/{name}" for name in ALGORITHMS)):
            (root / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
        root.chmod(0o700)
        (root / "blobs").chmod(0o700)

    def path(self, digest: str) -> Path:
        algorithm, _, value = digest.partition(":")
        return self.root / "blobs" / algorithm / value

    def has(self, digest: str, size: int) -> bool:
        """Whether the blob is there; one of another size (a damaged disk) does not count and goes."""
        try:
            actual = self.path(digest).stat().st_size
        except FileNotFoundError:
            return False
        if actual != size:
            self.path(digest).unlink(missing_ok=True)
        return actual == size

    @contextmanager
    def partial(self, digest: str, size: int, guard: Guard) -> Iterator[PartialBlob | None]:
        """The blob's partial file, locked; waits for another process that has it.

        None when the blob turned up in the meantime.
        """
        path = self.root / "partial" / digest.replace(":", "-")
        fd = _locked(path, guard)
        try:
            if self.has(digest, size):
                path.unlink()
                yield None
                return
            blob = PartialBlob(fd, path, self.path(digest), digest)
            blob.rehash(guard, size)
            yield blob
        finally:
            os.close(fd)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder for one archive's members, gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self.root / "staging") as name:
            yield Path(name)

    def adopt(self, file: Path, digest: str) -> None:
        """Make a staged file, whose bytes were checked, the blob ``digest``."""
        target = self.path(digest)
        if not target.exists():
            with file.open("rb") as opened:
                os.fchmod(opened.fileno(), 0o600)
                os.fdatasync(opened.fileno())
            file.replace(target)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Entered by everything that needs blobs to stay: no blob is deleted meanwhile."""
        fd = self._open_session_lock()
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
            yield
        finally:
            os.close(fd)

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Entered by what deletes; yields False when a session is going on, and nothing may be deleted."""
        fd = self._open_session_lock()
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(fd)

    def sweep(self, keep: Collection[str], doomed: Collection[str], older_than_s: float | None) -> int:
        """Delete blobs that are ``doomed`` and not in ``keep``, and parts that are older; None: all that is not in
        ``keep``.  Only when `alone`.

        Returns the bytes freed.
        """
        horizon = time.time() - (-1.0 if older_than_s is None else older_than_s)
        freed = 0
        for digest, path in list(self._files()):
            info = path.stat()
            if digest not in keep and (digest in doomed or older_than_s is None):
                path.unlink()
                freed += info.st_size
        for path in (self.root / "partial").iterdir():
            info = path.stat()
            if info.st_mtime <= horizon:
                path.unlink()
                freed += info.st_size
        for folder in (self.root / "staging").iterdir():
            shutil.rmtree(folder)
        return freed

    @property
    def aside(self) -> Path:
        return self.root / "blobs.set-aside"

    def set_aside(self) -> None:
        """All blobs, of which no record is left."""
        for digest, path in list(self._files()):
            target = self.aside / digest.replace(":", "-")
            self.aside.mkdir(mode=0o700, exist_ok=True)
            path.rename(target)
        if self.aside.exists():
            log.error("no record names the image layers that were here; they are set aside in %s", self.aside)

    def bring_back(self, digests: Collection[str]) -> None:
        """Those that were set aside and have a record again."""
        if not self.aside.exists():
            return
        for digest in digests:
            kept = self.aside / digest.replace(":", "-")
            if kept.exists() and not self.path(digest).exists():
                kept.rename(self.path(digest))
        with suppress(OSError):  # others are still there
            self.aside.rmdir()

    def usage(self) -> dict[str, int]:
        """Digest -> bytes of every blob; partial files under the key ''."""
        sizes: dict[str, int] = {"": 0}
        for digest, path in self._files():
            with suppress(FileNotFoundError):
                sizes[digest] = path.stat().st_size
        for path in (self.root / "partial").iterdir():
            with suppress(FileNotFoundError):
                sizes[""] += path.stat().st_size
        return sizes

    def compression(self, digest: str) -> str:
        """How the blob is compressed, by its first bytes."""
        with self.path(digest).open("rb") as file:
            return compression_of(file.read(8))

    def _files(self) -> Iterator[tuple[str, Path]]:
        for algorithm in ALGORITHMS:
            for path in (self.root / "blobs" / algorithm).iterdir():
                yield f"{algorithm}:{path.name}", path

    def _open_session_lock(self) -> int:
        return os.open(self.root / "session.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def compression_of(head: bytes) -> str:
    """none, gzip, zstd, xz or bzip2, by the first bytes."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50):
        return "zstd"  # the second is a skippable frame, with which zstd:chunked files may begin
    if head.startswith(b"\xfd7zXZ\0"):
        return "xz"
    return "bzip2" if head.startswith(b"BZh") else "none"


def _locked(path: Path, guard: Guard) -> int:
    """A descriptor of the file at ``path``, locked by this call alone."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _wait_for_lock(fd, guard)
            # The former owner may have made it a blob: then the lock is on a file of another name.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(fd), os.stat(path)):
                    owned, fd = fd, -1
                    return owned
        finally:
            if fd >= 0:
                os.close(fd)


def _wait_for_lock(fd: int, guard: Guard) -> None:
    """Block until the lock is ours, or the operation is cancelled.

    flock cannot be interrupted, so a thread of its own waits; given up, it lets go of the lock once it has it.
    """
    waiting = os.dup(fd)  # the same open file: its lock is fd's
    done = threading.Event()
    state = threading.Lock()
    abandoned = False

    def wait() -> None:
        fcntl.flock(waiting, fcntl.LOCK_EX)
        with state:
            if abandoned:
                fcntl.flock(waiting, fcntl.LOCK_UN)
            os.close(waiting)
        done.set()

    threading.Thread(target=wait, name="blob-lock", daemon=True).start()
    with guard.calling(done.set):
        done.wait()
    with state:
        abandoned = guard.stopped
    guard.check()
