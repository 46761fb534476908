"""What becomes of each field of Docker's HostConfig: docs/docker-compat.md shows this table, and a test compares.

A field is *honoured*; *accepted*, where it means nothing in a VM (it is kept and shown again, and the answer warns of
what somebody may miss); or *refused*, unless it says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from hypercontainer.errors import NotSupported
from hypercontainer.surfaces.docker.create.body import Resources

HONOURED, ACCEPTED, REFUSED = "honoured", "accepted", "refused"

# Field, fate, why or how; of what is accepted with a "!" the answer warns.
_TABLE: Final = """
Annotations         honoured  shown again
AutoRemove          honoured  removed when it has ended, with its volumes that nobody has named
Binds               honoured  a directory of the host that is missing is made, as far as the asking user's rights go; propagation is private
BlkioDeviceReadBps  refused   a VM's disks are not rationed by the host's devices
BlkioDeviceReadIOps refused   a VM's disks are not rationed by the host's devices
BlkioDeviceWriteBps refused   a VM's disks are not rationed by the host's devices
BlkioDeviceWriteIOps refused  a VM's disks are not rationed by the host's devices
BlkioWeight         accepted! the disks of VMs are not weighed against one another
BlkioWeightDevice   accepted! the disks of VMs are not weighed against one another
CapAdd              honoured  in the guest; with or without CAP_, and ALL
CapDrop             honoured  in the guest
Cgroup              accepted  every container has cgroups of its own, in its VM
CgroupParent        accepted! limits apply to the VM, which hyperd puts into a cgroup of its own
CgroupnsMode        honoured  private, as it is anyway; the VM has no cgroups of the host that it could be shown
ConsoleSize         honoured  of the terminal, when the process begins
ContainerIDFile     accepted  the client writes it
CpuCount            refused   for Windows
CpuPeriod           honoured  with CpuQuota: so much of a processor
CpuPercent          refused   for Windows
CpuQuota            honoured  as NanoCpus: the VM's processors
CpuRealtimePeriod   refused   real-time shares of the host's processors are not given to VMs
CpuRealtimeRuntime  refused   real-time shares of the host's processors are not given to VMs
CpuShares           honoured  among the containers of a pod
CpusetCpus          accepted  the host places the VM's processors
CpusetMems          accepted  the host places the VM's memory
DeviceCgroupRules   refused   a VM sees no device of the host
DeviceRequests      refused   graphics processors and the like are not passed to VMs; it is refused when it is created
Devices             honoured  those of the guest's own kernel: fuse, net/tun, kmsg, loop; the host's are refused
Dns                 honoured  resolvers
DnsOptions          honoured  of resolv.conf
DnsSearch           honoured  search domains
ExtraHosts          honoured  host-gateway too
GroupAdd            honoured  names or numbers, looked up in the image
IOMaximumBandwidth  refused   for Windows
IOMaximumIOps       refused   for Windows
Init                honoured  a small init of the guest's
IpcMode             honoured  private or shareable, as it is anyway; container:NAME joins its pod, where the network does too
Isolation           accepted  default: every container is in a VM
KernelMemory        accepted  as with Docker: the kernel's memory is in Memory
KernelMemoryTCP     accepted  as with Docker: the kernel's memory is in Memory
Links               honoured  another name for a container of its networks, which their name server tells this one alone
LogConfig           honoured  json-file and local are hyperd's own log, none keeps nothing, syslog sends on besides
MaskedPaths         honoured  Docker's own; Privileged shows all
Memory              honoured  of the VM, with its kernel; a VM has 32 MiB at least
MemoryReservation   accepted  the VM's memory is Memory
MemorySwap          accepted  a VM has no swap
MemorySwappiness    accepted  a VM has no swap
Mounts              honoured  bind, volume, tmpfs and image
NanoCpus            honoured  the VM's processors, of which it may have a part
NetworkMode         honoured  a network's name, bridge, default, none, container:NAME (in its pod, and so in its VM); host is refused
OomKillDisable      accepted! a VM without memory has to end something
OomScoreAdj         honoured  in the guest
PidMode             honoured  "" for its own; pod for those of its pod that say so; container:NAME of one that says so, where the network is its too
PidsLimit           honoured  0 and -1 are no limit
PortBindings        honoured  TCP and UDP; "0" and "" are any free port, 8000-8002 the first free one of these
Privileged          honoured  inside of the VM: all capabilities, all the guest's devices, no filter; nothing of the host
PublishAllPorts     honoured  every exposed port on a free one
ReadonlyPaths       honoured  Docker's own; Privileged opens all
ReadonlyRootfs      honoured  it has no writable disk at all
RestartPolicy       honoured  with Docker's delays
Runtime             accepted  the hypervisor is the runtime; a name that Docker would not have is refused
SecurityOpt         honoured  no-new-privileges, seccomp; what turns AppArmor and SELinux off is as it is anyway, another profile is refused
ShmSize             honoured  64 MiB where it is not said
StorageOpt          honoured  size, of the writable disk
Sysctls             honoured  of the VM's kernel
Tmpfs               honoured  with mount's options
UTSMode             honoured  "": a host name of its own; host is refused
Ulimits             honoured  soft and hard
UsernsMode          accepted  nothing is mapped in a VM of its own; host is so too
VolumeDriver        accepted  local; another is refused
VolumesFrom         honoured  its volumes and directories of the host at the same places; two VMs have a disk one after the other
"""  # noqa: E501 - a table


@dataclass(frozen=True)
class Fate:
    """``warns``: whoever says it is told that it does nothing."""

    name: str
    fate: str
    words: str
    warns: bool = False


def _fate(line: str) -> Fate:
    name, fate, words = line.split(maxsplit=2)
    return Fate(name, fate.rstrip("!"), words, fate.endswith("!"))


FATES: Final = {fate.name: fate for fate in map(_fate, filter(None, _TABLE.splitlines()))}
_NOTHING: Final[tuple[Any, ...]] = (None, "", 0, [], {})
# Changed by an update or a rename, and shown as they are then.
CHANGING: Final = frozenset({"CpuShares", "Links", "Memory", "NanoCpus", "PidsLimit", "RestartPolicy"})


def given(host: Resources) -> dict[str, Any]:
    """What is said in it, as it came."""
    said = {name: value for name, value in msgspec.to_builtins(host).items() if value not in _NOTHING}
    if said.get("MemorySwappiness") == -1:  # as the command line says nothing
        del said["MemorySwappiness"]
    if said.get("NetworkMode") == "default":  # what that is, is shown
        del said["NetworkMode"]
    return said


def check_refused(said: dict[str, Any]) -> None:
    """NotSupported for the first field that is refused."""
    for name in said:
        if FATES[name].fate == REFUSED:
            raise NotSupported(f"HostConfig.{name}: {FATES[name].words}")


def warnings(said: dict[str, Any]) -> list[str]:
    return [f"{name} does nothing here: {FATES[name].words}" for name in said if FATES[name].warns]


def kept(said: dict[str, Any]) -> dict[str, Any]:
    """What is shown again as it came."""
    return {name: value for name, value in said.items() if value and name not in CHANGING}
