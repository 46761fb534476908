"""libvirt's own event loop, in a thread: one a process, for all connections.

libvirt has one place for an event loop, which is filled once and before the first connection.  Its own needs no loop of
ours, of which a process may have several one after the other.
"""

from __future__ import annotations

import logging
import threading
import time
from types import ModuleType

log = logging.getLogger(__name__)
_lock = threading.Lock()
_running: threading.Thread | None = None


def start(libvirt: ModuleType) -> None:
    """Nothing happens where it runs."""
    global _running
    with _lock:
        if _running is None:
            libvirt.registerErrorHandler(lambda context, error: None, None)  # it would print them
            libvirt.virEventRegisterDefaultImpl()
            _running = threading.Thread(target=_run, args=(libvirt,), name="libvirt events", daemon=True)
            _running.start()


def _run(libvirt: ModuleType) -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except (
            libvirt.libvirtError
        ) as error:  # of poll(2), or of memory: it is tried again, and not in a hurry
            log.warning("libvirt's event loop: %s", error)
            time.sleep(1)
