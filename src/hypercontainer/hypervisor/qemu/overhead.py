"""What QEMU and its helpers take beside the guest's own memory; docs/hypervisor.md has the measurements."""

from __future__ import annotations

from hypercontainer.hypervisor.shares import SHARE_MIB
from hypercontainer.hypervisor.spec import Accelerator

MIB = 1 << 20
# Besides the guest's memory and boot files.
QEMU_MIB = 96
# The cache of translated code under software emulation.  QEMU's own default is 1 GiB.
TCG_CACHE_MIB = 128


# Of the guest's memory, once it has used it: one of 512 MiB that filled it was killed with 224 MiB beside it, and not
# with 480.
TCG_PAGES_SHARE = 0.5


def overhead_bytes(accelerator: Accelerator, *, memory_mib: int, boot_files_bytes: int, shares: int) -> int:
    """``boot_files_bytes``: kernel and initrd, which QEMU keeps a copy of."""
    emulation_mib = 0
    if accelerator is Accelerator.TCG:
        emulation_mib = TCG_CACHE_MIB + int(TCG_PAGES_SHARE * memory_mib)
    return (QEMU_MIB + emulation_mib + SHARE_MIB * shares) * MIB + boot_files_bytes
