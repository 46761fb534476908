"""Processors that VMs can have, by the names that images have for them (Go's)."""

from __future__ import annotations

from typing import Final

AMD64: Final = "amd64"
ARM64: Final = "arm64"
RISCV64: Final = "riscv64"
ALL: Final = (AMD64, ARM64, RISCV64)
