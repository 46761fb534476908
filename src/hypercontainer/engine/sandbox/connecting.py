"""A pod comes into a network, or leaves one: at its next start, or at once where its VM runs."""

from __future__ import annotations

import asyncio
import contextlib

from hypercontainer.agent.operations import Interface
from hypercontainer.contract.networks import NONE, USER, Join
from hypercontainer.engine.network.bridged import interface
from hypercontainer.engine.network.network import mac_bytes
from hypercontainer.engine.network.networks import Networks
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox.beginning import vm_config
from hypercontainer.engine.sandbox.live import Live
from hypercontainer.engine.sandbox.sandbox import Sandbox
from hypercontainer.engine.state import Attachment, PodRecord
from hypercontainer.errors import Conflict, NotFound
from hypercontainer.hypervisor.driver import Nic, Tap

OPERATION_S = 30.0


async def connect(sandbox: Sandbox, networks: Networks, join: Join, what: str) -> None:
    """``what`` names the pod for people.  Conflict where it is there already, or has a network of its own or none."""
    record = sandbox.record
    async with sandbox.busy, sandbox.awake():
        wished = record.value.networks
        if any(each.name in (USER, NONE) for each in wished):
            raise Conflict(f"{what} has the network {wished[0].name!r}, and can have no other besides")
        if any(each.name == join.name for each in wished):
            raise Conflict(f"{what} is in network {join.name} already")
        if sandbox.live is not None:
            await _plug_in(record, networks, sandbox.live, join)
        record.change(networks=(*wished, join))


async def disconnect(sandbox: Sandbox, networks: Networks, network: str, what: str) -> None:
    """Conflict where it is not there.  The interface that its VM began with stays in the guest, down."""
    record = sandbox.record
    async with sandbox.busy, sandbox.awake():
        live = sandbox.live
        kept = tuple(each for each in record.value.networks if each.name != network)
        if kept == record.value.networks:
            raise Conflict(f"{what} is not in network {network}")
        if live is not None:
            for attachment in (each for each in record.value.attachments if each.network == network):
                await _plug_out(record, networks, live, attachment)
            await _tell(record, networks, live)
            record.change(attachments=networks.attached(record.value.id))
        record.change(networks=kept)


async def _plug_in(record: Kept[PodRecord], networks: Networks, live: Live, join: Join) -> None:
    pod, published = record.value.id, record.value.published
    made = await networks.connect(pod, join, len(live.vm.record.taps))
    try:
        await live.vm.attach_nic(Nic(made.mac_address, Tap(networks.control, made.tap)))
        await networks.plug_in(pod, made, published)
        await _tell(record, networks, live, made.tap)
    except BaseException:
        await asyncio.shield(_plug_out(record, networks, live, made))
        raise
    record.change(attachments=networks.attached(pod))


async def _plug_out(record: Kept[PodRecord], networks: Networks, live: Live, attachment: Attachment) -> None:
    if attachment.tap in [tap.name for tap in live.vm.record.taps]:  # it began with it, and keeps it
        gone = Interface(mac=mac_bytes(attachment.mac_address), name=attachment.interface, down=True)
        await live.agent.configure(vm_config(record.value, (gone,)), timeout_s=OPERATION_S)
    else:
        with contextlib.suppress(NotFound):  # where it never was plugged in
            await live.vm.detach_nic(attachment.mac_address)
    await networks.disconnect(record.value.id, attachment, record.value.published)


async def _tell(record: Kept[PodRecord], networks: Networks, live: Live, new: str = "") -> None:
    """The guest: of the interface with the way out, and of a ``new`` one, by its device."""
    held = networks.attached(record.value.id)
    told = [interface(each, way_out=each is held[0]) for each in held if each is held[0] or each.tap == new]
    if told:
        await live.agent.configure(vm_config(record.value, tuple(told)), timeout_s=OPERATION_S)
