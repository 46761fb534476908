"""What is run as a guest's kernel, and what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor.uml import program


@pytest.mark.parametrize(
    ("content", "shares", "problem"),
    [
        (b"#!/bin/sh hyper_port=", False, "it is no program"),
        (b"\x7fELF", False, "without Hyper's patches"),
        (b"\x7fELF virtio_uml.device=", True, "without Hyper's patches"),
        (b"\x7fELF hyper_port=", False, ""),
        (b"\x7fELF hyper_port=", True, "that has directories of the host"),
        (b"\x7fELF hyper_port= virtio_uml.device=", True, ""),
    ],
)
def test_a_kernel_is_looked_through(tmp_path: Path, content: bytes, shares: bool, problem: str) -> None:
    kernel = tmp_path / "linux"
    kernel.write_bytes(content)
    if not problem:
        program.check(kernel, shares=shares)
        return
    with pytest.raises(InvalidArgument, match=f"the kernel is no User Mode Linux.*{problem}"):
        program.check(kernel, shares=shares)
