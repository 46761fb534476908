"""Real images for the tests, built from Debian's packages and kept outside the repository.

`path(name)` gives a Docker archive, made at the first call (about 15 s) and cached by its recipe's hash under
`$HYPER_CACHE/test-images`.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import busybox_image
from hypercontainer.kernel import cache_dir

SUITE = "bookworm"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Documentation and caches that a container does not need; what Debian's own slim images leave out.
SLIM = (
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
)


@dataclass(frozen=True)
class Recipe:
    packages: tuple[str, ...] = ()
    config: dict[str, object] = field(default_factory=dict)
    hooks: tuple[str, ...] = ()  # shell lines with the root directory as $1, run by mmdebstrap at the end
    suite: str = SUITE


RECIPES: dict[str, Recipe] = {
    "debian": Recipe(config={"Cmd": ["bash"]}),
    "nginx": Recipe(
        ("nginx-light",),
        {"Cmd": ["nginx", "-g", "daemon off;"], "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT"},
        (
            'ln -sf /dev/stdout "$1/var/log/nginx/access.log"',
            'ln -sf /dev/stderr "$1/var/log/nginx/error.log"',
            'echo "served by hyper" > "$1/var/www/html/index.html"',
        ),
    ),
    "redis": Recipe(
        ("redis-server", "redis-tools"),
        {
            "Cmd": ["redis-server", "--protected-mode", "no", "--bind", "0.0.0.0"],
            "User": "redis",
            "WorkingDir": "/var/lib/redis",
            "ExposedPorts": {"6379/tcp": {}},
        },
    ),
    "postgres": Recipe(
        ("postgresql",),
        {
            "Cmd": [
                "/usr/lib/postgresql/15/bin/postgres",
                *("-D", "/var/lib/postgresql/15/main"),
                *("-c", "config_file=/etc/postgresql/15/main/postgresql.conf"),
                *("-c", "listen_addresses=*"),
                *("-c", "unix_socket_directories=/var/lib/postgresql"),  # Debian's is made by a start script
            ],
            "Env": [PATH, "PGHOST=/var/lib/postgresql"],
            "User": "postgres",
            "ExposedPorts": {"5432/tcp": {}},
            "StopSignal": "SIGINT",
        },
        ('echo "host all all all trust" >> "$1/etc/postgresql/15/main/pg_hba.conf"',),
    ),
    "iperf3": Recipe(("iperf3",), {"Cmd": ["iperf3", "-s"], "ExposedPorts": {"5201/tcp": {}}}),
    "python": Recipe(("python3",), {"Cmd": ["python3"]}),
    # What a CI job does: compile, install, test; wheels lie in /usr/share/python-wheels.
    "workshop": Recipe(
        (
            "gcc",
            "libc6-dev",
            "make",
            "python3-pip",
            "python3-pip-whl",
            "python3-setuptools-whl",
            "python3-pytest",
            "fio",
        ),
        {"Cmd": ["bash"], "Env": [PATH]},
    ),
    # What docker.io/library/docker:dind is made of; the newest BuildKit of a stable Debian.
    "builder": Recipe(
        ("docker.io", "docker-cli", "docker-buildx", "ca-certificates"),
        {"Cmd": ["bash"], "Env": [PATH]},
        suite="trixie",
    ),
    "sshd": Recipe(("openssh-server",)),
    "systemd": Recipe(("systemd", "systemd-sysv", "dbus"), {"Cmd": ["/sbin/init"]}),
}


def path(name: str) -> Path:
    recipe = RECIPES[name]
    text = json.dumps([recipe.suite, SLIM, recipe.packages, recipe.config, recipe.hooks])
    folder = cache_dir() / "test-images"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.tar"
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.exists():
            _build(name, recipe, wanted)
    return wanted


def _build(name: str, recipe: Recipe, wanted: Path) -> None:
    with tempfile.TemporaryDirectory(dir=wanted.parent) as work:
        tar = Path(work, "root.tar")
        command = ["mmdebstrap", "--quiet", "--variant=minbase", *SLIM]
        command += [f"--include={','.join(recipe.packages)}"] if recipe.packages else []
        command += [f"--customize-hook={hook}" for hook in recipe.hooks]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1767225600"}
        subprocess.run(
            [*command, recipe.suite, str(tar)], check=True, env=environment, stdin=subprocess.DEVNULL
        )
        made = Path(work, "image.tar")
        reference = f"localhost/{name}:latest"
        made.write_bytes(busybox_image.archive([tar.read_bytes()], reference, config=recipe.config))
        made.rename(wanted)
