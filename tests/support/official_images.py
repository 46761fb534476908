"""Images that do what those of the same names on Docker Hub do at their start, as far as testcontainers' modules lean
on it: what ``real_images`` makes of Debian's packages, with a start script of our own.  And stand-ins for its helpers.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import busybox_image
import real_images

POSTGRES, REDIS = "postgres:15", "redis:7"
RYUK, SSHD = "localhost/ryuk:stand-in", "localhost/sshd:stand-in"
RYUK_C = Path(__file__).parent / "ryuk.c"
SCRIPT = "usr/local/bin/docker-entrypoint.sh"
DATA = "/var/lib/postgresql/data"
# Before Debian's wrappers of the same names, whose processes a probe that is late leaves behind; postgres, as the one
# that gets them, takes their end for that of its own and begins anew.
BIN = "/usr/lib/postgresql/15/bin"

# Once without the network, to make what POSTGRES_* ask for and what lies in initdb.d, and then for good: "ready to
# accept connections" is said twice.
POSTGRES_SCRIPT = """\
#!/bin/sh
set -eu
if [ "$(id -u)" = 0 ]; then
    mkdir -p "$PGDATA" /var/run/postgresql
    chown -R postgres "$PGDATA" /var/run/postgresql
    exec setpriv --reuid postgres --regid postgres --init-groups "$0" "$@"
fi
if [ ! -e "$PGDATA/PG_VERSION" ]; then
    user=${POSTGRES_USER:-postgres}
    printf %s "${POSTGRES_PASSWORD:?is needed}" > /tmp/password
    initdb --username "$user" --pwfile /tmp/password --auth-local trust --auth-host scram-sha-256 \
        --encoding UTF8 --no-locale > /tmp/initdb
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf"
    pg_ctl --wait --silent -o "-c listen_addresses=''" start
    base=${POSTGRES_DB:-$user}
    [ "$base" = postgres ] || createdb --username "$user" --maintenance-db postgres "$base"
    for each in /docker-entrypoint-initdb.d/*.sql; do
        [ ! -e "$each" ] || psql -v ON_ERROR_STOP=1 --username "$user" --dbname "$base" --file "$each"
    done
    pg_ctl --wait --silent --mode fast stop
fi
exec "$@"
"""
REDIS_SCRIPT = """\
#!/bin/sh
set -eu
case $1 in -*) set -- redis-server "$@" ;; esac
if [ "$1" = redis-server ]; then
    set -- "$@" --protected-mode no
    if [ "$(id -u)" = 0 ]; then
        chown -R redis /data
        exec setpriv --reuid redis --regid redis --init-groups "$@"
    fi
fi
exec "$@"
"""
SSHD_SCRIPT = """\
#!/bin/sh
set -eu
echo "root:$PASSWORD" | chpasswd
mkdir -p /run/sshd
exec /usr/sbin/sshd -D -e -o PermitRootLogin=yes -o GatewayPorts=yes
"""


def postgres() -> bytes:
    config: dict[str, object] = {
        "Entrypoint": ["docker-entrypoint.sh"],
        "Cmd": ["postgres"],
        "Env": [f"PATH={BIN}:{real_images.PATH.removeprefix('PATH=')}", f"PGDATA={DATA}"],
        "ExposedPorts": {"5432/tcp": {}},
        "StopSignal": "SIGINT",
        "Volumes": {DATA: {}},
    }
    script = _layer({SCRIPT: POSTGRES_SCRIPT.encode()}, "docker-entrypoint-initdb.d")
    return busybox_image.archive([_debian("postgres"), script], POSTGRES, config=config)


def redis() -> bytes:
    config: dict[str, object] = {
        "Entrypoint": ["docker-entrypoint.sh"],
        "Cmd": ["redis-server"],
        "ExposedPorts": {"6379/tcp": {}},
        "WorkingDir": "/data",
        "Volumes": {"/data": {}},
    }
    script = _layer({SCRIPT: REDIS_SCRIPT.encode()}, "data")
    return busybox_image.archive([_debian("redis"), script], REDIS, config=config)


def ryuk(folder: Path) -> bytes:
    """``folder``: where it is compiled."""
    program = folder / "ryuk"
    subprocess.run(["musl-gcc", "-static", "-O1", "-o", program, RYUK_C], check=True)
    config: dict[str, object] = {"Cmd": ["/bin/ryuk"], "ExposedPorts": {"8080/tcp": {}}}
    return busybox_image.archive([_layer({"bin/ryuk": program.read_bytes()})], RYUK, config=config)


def sshd() -> bytes:
    """By which testcontainers leads containers to ports of the host."""
    config: dict[str, object] = {"Cmd": ["docker-entrypoint.sh"], "ExposedPorts": {"22/tcp": {}}}
    return busybox_image.archive(
        [_debian("sshd"), _layer({SCRIPT: SSHD_SCRIPT.encode()})], SSHD, config=config
    )


def _debian(name: str) -> bytes:
    """The one layer that it has."""
    with tarfile.open(real_images.path(name)) as archive:
        entry = next(each for each in archive if each.name.endswith("/layer.tar"))
        layer = archive.extractfile(entry)
        assert layer is not None
        return layer.read()


def _layer(programs: dict[str, bytes], *folders: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in folders:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for name, data in programs.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()
