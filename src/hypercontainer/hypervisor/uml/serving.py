"""The processes beside a User Mode Linux: for each of its NICs a network, for each of its shares a server."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable
from dataclasses import dataclass

from hypercontainer.errors import HypervisorError, LaunchError
from hypercontainer.hypervisor import helpers, resolver, shares
from hypercontainer.hypervisor.driver import Helper, VMSpec
from hypercontainer.hypervisor.launching import held, last_line
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.uml import usernet
from hypercontainer.hypervisor.uml.places import UmlRunDir
from hypercontainer.linux import unix
from hypercontainer.linux.confine import Means
from hypercontainer.linux.process import Process


@dataclass(frozen=True)
class Served:
    """A process at its gate; ``end`` is the kernel's, of what they speak by.  ``share`` is None for a NIC's."""

    helper: Helper
    process: Process
    end: int
    open_gate: Callable[[], None]
    share: shares.Serving | None = None


@dataclass(frozen=True)
class Launch:
    """What a process is started with; ``server`` is of shares, None where there are none."""

    spec: VMSpec
    run: UmlRunDir
    means: Means
    server: shares.Server | None
    streams: tuple[int, int, int]
    fds: contextlib.ExitStack
    undo: contextlib.AsyncExitStack


async def start(launch: Launch) -> list[Served]:
    """In the order of ``plan_fds``."""
    return [*await _networks(launch), *_shares(launch)]


async def _networks(launch: Launch) -> list[Served]:
    spec, run, fds = launch.spec, launch.run, launch.fds
    serving: list[Served] = []
    if spec.nics:
        resolver.tell(run)
    for place, nic in enumerate(spec.nics):
        ours, theirs = (
            fds.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        )
        control = fds.enter_context(unix.listen(run.network(place), kind=socket.SOCK_SEQPACKET))
        gate, process = await held(
            usernet.argv(nic, run, launch.means),
            environment={},
            rights=await usernet.rights(nic, run, launch.means, spec.owner_uid),
            means=launch.means,
            stdio=launch.streams,
            inherited=[theirs.fileno(), control.fileno()],
            fds=fds,
        )
        launch.undo.push_async_callback(helpers.end, process)
        helper = Helper(f"network interface {place}", process.pid, process.identity.start_ticks)
        serving.append(Served(helper, process, ours.fileno(), gate.open))
    return serving


def _shares(launch: Launch) -> list[Served]:
    serving: list[Served] = []
    for share in launch.spec.shares:
        assert launch.server is not None
        one = shares.serve(launch.server, share, launch.run.path, launch.streams, launch.fds)
        launch.undo.push_async_callback(helpers.end, one.process)
        serving.append(Served(one.helper, one.process, one.client, one.open_gate, one))
    return serving


async def begin(launch: Launch, serving: list[Served], output: Output) -> None:
    """Opens their gates.  The guest's kernel would wait for who serves its shares, and not say for whom."""
    for one in serving:
        one.open_gate()
    for one in serving:
        if one.share is not None:
            assert launch.server is not None
            if not await shares.answers(launch.server, one.share):
                raise _failed(launch.spec, output, f"nobody answers for {one.helper.name}")


async def ready(spec: VMSpec, run: UmlRunDir, output: Output) -> None:
    """That the specification's forwards are there.  The guest's kernel is not asked: it answers by booting."""
    for place, nic in enumerate(spec.nics):
        if nic.backend.forwards:
            try:
                await usernet.ready(run.network(place))
            except HypervisorError as error:
                raise _failed(spec, output, error.message) from error


def _failed(spec: VMSpec, output: Output, why: str) -> LaunchError:
    said = output.stderr()
    return LaunchError(f"VM {spec.name} did not start: {last_line(said) or why}", stderr=said)
