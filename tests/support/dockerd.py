"""Docker and podman as they come, in namespaces of their own: what Hyper is compared with, and may live in.

`dockerd()` finds the daemon beside the system (`make setup` unpacks Debian's packages there) or in PATH.  It lives in a
network, mount and process namespace in which /etc, /run and /var/lib can be written without a trace on the machine.
With the first process of that namespace everything ends: daemons, shims, bridges, firewall rules, mounts.
`podman()` lives in the same, and has no daemon: each call enters them, at about a millisecond.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import fetch_clients
from hypercontainer.kernel import cache_dir

READY_TIMEOUT_S = 60.0
TIMEOUT_S = 120.0
CGROUPS = Path("/sys/fs/cgroup")
NEWEST = ("docker", "dockerd")  # of fetch_clients
# $1 is a directory of our own.  crun gives up where cgroup v2 stands beside v1.
NAMESPACES = """
set -e
work=$1
shift
cp -L /etc/resolv.conf "$work/resolv.conf" 2>/dev/null || :
for folder in /etc /var/lib; do
    mkdir -p "$work/over$folder/upper" "$work/over$folder/work"
    mount -t overlay -o "lowerdir=$folder,upperdir=$work/over$folder/upper,workdir=$work/over$folder/work" \\
        overlay "$folder"
done
rm -f /etc/resolv.conf
mv "$work/resolv.conf" /etc/ 2>/dev/null || :
mount -t tmpfs tmpfs /run
ip link set lo up
! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
echo ready
"$@" &
wait $!
"""


class Absent(Exception):
    """It is not here, or does not run here: why."""


@dataclass(frozen=True)
class Docker:
    """A dockerd that serves, or a podman.  ``client``: the command without its verb; ``options``: for ``run`` and
    ``create``; ``first``: the host's number of the first process of its namespaces."""

    client: Sequence[str]
    options: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    first: int

    def __call__(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [*self.client, *words],
            input=stdin,
            capture_output=True,
            timeout=TIMEOUT_S,
            env=self.environment,
        )


@contextlib.contextmanager
def dockerd(*, newest: bool = False) -> Iterator[Docker]:
    """With its own containerd, runtime, storage driver and bridge, as they are without configuration.  Absent where
    there is none.  ``newest``: that of Debian's newest suite instead of this machine's."""
    path = search_path(newest=newest)
    if os.geteuid() != 0:
        raise Absent("dockerd needs root")
    with workspace() as (work, group):
        (work / "daemon.json").write_text("{}")
        address = f"unix://{work}/docker.sock"
        daemon = ["dockerd", "--config-file", str(work / "daemon.json"), "-H", address]
        daemon += ["--data-root", str(work / "data"), "--exec-root", str(work / "exec")]
        daemon += ["--cgroup-parent", f"/{group}"]
        daemon += ["--pidfile", str(work / "docker.pid"), "--exec-opt", "native.cgroupdriver=cgroupfs"]
        notify = {"NOTIFY_SOCKET": str(work / "notify")}
        environment = {**os.environ, "PATH": path, "DOCKER_CONFIG": str(work), **notify}
        for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
            environment.pop(name, None)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind(environment["NOTIFY_SOCKET"])
            with namespaces(work, daemon, environment) as first:
                await_datagram(notified, first, work)
                client = (_client_of(path), "-H", address)
                yield Docker(client, ("--cgroup-parent", f"/{group}"), environment, first)


@contextlib.contextmanager
def podman() -> Iterator[Docker]:
    if shutil.which("podman") is None:
        raise Absent("not installed")
    if os.geteuid() != 0:
        raise Absent("this podman needs root")
    with workspace() as (work, group), namespaces(work, ["sleep", "infinity"], os.environ) as first:
        client = ["nsenter", "--target", str(first), "--net", "--mount", "--pid", "--", "podman"]
        client += ["--root", str(work / "data"), "--runroot", str(work / "run")]
        client += ["--tmpdir", str(work / "tmp"), "--cgroup-manager", "cgroupfs"]
        yield Docker(client, ("--cgroup-parent", f"/{group}"), os.environ, first)


def search_path(*, newest: bool = False) -> str:
    """PATH, with the directories of a dockerd that is unpacked in the cache before all others.  The newest one uses
    this machine's runc: its own wants a newer C library."""
    try:
        places = [fetch_clients.CLIENTS[name].place() for name in NEWEST] if newest else []
    except fetch_clients.Absent as absent:
        raise Absent(str(absent)) from absent
    places.append(cache_dir() / "docker")
    folders = [str(place / "usr" / name) for place in places for name in ("sbin", "bin")]
    path = os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)])
    if shutil.which("dockerd", path=path) is None:
        raise Absent("no dockerd; make setup-tests fetches one")
    return path


@contextlib.contextmanager
def workspace() -> Iterator[tuple[Path, str]]:
    """A directory, and the name of a cgroup; nothing of either stays."""
    work = Path(tempfile.mkdtemp(prefix="hyper-peer-"))
    try:
        yield work, work.name
    finally:
        shutil.rmtree(work, ignore_errors=True)
        for top in (CGROUPS, *CGROUPS.glob("*")):
            for folder, _, _ in os.walk(top / work.name, topdown=False):
                Path(folder).rmdir()


@contextlib.contextmanager
def namespaces(work: Path, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[int]:
    """Runs ``command`` in namespaces of its own; gives the host's number of their first process."""
    flags = ("--net", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child")
    with (work / "log").open("wb") as log:
        holder = subprocess.Popen(
            ["unshare", *flags, "sh", "-c", NAMESPACES, "sh", str(work), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
        )
    assert holder.stdout is not None
    first = 0
    try:
        if holder.stdout.readline() != b"ready\n":
            raise Absent(f"namespaces: {_last_line(work)}")
        first = int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()[0])
        yield first
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        # Its end comes after that of every process in the namespace.
        assert not first or _ends(first), f"processes of {work} do not end"


def _ends(pid: int) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], READY_TIMEOUT_S)[0])
    finally:
        os.close(descriptor)


def await_datagram(notified: socket.socket, daemon: int, work: Path) -> None:
    """dockerd says by systemd's protocol when it serves."""
    descriptor = os.pidfd_open(daemon)
    try:
        ready, _, _ = select.select([notified.fileno(), descriptor], [], [], READY_TIMEOUT_S)
    finally:
        os.close(descriptor)
    if notified.fileno() not in ready:
        raise Absent(f"dockerd does not serve: {_last_line(work)}")


def _client_of(path: str) -> str:
    """Of several docker clients in ``path`` the one of dockerd's version; a newer one may refuse an old daemon."""
    version = _version("dockerd", path)
    clients = [found for folder in path.split(os.pathsep) if (found := shutil.which("docker", path=folder))]
    if not clients:
        raise Absent("no docker client")
    return next((client for client in clients if _version(client, path) == version), clients[0])


def _version(program: str, path: str) -> str:
    """ "20.10.24" of "Docker version 20.10.24, build 5d6db84"."""
    found = shutil.which(program, path=path) or program
    shown = subprocess.run([found, "--version"], capture_output=True, check=True, timeout=TIMEOUT_S).stdout
    return shown.decode().partition("version ")[2].partition(",")[0].strip()


def _last_line(work: Path) -> str:
    lines = (work / "log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it says nothing"
