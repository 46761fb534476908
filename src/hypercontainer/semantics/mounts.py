"""What is mounted in a container, in which order, and its devices: Docker's defaults."""

from __future__ import annotations

import hashlib
import re
import stat
from dataclasses import replace
from typing import Final

from hypercontainer.agent.operations import Device, Mount
from hypercontainer.contract.spec import ContainerSpec, Tmpfs
from hypercontainer.contract.volumes import VolumeMount
from hypercontainer.errors import InvalidArgument, NotSupported
from hypercontainer.hypervisor.spec import SHARED_FILE

SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108 - in the container
SHARED_MEMORY_BYTES: Final = 64 * 1024 * 1024
SHARED_MEMORY_VOLUME: Final = "hyper.shm"  # the guest always has it, of this size
SIZED_MEMORY_VOLUME: Final = "hyper.shm-sized"
GUEST_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_SYNCHRONOUS, MS_DIRSYNC, MS_NOATIME, MS_NODIRATIME = 16, 128, 1024, 2048
MS_RELATIME, MS_STRICTATIME = 1 << 21, 1 << 24
_QUIET: Final = MS_NOSUID | MS_NODEV | MS_NOEXEC

MASKED_PATHS: Final = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def _character(path: str, major: int, minor: int) -> Device:
    return Device(path, stat.S_IFCHR | 0o666, major, minor)


DEVICES: Final = (
    _character("/dev/null", 1, 3),
    _character("/dev/zero", 1, 5),
    _character("/dev/full", 1, 7),
    _character("/dev/random", 1, 8),
    _character("/dev/urandom", 1, 9),
    _character("/dev/tty", 5, 0),
)

# Of a guest's kernel, where it has them; nothing of the host is behind them.
GUEST_DEVICES: Final = {
    device.path: device
    for device in (
        _character("/dev/fuse", 10, 229),
        _character("/dev/kmsg", 1, 11),
        _character("/dev/loop-control", 10, 237),
        _character("/dev/net/tun", 10, 200),
        *(Device(f"/dev/loop{number}", stat.S_IFBLK | 0o660, 7, number) for number in range(8)),
    )
}


def devices(spec: ContainerSpec) -> tuple[Device, ...]:
    """Docker's, and those of the guest's that it asks for.  NotSupported for any other."""
    wished = {device.path: device for device in DEVICES}
    for text in spec.devices:
        path, _, inside = text.partition(":")
        known = GUEST_DEVICES.get(path) or wished.get(path)
        if known is None:
            raise NotSupported(
                f"device {path[:80]}: a VM sees no device of the host",
                hint=f"of its own kernel's there are {', '.join(GUEST_DEVICES)}",
            )
        target = place("devices", inside or path)
        wished[target] = replace(known, path=target)
    return tuple(wished.values())


# mount(8)'s words: the flag, and whether the word sets or clears it.
FLAGS: Final = {
    "ro": (MS_RDONLY, True),
    "rw": (MS_RDONLY, False),
    "nosuid": (MS_NOSUID, True),
    "suid": (MS_NOSUID, False),
    "nodev": (MS_NODEV, True),
    "dev": (MS_NODEV, False),
    "noexec": (MS_NOEXEC, True),
    "exec": (MS_NOEXEC, False),
    "sync": (MS_SYNCHRONOUS, True),
    "async": (MS_SYNCHRONOUS, False),
    "dirsync": (MS_DIRSYNC, True),
    "noatime": (MS_NOATIME, True),
    "atime": (MS_NOATIME, False),
    "nodiratime": (MS_NODIRATIME, True),
    "diratime": (MS_NODIRATIME, False),
    "relatime": (MS_RELATIME, True),
    "norelatime": (MS_RELATIME, False),
    "strictatime": (MS_STRICTATIME, True),
    "nostrictatime": (MS_STRICTATIME, False),
    "defaults": (0, True),
}
_TMPFS_DATA: Final = {
    "size": re.compile(r"[0-9]{1,20}[kmgKMG%]?"),
    "nr_blocks": re.compile(r"[0-9]{1,20}[kmgKMG]?"),
    "nr_inodes": re.compile(r"[0-9]{1,20}[kmgKMG]?"),
    "mode": re.compile(r"0?[0-7]{1,4}"),
    "uid": re.compile(r"[0-9]{1,10}"),
    "gid": re.compile(r"[0-9]{1,10}"),
    "huge": re.compile(r"never|always|within_size|advise"),
    "mpol": re.compile(r"[a-z]+(=[a-z]+)?(:[0-9,-]+)?"),
}
_TMPFS_TAKES: Final = {
    "size": "bytes, with k, m or g, or a share such as 50%",
    "nr_blocks": "a number, with k, m or g",
    "nr_inodes": "a number, with k, m or g",
    "mode": "octal digits, such as 1777",
    "uid": "a number",
    "gid": "a number",
    "huge": "never, always, within_size or advise",
    "mpol": "a policy, such as interleave:0-3",
}


def mounts(
    spec: ContainerSpec,
    *,
    systemd: bool,
    shared_memory: str = "",
    single_files: frozenset[str] = frozenset(),
    unfilled: frozenset[str] = frozenset(),
) -> tuple[Mount, ...]:
    """In the order in which they are to be made; the user's own replace a default at the same place.

    ``shared_memory``: the volume that is /dev/shm; "": memory of this container's own, of the size it wants.
    ``unfilled``: volumes that are filled from the image, where the container asks for it.
    """
    read_only = 0 if spec.privileged else MS_RDONLY
    wanted = [
        Mount("proc", "/proc", "proc", _QUIET),
        Mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"),
        Mount(
            "devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"
        ),
        Mount("sysfs", "/sys", "sysfs", _QUIET | read_only),
        Mount("cgroup2", "/sys/fs/cgroup", "cgroup", _QUIET | (0 if systemd else read_only)),
        Mount("mqueue", "/dev/mqueue", "mqueue", _QUIET),
        _memory(spec, shared_memory),
    ]
    if systemd:
        wanted += [
            Mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, f"mode={mode}")
            for path, mode in (("/run", "755"), ("/run/lock", "1777"), ("/tmp", "1777"))  # noqa: S108
        ]
    own = [tmpfs(wish) for wish in spec.tmpfs]
    places = {mount.target for mount in own}
    own += [
        _volume(wish, single_file=wish.volume in single_files, unfilled=wish.volume in unfilled)
        for wish in spec.mounts
    ]
    for mount in own:
        if sum(other.target == mount.target for other in own) > 1:
            raise InvalidArgument(
                f"two things are mounted at {mount.target}", hint="one of them has to go elsewhere"
            )
    # A parent is mounted before what lies in it, whatever the user's order is.
    own.sort(key=lambda mount: mount.target.count("/"))
    return tuple(mount for mount in wanted if mount.target not in places) + tuple(own)


def places(spec: ContainerSpec) -> set[str]:
    """Where the user mounts something."""
    return {place("tmpfs", wish.path) for wish in spec.tmpfs} | {
        place("mounts", wish.path) for wish in spec.mounts
    }


def _memory(spec: ContainerSpec, shared: str) -> Mount:
    if shared:
        return Mount("bind", SHARED_MEMORY, shared)
    memory_volume(spec.shm_size_bytes, in_pod=False)  # a size that can be
    return Mount("tmpfs", SHARED_MEMORY, "shm", _QUIET, f"mode=1777,size={spec.shm_size_bytes}")


def memory_volume(size_bytes: int, *, in_pod: bool) -> str:
    """Which one is /dev/shm of a pod's or a lone container's size: the guest's own, one that is added, or none."""
    if size_bytes <= 0:
        raise InvalidArgument(
            f"{size_bytes} is not positive", field="shm_size_bytes", takes="more than 0 bytes"
        )
    if size_bytes == SHARED_MEMORY_BYTES:
        return SHARED_MEMORY_VOLUME
    return SIZED_MEMORY_VOLUME if in_pod else ""


def _volume(wish: VolumeMount, *, single_file: bool, unfilled: bool) -> Mount:
    below = [part for part in wish.sub_path.split("/") if part not in ("", ".")]
    if wish.sub_path.startswith("/") or ".." in below or "\0" in wish.sub_path:
        raise InvalidArgument(
            f"volume {wish.volume}: the path {wish.sub_path!r} in it is not below it",
            field="mounts",
            takes="a relative path",
        )
    if single_file:
        below = [SHARED_FILE]
    return Mount(
        "bind",
        place("mounts", wish.path),
        "/".join([guest_name(wish.volume), *below]),
        read_only=wish.read_only,
        copy_up=wish.copy_up and unfilled,
    )


def guest_name(volume: str) -> str:
    """What the guest calls a volume: its name where that is one for a guest too."""
    if GUEST_NAME.fullmatch(volume):
        return volume
    return short_name("v", volume)


def short_name(prefix: str, text: str) -> str:
    """For what has a name of any length and kind: one that guests and disks' serials take, always the same."""
    return f"{prefix}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def tmpfs(wish: Tmpfs) -> Mount:
    """As Docker mounts them: noexec, nosuid and nodev unless the options say otherwise."""
    target = place("tmpfs", wish.path)
    flags, data = _QUIET, {}
    for word in filter(None, wish.options.split(",")):
        name, equals, value = word.partition("=")
        if not equals and word in FLAGS:
            flag, on = FLAGS[word]
            flags = flags | flag if on else flags & ~flag
        elif equals and name in _TMPFS_DATA:
            if not _TMPFS_DATA[name].fullmatch(value):
                raise InvalidArgument(
                    f"{wish.path}: {value!r} is no {name} of a tmpfs", field="tmpfs", takes=_TMPFS_TAKES[name]
                )
            data[name] = value
        else:
            raise InvalidArgument(
                f"{wish.path}: {word!r} is no option of tmpfs",
                field="tmpfs",
                takes=f"{', '.join(f'{key}=' for key in _TMPFS_DATA)} or one of {', '.join(FLAGS)}",
            )
    return Mount("tmpfs", target, "tmpfs", flags, ",".join(f"{key}={value}" for key, value in data.items()))


def place(field: str, path: str) -> str:
    """Where the guest is to put something; ``field``: what says so."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not path.startswith("/") or not parts or ".." in parts or "\0" in path:
        raise InvalidArgument(
            f"{path!r} is no place in a container", field=field, takes="an absolute path, not /"
        )
    return "/" + "/".join(parts)
