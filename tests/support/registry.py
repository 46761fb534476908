"""Debian's docker-registry on loopback, with its storage in a temporary directory."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

CONFIG = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}", secret: test}}
{auth}
"""


class Registry:
    """``address`` is HOST:PORT.  With ``htpasswd``, a file of ``htpasswd -B``, it asks for a password.  ``port``: this
    one, and not any that is free; ``beside``: in the network namespace of the process of this number."""

    def __init__(
        self, htpasswd: Path | None = None, *, port: int | None = None, beside: int | None = None
    ) -> None:
        self._stack = contextlib.ExitStack()
        self._htpasswd, self._port, self._beside = htpasswd, port, beside
        self.address = ""

    def __enter__(self) -> Registry:
        with contextlib.ExitStack() as stack:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hyper-registry-")))
            port = self._port or _free_port()
            auth = f"auth: {{htpasswd: {{realm: test, path: {self._htpasswd}}}}}" if self._htpasswd else ""
            (work / "config.yml").write_text(CONFIG.format(root=work / "data", port=port, auth=auth))
            log = stack.enter_context((work / "log").open("wb"))
            argv = ["docker-registry", "serve", str(work / "config.yml")]
            if self._beside is not None:
                enter = ["nsenter", "--target", str(self._beside), "--net", "--"]
                subprocess.run([*enter, "ip", "link", "set", "lo", "up"], check=True)
                argv = [*enter, *argv]
            process = subprocess.Popen(argv, stderr=log, stdout=log)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            self.address = f"127.0.0.1:{port}"
            _wait_until_it_listens(port, process)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port: int = chosen.getsockname()[1]
        return port


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    """It tells nobody when it is ready, so the kernel is asked, of whichever network it is in: see proc(5)."""
    listening = f"0100007F:{port:04X} 00000000:0000 0A"
    while process.poll() is None:
        if listening in Path(f"/proc/{process.pid}/net/tcp").read_text():
            return
    raise AssertionError(f"docker-registry ended with status {process.returncode}")
