"""What is behind the NICs of a VM: for each a process of ``usernet``, or a tap device.

The VM's process is handed a descriptor for each, which carries Ethernet frames: an end of a pair of sockets, or the
device.  So it has no network itself, and nothing to say about where its frames go.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import HypervisorError, LaunchError, NotSupported, Unavailable
from hypercontainer.hypervisor import helpers, resolver, usernet
from hypercontainer.hypervisor.driver import Helper
from hypercontainer.hypervisor.launching import Gate, held, last_line
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.spec import Existing, Tap, UserNat, VMSpec
from hypercontainer.hypervisor.validate import check_forward
from hypercontainer.linux import netns, unix
from hypercontainer.linux.confine import Means
from hypercontainer.linux.process import Process
from hypercontainer.linux.waiting import together


@dataclass(frozen=True)
class Wire:
    """Of the NIC at this place: ``end`` is the VM's process's; the others are the network's, None for a tap.  ``tap``:
    the network's frames are those of such a device."""

    place: int
    end: int
    network: UserNat | None = None
    frames: int = -1
    control: int = -1
    tap: bool = False


@dataclass(frozen=True)
class Network:
    """A process behind a NIC, at its gate."""

    helper: Helper
    process: Process
    gate: Gate

    def open_gate(self) -> None:
        self.gate.open()


def wires(
    spec: VMSpec,
    run: RunDir,
    fds: contextlib.ExitStack,
    kind: socket.SocketKind = socket.SOCK_SEQPACKET,
    *,
    existing: bool = False,
) -> list[Wire]:
    """Of all NICs, in order; ``fds`` owns the descriptors, ``kind`` is of a pair of sockets.  ``existing``: the driver
    has those in networks that exist, which have none here.  Raises ``OSError``, and what ``netns.tap`` does."""
    made = []
    for place, nic in enumerate(spec.nics):
        match nic.backend:
            case UserNat() as network:
                ends = socket.socketpair(socket.AF_UNIX, kind)
                end, frames = (fds.enter_context(one).fileno() for one in ends)
                control = fds.enter_context(unix.listen(run.network(place), kind=socket.SOCK_SEQPACKET))
                made.append(Wire(place, end, network, frames, control.fileno()))
            case Tap() as tap:
                made.append(Wire(place, opened(tap, fds)))
            case Existing(network=name) if not existing:
                raise NotSupported(
                    f"network interface {nic.mac}: there is no network {name!r} but the engine's"
                )
    if any(wire.network for wire in made):
        resolver.tell(run)
    return made


def opened(tap: Tap, fds: contextlib.ExitStack) -> int:
    fd = netns.tap(tap.control, tap.name)
    fds.callback(os.close, fd)
    return fd


async def serve(
    spec: VMSpec,
    connected: Sequence[Wire],
    run: RunDir,
    means: Means,
    streams: tuple[int, int, int],
    fds: contextlib.ExitStack,
    undo: contextlib.AsyncExitStack,
) -> list[Network]:
    """The processes, in order, started together; ``undo`` gets what ends them.  Raises ``Unavailable``, ``OSError``."""
    serving: dict[int, Network] = {}

    async def start(wire: Wire, network: UserNat) -> None:
        gate, process = await held(
            usernet.argv(network, run, means, tap=wire.tap),
            environment={},
            rights=await usernet.rights(network, run, means, spec.owner_uid),
            means=means,
            stdio=streams,
            inherited=[wire.frames, wire.control],
            fds=fds,
        )
        undo.push_async_callback(helpers.end, process)
        helper = Helper(f"network interface {wire.place}", process.pid, process.identity.start_ticks)
        serving[wire.place] = Network(helper, process, gate)

    await together(*(start(wire, wire.network) for wire in connected if wire.network is not None))
    return [serving[place] for place in sorted(serving)]


async def ready(spec: VMSpec, run: RunDir, output: Output) -> None:
    """That the specification's forwards are there.  Raises ``LaunchError``."""
    for place in sorted({place for place, _ in spec.forwards}):
        try:
            await usernet.ready(run.network(place))
        except HypervisorError as error:
            said = output.stderr()
            why = last_line(said) or error.message
            raise LaunchError(f"VM {spec.name} did not start: {why}", stderr=said) from error


async def add_forward(run: RunDir, port: PortMapping, nic: int) -> None:
    """See ``VM.add_forward``."""
    check_forward(port)
    path = run.network(nic)
    if not path.exists():
        where = f"{port.host_ip}:{port.host_port}"
        raise Unavailable(f"cannot forward {where}: the VM has no network interface {nic} that is translated")
    await usernet.add(path, port)


async def remove_forward(run: RunDir, port: PortMapping, nic: int) -> None:
    """See ``VM.remove_forward``."""
    check_forward(port)
    path = run.network(nic)
    if not path.exists():
        raise Unavailable(f"no port is forwarded to network interface {nic}")
    await usernet.remove(path, port)
