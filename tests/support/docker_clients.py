"""Docker's real clients, each as a command beside an environment that leads it to one daemon.

`Clients(socket, folder)` has them as methods; `Absent` is raised by the one that was not fetched (`make setup-tests`).
Python's clients are in this interpreter.  All of them find the daemon by DOCKER_HOST, and keep what they write in a
directory of the test's own.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fetch_clients import CLIENTS, Absent

__all__ = ["Absent", "Clients", "program"]

TIMEOUT_S = 120.0
PLUGINS = ("compose", "buildx")
# What a developer's shell may have, and would lead a client elsewhere.
OTHERS = (
    "DOCKER_CONTEXT",
    "DOCKER_TLS_VERIFY",
    "DOCKER_CERT_PATH",
    "DOCKER_API_VERSION",
    "COMPOSE_PROJECT_NAME",
)


def program(name: str) -> Path:
    """Of `fetch_clients.CLIENTS`; raises Absent."""
    client = CLIENTS[name]
    return client.place() / client.program


@dataclass(frozen=True)
class Clients:
    """``socket``: the daemon's; ``folder``: of these clients' own, where what is written at their command line lies;
    ``options``: for the CLI's ``run`` and ``create``; ``beside``: what a command begins with that is to reach published
    ports."""

    socket: Path
    folder: Path
    options: Sequence[str] = ()
    more: Mapping[str, str] = field(default_factory=dict)
    beside: Sequence[str] = ()

    @property
    def host(self) -> str:
        return f"unix://{self.socket}"

    @functools.cached_property
    def environment(self) -> dict[str, str]:
        config = self.folder / "docker-config"
        for name in PLUGINS:
            link = config / "cli-plugins" / f"docker-{name}"
            if not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(program(name))
        kept = {name: value for name, value in os.environ.items() if name not in OTHERS}
        home = {"HOME": str(self.folder), "DOCKER_CONFIG": str(config), "DOCKER_HOST": self.host}
        return {**kept, **home, **self.more}

    def docker_argv(self, *words: str) -> list[str]:
        return [str(program("docker")), *words]

    def docker(self, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """The command line of today; ``check=False``, ``stdin=b".."``, ``cwd`` and other words of `run_argv`."""
        return self.run_argv(self.docker_argv(*words), **more)

    def compose(self, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        return self.docker("compose", *words, **more)

    def compose1(self, *words: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
        """The one that is written in Python."""
        libraries = program("compose1").parent.parent / "lib/python3/dist-packages"
        argv = ["/usr/bin/python3", str(program("compose1")), *words]
        return self.run_argv(argv, more={"PYTHONPATH": str(libraries)}, **more)

    def script_argv(self, script: Path) -> list[str]:
        """``script`` is of JavaScript, and finds dockerode and testcontainers by `require`, or of Python."""
        if script.suffix == ".py":
            return [*self.beside, sys.executable, str(script)]
        modules = CLIENTS["node"].place() / "node_modules"
        return [*self.beside, "env", f"NODE_PATH={modules}", str(program("node")), str(script)]

    def out(self, *words: str, **more: Any) -> str:
        """What `docker` says, without the last line's end."""
        return self.docker(*words, **more).stdout.decode().rstrip("\n")

    def json(self, *words: str) -> Any:
        return json.loads(self.out(*words))

    def run_argv(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        check: bool = True,
        timeout_s: float = TIMEOUT_S,
        cwd: Path | None = None,
        more: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            timeout=timeout_s,
            cwd=cwd,
            env={**self.environment, **(more or {})},
        )
        if check and done.returncode != 0:
            raise AssertionError(
                f"{' '.join(argv)}: status {done.returncode}\n{done.stderr.decode()}\n{done.stdout.decode()}"
            )
        return done

    def popen(self, *words: str, **more: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.docker_argv(*words), env=self.environment, **more)
