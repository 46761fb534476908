"""Records as the API shows them; pure."""

from __future__ import annotations

import shlex
import time
from typing import Any

from msgspec.structs import replace

from hypercontainer.contract.answers import (
    Endpoint,
    Health,
    Inspect,
    Machine,
    MountPoint,
    NetworkState,
    Port,
    Summary,
)
from hypercontainer.contract.ports import exposed as exposed_ports
from hypercontainer.contract.spec import PortMapping
from hypercontainer.contract.states import ALIVE, State
from hypercontainer.contract.volumes import (
    DiskImage,
    HostPath,
    ImageVolume,
    NamedVolume,
    NetworkDisk,
    NfsShare,
)
from hypercontainer.engine import times
from hypercontainer.engine.places import Places
from hypercontainer.engine.provisions import named_volumes
from hypercontainer.engine.state import Attachment, ContainerRecord, PodRecord
from hypercontainer.hypervisor.resources import vcpus_for
from hypercontainer.semantics.nfs import words
from hypercontainer.volume import network as network_disks

_UNITS = (
    (31_536_000, "year"),
    (2_592_000, "month"),
    (604_800, "week"),
    (86_400, "day"),
    (3600, "hour"),
    (60, "minute"),
)


def duration(seconds: float) -> str:
    """As people say it: "Less than a second", "5 seconds", "About a minute", "3 hours"."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    if whole < 120:
        return "About a minute"
    if 3600 <= whole < 7200:
        return "About an hour"
    for size, unit in _UNITS:
        # A unit is used from two of it on, as `docker ps` does, so that "26 hours" is not "1 day".
        if whole >= 2 * size:
            return f"{whole // size} {unit}s"
    raise AssertionError(whole)


def since(moment: str) -> str:
    return duration((time.time_ns() - times.to_ns(moment)) / 1e9)


def status(record: ContainerRecord, pod: PodRecord) -> str:
    """For people, as `docker ps` says it, and why it stands still."""
    if record.state is State.CREATED:
        return "Created"
    if record.state is State.STARTING:
        return "Starting"
    if record.state is State.REMOVING:
        return "Removal In Progress"
    if record.state in (State.RUNNING, State.PAUSED):
        return f"Up {since(record.started)}" + _beside_up(record, pod)
    ago = f" {since(record.finished)} ago" if record.finished else ""
    verb = "Restarting" if record.state is State.RESTARTING else "Exited"
    return f"{verb} ({record.exit_status}){ago}"


def _beside_up(record: ContainerRecord, pod: PodRecord) -> str:
    if record.state is State.PAUSED:
        return " (Paused)"
    if pod.disk_full:
        return " (Disk full)"
    if (known := health(record)) is None:
        return ""
    return f" (health: {known.status})" if known.status == "starting" else f" ({known.status})"


def health(record: ContainerRecord) -> Health | None:
    """What does not run is unhealthy, as dockerd has it."""
    known = record.health
    return known if known is None or record.state in ALIVE else replace(known, status="unhealthy")


def port(mapping: PortMapping) -> Port:
    """Of a range none is chosen yet."""
    host_port = 0 if mapping.host_port_last else mapping.host_port
    return Port(mapping.host_ip, host_port, mapping.container_port, mapping.protocol)


def ports(record: ContainerRecord, pod: PodRecord) -> tuple[Port, ...]:
    published = [port(mapping) for mapping in pod.published]
    known = {(port.container_port, port.protocol) for port in published}
    # Of a container that an earlier release made only the specification says it.
    exposed = [one for text in record.effective.exposed or record.spec.expose for one in _numbers(text)]
    return (*published, *(Port("", 0, *one) for one in dict.fromkeys(exposed) if one not in known))


def _numbers(text: str) -> tuple[tuple[int, str], ...]:
    """Of a port that an image exposes, which may be none that could be published."""
    try:
        return exposed_ports(text)
    except ValueError:
        return ()


def mount_points(record: ContainerRecord, pod: PodRecord) -> tuple[MountPoint, ...]:
    """Of volumes; those of other containers of the pod have their names alone."""
    sources = {volume.name: volume.source for volume in (*pod.spec.volumes, *record.spec.volumes)}
    found = []
    for mount in record.spec.mounts:
        match sources.get(mount.volume):
            case NamedVolume(name=name):
                found.append(MountPoint("volume", name, mount.path))
            case HostPath(path=path):
                found.append(MountPoint("bind", path, mount.path))
            case DiskImage(path=path):
                found.append(MountPoint("disk", path, mount.path))
            case NetworkDisk() as disk:
                found.append(MountPoint("disk", network_disks.where(disk).words, mount.path))
            case NfsShare() as share:
                found.append(MountPoint("nfs", words(share), mount.path))
            case ImageVolume(reference=reference):
                found.append(MountPoint("image", reference, mount.path))
            case _:
                found.append(MountPoint("", mount.volume, mount.path))
    return tuple(found)


def summary(
    record: ContainerRecord, pod: PodRecord, size_bytes: int | None = None, *, image: str = ""
) -> Summary:
    """``image``: what to call its image, in place of what it was asked for by."""
    facts = _common(record, pod)
    return Summary(**{**facts, "image": image or facts["image"]}, size_bytes=size_bytes)


def inspect(record: ContainerRecord, pod: PodRecord, *, places: Places, execs: tuple[str, ...]) -> Inspect:
    return Inspect(
        **_common(record, pod),
        spec=record.spec,
        config=record.effective,
        pid=machine(pod).pid,
        error=record.error,
        message=record.message,
        health=health(record),
        oom_killed=record.oom_killed,
        restart_count=record.restart_count,
        vm=machine(pod),
        network=network(pod),
        joins=pod.networks,
        log_path=str(places.log(record.id)),
        execs=execs,
        asked=record.asked,
        disks={
            **{name: places.volume_source(name) for name in sorted(named_volumes(pod.spec, [record]))},
            **{
                name: image.image_id
                for name, image in sorted({**pod.volume_images, **record.volume_images}.items())
            },
        },
    )


def machine(pod: PodRecord) -> Machine:
    if pod.vm is None:
        return Machine(memory_mib=pod.memory_mib, vcpus=vcpus_for(pod.cpus))
    return Machine(
        memory_mib=pod.memory_mib,
        vcpus=vcpus_for(pod.cpus),
        hypervisor=str(pod.vm["driver"]),
        accelerator=pod.vm_accelerator,
        kernel=pod.vm_kernel,
        kernel_args=pod.vm_kernel_args,
        run_dir=str(pod.vm["run_dir"]),
        pid=int(pod.vm["pid"]),
        disk_full=pod.disk_full,
        verified=bool(pod.images) and all(part.root_hash for part in pod.images),
    )


def network(pod: PodRecord) -> NetworkState:
    """What is there while its VM runs; before and after, what it is to be connected to."""
    if not pod.attachments:
        wished = tuple(
            Endpoint(network=join.name, aliases=join.aliases, mac_address=join.mac_address)
            for join in pod.networks
        )
        return NetworkState(mac_address=pod.mac, endpoints=wished)
    first = pod.attachments[0]
    endpoints = tuple(_endpoint(each) for each in pod.attachments)
    return NetworkState(
        address=first.address, gateway=first.gateway, mac_address=first.mac_address, endpoints=endpoints
    )


def _endpoint(attachment: Attachment) -> Endpoint:
    return Endpoint(**{name: getattr(attachment, name) for name in Endpoint.__struct_fields__})


def _common(record: ContainerRecord, pod: PodRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "image": record.image,
        "image_id": record.image_id,
        "command": shlex.join((*record.effective.entrypoint, *record.effective.command)),
        "created": record.created,
        "started": record.started,
        "finished": record.finished,
        "state": record.state.value,
        "status": status(record, pod),
        "exit_status": record.exit_status,
        "ports": ports(record, pod),
        "labels": record.labels,
        "pod": record.pod,
        "networks": tuple(join.name for join in pod.networks),
        "mounts": mount_points(record, pod),
    }
