"""Opens what a disk consists of and plugs disks into a running QEMU."""

from __future__ import annotations

import asyncio
import contextlib
import os
import zlib
from collections.abc import Mapping, Sequence

import msgspec

from hypercontainer.errors import Conflict, HypervisorError, NotFound
from hypercontainer.hypervisor.extents import open_extents
from hypercontainer.hypervisor.qemu import vmdk
from hypercontainer.hypervisor.qemu.argv import (
    block_device,
    blockdev,
    device_id,
    drive_name,
    drive_node,
    empty_name,
    fdset,
    node_name,
)
from hypercontainer.hypervisor.qemu.qmp import Qmp, QmpError
from hypercontainer.hypervisor.qemu.slots import Slots
from hypercontainer.hypervisor.spec import DiskSpec


def open_descriptor(disk: DiskSpec, sets: list[int], stack: contextlib.ExitStack) -> int:
    """The VMDK text for extents in these descriptor sets, as a read-only descriptor of a file without a name."""
    names = [fdset(number) for number in sets]
    text = vmdk.descriptor(zip(names, (size for _, size in disk.extents), strict=True))
    writable = os.memfd_create("vmdk", os.MFD_CLOEXEC)
    with open(writable, "wb") as file:
        file.write(text)
        file.flush()
        fd = os.open(f"/proc/self/fd/{writable}", os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd


async def attach(qmp: Qmp, slots: Slots, disk: DiskSpec, count: int, *, waits: bool) -> None:
    """``waits``: see ``VMSpec.waits_for_room``.  Raises ``Conflict`` where the serial is taken; a failure takes back
    what it has done."""
    if await _sets_of(qmp, disk.serial):
        raise Conflict(f"disk {disk.serial} is attached already")
    with contextlib.ExitStack() as stack:
        fds = open_extents(disk, stack)
        async with contextlib.AsyncExitStack() as undo:
            sets = [await _hand_over(qmp, fd, disk.serial, undo) for fd in fds]
            first = sets[0]
            if len(sets) > 1:
                first = await _hand_over(qmp, open_descriptor(disk, sets, stack), disk.serial, undo)
            await qmp.execute("blockdev-add", blockdev(disk, fdset(first)))
            undo.push_async_callback(qmp.execute, "blockdev-del", {"node-name": node_name(disk.serial)})
            await slots.plug(qmp, block_device(disk, slots.bus, waits=waits), count, f"disk {disk.serial}")
            undo.pop_all()


async def detach(qmp: Qmp, slots: Slots, serial: str, timeout_s: float) -> None:
    await slots.unplug(qmp, device_id(serial), timeout_s, f"disk {serial}")
    await _let_go(qmp, serial, await _sets_of(qmp, serial))


async def grow(qmp: Qmp, serial: str, size_bytes: int) -> None:
    if not await _sets_of(qmp, serial):
        raise NotFound(f"no disk {serial} is attached")
    await qmp.execute("block_resize", {"node-name": node_name(serial), "size": size_bytes})


async def insert(qmp: Qmp, disk: DiskSpec) -> None:
    """Into the drive with its serial.  ``NotFound`` where there is none, ``Conflict`` where it is not empty.

    All that is to be said is said at once: somebody waits for this VM, and each answer would cost a millisecond.
    """
    serial = disk.serial
    with contextlib.ExitStack() as stack:
        fds = open_extents(disk, stack)
        sets = [_first_set(serial) + number for number in range(len(fds) + 1)]
        first = 0
        if len(fds) > 1:
            first, fds = len(fds), [*fds, open_descriptor(disk, sets[:-1], stack)]
        mark = {"opaque": node_name(serial)}
        said = [
            qmp.execute("add-fd", {"fdset-id": number, **mark}, fds=[fd])
            for number, fd in zip(sets, fds, strict=False)
        ]
        said.append(qmp.execute("blockdev-add", blockdev(disk, fdset(sets[first]))))
        said.append(_refill(qmp, serial, node_name(serial), read_only=disk.read_only))
        *added, made, filled = await asyncio.gather(*said, return_exceptions=True)
    problem = next((answer for answer in (*added, made, filled) if isinstance(answer, BaseException)), None)
    if problem is None:
        return
    if isinstance(made, QmpError) and "Duplicate" in made.description:
        raise Conflict(f"drive {serial} has a disk in it") from made
    if not isinstance(made, BaseException):
        await _let_go(qmp, serial, sets[: len(fds)])
    raise problem


def _first_set(serial: str) -> int:
    """Where a drive's descriptors are, far above those that were there from the start, or that QEMU numbers."""
    return (1 + zlib.crc32(serial.encode()) % 0xFFFF) << 12


async def eject(qmp: Qmp, serial: str) -> None:
    sets = await _sets_of(qmp, serial)
    if not sets:
        raise NotFound(f"drive {serial} is empty")
    nodes = await qmp.execute("query-named-block-nodes", {"flat": True})
    found = [node for node in nodes if isinstance(node, Mapping)] if isinstance(nodes, list) else []
    read_only = any(node.get("node-name") == drive_name(serial) and node.get("ro") is True for node in found)
    await _refill(qmp, serial, empty_name(serial), read_only=read_only)
    await _let_go(qmp, serial, sets)


async def _refill(qmp: Qmp, serial: str, file: str, *, read_only: bool) -> None:
    try:
        await qmp.execute("blockdev-reopen", {"options": [drive_node(serial, file, read_only=read_only)]})
    except QmpError as error:
        if "find" in error.description:
            raise NotFound(f"there is no drive {serial}: {error.description}") from error
        raise


async def _let_go(qmp: Qmp, serial: str, sets: Sequence[int]) -> None:
    """Of a disk that no device uses any more, and of the descriptors behind it."""
    await qmp.execute("blockdev-del", {"node-name": node_name(serial)})
    for number in sets:
        await qmp.execute("remove-fd", {"fdset-id": number})


async def _hand_over(qmp: Qmp, fd: int, serial: str, undo: contextlib.AsyncExitStack) -> int:
    """Gives QEMU a descriptor; the number of the set it is in there."""
    answer = await qmp.execute("add-fd", {"opaque": node_name(serial)}, fds=[fd])
    number = answer.get("fdset-id") if isinstance(answer, Mapping) else None
    if not isinstance(number, int):
        raise HypervisorError("QEMU did not say where it put a descriptor")
    undo.push_async_callback(qmp.execute, "remove-fd", {"fdset-id": number})
    return number


class _Fd(msgspec.Struct):
    opaque: str = ""


class _FdSet(msgspec.Struct):
    fds: list[_Fd]
    number: int = msgspec.field(name="fdset-id")


async def _sets_of(qmp: Qmp, serial: str) -> list[int]:
    """The descriptor sets of a disk, also of one that an earlier daemon attached."""
    try:
        sets = msgspec.convert(await qmp.execute("query-fdsets"), list[_FdSet])
    except msgspec.ValidationError as error:
        raise HypervisorError(f"QEMU's list of descriptors cannot be read: {error}") from error
    mark = node_name(serial)
    return [one.number for one in sets if any(fd.opaque == mark for fd in one.fds)]
