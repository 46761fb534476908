"""Files as block devices of this machine, which is what Xen's kernel driver serves to guests.

Each file is a loop device, which carries in its name whose it is; several extents are one device of the device mapper
over these.  They outlive this process, and are found again by that name.  The calls block, for some milliseconds.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from hypercontainer.errors import Conflict, HypervisorError, NotSupported, Unavailable
from hypercontainer.hypervisor import locks
from hypercontainer.hypervisor.extents import open_extents
from hypercontainer.hypervisor.spec import DiskSpec
from hypercontainer.hypervisor.xen.xl import PATH

SECTOR = 512
_CONTROL = "/dev/loop-control"
_GET_FREE, _CONFIGURE, _CLEAR, _STATUS = 0x4C82, 0x4C0A, 0x4C01, 0x4C05
_READ_ONLY = 1
# struct loop_info64: device, inode, rdevice, offset, size limit, number, encryption (2), flags, names (2), key, init.
_INFO = struct.Struct("=QQQQQIIII64s64s32sQQ")
# struct loop_config: descriptor, block size, info, reserved.
_CONFIG = struct.Struct(f"=II{_INFO.size}s64s")
_NAME_AT = 9
# Of a VM's id, in names that have room for 63 bytes beside a serial and a number.
_ID_BYTES = 32
_TRIES = 64
_MAPPER_S = 20.0


def tag(vm: str, serial: str = "") -> str:
    """Begins the names of all loop devices that a VM has, and of nobody else's."""
    return f"hyper/{_short(vm)}/{serial}"


def _short(vm: str) -> str:
    return vm if len(vm) <= _ID_BYTES else hashlib.sha256(vm.encode()).hexdigest()[:_ID_BYTES]


def attach(vm: str, disk: DiskSpec) -> tuple[int, int]:
    """The numbers of the device that is this disk.  Raises what ``open_extents`` does, ``NotSupported``, ``Conflict``
    and ``Unavailable``; what was made by then is found by ``detach``."""
    check_format(disk)
    with contextlib.ExitStack() as fds:
        opened = open_extents(disk, fds)
        if disk.locked or not disk.read_only:
            for fd, (path, _) in zip(opened, disk.extents, strict=True):
                if not locks.take(fd, read_only=disk.read_only):
                    raise Conflict(f"disk {path} is in use by another virtual machine")
        if disk.device:
            return _numbers(opened[0])
        sizes = [size for _, size in disk.extents]
        # The device has the open file, and with it its locks, as long as it is there.
        loops = [
            _loop(fd, size, f"{tag(vm, disk.serial)}/{place}", read_only=disk.read_only)
            for place, (fd, size) in enumerate(zip(opened, sizes, strict=True))
        ]
    if len(loops) == 1:
        return loops[0]
    return _joined(vm, disk.serial, loops, sizes)


def check_format(disk: DiskSpec) -> None:
    if disk.format != "raw":
        raise NotSupported(
            f"disk {disk.extents[0][0]}: Xen's VMs have raw disks here, not {disk.format}",
            hint="run it on QEMU: hypervisor qemu",
        )


def detach(vm: str) -> None:
    """All that a VM has; who uses it still keeps it until then."""
    for name in _mapped(vm):
        _mapper("remove", "--deferred", name)
    for path, name in named():
        if name.startswith(tag(vm)):
            _clear(path)


def named() -> Iterator[tuple[str, str]]:
    """All loop devices that are in use, with what they are called."""
    for entry in Path("/sys/block").glob("loop*/loop"):
        path = f"/dev/{entry.parent.name}"
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                info = bytearray(_INFO.size)
                fcntl.ioctl(fd, _STATUS, info)
                yield path, _INFO.unpack(info)[_NAME_AT].rstrip(b"\0").decode(errors="replace")
            finally:
                os.close(fd)


def _clear(path: str) -> None:
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(fd, _CLEAR)
        finally:
            os.close(fd)


def _loop(file: int, size: int, name: str, *, read_only: bool) -> tuple[int, int]:
    info = _INFO.pack(
        *(0, 0, 0, 0, size, 0, 0, 0, _READ_ONLY if read_only else 0, name.encode()[:63], b"", b"", 0, 0)
    )
    try:
        control = os.open(_CONTROL, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise Unavailable(f"there are no loop devices: {error.strerror}", hint="modprobe loop") from error
    try:
        for _ in range(_TRIES):
            path = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
            device = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _CONFIGURE, _CONFIG.pack(file, SECTOR, info, b""))
                return _numbers(device)
            except OSError as error:
                if error.errno != errno.EBUSY:  # somebody else took it
                    raise
            finally:
                os.close(device)
    finally:
        os.close(control)
    raise Unavailable("all loop devices are taken")


def _numbers(device: int) -> tuple[int, int]:
    found = os.fstat(device).st_rdev
    return os.major(found), os.minor(found)


# ------------------------------------------------------------------------------------- several extents


def table(loops: list[tuple[int, int]], sizes: list[int]) -> str:
    """Of the device mapper: where each begins, how long it is, both in sectors, and what it is."""
    lines, at = [], 0
    for (major, minor), size in zip(loops, sizes, strict=True):
        lines.append(f"{at} {size // SECTOR} linear {major}:{minor} 0\n")
        at += size // SECTOR
    return "".join(lines)


def mapped_name(vm: str, serial: str = "") -> str:
    """As ``tag``, of the device mapper's.  There is no ":" in ids, one of which may begin another."""
    return f"hyper-{_short(vm)}:{serial}"


def _joined(vm: str, serial: str, loops: list[tuple[int, int]], sizes: list[int]) -> tuple[int, int]:
    name = mapped_name(vm, serial)
    _mapper("create", name, "--readonly", given=table(loops, sizes))
    said = _mapper("info", "-c", "--noheadings", "--separator", ":", "-o", "major,minor", name)
    major, _, minor = said.strip().partition(":")
    return int(major), int(minor)


def _mapped(vm: str) -> list[str]:
    if not Path("/dev/mapper/control").exists():
        return []
    try:
        said = _mapper("ls")
    except Unavailable:
        return []
    names = [line.split("\t")[0] for line in said.splitlines()]
    return [name for name in names if name.startswith(mapped_name(vm))]


def _mapper(*arguments: str, given: str = "") -> str:
    try:
        done = subprocess.run(
            ["dmsetup", "--noudevsync", *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=_MAPPER_S,
            env={"PATH": PATH, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise Unavailable("dmsetup is not installed", hint="apt install dmsetup") from None
    except subprocess.TimeoutExpired:
        raise HypervisorError(f"dmsetup {arguments[0]} did not end within {_MAPPER_S:g} s") from None
    if done.returncode:
        raise HypervisorError(f"dmsetup {arguments[0]}: {done.stderr.strip()[:300]}")
    return done.stdout
