"""The directory of one running VM: its sockets, its record, the end of its console, its last words.

It belongs to the daemon's user and nobody else may enter it (0700), the hypervisor's process included, which is
handed descriptors.  So a hypervisor that its guest has taken over can neither remove its control socket nor put
something else in its place.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

import msgspec

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.driver import VMRecord

_MAX_RECORD_BYTES = 65536
# What a pipe holds by default (pipe(7)), and so the most there can be of ``stderr``.
STDERR_BYTES = 65536


class RunDir:
    """Paths, and what is done with them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.qmp = path / "qmp.sock"
        self.agent = path / "agent.sock"
        self.console = path / "console.sock"
        self.ring = path / "console.ring"
        self.stderr = path / "stderr"
        self.record = path / "vm.json"
        self.names = path / "names"  # what the networks of its NICs may look into
        self.resolver = self.names / "resolv.conf"
        self.offers = self.names / "ports"  # of the host, which guests may reach

    def network(self, nic: int) -> Path:
        """The control socket of the network of the NIC at this place of the specification."""
        return self.path / f"network{nic}.sock"

    def create(self) -> None:
        """Raises ``FileExistsError`` where somebody else's is."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(mode=0o700)

    def make_pipe(self, path: Path) -> int:
        """A descriptor of a pipe, for a process of the VM that writes to it, or reads.

        The process holds both ends, so that the daemon may come and go, and it does not block: of its words, what does
        not fit is lost, and nobody ever waits.
        """
        os.mkfifo(path, 0o600)
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def open_stderr(self) -> int:
        """The reading end, which keeps what is in the pipe after its writer has died."""
        return os.open(self.stderr, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def write_record(self, record: VMRecord) -> None:
        """Atomically."""
        new = self.record.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(record.to_json()))
        new.replace(self.record)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def read_stderr(fd: int) -> bytes:
    """Everything in the pipe, without waiting."""
    with contextlib.suppress(BlockingIOError):
        return os.read(fd, STDERR_BYTES)
    return b""


def read_record(run_dir: Path) -> VMRecord | None:
    """The record that the VM of this directory left there; None where there is no good one."""
    try:
        with RunDir(run_dir).record.open("rb") as file:
            return VMRecord.from_json(msgspec.json.decode(file.read(_MAX_RECORD_BYTES)))
    except (OSError, ValueError, RecursionError, HypervisorError):
        return None
