"""A VirtualBox of its own for tests: programs in a root of their own, a server, a display, all ended with it.

The programs run where /usr is the root's (tools/virtualbox_root.py), each in a mount namespace of its own; all else is
this machine's, so that paths and process IDs are what the driver takes them for.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hypercontainer.hypervisor.virtualbox.manage import Installation
from hypercontainer.suite.leftovers import content, processes

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import virtualbox_root

LIBRARY = "/usr/lib/virtualbox"
PROGRAMS = ("VBoxManage", "VirtualBoxVM")
_WITHIN = 'mount --bind "$0" /usr && exec "$@"'
_ENDING_S = 10.0


@contextlib.contextmanager
def standing(directory: Path) -> Iterator[VirtualBoxBed]:
    """While it is used; skips where it cannot be."""
    tree = virtualbox_root.made() if os.geteuid() == 0 else None
    if tree is None:
        pytest.skip("VirtualBox is not here, or cannot be run: `make setup-tests` as root fetches it")
    one = VirtualBoxBed(directory, tree)
    try:
        yield one
    finally:
        one.close()


class VirtualBoxBed:
    """``installation`` is for a driver; ``server`` the process of VBoxSVC."""

    def __init__(self, directory: Path, tree: Path) -> None:
        """``directory`` must not be long: there are sockets in it."""
        self._directory = directory
        self._tree = tree
        self._stack = contextlib.ExitStack()
        folder = directory / "bin"
        folder.mkdir(parents=True)
        for program in PROGRAMS:
            self._script(folder / program, f"{LIBRARY}/{program}")
        home = directory / "home"
        home.mkdir()
        self.installation = Installation(str(folder / "VBoxManage"), home, driverless=True)
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def _start(self) -> None:
        runtime = self._directory / "runtime"
        runtime.mkdir(mode=0o700)
        self._stack.callback(shutil.rmtree, self._ipc, ignore_errors=True)
        number = self._serving(
            "/usr/bin/Xvfb", "-displayfd", "-screen", "0", "640x480x24", "-nolisten", "tcp", "-noreset"
        )
        self.installation = replace(self.installation, display=f":{number.strip()}")
        self.serve()

    def serve(self) -> None:
        """Starts the server: it does not end by itself."""
        assert self._serving(f"{LIBRARY}/VBoxSVC", "--inherit-startup-pipe") == "READY"
        self.server = self._last

    @contextlib.contextmanager
    def unserved(self, number: int = signal.SIGTERM) -> Iterator[None]:
        """The server is ended by this signal, and started again afterwards: it sees what is mounted by then."""
        self.server.send_signal(number)
        self.server.wait(_ENDING_S)
        yield
        self.serve()

    @property
    def _ipc(self) -> Path:
        return Path("/tmp") / f".vbox-{self.installation.environment['VBOX_IPC_SOCKETID']}-ipc"

    def _script(self, path: Path, program: str) -> None:
        words = f"exec unshare -m --propagation slave /bin/sh -c '{_WITHIN}' {self._tree}/usr {program}"
        path.write_text(f'#!/bin/sh\n{words} "$@"\n')
        path.chmod(0o755)

    def _serving(self, program: str, option: str, *arguments: str) -> str:
        """Starts it with ``option`` and a descriptor, on which it says that it is there; what it said."""
        reading, writing = os.pipe()
        within = ["unshare", "-m", "--propagation", "slave", "/bin/sh", "-c", _WITHIN, f"{self._tree}/usr"]
        with open(self._directory / f"{Path(program).name}.log", "wb") as log:
            self._last = subprocess.Popen(
                [*within, program, option, str(writing), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.installation.environment, "XDG_RUNTIME_DIR": str(self._directory / "runtime")},
                pass_fds=[writing],
                start_new_session=True,
                cwd="/",
            )
        self._stack.callback(_end, self._last)
        os.close(writing)
        with os.fdopen(reading) as said:
            return said.read(5) if "pipe" in option else said.readline()

    def manage(self, *arguments: str) -> str:
        """As another user of the same VirtualBox."""
        return subprocess.run(
            [self.installation.manage, *arguments],
            capture_output=True,
            text=True,
            check=True,
            env=self.installation.environment,
            timeout=60,
        ).stdout

    def programs(self) -> list[str]:
        """What runs of this VirtualBox, but for its server and what that needs."""
        ours, found = f"VBOX_USER_HOME={self.installation.home}".encode(), []
        for entry in processes():
            words = content(entry / "cmdline").decode(errors="replace").replace("\0", " ")
            if any(name in words for name in PROGRAMS):
                found += [f"{entry.name} {words}"] if ours in content(entry / "environ") else []
        return found

    def close(self) -> None:
        self._stack.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
