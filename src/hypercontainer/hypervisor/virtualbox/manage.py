"""VBoxManage, run: each call a process with a deadline, each refusal an error that has VirtualBox's own words."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from hypercontainer.errors import HypervisorError, Unavailable
from hypercontainer.hypervisor.virtualbox import parsing
from hypercontainer.hypervisor.virtualbox.parsing import Refusal

TIMEOUT_S = 60.0
_INFO_TRIES, _PENDING_S = 20, 0.25
_MAX_OUTPUT_BYTES = 1 << 20
_WARNING = b"VBoxManage: warning: "
PACKAGE_HINT = "install VirtualBox 7 (virtualbox.org, or the package `virtualbox`)"
# Where distributions put what is not for the path: the programs of VMs.
_FOLDERS = (Path("/usr/lib/virtualbox"), Path("/usr/lib64/virtualbox"), Path("/opt/VirtualBox"))
# Of this process's environment, what a program of VirtualBox is to have of it.
_PASSED = ("DISPLAY", "XAUTHORITY", "XDG_RUNTIME_DIR", "VBOX_USER_HOME", "VBOX_IPC_SOCKETID")

# Ends what follows with its input, which is our end as well: it would wait for ever, and without a server take all
# memory there is.
_FOR_US = ("/bin/sh", "-c", '"$@" & read -r nothing; kill -9 $!; wait $!', "sh")


class Refused(HypervisorError):
    """VBoxManage has refused; ``refusal`` says why."""

    def __init__(self, what: str, refusal: Refusal) -> None:
        super().__init__(f"VBoxManage {what}: {refusal.words}")
        self.refusal = refusal


@dataclass(frozen=True)
class Installation:
    """``manage`` is VBoxManage, a name or a path; ``home``: the folder of a VirtualBox of this driver's own, with a
    server of its own; None is the user's, whose other programs see the VMs.  ``display``: where the software's windows
    are."""

    manage: str = "VBoxManage"
    home: Path | None = None
    driverless: bool = False
    display: str = ""

    @property
    def environment(self) -> dict[str, str]:
        user = pwd.getpwuid(os.geteuid())
        passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
        # VirtualBox ends at once where its locale cannot say every name.
        base = {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name, "LC_ALL": "C.UTF-8"}
        base["PATH"] = os.environ.get("PATH", os.defpath)
        if self.home is not None:
            passed["VBOX_USER_HOME"] = str(self.home)
            passed["VBOX_IPC_SOCKETID"] = f"hyper-{sha256(str(self.home).encode()).hexdigest()[:16]}"
        if self.display:
            passed["DISPLAY"] = self.display
        return base | passed

    def program(self) -> str:
        """VBoxManage's path; ``Unavailable``."""
        found = shutil.which(self.manage)
        if found is None:
            raise Unavailable(f"there is no {self.manage}", hint=PACKAGE_HINT)
        return found

    def runner(self) -> str:
        """The path of the program that runs a VM; ``Unavailable``."""
        name = "VirtualBoxVM" if self.driverless else "VBoxHeadless"
        for folder in (Path(self.program()).parent, *_FOLDERS):
            if os.access(path := folder / name, os.X_OK):
                return str(path)
        package = "virtualbox-qt" if self.driverless else "virtualbox"
        raise Unavailable(f"there is no {name}", hint=f"install the package `{package}`")


class Manage:
    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    async def run(self, *arguments: str, timeout_s: float = TIMEOUT_S) -> str:
        """What it prints.  Raises ``Refused``, ``Unavailable`` where it cannot be run, ``HypervisorError`` where it
        does not end in time."""
        process = await self._start(*arguments)
        try:
            async with asyncio.timeout(timeout_s):
                said, why = await process.communicate()
        except TimeoutError:
            what = f"VBoxManage {arguments[0]} did not end within {timeout_s:g} s"
            raise HypervisorError(what, hint="does VBoxSVC hang?") from None
        finally:
            await _end(process)
        if process.returncode or _WARNING in why:  # of a network that is not there it does no more than warn
            raise Refused(arguments[0], parsing.refusal(why.decode(errors="replace")))
        return said[:_MAX_OUTPUT_BYTES].decode(errors="replace")

    async def info(self, identity: str) -> Mapping[str, str] | None:
        """Of the VM with this UUID; None where there is none.  Empty where its settings cannot be read."""
        tries = _INFO_TRIES
        while True:
            try:
                return parsing.machine_readable(await self.run("showvminfo", identity, "--machinereadable"))
            except Refused as error:
                if error.refusal.code == parsing.NOT_FOUND:
                    return None
                if error.refusal.code == parsing.NO_ACCESS:
                    return {}
                tries -= 1
                if error.refusal.code != parsing.OBJECT_STATE or not tries:
                    raise
            # Who asks locks the VM, too: another command asked for its lock at that moment.
            await asyncio.sleep(_PENDING_S)

    @contextlib.asynccontextmanager
    async def served(self, identity: str) -> AsyncIterator[None]:
        """VBoxSVC stays meanwhile: who starts it has it inherit its descriptors, a VM's console and locks among them,
        and it goes some seconds after the last who needed it."""
        waiting = await self._start("guestproperty", "wait", identity, "/hyper/never", before=_FOR_US)
        assert waiting.stdin is not None
        try:
            yield
        finally:
            waiting.stdin.close()
            await waiting.wait()

    async def _start(self, *arguments: str, before: tuple[str, ...] = ()) -> asyncio.subprocess.Process:
        program = self._installation.program()
        try:
            return await asyncio.create_subprocess_exec(
                *before,
                program,
                *arguments,
                stdin=asyncio.subprocess.PIPE if before else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._installation.environment,
                start_new_session=True,
                cwd="/",
            )
        except OSError as error:
            raise Unavailable(f"cannot run {program}: {error.strerror}", hint=PACKAGE_HINT) from error


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
