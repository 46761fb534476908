"""The proxy's process as hyperd has it: started in the namespace of networks, told of pods, heard.

Owner of the process and of the socket to it.  Nothing here is told what it refuses or who it serves twice: that is for
whoever keeps the pods (`Hearer`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import hypercontainer
from hypercontainer.linux.netns import Namespace
from hypercontainer.linux.process import Process
from hypercontainer.network.egress import wire

PROGRAM = "hypercontainer.network.egress.program"
RESOLVING_MAX = 4096  # names that are looked up at a time
NOBODY = 65534  # who it is, where hyperd is root
START_S, TELL_S = 30.0, 10.0
# What of hyperd's environment says which authorities it is to believe.
_PASSED = ("SSL_CERT_FILE", "LD_LIBRARY_PATH")

log = logging.getLogger(__name__)


class Hearer(Protocol):
    async def resolve(self, pod: str, host: str) -> tuple[str, ...]:
        """Raises ``ValueError`` with what the pod is told, where there is none."""

    def denied(self, denied: wire.Denied) -> None: ...


class ProxyProcess:
    """One that runs; ``start`` makes it."""

    def __init__(self, process: Process, control: socket.socket, hearer: Hearer) -> None:
        self.process, self._control, self._hearer = process, control, hearer
        self._told: dict[str, asyncio.Future[str]] = {}
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._says = asyncio.Lock()
        self._resolving: set[asyncio.Task[None]] = set()
        self.ended = asyncio.create_task(self._hear())

    @classmethod
    async def start(
        cls, namespace: Namespace, listeners: Sequence[socket.socket], hearer: Hearer
    ) -> ProxyProcess:
        """It listens, and is to be told of pods and then to serve.  Raises ``OSError`` where it cannot; its reason
        is on hyperd's standard error."""
        root = os.geteuid() == 0
        with contextlib.ExitStack() as stack:
            own, its = socket.socketpair()
            stack.callback(its.close)
            kinds = ("net",) if root else ("user", "net")
            spaces = [
                os.open(f"/proc/{namespace.pid}/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in kinds
            ]
            null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            for fd in (*spaces, null):
                stack.callback(os.close, fd)
            counts = [str(each) for each in (len(listeners), len(spaces), NOBODY if root else 0)]
            own.setblocking(False)
            with contextlib.ExitStack() as undo:
                undo.callback(own.close)
                process = Process.spawn(
                    [sys.executable, "-m", PROGRAM, *counts],
                    env=_environment(),
                    stdio=(null, null, 2),
                    inherited=[its.fileno(), *(each.fileno() for each in listeners), *spaces],
                )
                undo.pop_all()
        made = cls(process, own, hearer)
        try:
            async with asyncio.timeout(START_S):
                await made._ready
        except BaseException as error:
            await made.close()
            if isinstance(error, TimeoutError):
                raise OSError(None, f"the proxy did not begin within {START_S:g} s") from None
            raise
        return made

    async def tell(self, told: wire.Tell) -> None:
        """It knows by now.  Raises ``OSError``."""
        future = self._told[told.pod] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(TELL_S):
                await self._say(told)
                problem = await future
        except TimeoutError:
            raise OSError(None, f"the proxy did not answer within {TELL_S:g} s") from None
        finally:
            self._told.pop(told.pod, None)
        if problem:
            raise OSError(None, f"the proxy: {problem}")

    async def serve(self) -> None:
        """From now on, all that it knows.  Raises ``OSError``."""
        await self._say(wire.Serve())

    async def forget(self, pod: str) -> None:
        """Nothing happens where it has ended."""
        with contextlib.suppress(OSError):
            await self._say(wire.Forget(pod))

    async def close(self) -> None:
        """It has ended."""
        self.ended.cancel()
        await asyncio.gather(self.ended, return_exceptions=True)
        self.process.kill()
        await self.process.wait()
        self.process.close()

    async def _say(self, message: wire.ToProxy) -> None:
        async with self._says:
            await asyncio.get_running_loop().sock_sendall(self._control, wire.line(message))

    async def _hear(self) -> None:
        """Until it ends."""
        loop, lines = asyncio.get_running_loop(), wire.Lines(wire.FromProxy)
        try:
            while data := await loop.sock_recv(self._control, 1 << 16):
                for message in lines.feed(data):
                    self._heard(message)
                if len(self._resolving) > RESOLVING_MAX:  # it is heard again when there is room
                    await asyncio.wait(self._resolving, return_when=asyncio.FIRST_COMPLETED)
        except (OSError, ValueError) as error:
            log.error("the egress proxy: %s", error)
        finally:
            self._control.close()
            self.process.kill()
            for each in self._resolving:
                each.cancel()
            waiting: list[asyncio.Future[Any]] = [self._ready, *self._told.values()]
            for future in waiting:
                if not future.done():
                    future.set_exception(ConnectionResetError(None, "the proxy has ended"))

    def _heard(self, message: object) -> None:
        if isinstance(message, wire.Ready) and not self._ready.done():
            self._ready.set_result(None)
        elif isinstance(message, wire.Told):
            if (future := self._told.get(message.pod)) is not None and not future.done():
                future.set_result(message.problem)
        elif isinstance(message, wire.Denied):
            self._hearer.denied(message)
        elif isinstance(message, wire.Resolve):
            task = asyncio.create_task(self._resolve(message))
            self._resolving.add(task)
            task.add_done_callback(self._resolving.discard)

    async def _resolve(self, asked: wire.Resolve) -> None:
        try:
            answer = wire.Resolved(asked.number, await self._hearer.resolve(asked.pod, asked.host))
        except ValueError as error:
            answer = wire.Resolved(asked.number, problem=str(error))
        with contextlib.suppress(OSError):
            await self._say(answer)


def _environment() -> dict[str, str]:
    """What is loaded here can be loaded there."""
    package = Path(hypercontainer.__file__).parent.parent
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    return {"PYTHONPATH": os.pathsep.join([str(package), *filter(None, sys.path)]), **passed}
