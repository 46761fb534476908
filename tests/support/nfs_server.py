"""An NFS server in user space (nfs-ganesha), by all versions, on an address of this host's that pods reach.

Of the port mapper, which it wants for version 3, it has one for itself, which nobody else sees.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from free_port import free_port
from host_address import host_address
from until import until

ADDRESS = "198.18.77.1"
_BEGUN = """\
mount -t tmpfs none /run && mkdir -m 777 /run/rpcbind
unshare --net rpcbind -f &
until [ -S /run/rpcbind.sock ]; do sleep 0.05; done
exec ganesha.nfsd -F -f "$0/server.conf" -L "$0/server.log" -p "$0/server.pid"
"""
_CONFIGURATION = """\
NFS_CORE_PARAM {{ NFS_Protocols = 3, 4; Enable_NLM = false; Enable_RQUOTA = false;
  NFS_Port = 2049; MNT_Port = {mount_port}; Bind_addr = {address}; }}
NFSV4 {{ Graceless = true; Only_Numeric_Owners = true; Delegations = false; RecoveryBackend = fs;
  RecoveryRoot = "{folder}/recovery"; }}
EXPORT {{ Export_Id = 1; Path = "{folder}/files"; Pseudo = "/export"; Access_Type = RW; Squash = None;
  SecType = sys; Protocols = 3, 4; Transports = TCP; FSAL {{ Name = VFS; }} }}
LOG {{ Default_Log_Level = EVENT; }}
"""


class NfsServer:
    """``files`` is what it exports: as /export by version 4, by 3 by its path."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.files = folder / "files"
        self.mount_port = free_port()

    def start(self) -> None:
        for name in ("files", "recovery"):
            (self._folder / name).mkdir(exist_ok=True)
        text = _CONFIGURATION.format(folder=self._folder, mount_port=self.mount_port, address=ADDRESS)
        (self._folder / "server.conf").write_text(text)
        log = self._folder / "server.log"
        log.unlink(missing_ok=True)
        words = ["unshare", "--mount", "--propagation=private", "sh", "-c", _BEGUN, str(self._folder)]
        self._process = process = subprocess.Popen(words, stderr=subprocess.DEVNULL, start_new_session=True)
        until(lambda: _serves(log) or process.poll() is not None, "the NFS server serves")
        assert process.poll() is None, log.read_text() if log.exists() else "the NFS server ended"

    def freeze(self) -> None:
        """It is there, and answers nobody."""
        self._tell(signal.SIGSTOP)

    def thaw(self) -> None:
        self._tell(signal.SIGCONT)

    def stop(self) -> None:
        """As a machine that goes off."""
        if self._process is not None:
            self._tell(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _tell(self, number: signal.Signals) -> None:
        """All of its own session, the port mapper too."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def _serves(log: Path) -> bool:
    return log.exists() and "NFS SERVER INITIALIZED" in log.read_text()


@contextmanager
def nfs_server(folder: Path) -> Iterator[NfsServer]:
    with host_address(ADDRESS):
        server = NfsServer(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
