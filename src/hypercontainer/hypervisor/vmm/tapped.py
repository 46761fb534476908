"""NAT for a hypervisor that has tap devices and nothing else as its NICs' other end.

A network namespace that leads nowhere, which goes with the VM, has for each such NIC two tap devices and a bridge
between them: one is the hypervisor's, the other that of ``usernet``.  The bridge finishes what the one leaves undone
and the other does not take: checksums, large segments.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import NotSupported, Unavailable
from hypercontainer.hypervisor import nics, resolver
from hypercontainer.hypervisor.driver import Helper
from hypercontainer.hypervisor.nics import Wire
from hypercontainer.hypervisor.spec import Tap, UserNat, VMSpec
from hypercontainer.hypervisor.vmm.places import VmmRunDir
from hypercontainer.linux import netns, unix
from hypercontainer.linux.netns import Namespace
from hypercontainer.linux.process import Process

# linux/if_tun.h, linux/sockios.h, linux/if.h
TUNSETPERSIST, TUNSETOWNER = 0x400454CB, 0x400454CC
SIOCGIFINDEX, SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCBRADDBR, SIOCBRADDIF = 0x8933, 0x8913, 0x8914, 0x89A0, 0x89A2
IFF_UP = 1
TUN = Path("/dev/net/tun")
_REQUEST = struct.Struct("16si20x")  # struct ifreq with a number in it
_FLAGS = struct.Struct("16sH22x")


def tap_name(place: int) -> str:
    """The hypervisor's, of the NIC at this place of the specification."""
    return f"guest{place}"


@dataclass(frozen=True)
class Keeper:
    """Of the namespace, as one of the VM's helpers: it has no gate."""

    helper: Helper
    process: Process

    def open_gate(self) -> None: ...


@dataclass(frozen=True)
class Tapped:
    """``wires`` are of all NICs, in order; ``keepers`` has the one of the namespace, where there is one."""

    wires: tuple[Wire, ...] = ()
    keepers: tuple[Keeper, ...] = ()

    @property
    def space(self) -> int | None:
        """A process in the namespace."""
        return next((one.process.pid for one in self.keepers), None)


def made(
    spec: VMSpec, run: VmmRunDir, fds: contextlib.ExitStack, undo: contextlib.AsyncExitStack, *, by_name: bool
) -> Tapped:
    """``by_name``: the hypervisor opens its devices itself, in the namespace, as ``spec.owner_uid``.

    Blocks for some milliseconds.  Raises ``OSError``, ``Unavailable``, and ``NotSupported`` for what only root has.
    """
    if not spec.nics:
        return Tapped()
    if by_name and os.geteuid() != 0:
        raise NotSupported(
            f"VM {spec.name}: only root's hyperd gives such a VM a network", hint="run it on QEMU"
        )
    if by_name:
        _check_tun(TUN, spec.owner_uid)
    if not any(isinstance(nic.backend, UserNat) for nic in spec.nics):
        return Tapped(tuple(nics.wires(spec, run, fds)))
    space = Namespace.start(run.space, user=os.geteuid() != 0)
    undo.callback(space.end)
    keeper = _keeper(space)
    undo.callback(keeper.process.close)
    for name in ("all", "default"):
        space.set(f"ipv6/conf/{name}/disable_ipv6", 1)  # it has nothing to say itself
    wires = []
    for place, nic in enumerate(spec.nics):
        match nic.backend:
            case Tap() as tap:
                wires.append(Wire(place, nics.opened(tap, fds)))
            case UserNat() as network:
                end, frames = _bridged(
                    space, place, fds, spec.owner_uid if by_name else None, by_name=by_name
                )
                control = fds.enter_context(unix.listen(run.network(place), kind=socket.SOCK_SEQPACKET))
                wires.append(Wire(place, end, network, frames, control.fileno(), tap=True))
    resolver.tell(run)
    return Tapped(tuple(wires), (keeper,))


def drop(run: VmmRunDir) -> None:
    """The namespace, whoever has made it, and whether or not that was written down.  Blocks."""
    if (space := Namespace.find(run.space)) is not None:
        space.end()


def _check_tun(device: Path, uid: int | None) -> None:
    """``Unavailable`` where the hypervisor could not open it: udev has it open to all, some containers do not."""
    try:
        mode = device.stat().st_mode
    except OSError as error:
        raise Unavailable(f"a VM can have no network: {device}: {error.strerror}") from error
    if uid and mode & 0o006 != 0o006:
        raise Unavailable(
            f"{device} is for root alone, and VMs do not run as root",
            hint=f"chmod 0666 {device}, as udev has it",
        )


def _keeper(space: Namespace) -> Keeper:
    process = Process.open(space.identity)
    if process is None:
        raise OSError(None, "the network namespace's keeper has ended")
    return Keeper(Helper("its network namespace", process.pid, space.identity.start_ticks), process)


def _bridged(
    space: Namespace, place: int, fds: contextlib.ExitStack, owner: int | None, *, by_name: bool
) -> tuple[int, int]:
    """The hypervisor's device, -1 where it opens that itself, and the network's."""
    bridge, ours = f"bridge{place}", f"net{place}"
    frames = netns.tap(space.control, ours)
    fds.callback(os.close, frames)
    end = netns.tap(space.control, tap_name(place))
    closing = fds.enter_context(contextlib.ExitStack())
    closing.callback(os.close, end)
    with space.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        fcntl.ioctl(asking, SIOCBRADDBR, bridge.encode().ljust(16, b"\0"))
        for device in (ours, tap_name(place)):
            index = _REQUEST.unpack(fcntl.ioctl(asking, SIOCGIFINDEX, _REQUEST.pack(device.encode(), 0)))[1]
            fcntl.ioctl(asking, SIOCBRADDIF, _REQUEST.pack(bridge.encode(), index))
        for device in (ours, tap_name(place), bridge):
            _up(asking, device)
    if not by_name:
        return end, frames
    # One device has one opener: it is there without any, for that user alone, until the hypervisor comes.
    if owner is not None:
        fcntl.ioctl(end, TUNSETOWNER, owner)
    fcntl.ioctl(end, TUNSETPERSIST, 1)
    closing.close()
    netns.part(space.control, tap_name(place))
    return -1, frames


def _up(asking: socket.socket, device: str) -> None:
    flags = _FLAGS.unpack(fcntl.ioctl(asking, SIOCGIFFLAGS, _FLAGS.pack(device.encode(), 0)))[1]
    fcntl.ioctl(asking, SIOCSIFFLAGS, _FLAGS.pack(device.encode(), flags | IFF_UP))


def ends(tapped: Tapped) -> Sequence[int]:
    """The hypervisor's devices that it does not open itself."""
    return [wire.end for wire in tapped.wires if wire.end >= 0]
