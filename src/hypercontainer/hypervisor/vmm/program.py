"""Where such a program is, what it is linked with, and which version it says that it is."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import Unavailable
from hypercontainer.hypervisor import programs
from hypercontainer.hypervisor.programs import program_key
from hypercontainer.hypervisor.vmm.vmm import Vmm

_VERSION = re.compile(r"\bv?(\d+)\.(\d+)(?:\.\d+)?\S*")


@dataclass(frozen=True)
class Program:
    """``files``: those that it needs, itself among them; ``key`` changes when it does."""

    path: Path
    version: str
    files: tuple[str, ...]
    key: str


def find(name: str, vmm: Vmm) -> Path:
    """By a name in PATH, or a path.  Raises ``Unavailable``."""
    found = shutil.which(name)
    if found is None:
        raise Unavailable(f"there is no {name}", hint=vmm.where)
    return Path(os.path.realpath(found))


async def inspect(path: Path, vmm: Vmm) -> Program:
    """Raises ``Unavailable`` for one that is none, or is too old."""
    status, said = await programs.ask(path, "--version")
    found = _VERSION.search(said) if status == 0 else None
    if found is None or vmm.title.split()[0].lower() not in said.lower():
        raise Unavailable(f"{path} does not say that it is {vmm.title}", hint=vmm.where)
    version = found[0].lstrip("v")
    if (int(found[1]), int(found[2])) < vmm.oldest:
        oldest = ".".join(map(str, vmm.oldest))
        raise Unavailable(f"{path} is {vmm.title} {version}", hint=f"it takes {oldest} or newer: {vmm.where}")
    linked = await programs.libraries(path, "--version")
    linker = [programs.LINKER_CACHE] if linked and Path(programs.LINKER_CACHE).exists() else []
    return Program(path, version, (str(path), *linked, *linker), program_key(path))
