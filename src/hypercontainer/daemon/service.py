"""The daemon's life: engine up, sockets served, ready; told to end, requests out, engine closed.  Pods stay."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypercontainer import __version__
from hypercontainer.daemon import systemd
from hypercontainer.linux import descriptors
from hypercontainer.surfaces.docker.api import DockerApi
from hypercontainer.surfaces.http.connection import Limits
from hypercontainer.surfaces.http.server import Server
from hypercontainer.surfaces.http.tls import Who
from hypercontainer.surfaces.hyper.native import NativeApi

if TYPE_CHECKING:
    from hypercontainer.engine.engine import Engine
    from hypercontainer.surfaces.http.tls import Gate

logger = logging.getLogger(__name__)

CLIENTS_SHARE = 1 / 16  # of hyperd's descriptors, for each surface's connections; an upload has three
DRAIN_S = 2.0  # for requests under way when hyperd is told to end
CLOSE_S = 30.0  # for the engine to let go of pods that live on


class Collections(Mapping[str, Any]):
    """What the native API serves: the engine's collections, and manifests, which are made into what those hold."""

    NAMES = (
        "containers",
        "execs",
        "pods",
        "volumes",
        "networks",
        "policies",
        "images",
        "builds",
        "system",
        "manifests",
    )

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getitem__(self, name: str) -> Any:
        if name not in self.NAMES:
            raise KeyError(name)
        return self._manifests if name == "manifests" else getattr(self._engine, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.NAMES)

    def __len__(self) -> int:
        return len(self.NAMES)

    def open(self) -> None:
        """Goes on with what is to happen at its time, if anything is."""
        if self._engine.state.objects("CronJob") or self._engine.state.objects("Job"):
            self._manifests.open()

    async def close(self) -> None:
        if "_manifests" in self.__dict__:
            await self._manifests.close()

    @functools.cached_property
    def _manifests(self) -> Any:
        # Kubernetes' types cost a tenth of a second, which nobody pays who plays no manifest.
        from hypercontainer.engine.engine import build_types
        from hypercontainer.surfaces.kube.manifests import Manifests

        build_types()  # Kubernetes', too
        return Manifests(self._engine)


class Stop:
    """Set once, by a signal or by a client."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.stop_containers = False

    def ask(self, stop_containers: bool = False) -> None:
        self.stop_containers |= stop_containers
        self.event.set()

    def on_signals(self) -> None:
        """The first one ends hyperd in good order, a second one at once."""
        loop = asyncio.get_running_loop()

        def told(number: signal.Signals) -> None:
            logger.info("%s", number.name)
            for each in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(each)
            self.ask()

        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, told, each)


@dataclass(frozen=True)
class Sockets:
    """That are listened at, for each surface."""

    native: Sequence[socket.socket]
    docker: Sequence[socket.socket]
    docker_tcp: Sequence[socket.socket] = ()


async def serve(
    engine: Engine, sockets: Sockets, *, gate: Gate | None = None, ready: Callable[[], None]
) -> None:
    """Returns when hyperd has been told to end and has; ``ready`` is called when clients are served.  ``gate``: who may
    come in by TCP."""
    stop = Stop()
    stop.on_signals()
    try:
        if not await _started(engine, stop):
            return
        limits = Limits(connections=min(Limits.connections, descriptors.share(CLIENTS_SHARE)))
        collections = Collections(engine)
        docker = DockerApi(engine)
        local = Server(docker, limits=limits)
        engine.open_api(lambda uid: local.connect(Who(uid)))
        served = [
            (Server(NativeApi(collections, stop.ask), limits=limits), sockets.native),
            (local, sockets.docker),
            (Server(docker, limits=limits, gate=gate), sockets.docker_tcp),
        ]
        try:
            collections.open()
            for server, its in served:
                await server.serve(its)
            ready()
            logger.info("hyperd %s serves; pid %d", __version__, os.getpid())
            await stop.event.wait()
            logger.info("ending")
        finally:
            systemd.notify("STOPPING=1")
            await asyncio.gather(*(server.close(deadline_s=DRAIN_S) for server, _ in served))
            await collections.close()
    finally:
        await _close(engine, stop)


async def _close(engine: Engine, stop: Stop) -> None:
    try:
        # Stopping containers has deadlines of its own, which are as long as the containers ask for.
        async with asyncio.timeout(None if stop.stop_containers else CLOSE_S):
            await engine.close(stop_containers=stop.stop_containers)
    except TimeoutError:
        logger.warning("the engine did not close within %g s; the next hyperd takes its pods back", CLOSE_S)


async def _started(engine: Engine, stop: Stop) -> bool:
    """False if hyperd was told to end before the engine was up."""
    starting = asyncio.create_task(engine.start())
    stopped = asyncio.create_task(stop.event.wait())
    try:
        await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
        return starting.done()
    finally:
        starting.cancel()
        stopped.cancel()
        await asyncio.gather(starting, stopped, return_exceptions=True)


def tell_ready(fd: int | None) -> None:
    """Word to whoever started hyperd: systemd, and the reader of ``fd``, which is closed."""
    systemd.notify(f"READY=1\nMAINPID={os.getpid()}")
    if fd is not None:
        with contextlib.suppress(OSError):
            os.write(fd, b"\n")
        with contextlib.suppress(OSError):
            os.close(fd)
