"""The connection to a libvirt: made when it is needed, and again when it was lost while VMs are watched.

libvirt's calls block, and one to a libvirtd that hangs blocks until that is known.  So each has a thread of its own, of
which there are so many, and a deadline, after which nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from hypercontainer.errors import HyperError, HypervisorError
from hypercontainer.hypervisor.libvirt import events, library
from hypercontainer.hypervisor.libvirt.library import Severed
from hypercontainer.hypervisor.qemu.qmp import Event

T = TypeVar("T")
G = TypeVar("G")
CALL_S = 30.0
THREADS = 16
# A libvirtd that hangs is given up after so long: the connection is closed by this side, and its calls fail.
KEEPALIVE_S, KEEPALIVES = 5, 3
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 10.0
# What a VM may have said and nobody has heard: more is dropped, for its guest may be behind it.
MAX_UNHEARD = 10_000
# A domain's end, as libvirt has it; the others are QEMU's own events.
STOPPED = "libvirt-stopped"
HEARD = "^(SHUTDOWN|DEVICE_DELETED|DEVICE_UNPLUG_GUEST_ERROR|BLOCK_IO_ERROR)$"

log = logging.getLogger(__name__)


class Link(Generic[G]):
    """``uri`` is libvirt's; ``greet`` is called in a thread with each new connection."""

    def __init__(self, uri: str, greet: Callable[[Any], G]) -> None:
        self.uri = uri
        self._greet = greet
        self._watchers: dict[str, Callable[[Event], None]] = {}
        self._unheard = 0
        self._live: Live[G] | None = None
        self._opening: asyncio.Task[Live[G]] | None = None
        self._again: asyncio.Task[None] | None = None
        self._places: asyncio.Semaphore | None = None

    @property
    def up(self) -> bool:
        return self._live is not None

    async def call(self, what: str, function: Callable[[Any], T], *, timeout_s: float = CALL_S) -> T:
        """What ``function``, in a thread, makes of the connection (a ``virConnect``).

        Raises ``HypervisorError`` where that takes longer, in which case it goes on nevertheless; ``Severed`` without
        a connection; what ``library.said`` makes of libvirt's errors.
        """
        try:
            async with asyncio.timeout(timeout_s):
                live = await self._connected()
                try:
                    return await self._in_thread(what, lambda: function(live.connection))
                except Severed as error:
                    self._lost(live)
                    if not error.unsent:
                        raise
                    live = await self._connected()
                    return await self._in_thread(what, lambda: function(live.connection))
        except TimeoutError:
            raise HypervisorError(
                f"{what}: libvirt at {self.uri} did not answer within {timeout_s:g} s",
                hint="does libvirtd hang?",
            ) from None

    async def greeting(self, *, timeout_s: float = CALL_S) -> G:
        """Of the connection that there is, or is made.  Raises what ``call`` does."""
        try:
            async with asyncio.timeout(timeout_s):
                return (await self._connected()).greeting
        except TimeoutError:
            raise HypervisorError(
                f"libvirt at {self.uri} did not answer within {timeout_s:g} s", hint="does libvirtd hang?"
            ) from None

    def watch(self, uuid: str, heard: Callable[[Event], None]) -> None:
        """What becomes of a domain is told from now on, and a connection kept for it; until ``leave``."""
        self._watchers[uuid] = heard
        if self._live is None:
            self._reconnect()

    def leave(self, uuid: str) -> None:
        self._watchers.pop(uuid, None)
        if not self._watchers and self._again is not None:
            self._again.cancel()

    async def close(self) -> None:
        self._watchers.clear()
        if self._again is not None:
            self._again.cancel()
        if self._opening is not None:  # what it opens has to be closed
            await asyncio.wait([self._opening], timeout=CALL_S)
        live, self._live = self._live, None
        if live is not None:
            with contextlib.suppress(HyperError, TimeoutError):
                async with asyncio.timeout(CALL_S):
                    await self._in_thread("close", live.close)

    async def _connected(self) -> Live[G]:
        """For all who ask at once the same."""
        if self._live is not None:
            return self._live
        if self._opening is None:
            self._opening = asyncio.create_task(self._open(), name=f"libvirt {self.uri}")
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, task: asyncio.Task[Live[G]]) -> None:
        self._opening = None
        if not task.cancelled() and task.exception() is None:
            self._live = task.result()

    async def _open(self) -> Live[G]:
        libvirt, qemu = library.load()
        loop = asyncio.get_running_loop()

        def tell(uuid: str, event: Event) -> None:
            """In the event loop's thread."""
            with contextlib.suppress(RuntimeError):  # our loop is closed
                if self._unheard < MAX_UNHEARD:
                    self._unheard += 1
                    loop.call_soon_threadsafe(self._hear, uuid, event)

        def lost(connection: Any, reason: int, opaque: object) -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(part)

        def part() -> None:
            if made:
                self._lost(made[0])

        made: list[Live[G]] = []

        def work() -> Live[G]:
            events.start(libvirt)
            connection = libvirt.open(self.uri)
            connection.registerCloseCallback(lost, None)
            connection.setKeepAlive(KEEPALIVE_S, KEEPALIVES)
            undo = _subscribe(libvirt, qemu, connection, tell)
            made.append(Live(connection, self._greet(connection), undo))
            return made[0]

        return await self._in_thread("connecting", work)

    def _hear(self, uuid: str, event: Event) -> None:
        self._unheard -= 1
        if uuid in self._watchers:
            self._watchers[uuid](event)

    def _lost(self, live: Live[G]) -> None:
        if self._live is not live:
            return
        self._live = None
        log.warning("the connection to libvirt at %s is lost", self.uri)
        threading.Thread(target=live.close, name="libvirt close", daemon=True).start()
        if self._watchers:
            self._reconnect()

    def _reconnect(self) -> None:
        if self._again is None:
            self._again = asyncio.create_task(self._keep_trying(), name=f"libvirt {self.uri} again")
            self._again.add_done_callback(self._tried)

    def _tried(self, task: asyncio.Task[None]) -> None:
        self._again = None

    async def _keep_trying(self) -> None:
        """Nobody tells when a libvirtd is there again."""
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._connected()
            except HyperError as error:
                log.debug("%s", error)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                return

    async def _in_thread(self, what: str, work: Callable[[], T]) -> T:
        """The thread keeps its place until it ends, whoever waits for it."""
        libvirt, _ = library.load()
        if self._places is None:
            self._places = asyncio.Semaphore(THREADS)
        places, loop = self._places, asyncio.get_running_loop()
        await places.acquire()
        outcome: asyncio.Future[T] = loop.create_future()

        def done(settle: Callable[[Any], None], value: object) -> None:
            places.release()
            if not outcome.done():
                settle(value)

        def run() -> None:
            try:
                settle, value = outcome.set_result, work()
            except libvirt.libvirtError as error:
                failed = library.said(libvirt, error, what, self.uri)
                settle, value = outcome.set_exception, failed  # type: ignore[assignment]
            except BaseException as error:
                settle, value = outcome.set_exception, error  # type: ignore[assignment]
            with contextlib.suppress(RuntimeError):  # our loop is closed
                loop.call_soon_threadsafe(done, settle, value)

        threading.Thread(target=run, name=f"libvirt {what}", daemon=True).start()
        return await outcome


@dataclass(frozen=True)
class Live(Generic[G]):
    """A connection, what came of greeting it, and what has to be taken back before it can end."""

    connection: Any
    greeting: G
    undo: tuple[Callable[[], object], ...]

    def close(self) -> None:
        """Blocks.  libvirt keeps a connection while somebody may hear of it."""
        for step in (*self.undo, self.connection.close):
            with contextlib.suppress(Exception):
                step()


def _subscribe(
    libvirt: Any, qemu: Any, connection: Any, tell: Callable[[str, Event], None]
) -> tuple[Callable[[], object], ...]:
    """What takes it back."""

    def life(connection: Any, domain: Any, event: int, detail: int, opaque: object) -> None:
        if event == libvirt.VIR_DOMAIN_EVENT_STOPPED:
            tell(domain.UUIDString(), Event(STOPPED, {"detail": detail}))

    def said(
        connection: Any,
        domain: Any,
        name: str,
        seconds: int,
        micros: int,
        details: str | None,
        opaque: object,
    ) -> None:
        try:
            data = msgspec.json.decode(details or "{}", type=dict[str, object])
        except (msgspec.MsgspecError, RecursionError):
            return
        tell(domain.UUIDString(), Event(name, data))

    lives = connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, life, None)
    regex = qemu.VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX
    talk = qemu.qemuMonitorEventRegister(connection, None, HEARD, said, None, regex)
    return (
        lambda: connection.domainEventDeregisterAny(lives),
        lambda: qemu.qemuMonitorEventDeregister(connection, talk),
        connection.unregisterCloseCallback,
    )
