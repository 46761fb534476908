"""Why a VM that was to be started is not there, in an error for the user."""

from __future__ import annotations

from hypercontainer.errors import AgentError, LaunchError, Remedy
from hypercontainer.hypervisor.driver import ExitReason, VMExit

_ENDINGS = {
    ExitReason.GUEST_SHUTDOWN: "the guest powered off",
    ExitReason.GUEST_RESET: "the guest's kernel panicked or rebooted",
    ExitReason.OUT_OF_MEMORY: "the hypervisor needed more memory than its limit",
    ExitReason.CRASH: "the hypervisor crashed or was killed",
}


def explained(what: str, error: AgentError, vm_exit: VMExit) -> LaunchError:
    """``error``: how the one who spoke to its guest learnt of it, for ``what``."""
    return LaunchError(
        f"{what}: its VM did not start: {_ENDINGS.get(vm_exit.reason, error.message)}",
        exit_code=vm_exit.exit_code,
        stderr=vm_exit.stderr,
        console=vm_exit.console,
        hint="are kernel, initrd, kernel arguments and memory right?",
        remedies=(Remedy("system.doctor", aim="checks our own"),),
    )
