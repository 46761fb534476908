"""Processors that VMs can have, by the names that images have for them (Go's)."""

from __future__ import annotations

from typing import Final

AMD64: Final = "amd64"
ARM64: Final = "arm64"
RISCV64: Final = "riscv64"
PPC64LE: Final = "ppc64le"
S390X: Final = "s390x"
ALL: Final = (AMD64, ARM64, RISCV64, PPC64LE, S390X)
# Whose first byte of a number is the highest; all others' is the lowest.
BIG_ENDIAN: Final = frozenset({S390X})


def debians(architecture: str) -> str:
    """Debian's name for it."""
    return {PPC64LE: "ppc64el"}.get(architecture, architecture)
