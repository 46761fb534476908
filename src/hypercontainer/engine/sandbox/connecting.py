"""A pod comes into a network or leaves it, ports are published: at its next start, or at once where its VM runs."""

from __future__ import annotations

import contextlib

from hypercontainer.agent.operations import Interface
from hypercontainer.contract.networks import Join
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network import ports
from hypercontainer.engine.network.cni import MIXED, is_cni
from hypercontainer.engine.network.network import Places, mac_bytes
from hypercontainer.engine.network.networks import Networks
from hypercontainer.engine.network.wishes import SPECIAL
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox.beginning import vm_config
from hypercontainer.engine.sandbox.live import Live
from hypercontainer.engine.sandbox.sandbox import Sandbox
from hypercontainer.engine.state import Attachment, PodRecord
from hypercontainer.errors import Conflict, HyperError, NotFound
from hypercontainer.hypervisor.spec import Nic
from hypercontainer.linux.waiting import whole

OPERATION_S = 30.0


async def publish(sandbox: Sandbox, wishes: tuple[PortMapping, ...]) -> tuple[PortMapping, ...]:
    """All or none, at once where the VM runs, and kept; the new ones, with their ports of the host."""
    async with sandbox.busy:
        record, chosen = sandbox.record.value, wishes
        ports.check_new(wishes, record.ports)
        if (live := sandbox.wired) is not None:
            chosen = ports.choose(wishes)
            await sandbox.network.publish(live.vm, chosen)
            sandbox.record.change(published=(*record.published, *chosen))
        sandbox.record.change(ports=(*record.ports, *wishes))
    return chosen


async def withdraw(sandbox: Sandbox, wishes: tuple[PortMapping, ...]) -> None:
    async with sandbox.busy:
        record = sandbox.record.value
        ports.check_there(wishes, (*record.ports, *record.published), record.name or sandbox.id)
        meant, kept = ports.split(record.published, wishes)
        if (live := sandbox.wired) is not None:
            await sandbox.network.withdraw(live.vm, meant)
        sandbox.record.change(ports=ports.split(record.ports, wishes)[1], published=kept)


async def connect(sandbox: Sandbox, networks: Networks, join: Join, what: str) -> None:
    """``what`` names the pod for people.  Conflict where it is there already, or has a network of its own or none."""
    record = sandbox.record
    async with sandbox.busy, sandbox.awake():
        wished = record.value.networks
        if any(each.name in SPECIAL for each in wished):
            raise Conflict(f"{what} has the network {wished[0].name!r}, and can have no other besides")
        if any(each.name == join.name for each in wished):
            raise Conflict(f"{what} is in network {join.name} already")
        if wished and is_cni(wished) != is_cni([join]):
            raise Conflict(f"{what} is in {wished[0].name}, and can not be in {join.name} too: {MIXED}")
        if sandbox.wired is not None:
            await _plug_in(record, networks.places([join]), sandbox.wired, join)
        record.change(networks=(*wished, join))


async def disconnect(sandbox: Sandbox, networks: Networks, network: str, what: str) -> None:
    """Conflict where it is not there.  The interface that its VM began with stays in the guest, down."""
    record = sandbox.record
    async with sandbox.busy, sandbox.awake():
        live, places = sandbox.wired, networks.places(record.value.networks)
        kept = tuple(each for each in record.value.networks if each.name != network)
        if kept == record.value.networks:
            raise Conflict(f"{what} is not in network {network}")
        if live is not None:
            for attachment in (each for each in record.value.attachments if each.network == network):
                await _plug_out(record, places, live, attachment)
            await _tell(record, places, live)
            record.change(attachments=places.attached(record.value.id))
        record.change(networks=kept)


async def _plug_in(record: Kept[PodRecord], places: Places, live: Live, join: Join) -> None:
    pod, published = record.value.id, record.value.published
    made = await places.connect(record.value, join, len(live.vm.record.taps))
    try:
        await live.vm.attach_nic(Nic(made.mac_address, places.tap(pod, made)))
        await places.plug_in(pod, made, published)
        await _tell(record, places, live, made.tap)
    except BaseException:
        with contextlib.suppress(HyperError):  # it goes with its VM
            await whole(_plug_out(record, places, live, made))
        raise
    record.change(attachments=places.attached(pod))


async def _plug_out(record: Kept[PodRecord], places: Places, live: Live, attachment: Attachment) -> None:
    if attachment.tap in [tap.name for tap in live.vm.record.taps]:  # it began with it, and keeps it
        gone = Interface(mac=mac_bytes(attachment.mac_address), name=attachment.interface, down=True)
        await live.agent.configure(vm_config(record.value, (gone,)), timeout_s=OPERATION_S)
    else:
        with contextlib.suppress(NotFound):  # where it never was plugged in
            await live.vm.detach_nic(attachment.mac_address)
    await places.disconnect(record.value.id, attachment, record.value.published)


async def _tell(record: Kept[PodRecord], places: Places, live: Live, new: str = "") -> None:
    if told := places.told(record.value.id, new):
        await live.agent.configure(vm_config(record.value, told), timeout_s=OPERATION_S)
