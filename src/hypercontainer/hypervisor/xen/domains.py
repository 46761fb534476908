"""Our domains among all others: found by UUID, known by our mark, and removed with all that they have of this host."""

from __future__ import annotations

import asyncio

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.driver import VMRecord
from hypercontainer.hypervisor.xen import blocks, devices, xl
from hypercontainer.hypervisor.xen.store import Store

UUID = "uuid"  # of ``VMRecord.foreign``
DOMAINS, OURS = "/local/domain", "hyper"
KINDS = (devices.CONSOLE, devices.DISK, devices.NIC)


def mark(uuid: str) -> str:
    """Where it is written that a domain is ours, and runs: its VM's id."""
    return f"/vm/{uuid}/{OURS}"


async def find(store: Store, uuid: str) -> int | None:
    """The number of the domain with this UUID."""
    for name in await store.names(DOMAINS):
        if name.isdecimal() and await store.read(f"{DOMAINS}/{name}/vm") == f"/vm/{uuid}":
            return int(name)
    return None


async def destroy(uuid: str, listing: xl.Listing) -> None:
    """At once; nothing happens where it is gone.  Raises ``HypervisorError`` where it stays."""
    found = await listing.find(uuid)
    if found is None:
        return
    try:
        await xl.do("destroy", str(found.id))
    except HypervisorError:
        left = await listing.find(uuid)  # somebody else may have been quicker
        if left is not None and not left.gone:
            raise


async def make(store: Store, device: devices.Device, uuid: str) -> None:
    """Both sides of it, the host's first: who finds one finds the other.  It says there whose it is."""
    await store.give(device.back_path, 0, device.domain)
    await store.write(f"{device.back_path}/{OURS}", uuid)
    for name, value in device.back_entries().items():
        if name != devices.STATE:
            await store.write(f"{device.back_path}/{name}", value)
    await store.give(device.front_path, device.domain, 0)
    for name, value in device.front_entries().items():
        await store.write(f"{device.front_path}/{name}", value)
    await store.write(f"{device.back_path}/{devices.STATE}", devices.INITIALISING)


async def remove(record: VMRecord, store: Store, listing: xl.Listing, domain: int | None) -> None:
    """A domain, by its UUID, and what it had."""
    await destroy(record.foreign[UUID], listing)
    for kind in KINDS:
        if domain is not None:
            await store.remove(devices.backs(kind, domain))
        for path in await _backs(store, kind, record.foreign[UUID]):
            await store.remove(path)
    await asyncio.to_thread(blocks.detach, record.id)


async def _backs(store: Store, kind: str, uuid: str) -> list[str]:
    """What is above the host's side of its devices, also where it is gone and nobody knows its number."""
    found = []
    for number in await store.names(devices.BACKS + kind):
        path = f"{devices.BACKS}{kind}/{number}"
        owners = [await store.read(f"{path}/{name}/{OURS}") for name in await store.names(path)]
        if uuid in owners:
            found.append(path)
    return found
