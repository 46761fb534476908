"""Which disk is at which unit of a User Mode Linux, and disks plugged into one that runs.

The kernel does not say where it has which serial; so that is written down, before it is asked to have one more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from hypercontainer.errors import Conflict, HypervisorError, NotFound, NotSupported, Unavailable
from hypercontainer.hypervisor import locks
from hypercontainer.hypervisor.driver import DiskSpec
from hypercontainer.hypervisor.extents import open_extents
from hypercontainer.hypervisor.uml import control
from hypercontainer.hypervisor.uml.argv import ubd

UNITS = 26  # MAX_DEV of the kernel's ubd driver


def open_locked(disk: DiskSpec, fds: contextlib.ExitStack) -> list[int]:
    """As ``open_extents``, with QEMU's locks on what QEMU would lock: the kernel is handed them with the descriptors.

    Raises ``NotSupported`` for a format that it does not have.
    """
    check_format(disk)
    opened = open_extents(disk, fds)
    if disk.locked or not disk.read_only:
        for fd, (path, _) in zip(opened, disk.extents, strict=True):
            if not locks.take(fd, read_only=disk.read_only):
                raise Conflict(f"disk {path} is in use by another virtual machine")
    return opened


def check_format(disk: DiskSpec) -> None:
    if disk.format != "raw":
        raise NotSupported(
            f"disk {disk.serial}: User Mode Linux has raw disks, not {disk.format}",
            hint="run it on QEMU: hypervisor qemu",
        )


class _Written(msgspec.Struct):
    most: int
    units: dict[str, int]


class Units:
    """``path``: the file that they are written down in."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, serials: Sequence[str], slots: int) -> None:
        """Those that a VM begins with, from the first unit on, and for how many more there is a place."""
        units = {serial: unit for unit, serial in enumerate(serials)}
        self._write(_Written(min(UNITS, len(serials) + slots), units))

    def find(self, serial: str) -> int:
        unit = self._read().units.get(serial)
        if unit is None:
            raise NotFound(f"no disk {serial} is attached")
        return unit

    def check_new(self, serial: str) -> None:
        """``Conflict`` for one that is there."""
        if serial in self._read().units:
            raise Conflict(f"disk {serial} is attached already")

    def take(self, serial: str) -> int:
        """A free one, for this disk, which is new; ``Unavailable`` where none is left."""
        written = self._read()
        taken = set(written.units.values())
        free = next((unit for unit in range(written.most) if unit not in taken), None)
        if free is None:
            raise Unavailable(f"disk {serial}: all of this VM's slots for more disks are taken")
        self._write(_Written(written.most, {**written.units, serial: free}))
        return free

    def give_back(self, serial: str) -> None:
        written = self._read()
        written.units.pop(serial, None)
        self._write(written)

    def _read(self) -> _Written:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Written)
        except (OSError, msgspec.MsgspecError) as error:
            raise HypervisorError(f"which disks a VM has cannot be read: {error}") from error

    def _write(self, written: _Written) -> None:
        new = self._path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(written))
        new.replace(self._path)


class Plugs:
    """One disk at a time: a kernel does one request after the other anyhow."""

    def __init__(self, socket: Path, units: Units) -> None:
        self._socket = socket
        self._units = units
        self._turn = asyncio.Lock()

    async def attach(self, disk: DiskSpec) -> None:
        """Raises ``Conflict`` where the serial is taken, ``Unavailable`` where all slots are."""
        async with self._turn:
            self._units.check_new(disk.serial)  # else it would be told that another VM has it
            with contextlib.ExitStack() as fds:
                files = open_locked(disk, fds)
                names = [f"@+{number}" for number in range(len(files))]
                unit = self._units.take(disk.serial)
                try:
                    await control.ask(self._socket, f"config ubd{unit}{ubd(disk, names)}", files)
                except control.Refused as error:
                    self._units.give_back(disk.serial)
                    raise HypervisorError(f"disk {disk.serial}: {error.message}") from error

    async def detach(self, serial: str, timeout_s: float) -> None:
        async with self._turn:
            unit = self._units.find(serial)
            try:
                await control.ask(self._socket, f"remove ubd{unit}", timeout_s=timeout_s)
            except control.Refused as error:
                raise HypervisorError(
                    f"the guest refused to give up disk {serial}: {error.message}"
                ) from error
            self._units.give_back(serial)
