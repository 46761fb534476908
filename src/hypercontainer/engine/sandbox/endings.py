"""Why a VM that was to be started is not there, in an error for the user."""

from __future__ import annotations

import logging
import re

from hypercontainer.errors import AgentError, LaunchError, Remedy
from hypercontainer.hypervisor.driver import ExitReason, VMExit

# What any kernel starts in.
MODEST_MIB = 128
_STARVED = re.compile(
    r"[Oo]ut of memory|page allocation failure|not enough memory|deadlocked on memory|Cannot allocate memory|"
    r"unable to allocate|panic on oom",
)
_PANIC = re.compile(r"Kernel panic - not syncing: [^\n\r]{1,200}")
_ENDINGS = {
    ExitReason.GUEST_SHUTDOWN: "the guest powered off",
    ExitReason.GUEST_RESET: "the guest's kernel panicked or rebooted",
    ExitReason.OUT_OF_MEMORY: "the hypervisor needed more memory than its limit",
    ExitReason.CRASH: "the hypervisor crashed or was killed",
}

log = logging.getLogger(__name__)


def explained(what: str, error: AgentError, vm_exit: VMExit, memory_mib: int) -> LaunchError:
    """``error``: how the one who spoke to its guest learnt of it, for ``what``."""
    why, hint = (
        _ENDINGS.get(vm_exit.reason, error.message),
        "are kernel, initrd, kernel arguments and memory right?",
    )
    remedies: tuple[Remedy, ...] = (Remedy("system.doctor", aim="checks our own"),)
    if vm_exit.reason is ExitReason.GUEST_RESET:
        if _starved(vm_exit.console, memory_mib):
            why, hint, remedies = f"{memory_mib} MiB is too little for this kernel", "give it more memory", ()
        elif panic := _PANIC.search(vm_exit.console):
            why = f"{why}: {panic[0]}"
    return LaunchError(
        f"{what}: its VM did not start: {why}",
        exit_code=vm_exit.exit_code,
        stderr=vm_exit.stderr,
        console=vm_exit.console,
        hint=hint,
        remedies=remedies,
    )


def _starved(console: str, memory_mib: int) -> bool:
    """Whether a kernel that has panicked had too little memory: it says so, or could not even say anything."""
    return bool(_STARVED.search(console)) or (not console.strip() and memory_mib < MODEST_MIB)


def noted(error: LaunchError) -> LaunchError:
    """With all of it in our log, since surfaces show its reason alone."""
    log.warning("%s", error)
    return error
