"""The writable disk of a container: a sparse raw file with an empty ext4, copied from one made once per size.

What decided the options: the guest must not spend its first seconds initialising tables, so they are declared
zeroed, which in a sparse file costs nothing; a VM can be killed at any time, so there is a journal, a small one.  It
is empty: what mke2fs makes for fsck (lost+found) is taken out, for it would be the first thing in every new volume.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypercontainer.errors import Conflict, InvalidArgument, Unavailable
from hypercontainer.linux import disk, sparse

MIB = 1 << 20
BLOCK_BYTES = 4096
MIN_BYTES = 64 * MIB
MAX_BYTES = 1 << 44  # 16 TiB, the largest file of an ext4 host
COPY_BYTES = 1 << 16
MKFS_TIMEOUT_S = 60.0
PROGRAM_PATH = f"{os.defpath}:/usr/local/sbin:/usr/sbin:/sbin"
FORMAT_VERSION = 2  # of the cached files: raise it with any change of the options
FEATURES = (
    "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file,huge_file,"
    "dir_nlink,extra_isize,metadata_csum"
)


def mkfs_argv(program: str, path: Path, size_bytes: int) -> list[str]:
    """``mke2fs`` of a file that has its size.  The features are all named, so that the host's mke2fs.conf does not
    matter, and are those of Linux 4 and later."""
    journal_mib = 4 if size_bytes < 1024 * MIB else 16
    return [
        *(program, "-q", "-F", "-t", "ext4", "-b", str(BLOCK_BYTES), "-I", "256", "-i", "16384", "-m", "0"),
        *("-L", "hyper", "-O", FEATURES, "-J", f"size={journal_mib}"),
        *("-E", "lazy_itable_init=0,lazy_journal_init=1,nodiscard,root_owner=0:0", "--", str(path)),
    ]


def create_writable_disk(path: Path, size_bytes: int, cache: Path) -> None:
    """Make ``path``, a disk of ``size_bytes`` (rounded up to 4096) that takes some hundred KiB of the host's.

    ``cache`` is a folder for the empty disks of each size.  Raises Conflict where ``path`` exists,
    InvalidArgument for a size that cannot be, Unavailable where the host cannot make it.
    """
    if not MIN_BYTES <= size_bytes <= MAX_BYTES:
        raise InvalidArgument(
            f"writable disk of {size_bytes} bytes: from {MIN_BYTES} to {MAX_BYTES} are possible"
        )
    size_bytes = -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES
    pristine = cache / f"ext4-v{FORMAT_VERSION}-{size_bytes}.img"
    with _host_disk(path):
        if not pristine.exists():
            _make_pristine(pristine, size_bytes)
        _copy_sparse(pristine, path)


def _make_pristine(pristine: Path, size_bytes: int) -> None:
    """mke2fs reserves the tables' blocks; a sparse copy of what it made does not.  Two makers do no harm."""
    pristine.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mkfs-", dir=pristine.parent) as folder:
        made, copy = Path(folder, "made"), Path(folder, "copy")
        with made.open("xb") as file:
            file.truncate(size_bytes)
        _run(*mkfs_argv("mke2fs", made, size_bytes))
        _run("debugfs", "-w", "-R", "rmdir lost+found", str(made))
        _copy_sparse(made, copy)
        copy.rename(pristine)


def _run(name: str, *arguments: str) -> None:
    """A program of e2fsprogs."""
    program = shutil.which(name, path=PROGRAM_PATH)
    if program is None:
        raise Unavailable(f"{name} is not installed", hint="apt-get install e2fsprogs")
    argv = (program, *arguments)
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=MKFS_TIMEOUT_S,
            env={"PATH": PROGRAM_PATH, "LC_ALL": "C"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"{argv[0]} of a writable disk took more than {MKFS_TIMEOUT_S} s") from None
    if done.returncode:
        output = (done.stderr or done.stdout).decode(errors="replace").strip()
        if os.strerror(errno.ENOSPC) in output:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        raise Unavailable(f"{' '.join(argv)} failed with status {done.returncode}: {output}")


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy ``source`` to the new file ``target``, leaving out what is a hole or zero; nothing is left of a failure."""
    with source.open("rb", buffering=0) as reader, target.open("xb", buffering=0) as writer:
        try:
            size = os.fstat(reader.fileno()).st_size
            writer.truncate(size)
            for start, end in sparse.data_ranges(reader.fileno(), size):
                for at in range(start, end, COPY_BYTES):
                    piece = os.pread(reader.fileno(), min(COPY_BYTES, end - at), at)
                    if piece.count(0) != len(piece):
                        sparse.write_all(writer.fileno(), piece, at)
        except BaseException:
            target.unlink()
            raise


@contextmanager
def _host_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise Conflict(f"writable disk {path} exists already") from None
    except OSError as error:
        raise disk.unavailable("cannot make a writable disk", path, error) from error
