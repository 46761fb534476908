"""VMs as VirtualBox has them: defined, and forgotten again; nothing but what is ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor import helpers
from hypercontainer.hypervisor.driver import VMRecord
from hypercontainer.hypervisor.virtualbox import parsing
from hypercontainer.hypervisor.virtualbox.argv import Definition, define
from hypercontainer.hypervisor.virtualbox.manage import Manage, Refused
from hypercontainer.hypervisor.virtualbox.places import VirtualBoxRunDir
from hypercontainer.linux import inotify
from hypercontainer.linux.process import Identity, Process, boot_id, start_ticks

UUID = "uuid"  # of `VMRecord.foreign`
# So long VirtualBox may take to notice that a VM's process has ended.
UNLOCKED_S = 30.0
_NOTICED_S = 0.5
_RUNS = b"--startvm"  # among the arguments of a VM's process

log = logging.getLogger(__name__)


async def make(manage: Manage, definition: Definition) -> None:
    """Raises ``Refused``; what there is then is for ``forget``."""
    for command in define(definition):
        await manage.run(*command)


async def forget(manage: Manage, record: VMRecord) -> None:
    """It and its media are VirtualBox's no more; no file is removed, those of its disks least of all.

    The VM's process has ended.  Nothing happens where it is not there, or is not ours.
    """
    identity = record.foreign[UUID]
    info = await manage.info(identity)
    if info is None:
        await _close_disc(manage, record)  # whoever unregistered it was killed before that
        return
    if not _ours(info, record):
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(UNLOCKED_S):
            await _unregister(manage, record)
            await _close_disc(manage, record)
            return
    raise HypervisorError(
        f"VM {record.name}: VirtualBox has it locked for somebody else",
        hint=f"is it open in VirtualBox? VBoxManage unregistervm {identity}",
    )


async def _unregister(manage: Manage, record: VMRecord) -> None:
    """VirtualBox watches the VM's process, too, and unlocks the VM when it has noticed that it ended: it writes that
    among the settings first."""
    with contextlib.ExitStack() as stack:
        changed = asyncio.Event()
        with contextlib.suppress(OSError):  # the folder is gone, and nothing is unlocked there
            fd = inotify.watch([VirtualBoxRunDir(record.run_dir, record.id).machine], grown=True)
            stack.callback(os.close, fd)
            asyncio.get_running_loop().add_reader(fd, _noticed, fd, changed)
            stack.callback(asyncio.get_running_loop().remove_reader, fd)
        while not await _unregistered(manage, record.foreign[UUID]):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_NOTICED_S):
                    await changed.wait()
            changed.clear()


def _noticed(fd: int, changed: asyncio.Event) -> None:
    inotify.forget(fd)
    changed.set()


async def _unregistered(manage: Manage, identity: str) -> bool:
    """False where it is locked still."""
    try:
        await manage.run("unregistervm", identity)
    except Refused as error:
        if error.refusal.code == parsing.NOT_FOUND:
            return True
        if error.refusal.code == parsing.OBJECT_STATE:
            return False
        raise
    return True


async def _close_disc(manage: Manage, record: VMRecord) -> None:
    """Which stays in VirtualBox's list when its VM goes; hard disks do not."""
    await _close(manage, "dvd", VirtualBoxRunDir(record.run_dir, record.id).boot)


async def close_disks(manage: Manage, record: VMRecord) -> None:
    """Those that a killed hyperd's command had opened for a VM, or taken from it, and no more."""
    run = VirtualBoxRunDir(record.run_dir, record.id)
    for path in run.disks.glob(run.descriptor("*").name):
        try:
            await _close(manage, "disk", path)
        except Refused as error:
            # Who wrote it was killed as it did, or it is somebody's: that is told with its VM.
            log.warning("disk %s of VirtualBox is not closed: %s", path, error)


async def _close(manage: Manage, kind: str, path: Path) -> None:
    try:
        await manage.run("closemedium", kind, str(path))
    except Refused as error:
        if error.refusal.code not in (parsing.NOT_FOUND, parsing.FILE_ERROR):
            raise


def _ours(info: Mapping[str, str], record: VMRecord) -> bool:
    """Its settings are in our run directory; one whose settings are gone has nothing that could be somebody else's."""
    settings = info.get("CfgFile")
    if settings is None or Path(settings).is_relative_to(record.run_dir):
        return True
    log.warning("VM %s of VirtualBox is somebody else's: %s", record.foreign[UUID], settings)
    return False


async def interrupt(record: VMRecord, program: str) -> None:
    """Ends the commands about this VM that are under way still, of a hyperd that was killed: calls of this ``program``,
    and nobody else's who only has the VM's UUID among its arguments."""
    for process, arguments in _processes(record):
        if program.encode() in map(os.path.basename, arguments) and _RUNS not in arguments:
            await helpers.end(process)
        else:
            process.close()


def running(record: VMRecord) -> Process | None:
    """The process of a VM of whose start nothing has been written down."""
    found = None
    for process, arguments in _processes(record):
        if found is None and _RUNS in arguments:
            found = process
        else:
            process.close()
    return found


def _processes(record: VMRecord) -> Iterator[tuple[Process, list[bytes]]]:
    """With their arguments, which have the VM's UUID among them."""
    wanted = record.foreign[UUID].encode()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if not entry.name.isdigit() or entry.stat().st_uid not in (0, os.geteuid()):
                continue
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            if wanted not in arguments:
                continue
            pid = int(entry.name)
            if (process := Process.open(Identity(pid, start_ticks(pid) or 0, boot_id()))) is not None:
                yield process, arguments
