"""What a guest's kernel is like on each architecture, and where Debian has one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import InvalidArgument
from hypercontainer.linux.architectures import AMD64, ARM64, PPC64LE, RISCV64, S390X


@dataclass(frozen=True)
class Target:
    """``architecture`` is Go's word; ``console``: the first serial port's name; ``packages``: meta packages, the best
    first; ``magic``: what a plain image has, and where; ``arguments``: for every guest; ``emulated``: more of them for
    an emulated one; ``unfit``: suites whose kernel of it cannot be used; ``modules``: what its guests need besides
    what all do, where the kernel has it not built in."""

    architecture: str
    console: str
    packages: tuple[str, ...]
    magic: tuple[int, bytes] | None = None
    arguments: tuple[str, ...] = ()
    emulated: tuple[str, ...] = ()
    unfit: tuple[str, ...] = ()
    modules: tuple[str, ...] = ("virtio_pci",)


TARGETS: dict[str, Target] = {
    target.architecture: target
    for target in (
        Target(
            AMD64,
            "ttyS0",
            # The cloud kernel is a third of the other's size and has all that a guest needs but 9p.
            ("linux-image-cloud-amd64", "linux-image-amd64"),
            arguments=("reboot=t",),  # by triple fault, which needs no device
            emulated=(
                "noreplace-smp",  # 0.1 s: each lock's prefix would be rewritten in a guest of one CPU
                "no_timer_check",
            ),
        ),
        # Of arm64 the other one: it has 9p and the same devices, and the cloud kernel boots no sooner.
        Target(ARM64, "ttyAMA0", ("linux-image-arm64",), (0x38, b"ARM\x64")),
        Target(RISCV64, "ttyS0", ("linux-image-riscv64",), (0x38, b"RSC\x05")),
        # bookworm's has pages of 64 KiB, larger than the blocks of our images, which its EROFS does not bear.
        Target(PPC64LE, "hvc0", ("linux-image-powerpc64le",), unfit=("bookworm",)),
        # arch/s390/boot/head.S
        Target(S390X, "ttysclp0", ("linux-image-s390x",), (0x10008, b"S390EP"), modules=()),
    )
}


def folder(cache: Path, architecture: str) -> Path:
    """For kernels of it: one for each, since an earlier release takes whatever is in the first for its own."""
    return cache / ("kernel" if architecture == AMD64 else f"kernel-{architecture}")


def target(architecture: str) -> Target:
    """Raises InvalidArgument where there is no such guest."""
    if architecture not in TARGETS:
        raise InvalidArgument(
            f"there is no guest kernel for {architecture!r}", field="platform", takes=" or ".join(TARGETS)
        )
    return TARGETS[architecture]
