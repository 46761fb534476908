"""Platforms, and which of an index's images suits one.

A platform is ``os/architecture[/variant]`` in Go's words.  Variants are ordered: an ``arm/v7`` machine
runs ``arm/v6`` images, an ``amd64/v3`` one runs ``amd64``; never the other way round.
Source: OCI image specification, image-index.md; the Go toolchain's GOARM and GOAMD64 levels.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import InvalidArgument, NotSupported, Remedy

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
# Architectures that can be said without a system.
_KNOWN = frozenset(
    "386 amd64 arm arm64 loong64 mips mips64 mips64le mipsle ppc64 ppc64le riscv64 s390x wasm".split()
)
# What a platform without a variant means.
_IMPLIED = {"arm": "v7", "arm64": "v8", "amd64": "v1"}
# Whose programs a machine runs as well.
_OLDER = {"amd64": "386", "arm64": "arm"}
# What levels 2, 3 and 4 add (x86-64 psABI, "Micro-architecture levels"), in Linux's words.
_LEVEL_FLAGS = (
    frozenset("cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3".split()),
    frozenset("abm avx avx2 bmi1 bmi2 f16c fma movbe xsave".split()),
    frozenset("avx512f avx512bw avx512cd avx512dq avx512vl".split()),
)
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
        found = normalized("linux", parts[0])
        if found.architecture not in _KNOWN:
            raise InvalidArgument(
                f"{text!r} is no architecture", field="platform", takes="such as linux/amd64"
            )
        return found
    return normalized(*parts)


def host_platform() -> Platform:
    """Linux on this machine's architecture, at its lowest level."""
    return normalized("linux", os.uname().machine)


def candidates(wanted: Platform | None) -> tuple[Platform, ...]:
    """What to look for, in this order, where ``wanted`` is asked for; None is this machine.

    Of this machine's architecture what everybody runs comes first, as other tools choose; then the highest level
    that its processor has, since some images are made for no other.
    """
    usual = host_platform()
    if wanted not in (None, usual):
        assert wanted is not None
        return (wanted,)
    level = host_level() if usual.architecture == "amd64" else 1
    return (usual, Platform(usual.os, usual.architecture, f"v{level}")) if level > 1 else (usual,)


def host_level(cpuinfo: Path = Path("/proc/cpuinfo"), kvm: Path = Path("/dev/kvm")) -> int:
    """The level of the x86-64 psABI, 1 to 4, that a virtual machine's processor has.

    That is this machine's; one that is emulated has no AVX-512.
    """
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return 1
    flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
    level = 1
    while level < 4 and _LEVEL_FLAGS[level - 1] <= flags:
        level += 1
    return level if kvm.exists() else min(level, 3)


def machine_for(platform: Platform, machines: Collection[str], what: str) -> str:
    """The architecture, one of ``machines``, of the VM that runs images for ``platform``: its own, or a newer one that
    runs its programs as well.  NotSupported where there is none; ``what`` is for it."""
    usual = host_platform()
    runs = {_OLDER[newer]: newer for newer in machines if newer in _OLDER} | {each: each for each in machines}
    machine = runs.get(platform.architecture)
    if platform.os == usual.os and machine is not None:
        others = machine != usual.architecture or platform.architecture != machine
        if others or any(suitability(platform, each) is not None for each in candidates(None)):
            return machine  # of another architecture all that there is can be emulated
    raise NotSupported(
        f"{what} is for {platform}: there are VMs for {candidates(None)[-1]}{_besides(machines)}",
        remedies=[Remedy("images.pull", options={"platform": str(usual)}, aim="to get the one for it")],
    )


def _besides(machines: Collection[str]) -> str:
    others = [f"linux/{each}" for each in machines if each != host_platform().architecture]
    return "".join(f", {each}" for each in others)


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
