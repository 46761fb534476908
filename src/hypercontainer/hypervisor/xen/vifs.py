"""The host's ends of a domain's network interfaces, put where they belong.

The kernel makes an interface for each, in this machine's own network.  One of a pod's network takes the place that a
tap device has with other hypervisors: its name, in its namespace.  One that is NAT has a namespace of its own, with a
bridge to a tap device, which is usernet's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from pathlib import Path

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor import resolver
from hypercontainer.hypervisor.nics import Wire
from hypercontainer.hypervisor.spec import Tap, UserNat, VMSpec
from hypercontainer.hypervisor.usernet import MTU
from hypercontainer.hypervisor.xen.places import XenRunDir
from hypercontainer.linux import netns, unix
from hypercontainer.linux.netns import Namespace
from hypercontainer.network import links
from hypercontainer.network.netlink import ROUTE, Netlink

APPEARS_S = 20.0
_LINK_GROUP = 1  # RTMGRP_LINK
_TAP, _BRIDGE, _BRIDGE_MAC = "usernet", "wire", "02:00:00:00:00:01"


def wires(spec: VMSpec, run: XenRunDir, fds: contextlib.ExitStack) -> list[Wire]:
    """Of the NICs that are NAT: their namespaces, which the run directory has, and usernet's ends.  Blocks.  Raises
    ``OSError`` and what the kernel says."""
    made = []
    for place, nic in enumerate(spec.nics):
        if isinstance(nic.backend, UserNat):
            space = Namespace.start(run.space(place), user=False)
            tap = netns.tap(space.control, _TAP)
            fds.callback(os.close, tap)
            with _route(space) as route:
                route.do("a network interface", [links.bridge(_BRIDGE, MTU, _BRIDGE_MAC)])
                _join(space, route, _TAP)
            control = fds.enter_context(unix.listen(run.network(place), kind=socket.SOCK_SEQPACKET))
            made.append(Wire(place, -1, nic.backend, tap, control.fileno(), tap=True))
    if made:
        resolver.tell(run)
    return made


def put(spec: VMSpec, run: XenRunDir, place: int, name: str) -> None:
    """The interface ``name``, which is there, where this NIC's belongs.  Blocks."""
    backend = spec.nics[place].backend
    match backend:
        case UserNat():
            space = _space(run.space(place))
            _move(name, name, space)
            with _route(space) as route:
                _join(space, route, name)
        case Tap(control, device):
            _move(name, device, _space(control.parent))


def drop_spaces(run: XenRunDir) -> None:
    """Nothing happens where they are gone.  Blocks."""
    for folder in run.path.glob(f"{run.SPACE}*"):
        if (space := Namespace.find(folder)) is not None:
            space.end()


async def appeared(name: str) -> None:
    """Returns once this machine's own network has an interface of this name.  Raises ``HypervisorError``."""
    loop = asyncio.get_running_loop()
    with contextlib.closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, ROUTE)) as told:
        told.setblocking(False)
        told.bind((0, _LINK_GROUP))
        try:
            async with asyncio.timeout(APPEARS_S):
                while not links.index(told, name):
                    with contextlib.suppress(BlockingIOError):
                        await loop.sock_recv(told, 1 << 16)
        except TimeoutError:
            message = f"the kernel made no network interface {name} within {APPEARS_S:g} s"
            raise HypervisorError(message, hint="modprobe xen-netback") from None


def _space(folder: Path) -> Namespace:
    if (space := Namespace.find(folder)) is None:
        raise HypervisorError(f"the network {folder.name} is gone")
    return space


def _route(space: Namespace) -> contextlib.closing[Netlink]:
    return contextlib.closing(Netlink(space.socket(socket.AF_NETLINK, socket.SOCK_RAW, ROUTE)))


def _join(space: Namespace, route: Netlink, name: str) -> None:
    with contextlib.closing(space.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        device, bridge = links.index(probe, name), links.index(probe, _BRIDGE)
    route.do("a network interface", [links.port(device, bridge, MTU)])


def _move(name: str, called: str, space: Namespace) -> None:
    with contextlib.closing(Netlink(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, ROUTE))) as route:
        with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
            index = links.index(probe, name)
        renamed = [] if called == name else [links.named(index, called)]
        route.do("a network interface", [*renamed, links.moved(index, space.pid)])
