"""Becomes a share's server: shuts this process in with the one directory it serves, then runs the server.

Run as a program of its own, by path and without the package, with a ``Jail`` in JSON as its argument and, as
descriptors, the socket to serve (4) and the directory or file (5).  What the server finds itself in:

* a mount namespace whose root has the share (with neither set-user-id programs nor devices, and read-only where
  that was said), the programs and libraries of the host, read-only, where the server needs them, and of ``/proc`` its
  own ``fd`` and ``mountinfo``;
* a network, IPC and UTS namespace of its own;
* no capability but those for serving files to any user, and no way to more;
* a filter of system calls (``shares.FILTER``);
* for a share with a user: that user's ids, and the capabilities only in a user namespace that has them alone, so
  that they reach no file which that user could not reach.

Sources: mount_namespaces(7), user_namespaces(7), pivot_root(2), mount_setattr(2), prctl(2).
"""

# pathlib would be most of this program's time.
# ruff: noqa: PTH102, PTH103, PTH112, PTH114, PTH211
from __future__ import annotations

import base64
import ctypes
import json
import os
import stat
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn, TypedDict

    class Jail(TypedDict):
        server: str
        alone: bool  # it needs no other program and no library
        argv: list[str]
        user: tuple[int, int, list[int]] | None
        read_only: bool
        filter: str  # struct sock_filter[], in base64
        keep: int  # capabilities, as bits

    User = tuple[int, int, list[int]]

SERVER_FD, SOCKET_FD, SHARE_FD = 3, 4, 5  # 3 was the gate
SHARE, FILE = "share", "file"
PROGRAM_PLACES = ("usr", "bin", "sbin", "lib", "lib32", "lib64")
FAILED = 125
FAILURE = "a share cannot be served"
LAST_CAPABILITY = 63

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWNET = (
    *(0x00020000, 0x04000000, 0x08000000),
    *(0x10000000, 0x40000000),
)
MS_BIND, MS_REC, MS_PRIVATE, MNT_DETACH = 0x1000, 0x4000, 0x40000, 2
MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV, ATTR_NOEXEC = 1, 2, 4, 8
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 22, 24, 38
SECCOMP_MODE_FILTER = 2
SYS_PIVOT_ROOT, SYS_OPENAT2, SYS_MOUNT_SETATTR = 155, 437, 442
RESOLVE_NO_SYMLINKS = 4
PLACE = b"/tmp"  # where the new root is mounted before it is the root: every system has it

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def main() -> NoReturn:
    jail: Jail = json.loads(sys.argv[1])
    os.umask(0o022)
    try:
        # By whoever starts it: a user may have no way to it.
        server = os.open(jail["server"], os.O_PATH | os.O_CLOEXEC)
        if server != SERVER_FD:
            os.dup2(server, SERVER_FD, inheritable=False)
        user = jail["user"]
        if user is not None:
            become(user)
        unshare(user)
        share = found_again(SHARE_FD)
        make_root(share, read_only=jail["read_only"], alone=jail["alone"])
        os.closerange(SHARE_FD, os.sysconf("SC_OPEN_MAX"))
        os.set_inheritable(SOCKET_FD, True)
        confine(jail["keep"], base64.b64decode(jail["filter"]))
        os.execve(SERVER_FD, jail["argv"], os.environ)  # noqa: S606 - no shell is what is wanted
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        sys.stderr.write(f"{FAILURE}: {error.strerror}{where}\n")
    sys.exit(FAILED)


def become(user: User) -> None:
    uid, gid, groups = user
    if os.geteuid() == 0:
        os.setgroups(groups)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
        # Or /proc/self would be root's, and its map of ids could not be written.
        checked(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), "prctl")


def unshare(user: User | None) -> None:
    flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET
    checked(libc.unshare(flags | (CLONE_NEWUSER if user is not None else 0)), "unshare")
    if user is not None:
        uid, gid, _ = user
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            fd = os.open(f"/proc/self/{name}", os.O_WRONLY)
            os.write(fd, text.encode())
            os.close(fd)


def found_again(fd: int) -> int:
    """The same, in our own mount namespace, from which alone it can be mounted."""
    path = os.readlink(f"/proc/self/fd/{fd}")
    how = struct.pack("3Q", os.O_PATH | os.O_CLOEXEC, 0, RESOLVE_NO_SYMLINKS)
    again: int = libc.syscall(SYS_OPENAT2, AT_FDCWD, os.fsencode(path), how, ctypes.c_size_t(len(how)))
    checked(again, path)
    if not os.path.samestat(os.fstat(again), os.fstat(fd)):
        raise OSError(0, "another file has taken its place", path)
    return again


def make_root(share: int, *, read_only: bool, alone: bool) -> None:
    """The new root, from the directory or file that ``share`` is."""
    mount(None, b"/", None, MS_REC | MS_PRIVATE)
    wanted = () if alone else PROGRAM_PLACES
    programs = {name: os.readlink(f"/{name}") for name in wanted if os.path.islink(f"/{name}")}
    places = [name for name in wanted if name not in programs and os.path.isdir(f"/{name}")]
    # Descriptors first: the place for the new root may be on the way to them.
    sources = {name: os.open(f"/{name}", os.O_PATH | os.O_CLOEXEC) for name in places}
    fds, mounts = (os.open(f"/proc/self/{name}", os.O_PATH | os.O_CLOEXEC) for name in ("fd", "mountinfo"))
    mount(b"tmpfs", PLACE, b"tmpfs", MS_NOSUID | MS_NODEV, b"mode=755,size=64k,nr_inodes=64")
    root = PLACE.decode()
    for name, target in programs.items():
        os.symlink(target, f"{root}/{name}")
    for name, fd in sources.items():
        os.mkdir(f"{root}/{name}")
        bind(fd, f"{root}/{name}", ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV)
    os.makedirs(f"{root}/proc/self/fd")
    bind(fds, f"{root}/proc/self/fd", ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)
    os.close(os.open(f"{root}/proc/self/mountinfo", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    bind(mounts, f"{root}/proc/self/mountinfo", ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)
    os.makedirs(f"{root}/proc/sys/fs")
    for name in ("file-max", "nr_open"):  # a server that is not to raise its limit asks all the same
        with open(f"{root}/proc/sys/fs/{name}", "w") as file:
            file.write("1000000\n")
    place = f"{root}/{SHARE}"
    os.mkdir(place)
    flags = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | (ATTR_RDONLY if read_only else 0)
    if stat.S_ISDIR(os.fstat(share).st_mode):
        bind(share, place, flags)
    else:
        os.close(os.open(f"{place}/{FILE}", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        bind(share, f"{place}/{FILE}", flags)
    set_attributes(root, ATTR_RDONLY, 0)
    os.chdir(root)
    checked(libc.syscall(SYS_PIVOT_ROOT, b".", b"."), "pivot_root")
    checked(libc.umount2(b".", MNT_DETACH), "umount2")
    os.chdir("/")


def bind(fd: int, target: str, flags: int) -> None:
    """With all that is mounted below."""
    mount(f"/proc/self/fd/{fd}".encode(), os.fsencode(target), None, MS_BIND | MS_REC)
    set_attributes(target, flags, AT_RECURSIVE)


def set_attributes(target: str, flags: int, at: int) -> None:
    attributes = struct.pack("4Q", flags, 0, 0, 0)
    size = ctypes.c_size_t(len(attributes))
    checked(libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, os.fsencode(target), at, attributes, size), target)


def confine(keep: int, program: bytes) -> None:
    """Of this process and of what it becomes, for good."""
    for number in range(LAST_CAPABILITY + 1):
        if not keep >> number & 1:
            libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)  # there is an end to those that the kernel knows
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    instructions = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog
    code = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(instructions))
    checked(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, code, 0, 0), "seccomp")


def mount(
    source: bytes | None, target: bytes, kind: bytes | None, flags: int, data: bytes | None = None
) -> None:
    checked(libc.mount(source, target, kind, ctypes.c_ulong(flags), data), os.fsdecode(target))


def checked(result: int, what: str) -> None:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)


if __name__ == "__main__":
    main()
