"""What a run directory has of such a VM besides, and what its process calls it in its own root."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.linux import unix

# In the process's root.
SOCKETS, DISKS = "/vm", "/disks"
AGENT, API = "agent.sock", "api.sock"


class VmmRunDir(RunDir):
    """``sockets`` is the one directory that the VM's process may make something in: its sockets, and nothing else.
    ``events`` is what it says of itself, ``space`` the network namespace of NICs that are NAT."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.sockets = path / "vm"
        self.agent = self.sockets / AGENT
        self.console = path / "console"
        self.events = path / "events"
        self.space = path / "space"

    def make_sockets(self, uid: int | None) -> None:
        self.sockets.mkdir(mode=0o700)
        if uid is not None and os.geteuid() == 0:
            os.chown(self.sockets, uid, uid)

    def connect_agent(self) -> socket.socket:
        return unix.connect_to_theirs(self.agent)


def seen_socket(name: str) -> str:
    return f"{SOCKETS}/{name}"


def seen_disk(serial: str) -> str:
    return f"{DISKS}/{serial}"
