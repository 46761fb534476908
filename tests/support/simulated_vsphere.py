"""The vSphere simulator, started for a test: a vCenter, or an ESXi host, with one machine that is nobody's of ours."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Any

import pytest

import suites
import vcsim
from free_port import free_port
from hypercontainer.hypervisor.esx.lines import own_certificate

USER, PASSWORD = "hyper@vsphere.local", 'se"cr<e>t&'
ADDRESS = "127.0.0.1"


class Simulator:
    """``settings`` are a table [hypervisor.esx] for it.  Its datastores end with it."""

    def __init__(self, folder: Path, kind: str = "vpx") -> None:
        try:
            self._program = vcsim.path()
        except suites.Missing as error:
            pytest.skip(f"there is no vSphere simulator: {error}")
        if not self._program.exists():
            pytest.skip("there is no vSphere simulator: `python tools/vcsim.py` makes it")
        self._kind = kind
        self._folder = folder
        self._pem = folder / "vcsim.pem"
        self._pem.write_bytes(own_certificate(ADDRESS))
        password = folder / "password"
        password.write_text(PASSWORD + "\n")
        self.port = free_port()
        self.settings: dict[str, Any] = {
            "host": ADDRESS,
            "port": self.port,
            "user": USER,
            "password_file": str(password),
            "ca": str(self._pem),
            "line_host": ADDRESS,
            "line_address": ADDRESS,
            "line_port": free_port(),
        }
        if kind == "vpx":
            self.settings["cluster"] = "DC0_C0"
        self.start()

    def start(self) -> None:
        """Anew: with machines of its own alone."""
        temporary = tempfile.mkdtemp(prefix="vcsim-", dir=self._folder)
        self._said = self._folder / "vcsim.log"
        with self._said.open("ab") as said:
            self._process = self._started(temporary, said)
        assert self._process.stdout is not None
        self.datastores = []
        for line in self._process.stdout:
            word, _, rest = line.strip().partition(" ")
            if word == "ready":
                return
            self.datastores.append(Path(rest))
        raise AssertionError("the simulator did not start")

    def _started(self, temporary: str, said: IO[bytes]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [
                str(self._program),
                f"{ADDRESS}:{self.port}",
                str(self._pem),
                str(self._pem),
                USER,
                PASSWORD,
                self._kind,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env={"TMPDIR": temporary},
            text=True,
        )

    def check(self) -> None:
        """It has not ended by itself."""
        assert self._process.poll() is None, f"the simulator has ended: {self._said.read_text()[-4000:]}"

    def stop(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.communicate("", timeout=5)
        self._process.kill()
        self._process.wait()

    def hang(self, *, on: bool) -> None:
        self._process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)

    def fail(self, method: str, fault: str) -> None:
        """The next call of this method does."""
        connection = http.client.HTTPSConnection(
            ADDRESS, self.port, context=ssl.create_default_context(cafile=self._pem), timeout=10
        )
        with contextlib.closing(connection):
            connection.request("GET", f"/fault/{method}/{fault}")
            assert connection.getresponse().status == 200

    def files(self) -> list[str]:
        """In all of its datastores, but for what it began with."""
        found = []
        for store in self.datastores:
            found += [str(path.relative_to(store)) for path in store.rglob("*")]
        return sorted(name for name in found if not name.startswith(("DC0_", "ha-host_VM")))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))
