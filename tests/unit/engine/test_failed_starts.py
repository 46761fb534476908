"""What is told of a VM that did not start: the reason in one line, and what helps."""

from __future__ import annotations

import pytest

from hypercontainer.engine.sandbox.endings import explained
from hypercontainer.errors import AgentError, LaunchError
from hypercontainer.hypervisor.driver import ExitReason, VMExit

TRACE = "[ 0.1] Call Trace:\n[ 0.1]  kthread+0xd7/0x100\n"
PANIC = "Kernel panic - not syncing: VFS: Unable to mount root fs"


def told(console: str, memory_mib: int, reason: ExitReason = ExitReason.GUEST_RESET) -> LaunchError:
    return explained("container c", AgentError("lost"), VMExit(0, reason, "", console), memory_mib)


@pytest.mark.parametrize(
    ("console", "memory_mib"),
    [
        (f"[ 0.1] kworker: page allocation failure: order:0\n{TRACE}", 64),
        (f"[ 0.1] Out of memory and no killable processes...\n{TRACE}", 4096),
        ("", 32),  # it could not even say so
    ],
)
def test_a_kernel_that_has_too_little_memory(console: str, memory_mib: int) -> None:
    error = told(console, memory_mib)
    assert (
        error.message == f"container c: its VM did not start: {memory_mib} MiB is too little for this kernel"
    )
    assert error.hint == "give it more memory"
    assert error.console == console


@pytest.mark.parametrize("console", [f"{TRACE}[ 0.2] {PANIC}\n{TRACE}", ""])
def test_a_kernel_that_panics_for_another_reason(console: str) -> None:
    error = told(console, 128)
    assert error.message.endswith(f"rebooted: {PANIC}" if console else "rebooted")
    assert [remedy.call for remedy in error.remedies] == ["system.doctor"]


def test_other_ends() -> None:
    assert told("", 32, ExitReason.CRASH).message.endswith("the hypervisor crashed or was killed")
    assert told("", 32, ExitReason.UNKNOWN).message.endswith("lost")
