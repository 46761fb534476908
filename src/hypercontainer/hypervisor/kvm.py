"""``/dev/kvm``: whether it is there, and whether a VM's own uid gets at it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

DEVICE = Path("/dev/kvm")


def device_problem(device: Path = DEVICE) -> str | None:
    """Why this process cannot open the device, or None."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"there is no {device}"
    except OSError as error:
        return f"{device} cannot be opened: {error.strerror}"
    return None


def groups_for_vm(device: Path = DEVICE) -> tuple[int, ...]:
    """The groups a uid of its own needs to open the device: none where everybody may.  Never root's."""
    info = device.stat()
    mode = stat.S_IMODE(info.st_mode)
    return () if mode & 0o006 == 0o006 or info.st_gid == 0 else (info.st_gid,)


def access_problem(device: Path = DEVICE) -> str | None:
    """Why a VM with a uid of its own could not open the device, which matters to root alone; or None."""
    if os.geteuid() != 0:
        return None
    info = device.stat()
    mode = stat.S_IMODE(info.st_mode)
    if mode & 0o006 == 0o006 or (mode & 0o060 == 0o060 and info.st_gid != 0):
        return None
    return (
        f"{device} is for root alone, and VMs do not run as root (chgrp kvm {device} && chmod 0660 {device})"
    )


def device_key(device: Path = DEVICE) -> str:
    """Changes when the device does."""
    try:
        info = device.stat()
    except OSError:
        return "-"
    return f"{info.st_rdev:x}:{info.st_mode:o}:{info.st_uid}:{info.st_gid}"
