"""What is one's own of the programs that ``VmmDriver`` starts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.hypervisor.spec import VMSpec
from hypercontainer.hypervisor.vmm.places import VmmRunDir
from hypercontainer.hypervisor.vmm.rest import Api

# The first descriptor that is the program's: 3 is the launcher's gate.
FIRST_FD = 4


@dataclass(frozen=True)
class Command:
    """``inherited`` are the descriptors from ``FIRST_FD`` on; of these ``reopened`` are opened again."""

    argv: tuple[str, ...]
    inherited: tuple[int, ...]
    reopened: tuple[int, ...]


class Watch(Protocol):
    """What the process says of its VM."""

    def said(self, code: int | None, console: str) -> ExitReason | None:
        """Why it has ended, with this status; None where nothing was said of it."""

    def close(self) -> None: ...


class Vmm(Protocol):
    """``title`` is its name among people, ``program`` its usual one in PATH, ``oldest`` the version that it takes,
    ``where`` what there is to install.

    ``nics``: what NICs may lead to.  ``devices``: of the host, which it opens beside KVM's, and by which name it does.
    ``enters``: it opens tap devices by their name, in its own network namespace; else it is given their descriptors.
    """

    name: str
    title: str
    program: str
    oldest: tuple[int, int]
    where: str
    nics: frozenset[str]
    devices: tuple[tuple[str, str], ...]
    enters: bool
    most_vcpus: int

    def command(self, path: Path, spec: VMSpec, run: VmmRunDir, fds: contextlib.ExitStack) -> Command:
        """Its command line; ``fds`` owns the descriptors.  Raises ``OSError``."""

    def trial(self, path: Path, kernel: int, config: int) -> list[str]:
        """A command line that boots the kernel in this descriptor with nothing beside it, and its console as standard
        output; ``config`` is an empty file, which may be written to first."""

    def api(self, run: VmmRunDir) -> Api: ...

    async def begin(self, api: Api, spec: VMSpec, run: VmmRunDir, taps: Sequence[int]) -> None:
        """Has a process that was let go boot its guest; ``taps`` are its NICs', in order.  Raises what ``Api.ask``
        does."""

    async def pause(self, api: Api) -> None: ...

    async def resume(self, api: Api) -> None: ...

    async def paused(self, api: Api) -> bool: ...

    def watch(self, run: VmmRunDir, on_reset: Callable[[], None]) -> Watch:
        """``on_reset`` is called where the guest has begun to start anew.  Raises ``OSError``."""
