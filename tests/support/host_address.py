"""Addresses that this host has while a test runs.  Tests that run at the same time take turns with one."""

from __future__ import annotations

import contextlib
import fcntl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def taken(address: str) -> Iterator[None]:
    """Whoever wants the same one meanwhile waits; with the process that has it its claim ends."""
    with Path(tempfile.gettempdir(), f"hyper-tests-{address}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def host_address(address: str) -> Iterator[None]:
    """On the loopback interface."""
    words = [f"{address}/32", "dev", "lo"]
    with taken(address):
        subprocess.run(["ip", "address", "add", *words], check=True)
        try:
            yield
        finally:
            subprocess.run(["ip", "address", "del", *words], check=True)
