"""The kernel command line: what was measured to boot soonest, and why each word is there (docs/kernel.md)."""

from __future__ import annotations

from hypercontainer.kernel.model import Kernel
from hypercontainer.kernel.targets import TARGETS
from hypercontainer.linux.architectures import AMD64

_ALWAYS = (
    "quiet",
    "panic=-1",  # a lost guest ends at once: no hypervisor of ours starts it again
    "random.trust_cpu=on",
    "cryptomgr.notests",
)
# Which mean nothing to a kernel that is a program.
_OF_A_MACHINE = ("random.trust_cpu=on",)
# The driver is there for who asks; not a first interface that nobody asked for.
_OWN = ("dummy.numdummies=0",)
# Of a kernel that is a program.  0.08 s: the delay loop would be measured.  For 5 GHz at HZ=100, as below.
_PROGRAM = (
    "lpj=50000000",
    # Linux 7.3 asks for them, and takes what a server that knows none of them (nfs-ganesha 4.3) says for an I/O error.
    "nfsv4.directory_delegations=0",
)
_EMULATED = ("mitigations=off",)  # an emulator does not speculate
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
    kernel: Kernel,
    *,
    emulated: bool,
    console: bool,
    extra: tuple[str, ...],
    tsc_khz: int | None = None,
    device: str = "",
    line: str = "",
) -> tuple[str, ...]:
    """The arguments for ``kernel``, one word each; ``extra``, the user's, come last and so win.

    ``emulated``: the guest's instructions are interpreted (TCG).  ``console``: the errors of a machine's kernel go to
    the first serial port, or to ``device``; else nowhere.  ``line``: where the agent finds its port, where not by
    itself.  A program's console is told by who runs it.  ``tsc_khz``: the host's, which an
    emulated guest cannot measure (linux.tsc).
    """
    target = TARGETS[kernel.architecture]
    if kernel.program:
        words = [*(word for word in _ALWAYS if word not in _OF_A_MACHINE), *_PROGRAM]
    else:
        words = [f"console={(device or target.console) if console else 'null'}", *_ALWAYS, *target.arguments]
    words += [f"hyper.port={line}"] if line else []
    words += _OWN if kernel.source == "own" else ()
    if emulated:
        words += [*_EMULATED, *target.emulated]
        words += _EMULATED_OWN if kernel.source == "own" else ()
        words += [f"tsc_early_khz={tsc_khz}"] if tsc_khz and kernel.architecture == AMD64 else []
    return (*words, *extra)
