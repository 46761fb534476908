"""What a pod's volumes are to the host (disks, shares) and to the guest (mounts).

A volume's disk and its place in the guest go by names that follow from the volume's own, so that nothing has to be
written down to find them again.
"""

from __future__ import annotations

import errno
import os
import pwd
from asyncio import Future
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from hypercontainer.agent.operations import Disk, File, FileSystem, VolumePlan
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.contract.volumes import Contents as Files
from hypercontainer.contract.volumes import (
    DiskImage,
    EmptyDir,
    HostPath,
    ImageVolume,
    NamedVolume,
    NetworkDisk,
    NfsShare,
    Volume,
)
from hypercontainer.engine.interface import NOBODY
from hypercontainer.engine.places import Places
from hypercontainer.engine.sandbox import layout, nfs
from hypercontainer.engine.sandbox.contents import OF_HOST, Brought
from hypercontainer.engine.sandbox.hardware import DISK_SERIAL
from hypercontainer.engine.state import PodRecord
from hypercontainer.engine.workers import Workers
from hypercontainer.errors import GuestError, InvalidArgument, NotFound
from hypercontainer.hypervisor.spec import P9, VIRTIOFS, DiskSpec, ShareSpec
from hypercontainer.linux.users import User
from hypercontainer.rootfs import MAX_ROOM_BYTES, create_disk_with_room
from hypercontainer.semantics import mounts
from hypercontainer.semantics.mounts import MS_NODEV, MS_NOSUID, SIZED_MEMORY_VOLUME, guest_name, short_name
from hypercontainer.semantics.nfs import mount as mount_of_nfs
from hypercontainer.volume import ext4, host, images, network
from hypercontainer.volume.shared import DISK_KIND, SHARED_KIND
from hypercontainer.volume.store import VolumeStore

# Of whoever asks: what is behind a path may be slow, or a file system of theirs that does not answer.
HOST_PATHS = Workers("paths of the host", 64, waits=True)
# Volumes of one VM that are devices of it.  A PC has 32 places for devices, and the rest of a VM's takes some.
DEVICE_VOLUMES_MAX = 20
# Of one VM, whose first disk has them all: parts of it, of which there are 255, with those of its containers.
IMAGE_VOLUMES_MAX = 64
_SAFE = MS_NOSUID | MS_NODEV
_OVERFLOW = 65534  # the user that the kernel shows where there is none
_SERIAL = "v"  # begins the serial of a volume
# QEMU's largest message, and files that programs may map to write.
_SHARE_DATA = {VIRTIOFS: "", P9: "trans=virtio,version=9p2000.L,msize=131072,cache=mmap"}


def serial(volume: Volume) -> str:
    """Of a volume's disk, and the tag of its share."""
    return short_name(_SERIAL, volume.name)


# ------------------------------------------------------------------------------------- the host's side


async def disks(volumes: Iterable[Brought], store: VolumeStore, folder: Path) -> tuple[DiskSpec, ...]:
    """The disks of all volumes that are disks; named volumes that are not there are made.  ``folder``: with the
    pod's own."""
    found = []
    for brought in volumes:
        user = asking(brought.asked_by)
        found.append(await HOST_PATHS.run(partial(_disk, brought.volume, store, folder, user)))
    return tuple(disk for disk in found if disk is not None)


def _disk(volume: Volume, store: VolumeStore, folder: Path, user: User | None) -> DiskSpec | None:
    match volume.source:
        case EmptyDir():
            path = limited_disk(volume, folder)
            if not has_limited_disk(volume, folder):
                return None
            return DiskSpec(serial(volume), ((path, path.stat().st_size),), read_only=False)
        case NamedVolume(name, size_bytes) as source:
            path = store.obtain(name, size_bytes, source.told, source.type, source.nfs)
            if store.kind(name) != DISK_KIND:
                return None
            size = path.stat().st_size
            return DiskSpec(
                serial(volume), ((path, size),), only_read(volume, store), locked=True, grows=True
            )
        case DiskImage() as source:
            return _user_disk(volume, source, user)
        case _:
            return None


def only_read(volume: Volume, store: VolumeStore) -> bool:
    """Of a disk: one whose last VM was killed has a journal, without which, written back, there is nothing to read."""
    if not volume.read_only or not isinstance(volume.source, NamedVolume):
        return volume.read_only
    try:
        return not ext4.needs_recovery(store.disk(volume.source.name))
    except NotFound:  # it is made for this VM, or is no disk
        return True


def _user_disk(volume: Volume, source: DiskImage, user: User | None) -> DiskSpec:
    checked = images.check(source.path, source.format, write=not volume.read_only, user=user)
    extents = ((checked.path, checked.size_bytes),)
    return DiskSpec(
        serial(volume), extents, volume.read_only, source.format, user, locked=True, device=checked.device
    )


def is_shared(volume: Volume, store: VolumeStore) -> bool:
    """Whether it is a directory of hyperd's, which several VMs may write to."""
    return isinstance(volume.source, NamedVolume) and store.kind(volume.source.name) == SHARED_KIND


async def shares(volumes: Iterable[Brought], places: Places, store: VolumeStore) -> tuple[ShareSpec, ...]:
    """The directories among them; of hyperd's own those that ``disks`` has seen to be there."""
    found = []
    for volume, user in ((each.volume, asking(each.asked_by)) for each in volumes):
        if is_shared(volume, store):
            assert isinstance(volume.source, NamedVolume)
            directory = await HOST_PATHS.run(partial(store.content, volume.source.name))
            found.append(ShareSpec(serial(volume), directory.resolve(), volume.read_only, together=True))
        if isinstance(volume.source, HostPath):
            path = await HOST_PATHS.run(partial(_shared, volume, places, user))
            found.append(ShareSpec(serial(volume), path, volume.read_only, user))
    return tuple(found)


def single_files(volumes: Iterable[Volume]) -> frozenset[str]:
    """Names of those that are one file of the host."""
    hosts = {volume.name: volume.source for volume in volumes if isinstance(volume.source, HostPath)}
    return frozenset(name for name, source in hosts.items() if Path(source.path).is_file())


def writable(volumes: Iterable[Volume]) -> frozenset[str]:
    """Names of those that the VM may write to."""
    return frozenset(volume.name for volume in volumes if not volume.read_only)


def _shared(volume: Volume, places: Places, user: User | None) -> Path:
    assert isinstance(volume.source, HostPath)
    return host.resolve(volume.source, user=user, write=not volume.read_only, forbidden=places.own)


def asking(uid: int | None) -> User | None:
    """The user with all their groups; None: hyperd itself."""
    if uid is None or uid == os.geteuid():
        return None
    if uid == NOBODY:
        return User(_OVERFLOW, _OVERFLOW)
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return User(uid, uid)
    return User(uid, entry.pw_gid, tuple(os.getgrouplist(entry.pw_name, entry.pw_gid)))


def check_host(volumes: Iterable[Volume], places: Places, asked_by: int | None) -> None:
    """That files of the host may be used by who asks for them, who learns it at once."""
    user = asking(asked_by)
    for volume in volumes:
        if isinstance(volume.source, OF_HOST):
            check_known(asked_by, "volumes")
        if isinstance(volume.source, HostPath):
            _shared(volume, places, user)
        elif isinstance(volume.source, DiskImage):
            _user_disk(volume, volume.source, user)
        elif isinstance(volume.source, NetworkDisk):
            network.credentials(volume.source, user)


def check_known(asked_by: int | None, field: str) -> None:
    if asked_by == NOBODY:
        raise InvalidArgument(
            "files of hyperd's machine are for its users, and who asks is none", field=field
        )


def needs_disk(volumes: Iterable[Volume]) -> bool:
    """Whether one of them is a directory of the pod's disk."""
    return any(isinstance(v.source, EmptyDir) and not v.source.memory and not limit(v) for v in volumes)


# ------------------------------------------------------------- empty directories with a limit of their own


def limit(volume: Volume) -> int:
    """The bytes that an empty directory may have on a disk of its own; 0 of any other volume."""
    source = volume.source
    return (source.size_bytes or 0) if isinstance(source, EmptyDir) and not source.memory else 0


def limited_disk(volume: Volume, folder: Path) -> Path:
    return folder / f"{serial(volume)}.img"


def has_limited_disk(volume: Volume, folder: Path) -> bool:
    """Those of pods that an earlier release has made are directories of the pod's disk."""
    return bool(limit(volume)) and limited_disk(volume, folder).exists()


def make_limited(volumes: Iterable[Volume], folder: Path, cache: Path) -> list[Path]:
    """The disks that are missing, which are new; all or none.  Blocks."""
    made: list[Path] = []
    try:
        for volume in volumes:
            if limit(volume) and not (path := limited_disk(volume, folder)).exists():
                create_disk_with_room(path, limit(volume), cache)
                made.append(path)
    except BaseException:
        remove_limited(made)
        raise
    return made


def remove_limited(disks: Iterable[Path]) -> None:
    for path in disks:
        path.unlink(missing_ok=True)


def unused_limited(volumes: Iterable[Volume], folder: Path) -> list[Path]:
    """Disks of volumes that are none of these any more."""
    used = {limited_disk(volume, folder) for volume in volumes}
    return [path for path in folder.glob(f"{_SERIAL}-*.img") if path not in used]


# ------------------------------------------------------------------------------------- the guest's side


def plans(
    pod: PodRecord,
    volumes: Iterable[Brought],
    shares: str,
    servers: Mapping[str, str],
    store: VolumeStore,
    folder: Path,
) -> dict[str, VolumePlan]:
    """By the guest's name for each; ``shares`` is the file system by which the VM has directories of the host;
    ``servers``: the addresses of those of NFS.  ``store`` is asked which are shared, which disks have got larger, and
    which a server has; ``folder`` which have disks in it."""
    made = [_plan(pod, one, shares, servers, store, folder) for one in volumes]
    if memory_volume(pod, pod.spec) == SIZED_MEMORY_VOLUME:
        data = f"mode=1777,size={pod.spec.shm_size_bytes}"
        made.append(VolumePlan(SIZED_MEMORY_VOLUME, mount=FileSystem("tmpfs", "shm", _SAFE, data)))
    return {each.name: each for each in made}


def added(
    volumes: Iterable[Brought],
    name: str,
    servers: Mapping[str, str],
    store: VolumeStore,
    adding: Future[None],
) -> Future[None]:
    """``adding``, of the volume that the guest knows by this name: of a user's own disk, and of a server's directory,
    its error names that, before anybody hears of it."""
    for volume in (brought.volume for brought in volumes if guest_name(brought.volume.name) == name):
        source = nfs.share_of(volume, store) or volume.source
        if isinstance(source, DiskImage | NetworkDisk | NfsShare):
            adding.add_done_callback(partial(_name, source, servers))
    return adding


def _name(disk: DiskImage | NetworkDisk | NfsShare, servers: Mapping[str, str], adding: Future[None]) -> None:
    error = None if adding.cancelled() else adding.exception()
    if not isinstance(error, GuestError):
        return
    if isinstance(disk, NfsShare):
        nfs.explain(error, disk, servers)
    else:
        called = disk.path if isinstance(disk, DiskImage) else network.where(disk).words
        error.message = (
            f"disk {called}: its {disk.filesystem} cannot be mounted: {os.strerror(error.errno).lower()}"
        )
        error.hint = f"`mkfs.{disk.filesystem}` makes one where there is none yet"
        if error.errno == errno.EROFS:
            error.hint = (
                "it was in use when it was last seen, and has a journal that has to be written back first"
            )


def plugged(plan: VolumePlan) -> str:
    """The serial of the disk that is this volume's alone, or ""."""
    if plan.upper is not None:
        return "" if plan.upper.serial == DISK_SERIAL else plan.upper.serial
    return plan.mount.serial if plan.mount is not None else ""


def names(pod: PodRecord, volumes: Iterable[Brought]) -> set[str]:
    """The guest's, of all that are planned."""
    known = {guest_name(one.volume.name) for one in volumes}
    return known | {memory_volume(pod, pod.spec)} - {""}


def memory_volume(pod: PodRecord, wish: ContainerSpec | PodSpec) -> str:
    """The volume that is a container's /dev/shm: its pod's, whatever it wishes itself; "" for memory of its own."""
    if pod.alone:
        return mounts.memory_volume(wish.shm_size_bytes, in_pod=False)
    return mounts.memory_volume(pod.spec.shm_size_bytes, in_pod=True)


def _plan(
    pod: PodRecord,
    brought: Brought,
    shares: str,
    servers: Mapping[str, str],
    store: VolumeStore,
    folder: Path,
) -> VolumePlan:
    volume, diff_ids = brought.volume, brought.diff_ids
    if share := nfs.share_of(volume, store):
        client, address = nfs.client_name(pod.id), servers[share.server]
        mounted = mount_of_nfs(share, address, client, read_only=volume.read_only)
        return VolumePlan(guest_name(volume.name), mount=mounted)
    if diff_ids is not None:
        return VolumePlan(guest_name(volume.name), lower=layout.lower(layout.part_of(pod.images, diff_ids)))
    shared = is_shared(volume, store)
    grow = not shared and _grows(volume, store)
    limited = has_limited_disk(volume, folder)
    return plan(volume, pod.spec.fs_group, shares, grow=grow, shared=shared, limited=limited)


def _grows(volume: Volume, store: VolumeStore) -> bool:
    """Whether its disk has become larger while no VM wrote to it."""
    if volume.read_only or not isinstance(volume.source, NamedVolume):
        return False
    try:
        return ext4.is_smaller(store.disk(volume.source.name))
    except NotFound:
        return False


def plan(
    volume: Volume,
    group: int | None,
    shares: str,
    *,
    grow: bool = False,
    shared: bool = False,
    limited: bool = False,
) -> VolumePlan:
    """Pure, of any but an image and a server's directory; ``shares`` is the file system by which the VM has directories
    of the host; ``shared``: the volume is such a directory of hyperd's own; ``limited``: it is on a disk of its own."""
    name, own = guest_name(volume.name), serial(volume)
    if volume.read_only:
        group = None  # whoever owns it, nothing of it can be changed
    match volume.source:
        case EmptyDir(memory=True, size_bytes=size, mode=mode):
            data = f"mode={mode & 0o7777:04o}" + (f",size={size}" if size else "")
            return VolumePlan(name, mount=FileSystem("tmpfs", "tmpfs", _SAFE, data), gid=group)
        case EmptyDir(mode=mode):
            disk_serial = own if limited else DISK_SERIAL
            directory = Disk(disk_serial, "ext4", directory=f"volume-{name}")
            return VolumePlan(name, upper=directory, gid=group, mode=mode & 0o7777)
        case NamedVolume() if shared:
            share = FileSystem(VIRTIOFS, own, _SAFE, read_only=volume.read_only)
            return VolumePlan(name, mount=share, gid=group)
        case NamedVolume():
            disk = FileSystem("ext4", flags=_SAFE, serial=own, read_only=volume.read_only)
            return VolumePlan(name, mount=disk, gid=group, tidy=not volume.read_only, grow=grow)
        case DiskImage(filesystem=filesystem) | NetworkDisk(filesystem=filesystem):
            disk = FileSystem(filesystem, flags=_SAFE, serial=own, read_only=volume.read_only)
            return VolumePlan(name, mount=disk, gid=group)
        case HostPath():
            share = FileSystem(shares, own, _SAFE, _SHARE_DATA[shares], read_only=volume.read_only)
            return VolumePlan(name, mount=share)
        case Files(files, mode):
            readable = 0 if group is None else 0o440  # the group is there to read them, whatever their modes
            written = tuple(
                File(
                    _relative(volume, file.path),
                    (mode if file.mode is None else file.mode) | readable,
                    file.content,
                    gid=group or 0,
                )
                for file in files
            )
            memory = FileSystem("tmpfs", "tmpfs", _SAFE, "mode=0755")
            return VolumePlan(name, mount=memory, gid=group, files=written, read_only=True)
    raise AssertionError(volume)


def _relative(volume: Volume, path: str) -> str:
    words = path.split("/")
    if not path or ".." in words or "" in words or "\0" in path:
        raise InvalidArgument(
            f"volume {volume.name}: {path!r} is no path of a file in it", hint="a relative path"
        )
    return path


def check(volumes: Mapping[str, Volume], containers: Sequence[ContainerSpec], what: str) -> None:
    """That what containers mount is there, and can be.  Raises InvalidArgument."""
    devices = sum(
        isinstance(one.source, NamedVolume | DiskImage | NetworkDisk | HostPath) or limit(one) > 0
        for one in volumes.values()
    )
    if devices > DEVICE_VOLUMES_MAX:
        raise InvalidArgument(
            f"{what}: {devices} volumes that are disks or directories of the host: {DEVICE_VOLUMES_MAX} at most",
            hint="several directories below one can be one volume, mounted by parts of it",
        )
    for container in containers:
        for mount in container.mounts:
            if mount.volume not in volumes:
                raise InvalidArgument(
                    f"{what}: there is no volume {mount.volume}", hint="define it beside the containers"
                )
    images = [one for one in volumes.values() if isinstance(one.source, ImageVolume)]
    if len(images) > IMAGE_VOLUMES_MAX:
        raise InvalidArgument(
            f"{what}: {len(images)} volumes that are images: {IMAGE_VOLUMES_MAX} at most",
            hint="several parts of one image can be mounted of one volume",
        )
    for volume in volumes.values():
        if isinstance(volume.source, NetworkDisk):
            network.where(volume.source)
        if not 0 <= limit(volume) <= MAX_ROOM_BYTES:
            raise InvalidArgument(
                f"{what}: volume {volume.name} of {limit(volume)} bytes: from 1 to {MAX_ROOM_BYTES} are possible"
            )
        if not isinstance(volume.source, ImageVolume | NfsShare):
            plan(volume, None, VIRTIOFS)
