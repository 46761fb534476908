"""What a volume is made of on the host: a disk, or a directory that several VMs write to at once, or what is written
down of the server that has it.

A directory's tree is a guest's: as deep and as wide as it likes.  Nothing here goes into it by recursion, nor follows a
link.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path

import msgspec

from hypercontainer.contract.volumes import NfsShare
from hypercontainer.errors import InvalidArgument

DISK_KIND, SHARED_KIND, NFS_KIND = "disk", "shared", "nfs"
KINDS = (DISK_KIND, SHARED_KIND)  # of what is on this host
DISK, FILES, SHARE = "disk.img", "files", "nfs.json"
MODE = 0o755  # of a new directory, as of a new disk's root
SECTOR_BYTES = 512  # what st_blocks counts
NO_SIZE_HINT = "leave the size out: it has the room that the host's file system has"


def kind_of(folder: Path) -> str:
    """Of the volume in this folder; "" where it has none."""
    if (folder / FILES).is_dir():
        return SHARED_KIND
    if (folder / SHARE).is_file():
        return NFS_KIND
    return DISK_KIND if (folder / DISK).is_file() else ""


def content(folder: Path) -> Path:
    """Its disk's file, or its directory, or where its server stands."""
    return folder / {SHARED_KIND: FILES, NFS_KIND: SHARE}.get(kind_of(folder), DISK)


def read(folder: Path) -> NfsShare | None:
    """The server's directory that the volume in this folder is; None where it is none."""
    try:
        return msgspec.json.decode((folder / SHARE).read_bytes(), type=NfsShare)
    except (FileNotFoundError, NotADirectoryError):
        return None


def check(name: str, kind: str, size_bytes: int | None) -> None:
    if kind not in KINDS:
        raise InvalidArgument(repr(kind), field="type", takes=" or ".join(KINDS))
    if kind == SHARED_KIND and size_bytes is not None:
        raise InvalidArgument(f"volume {name} is shared, and has no size of its own", hint=NO_SIZE_HINT)


def check_nfs(name: str, kind: str | None, size_bytes: int | None) -> None:
    if kind or size_bytes is not None:
        raise InvalidArgument(
            f"volume {name} is an NFS server's, and has no type and no size of ours", hint="leave them out"
        )


def make(folder: Path) -> None:
    (folder / FILES).mkdir()
    (folder / FILES).chmod(MODE)


def is_empty(directory: Path) -> bool:
    """And as it was made."""
    is_now = directory.stat()
    return is_now.st_mode & 0o7777 == MODE and is_now.st_uid == os.geteuid() and not any(directory.iterdir())


def used_bytes(folder: Path) -> int:
    """Of the host's disk."""
    if kind_of(folder) == DISK_KIND:
        return (folder / DISK).stat().st_blocks * SECTOR_BYTES
    if kind_of(folder) == NFS_KIND:
        return 0
    command = ["du", "--summarize", "--block-size=1", "--one-file-system", "--", str(folder / FILES)]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    return int(said.split(b"\t")[0] or 0)


def remove_tree(top: Path) -> None:
    """A folder with all that is in it.  Directories are brought up to it before they are emptied, so that there is no
    depth; each is made its user's own first, which a guest may have taken the right to away from."""
    place = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        waiting, count = ["."], 0
        while waiting:
            name = waiting.pop()
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=place)
            try:
                for entry in _entries(inner):
                    if not entry.is_dir(follow_symlinks=False):
                        os.unlink(entry.name, dir_fd=inner)
                        continue
                    if os.geteuid() != 0:
                        os.chmod(entry.name, 0o700, dir_fd=inner)
                    if name != ".":
                        count += 1
                        brought = f"{os.urandom(8).hex()}-{count}"
                        os.rename(entry.name, brought, src_dir_fd=inner, dst_dir_fd=place)
                        waiting.append(brought)
                    else:
                        waiting.append(entry.name)
            finally:
                os.close(inner)
            if name != ".":
                os.rmdir(name, dir_fd=place)
    finally:
        os.close(place)
    with suppress(FileNotFoundError):
        top.rmdir()


def _entries(fd: int) -> list[os.DirEntry[str]]:
    with os.scandir(fd) as found:
        return list(found)
