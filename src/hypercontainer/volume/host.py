"""Files and directories of the host, for a guest: who asks for one may share no more than what they may use themselves.

Found, made and tried with the rights of the user who asks.  What is found is named by where it really is, so that
nothing on the way to it is a link any more, and it is never something of hyperd's or of the kernel's.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hypercontainer.contract.volumes import HostPath
from hypercontainer.errors import Conflict, InvalidArgument, NotFound, Unavailable
from hypercontainer.linux.users import User, as_user, may_access, open_theirs

EXPECTED = ("", "any-or-create", "directory", "directory-or-create", "file", "file-or-create")
MAX_PATH_BYTES = 4095  # PATH_MAX with its NUL
KERNELS_OWN = (Path("/proc"), Path("/sys"), Path("/dev"))


def resolve(
    source: HostPath, *, user: User | None = None, write: bool = True, forbidden: Sequence[Path] = ()
) -> Path:
    """Where the file or directory really is, after making it where ``expect`` says so.

    ``user`` asks (None: this process itself), and is going to write where ``write``.  ``forbidden``: hyperd's own
    directories.  InvalidArgument, NotFound, Conflict, which name the path.
    """
    _check(source)
    with _failing(source.path):
        path = as_user(user, lambda: _resolve(source, write))
    for own in (*KERNELS_OWN, *(place.resolve() for place in forbidden)):
        if path.is_relative_to(own) or own.is_relative_to(path):
            raise InvalidArgument(
                f"{source.path}: {_other(path, own)}, and is not shared",
                hint="share a directory below or beside it",
            )
    return path


def _check(source: HostPath) -> None:
    if (
        not source.path.startswith("/")
        or "\0" in source.path
        or len(os.fsencode(source.path)) > MAX_PATH_BYTES
    ):
        raise InvalidArgument(f"host path {source.path!r}: an absolute path")
    if source.expect not in EXPECTED:
        raise InvalidArgument(f"host path {source.path}: expected {source.expect!r}: one of {EXPECTED}")


def _resolve(source: HostPath, write: bool) -> Path:
    """As the user who asks."""
    if source.expect in ("any-or-create", "directory-or-create"):
        _make_directory(Path(source.path))
    elif source.expect == "file-or-create":
        _make_file(source.path)
    fd = open_theirs(source.path, os.O_PATH)
    try:
        kind = os.fstat(fd).st_mode
        _check_kind(source, kind)
        wanted = os.R_OK | (os.W_OK if write else 0) | (os.X_OK if stat.S_ISDIR(kind) else 0)
        if not may_access(fd, wanted):
            what = "read and write" if write else "read"
            raise InvalidArgument(f"{source.path}: whoever asks for it may not {what} it")
        return Path(os.readlink(f"/proc/self/fd/{fd}"))
    finally:
        os.close(fd)


def _check_kind(source: HostPath, mode: int) -> None:
    directory = stat.S_ISDIR(mode)
    if not directory and not stat.S_ISREG(mode):
        hint = "it can be a disk, of the format raw" if stat.S_ISBLK(mode) else None
        raise InvalidArgument(f"{source.path}: neither a directory nor a regular file", hint=hint)
    wanted = source.expect.partition("-")[0]
    if wanted in ("directory", "file") and directory != (wanted == "directory"):
        raise Conflict(f"{source.path}: a {'directory' if directory else 'file'}, not a {wanted}")


def _make_directory(path: Path) -> None:
    """With its parents, 0755 whatever the umask says: a directory belongs to the user who makes it."""
    if path.exists():
        return
    if path.parent != path:
        _make_directory(path.parent)
    try:
        path.mkdir(0o755)
    except FileExistsError:
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(fd, 0o755)
    finally:
        os.close(fd)


def _make_file(path: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return
    try:
        os.fchmod(fd, 0o644)
    finally:
        os.close(fd)


def _other(path: Path, own: Path) -> str:
    whose = "the kernel's" if own in KERNELS_OWN else "hyperd's own"
    return f"is {whose}" if path.is_relative_to(own) else f"has {whose} {own} in it"


@contextmanager
def _failing(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise NotFound(f"{path}: there is no such file or directory on the host") from None
    except PermissionError as error:
        raise InvalidArgument(f"{path}: whoever asks for it may not get there: {error.strerror}") from None
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror or error}") from error
