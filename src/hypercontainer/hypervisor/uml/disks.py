"""Which disk is at which unit of a User Mode Linux, and disks plugged into one that runs.

The kernel does not say where it has which serial; so that is written down, before it is asked to have one more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from hypercontainer.errors import Conflict, HypervisorError, NotFound, NotSupported, Unavailable
from hypercontainer.hypervisor import extents
from hypercontainer.hypervisor.spec import DiskSpec
from hypercontainer.hypervisor.uml import control
from hypercontainer.hypervisor.uml.argv import ubd

UNITS = 26  # MAX_DEV of the kernel's ubd driver


def open_locked(disk: DiskSpec, fds: contextlib.ExitStack) -> list[int]:
    """``extents.open_locked``.  Raises ``NotSupported`` for a format that it does not have."""
    check_format(disk)
    return extents.open_locked(disk, fds)


def check_format(disk: DiskSpec) -> None:
    if disk.format != "raw":
        raise NotSupported(
            f"disk {disk.extents[0][0]}: User Mode Linux has raw disks, not {disk.format}",
            hint="run it on QEMU: hypervisor qemu",
        )


class _Written(msgspec.Struct):
    most: int
    units: dict[str, int]
    drives: dict[str, int] = {}


class Units:
    """``path``: the file that they are written down in."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, disks: Sequence[str], drives: Sequence[str], slots: int) -> None:
        """The serials that a VM begins with, from the first unit on; those that each have a unit from then on; and for
        how many more there is a place."""
        units = {serial: unit for unit, serial in enumerate(disks)}
        kept = {serial: unit for unit, serial in enumerate(drives, len(units))}
        self._write(_Written(min(UNITS, len(units) + len(kept) + slots), units, kept))

    def find(self, serial: str) -> int:
        unit = self._read().units.get(serial)
        if unit is None:
            raise NotFound(f"no disk {serial} is attached")
        return unit

    def in_drive(self, serial: str) -> int:
        """Of the disk that is in a drive."""
        written = self._read()
        if serial not in written.drives or serial not in written.units:
            raise NotFound(f"no disk is in a drive {serial}")
        return written.units[serial]

    def check_new(self, serial: str) -> None:
        """``Conflict`` for one that is there."""
        if serial in self._read().units:
            raise Conflict(f"disk {serial} is attached already")

    def take(self, serial: str) -> int:
        """A free one, for this disk, which is new; ``Unavailable`` where none is left."""
        written = self._read()
        taken = {*written.units.values(), *written.drives.values()}
        free = next((unit for unit in range(written.most) if unit not in taken), None)
        if free is None:
            raise Unavailable(f"disk {serial}: all of this VM's slots for more disks are taken")
        self._write(msgspec.structs.replace(written, units={**written.units, serial: free}))
        return free

    def take_drive(self, serial: str) -> int:
        """The one of the drive that this disk, which is new, belongs into; ``NotFound`` where there is none."""
        written = self._read()
        if serial not in written.drives:
            raise NotFound(f"there is no drive {serial}")
        unit = written.drives[serial]
        self._write(msgspec.structs.replace(written, units={**written.units, serial: unit}))
        return unit

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
            await self._plug(disk, self._units.take)

    async def grow(self, serial: str, size_bytes: int) -> None:
        async with self._turn:
            unit = self._units.find(serial)
            try:
                await control.ask(self._socket, f"config ubd{unit}=>{size_bytes}")
            except control.Refused as error:
                raise HypervisorError(f"disk {serial} does not grow: {error.message}") from error

    async def insert(self, disk: DiskSpec) -> None:
        """Raises ``NotFound`` where there is no such drive, ``Conflict`` where a disk is in it."""
        async with self._turn:
            await self._plug(disk, self._units.take_drive)

    async def detach(self, serial: str, timeout_s: float) -> None:
        async with self._turn:
            await self._unplug(serial, self._units.find(serial), timeout_s)

    async def eject(self, serial: str) -> None:
        async with self._turn:
            await self._unplug(serial, self._units.in_drive(serial), control.TIMEOUT_S)

    async def _plug(self, disk: DiskSpec, take: Callable[[str], int]) -> None:
        self._units.check_new(disk.serial)  # else it would be told that another VM has it
        with contextlib.ExitStack() as fds:
            files = open_locked(disk, fds)
            names = [f"@+{number}" for number in range(len(files))]
            unit = take(disk.serial)
            try:
                await control.ask(self._socket, f"config ubd{unit}{ubd(disk, names)}", files)
            except control.Refused as error:
                self._units.give_back(disk.serial)
                raise HypervisorError(f"disk {disk.serial}: {error.message}") from error

    async def _unplug(self, serial: str, unit: int, timeout_s: float) -> None:
        try:
            await control.ask(self._socket, f"remove ubd{unit}", timeout_s=timeout_s)
        except control.Refused as error:
            raise HypervisorError(f"the guest refused to give up disk {serial}: {error.message}") from error
        self._units.give_back(serial)
