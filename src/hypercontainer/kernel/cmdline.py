"""The kernel command line: what was measured to boot soonest, and why each word is there (docs/kernel.md)."""

from __future__ import annotations

from hypercontainer.kernel.model import Kernel

_ALWAYS = (
    "quiet",
    "panic=-1",  # a lost guest ends at once: QEMU runs with -no-reboot
    "reboot=t",  # by triple fault, which needs no device
    "random.trust_cpu=on",
    "cryptomgr.notests",
    "tsc=reliable",  # no watchdog, no second clock source
    "no_timer_check",
)
# A guest of an emulator has no speculative execution to be attacked by.
_EMULATED = ("mitigations=off", "nopti")


def command_line(kernel: Kernel, *, emulated: bool, console: bool, extra: tuple[str, ...]) -> tuple[str, ...]:
    """The arguments for ``kernel``, one word each; ``extra``, the user's, come last and so win.

    ``emulated``: the guest's instructions are interpreted (TCG).  ``console``: the kernel's errors go to the
    first serial port; else nowhere.
    """
    words = [f"console={'ttyS0' if console else 'null'}", *_ALWAYS]
    if emulated:
        words += _EMULATED
    return (*words, *extra)
