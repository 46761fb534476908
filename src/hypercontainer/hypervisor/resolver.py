"""What the host says of name servers, for processes of VMs that see none of its files: a copy in each run directory.

Who asks for a guest looks at its copy again before: a machine that moves to another network takes its VMs along.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.linux import inotify

# Where they are told, on the host and, through a link to the second, in the jail.
RESOLVER, NAMES = "/etc/resolv.conf", "/names"
_MAX_BYTES = 1 << 16


def tell(run: RunDir) -> None:
    """Puts a copy there, whole; none where the host has none.  Raises ``OSError``."""
    run.names.mkdir(exist_ok=True)
    run.names.chmod(0o755)  # whichever umask this process has
    new = run.resolver.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError), open(RESOLVER, "rb") as file:
        new.write_bytes(file.read(_MAX_BYTES))
        new.chmod(0o644)
        new.replace(run.resolver)


class Resolver:
    """Keeps the copies of VMs that run what the host says; owns what watches the host's file, while there are any."""

    def __init__(self) -> None:
        self._runs: dict[Path, RunDir] = {}
        self._fd = -1

    def follow(self, run: RunDir) -> None:
        """Of a VM that has a copy; until ``leave``."""
        if not run.names.is_dir():
            return
        self._runs[run.path] = run
        if self._fd < 0:
            self._watch()

    def leave(self, run: RunDir) -> None:
        if self._runs.pop(run.path, None) is not None and not self._runs:
            self._stop()

    def _watch(self) -> None:
        file = Path(RESOLVER)
        with contextlib.suppress(OSError):  # without it, a copy is what it was when its VM began
            self._fd = inotify.watch({file.parent, file.resolve().parent})
            asyncio.get_running_loop().add_reader(self._fd, self._changed)

    def _stop(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _changed(self) -> None:
        inotify.forget(self._fd)
        for run in self._runs.values():
            with contextlib.suppress(OSError):
                tell(run)
        self._stop()
        self._watch()  # a link may lead elsewhere by now
