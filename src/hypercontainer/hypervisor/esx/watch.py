"""Learns what becomes of VMs by vSphere's property collector: one request that waits, in a thread of its own.

A server that goes away, or forgets the session, is asked again until it answers; a VM that is not there then, and not
a while later either, is lost.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from pyVmomi import vim, vmodl

from hypercontainer.hypervisor.esx import inventory
from hypercontainer.hypervisor.esx.faults import Gone
from hypercontainer.hypervisor.esx.session import Live, Session, watch

WAIT_S = 20
LOST_S = 20.0  # for a host that has just started, and does not know all of its machines yet
BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0)
_POWER = "runtime.powerState"

log = logging.getLogger(__name__)


class State(Enum):
    ON = "poweredOn"
    OFF = "poweredOff"
    SUSPENDED = "suspended"
    LOST = "lost"


@dataclass
class _Followed:
    told: Callable[[State], None]
    state: State | None = None
    ref: Any = None
    filter: Any = None
    missed_at: float | None = None

    def tell(self, state: State) -> None:
        self.state = state
        self.told(state)


class Watch:
    """``told`` of each VM is called from the thread, when its state is another, and when the server is heard again."""

    def __init__(self, session: Session, owner: str, *, lost_s: float = LOST_S) -> None:
        self._session = session
        self._owner = owner
        self._lost_s = lost_s
        self._lock = threading.RLock()
        self._followed: dict[str, _Followed] = {}
        self._collector: Any = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._failures = 0

    def follow(self, uuid: str, told: Callable[[State], None], live: Live | None = None) -> None:
        """Blocks.  The state that it is in is told at once, by ``live``, or when the server is heard again."""
        with self._lock:
            followed = self._followed[uuid] = _Followed(told)
            if self._collector is not None and live is not None:
                self._look(live, uuid, followed)
            if self._thread is None:
                self._stop = threading.Event()
                self._thread = threading.Thread(target=self._run, name="esx-watch", daemon=True)
                self._thread.start()

    def leave(self, uuid: str) -> None:
        """Blocks."""
        with self._lock:
            followed = self._followed.pop(uuid, None)
            if followed is not None and followed.filter is not None:
                with contextlib.suppress(Exception):
                    followed.filter.Destroy()
            if self._followed:
                return
        self.close()

    def close(self) -> None:
        """Blocks."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._followed.clear()
        self._stop.set()
        if thread is None:
            return
        for _ in range(WAIT_S):  # a request that begins just now is not cancelled by this
            with contextlib.suppress(Exception):
                self._collector.CancelWaitForUpdates()
            thread.join(1.0)
            if not thread.is_alive():
                return

    def _run(self) -> None:
        self._failures, stop = 0, self._stop
        while not stop.is_set():
            try:
                self._hear(stop)
            except Exception as error:
                if stop.is_set():
                    return
                if not self._failures:
                    log.warning("%s is not to be heard: %s", self._session.settings.where, error)
                stop.wait(BACKOFF_S[min(self._failures, len(BACKOFF_S) - 1)])
                self._failures += 1

    def _hear(self, stop: threading.Event) -> None:
        """Until something goes wrong, or there is nothing to be heard any more."""
        live = self._session.live()
        stub = live.waiting()
        try:
            self._collector = live.content.propertyCollector.CreatePropertyCollector()
            waiting = vmodl.query.PropertyCollector(self._collector._moId, stub)
            version = self._next(waiting, "", 0)  # the simulator collects nothing before it was asked once
            with self._lock:
                for uuid, followed in self._followed.items():
                    followed.ref = followed.filter = None
                    self._look(live, uuid, followed)
            while not stop.is_set():
                version = self._next(waiting, version, self._patience())
                self._failures = 0
                with self._lock:
                    self._look_again(live)
        except vim.fault.NotAuthenticated:
            self._session.drop(live)
            if self._failures:
                raise
            self._failures = 1
        finally:
            with self._lock:
                collector, self._collector = self._collector, None
            stub.DropConnections()
            if stop.is_set() and collector is not None:
                with contextlib.suppress(Exception):
                    collector.Destroy()

    def _next(self, waiting: Any, version: str, seconds: int) -> str:
        """What happens within so long, and the version that it makes."""
        found = waiting.WaitForUpdatesEx(
            version, vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=seconds)
        )
        if found is None:
            return version
        with self._lock:
            for each in found.filterSet:
                for update in each.objectSet:
                    self._heard(update)
        return str(found.version)

    def _look(self, live: Live, uuid: str, followed: _Followed) -> None:
        """Where it is now, and how it is."""
        try:
            machine = inventory.find(live, uuid, self._owner)
            if machine is not None:
                followed.ref = machine.ref
                followed.filter = watch(self._collector, machine.ref, (_POWER,))
                # What has happened before there was a filter.
                machine = inventory.look(live, machine.ref, self._owner)
        except (Gone, vmodl.fault.ManagedObjectNotFound):
            machine = None
        if machine is None:
            followed.missed_at = followed.missed_at or time.monotonic()
            return
        followed.missed_at = None
        followed.tell(State.ON if machine.on else State.SUSPENDED if machine.suspended else State.OFF)

    def _heard(self, update: Any) -> None:
        for followed in self._followed.values():
            if followed.ref is None or followed.ref._moId != update.obj._moId:
                continue
            if update.kind == "leave" or update.missingSet:
                followed.missed_at = time.monotonic() - self._lost_s  # the server is there, and knows
            for change in update.changeSet:
                if change.name == _POWER and change.val is not None:
                    followed.tell(State(str(change.val)))

    def _look_again(self, live: Live) -> None:
        for uuid, followed in self._followed.items():
            if followed.state is State.LOST or followed.missed_at is None:
                continue
            if time.monotonic() - followed.missed_at >= self._lost_s:
                self._look(live, uuid, followed)
                if followed.missed_at is not None:
                    followed.tell(State.LOST)

    def _patience(self) -> int:
        with self._lock:
            waited = any(
                each.missed_at is not None and each.state is not State.LOST
                for each in self._followed.values()
            )
        return 1 if waited else WAIT_S
