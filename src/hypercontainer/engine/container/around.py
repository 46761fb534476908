"""What a run of a container takes of its surroundings, told to those who follow events: as Docker has it, a container
is in its networks and has its volumes while it runs."""

from __future__ import annotations

from hypercontainer.contract.networks import CNI, CNI_DRIVER, DRIVER
from hypercontainer.contract.volumes import NamedVolume
from hypercontainer.engine.events import EventBus
from hypercontainer.engine.state import Attachment, ContainerRecord, PodRecord


def taken(events: EventBus, record: ContainerRecord, pod: PodRecord) -> None:
    _networks(events, "connect", record, pod)
    sources = _volumes(record, pod)
    for mount in record.spec.mounts:
        if (source := sources.get(mount.volume)) is not None:
            written = "false" if mount.read_only else "true"
            facts = {"destination": mount.path, "read/write": written, "propagation": ""}
            events.publish("volume", "mount", source.name, container=record.id, driver="local", **facts)


def given_back(events: EventBus, record: ContainerRecord, pod: PodRecord) -> None:
    """``pod``: as it was while it ran."""
    _networks(events, "disconnect", record, pod)
    sources = _volumes(record, pod)
    for name in dict.fromkeys(mount.volume for mount in record.spec.mounts if mount.volume in sources):
        events.publish("volume", "unmount", sources[name].name, container=record.id, driver="local")


def _networks(events: EventBus, action: str, record: ContainerRecord, pod: PodRecord) -> None:
    for place in pod.attachments:
        facts = {"name": place.network, "type": _driver(place)}
        events.publish("network", action, place.network_id or place.network, container=record.id, **facts)


def _driver(place: Attachment) -> str:
    if not place.network_id:
        return place.network
    return CNI_DRIVER if place.network.startswith(CNI) else DRIVER


def _volumes(record: ContainerRecord, pod: PodRecord) -> dict[str, NamedVolume]:
    """Those of hyperd's, by what they are called in the container."""
    known = (*pod.spec.volumes, *record.spec.volumes)
    return {one.name: one.source for one in known if isinstance(one.source, NamedVolume)}
