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
    """``address`` is HOST:PORT.  With ``htpasswd``, a file of ``htpasswd -B``, it asks for a password."""

    def __init__(self, htpasswd: Path | None = None) -> None:
        self._stack = contextlib.ExitStack()
        self._htpasswd = htpasswd
        self.address = ""

    def __enter__(self) -> Registry:
        with contextlib.ExitStack() as stack:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hyper-registry-")))
            with socket.create_server(("127.0.0.1", 0)) as chosen:
                port = chosen.getsockname()[1]
            auth = f"auth: {{htpasswd: {{realm: test, path: {self._htpasswd}}}}}" if self._htpasswd else ""
            (work / "config.yml").write_text(CONFIG.format(root=work / "data", port=port, auth=auth))
            log = stack.enter_context((work / "log").open("wb"))
            process = subprocess.Popen(
                ["docker-registry", "serve", work / "config.yml"], stderr=log, stdout=log
            )
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


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    """It tells nobody when it is ready, so it is asked: this is a foreign program."""
    while process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.05):
            return
    raise AssertionError(f"docker-registry ended with status {process.returncode}")
