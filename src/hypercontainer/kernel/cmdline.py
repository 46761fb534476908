"""The kernel command line: what was measured to boot soonest, and why each word is there (docs/kernel.md)."""

from __future__ import annotations

from hypercontainer.kernel.model import Kernel

_ALWAYS = (
    "quiet",
    "panic=-1",  # a lost guest ends at once: no hypervisor of ours starts it again
    "reboot=t",  # by triple fault, which needs no device
    "random.trust_cpu=on",
    "cryptomgr.notests",
)
# Which mean nothing to a kernel that is a program.
_OF_A_MACHINE = ("reboot=t", "random.trust_cpu=on")
# The driver is there for who asks; not a first interface that nobody asked for.
_OWN = ("dummy.numdummies=0",)
# 0.08 s: the delay loop would be measured.  For 5 GHz at HZ=100, as below.
_PROGRAM_DELAY = "lpj=50000000"
_EMULATED = (
    "mitigations=off",  # an emulator does not speculate
    "noreplace-smp",  # 0.1 s: each lock's prefix would be rewritten in a guest of one CPU
    "no_timer_check",
)
# See guest/kernel/patches.  Any other kernel may mistake the TSC's frequency when its host is busy, and needs the
# watchdog that notices it.
_EMULATED_OWN = (
    "tsc=reliable",
    "lapic_timer_khz=1000000",  # QEMU's local APIC counts nanoseconds
    # 0.15 s for each further CPU, whose delay loop would be measured.  For a TSC of 5 GHz at HZ=250: a delay may last
    # longer than was asked for, never shorter.
    "lpj=20000000",
)


def command_line(
    kernel: Kernel, *, emulated: bool, console: bool, extra: tuple[str, ...], tsc_khz: int | None = None
) -> tuple[str, ...]:
    """The arguments for ``kernel``, one word each; ``extra``, the user's, come last and so win.

    ``emulated``: the guest's instructions are interpreted (TCG).  ``console``: the errors of a machine's kernel go to
    the first serial port; else nowhere.  A program's console is told by who runs it.  ``tsc_khz``: the host's, which an
    emulated guest cannot measure (linux.tsc).
    """
    if kernel.program:
        words = [*(word for word in _ALWAYS if word not in _OF_A_MACHINE), _PROGRAM_DELAY]
    else:
        words = [f"console={'ttyS0' if console else 'null'}", *_ALWAYS]
    words += _OWN if kernel.source == "own" else ()
    if emulated:
        words += _EMULATED
        words += _EMULATED_OWN if kernel.source == "own" else ()
        words += [f"tsc_early_khz={tsc_khz}"] if tsc_khz else []
    return (*words, *extra)
