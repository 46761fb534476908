"""Saved VMs, by the content of all that they were made of.

A key covers the hypervisor and its devices, the guest's kernel, init and command line, and what is prepared in it.
When one of these changes, so does the key; nothing is ever too old.  Folders are shared by all hyperds of a user:
they appear whole, one process at a time makes one, and who meets a damaged one removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

from hypercontainer.agent.fields import encode
from hypercontainer.agent.operations import Preparation
from hypercontainer.agent.session import Agent
from hypercontainer.engine import files
from hypercontainer.hypervisor import snapshot
from hypercontainer.hypervisor.driver import VM, Driver
from hypercontainer.hypervisor.ending import killed_on_failure
from hypercontainer.hypervisor.snapshot import Snapshot, SnapshotDamaged
from hypercontainer.hypervisor.spec import VMSpec

FORMAT = 1  # of what is saved: raise it when older templates are of no use to newer code
KEPT = 12  # a machine has few kernels and sizes; what was used longest ago makes room
PREPARE_S = 180.0

log = logging.getLogger(__name__)


class Templates:
    """``folder`` holds the templates."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, Snapshot] = {}
        self._digests: dict[tuple[str, int, int, int], bytes] = {}

    async def key(self, driver: Driver, spec: VMSpec, preparation: Preparation) -> str:
        """Raises ``OSError`` where kernel or initrd cannot be read, ``HyperError`` without a hypervisor."""
        boot_files = [path for path in (spec.kernel, spec.initrd) if path is not None]
        parts = [str(FORMAT).encode(), (await driver.fingerprint(spec)).encode(), encode(preparation)]
        parts += await asyncio.to_thread(lambda: [self._digest(path) for path in boot_files])
        digest = hashlib.blake2b(digest_size=16)
        for part in parts:
            digest.update(len(part).to_bytes(8, "little") + part)
        return digest.hexdigest()

    async def get(self, key: str) -> Snapshot | None:
        """The template, which stays open and ours; None where there is none that can be used."""
        known = self._open.get(key)
        if known is not None:
            return known
        folder = self._folder / key
        try:
            read = await asyncio.to_thread(snapshot.read, folder)
        except FileNotFoundError:
            return None
        except (SnapshotDamaged, OSError) as error:
            log.warning("template %s is damaged and thrown away: %s", key, error)
            await self.discard(key)
            return None
        with contextlib.suppress(OSError):
            os.utime(folder)
        if (known := self._open.get(key)) is not None:  # somebody else was quicker
            read.close()
            return known
        self._open[key] = read
        return read

    def has(self, key: str) -> bool:
        return key in self._open or (self._folder / key).is_dir()

    def count(self) -> int:
        return len(self._folders())

    def _folders(self) -> list[Path]:
        """Of whole templates; what is being written or removed has a dot before its name."""
        try:
            return [entry for entry in self._folder.iterdir() if entry.is_dir() and entry.name[0] != "."]
        except FileNotFoundError:
            return []

    async def discard(self, key: str) -> None:
        known = self._open.pop(key, None)
        if known is not None:
            known.close()
        await asyncio.to_thread(snapshot.remove, self._folder / key)

    async def make(self, key: str, driver: Driver, spec: VMSpec, preparation: Preparation) -> bool:
        """Whether there is one now; False where another process is making it.  ``spec`` is the VM's to save."""
        await asyncio.to_thread(files.make_private, self._folder)
        with _locked(self._folder / f"{key}.lock") as mine:
            if not mine:
                return False
            if (self._folder / key).is_dir():
                return True
            await asyncio.to_thread(snapshot.sweep, self._folder / key)
            saved = await _save(driver, spec, preparation)
            try:
                await asyncio.to_thread(snapshot.write, saved, self._folder / key)
            finally:
                saved.close()
            await asyncio.to_thread(self._prune)
            return True

    def _digest(self, path: Path) -> bytes:
        stat = path.stat()
        key = (str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if key not in self._digests:
            with path.open("rb") as file:
                self._digests[key] = hashlib.file_digest(file, "blake2b").digest()
        return self._digests[key]

    def _prune(self) -> None:
        found = [(entry.stat().st_mtime_ns, entry) for entry in self._folders()]
        for _, entry in sorted(found)[:-KEPT]:
            snapshot.remove(entry)

    def close(self) -> None:
        for opened in self._open.values():
            opened.close()
        self._open.clear()


async def _save(driver: Driver, spec: VMSpec, preparation: Preparation) -> Snapshot:
    vm = await driver.launch_to_save(spec)
    async with killed_on_failure(vm):
        await prepare(vm, preparation)
        return await vm.save()


async def prepare(vm: VM, preparation: Preparation) -> None:
    """Makes a VM that has just booted ready to be saved, or given away; its session is over afterwards."""
    pair = await vm.connect_agent()
    agent = Agent.open(*pair, resumed=False, on_event=lambda event: None)
    await agent.welcome(PREPARE_S)
    await agent.prepare(preparation, timeout_s=PREPARE_S)
    # To lose its host would be news to the guest, in every clone.
    vm.keep_agent(pair)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether this process has the lock, which is never waited for."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
    finally:
        os.close(fd)
