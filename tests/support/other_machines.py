"""What VMs of another architecture need for a test: an image for it, of Debian's static busybox."""

from __future__ import annotations

import functools

import busybox_image
import cross

ARCHITECTURES = ("arm64", "riscv64", "ppc64le", "s390x")


def reference(architecture: str) -> str:
    return f"localhost/busybox-{architecture}:latest"


@functools.cache
def busybox(architecture: str) -> bytes:
    """A Docker archive of ``reference(architecture)``."""
    root = cross.unpacked("busybox-static", architecture)
    (program,) = root.glob("**/bin/busybox")
    layers = [busybox_image.layer(program)]
    return busybox_image.archive(layers, reference(architecture), architecture=architecture)
