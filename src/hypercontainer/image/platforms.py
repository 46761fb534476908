"""Platforms, and which of an index's images suits one.

A platform is ``os/architecture[/variant]`` in Go's words.  Variants are ordered: an ``arm/v7`` machine
runs ``arm/v6`` images, an ``amd64/v3`` one runs ``amd64``; never the other way round.
Source: OCI image specification, image-index.md; the Go toolchain's GOARM and GOAMD64 levels.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from hypercontainer.errors import InvalidArgument

_ARCHITECTURES = {
    "x86_64": "amd64",
    "x86-64": "amd64",
    "aarch64": "arm64",
    "armhf": "arm",
    "armv7l": "arm",
    "armel": "arm",
    "i386": "386",
    "i686": "386",
    "ppc64el": "ppc64le",
}
_VARIANTS = {"armhf": "v7", "armv7l": "v7", "armel": "v6"}
# What a platform without a variant means.
_IMPLIED = {"arm": "v7", "arm64": "v8", "amd64": "v1"}
_PART = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_LEVEL = re.compile(r"v([0-9]+)")


@dataclass(frozen=True)
class Platform:
    """``variant`` is '' where it is the one that the architecture implies."""

    os: str = "linux"
    architecture: str = "amd64"
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def normalized(system: str, architecture: str, variant: str = "") -> Platform:
    """The platform in its one spelling: ``aarch64`` and ``arm64/v8`` are ``arm64``."""
    system, architecture, variant = system.lower(), architecture.lower(), variant.lower()
    variant = variant or _VARIANTS.get(architecture, "")
    architecture = _ARCHITECTURES.get(architecture, architecture)
    if variant and variant[0].isdigit():
        variant = f"v{variant}"
    if variant == _IMPLIED.get(architecture):
        variant = ""
    return Platform(system, architecture, variant)


def parse(text: str) -> Platform:
    """``linux/arm64/v8``, ``linux/amd64`` or just ``arm64``; InvalidArgument otherwise."""
    parts = text.split("/")
    if not all(_PART.fullmatch(part) for part in parts) or len(parts) > 3:
        raise InvalidArgument(
            f"{text!r} is not OS/ARCHITECTURE[/VARIANT]", field="platform", takes="such as linux/amd64"
        )
    if len(parts) == 1:
        return normalized("linux", parts[0])
    return normalized(*parts)


def host_platform() -> Platform:
    """Linux on this machine's architecture."""
    return normalized("linux", os.uname().machine)


def suitability(candidate: Platform, wanted: Platform) -> int | None:
    """How well an image for ``candidate`` suits ``wanted``: higher is better, None not at all."""
    if (candidate.os, candidate.architecture) != (wanted.os, wanted.architecture):
        return None
    if candidate.variant == wanted.variant:
        return 1_000_000
    implied = _IMPLIED.get(wanted.architecture, "")
    has, wants = (_LEVEL.fullmatch(p.variant or implied) for p in (candidate, wanted))
    if has is None or wants is None or int(has[1]) > int(wants[1]):
        return None
    return min(int(has[1]), 999_999)
