"""Docker and podman as they come, measured beside Hyper where they are installed.

Each lives in a network, mount and process namespace of its own, in which /etc, /run and /var/lib can be written
without a trace on the machine.  With the first process of that namespace everything ends: daemons, shims, bridges,
firewall rules, mounts.  Inside it they do what they do by themselves: `docker run` is dockerd and its runtime on
docker0, `podman run` its runtime on podman's default bridge.
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

import busybox_image
from bench.measure import ends_within, run

READY_TIMEOUT_S = 60.0
CONTAINER = "hyper-bench"
CGROUPS = Path("/sys/fs/cgroup")
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
! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified
echo ready
"$@" &
wait $!
"""


@dataclass(frozen=True)
class Peer:
    """``label`` says what it consists of; ``client`` is the command without its verb."""

    name: str
    label: str
    client: Sequence[str]
    options: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)

    def __call__(self, *words: str) -> str:
        return run([*self.client, *words], self.environment).strip()

    def run_true(self) -> None:
        self("run", *self.options, "--rm", busybox_image.REFERENCE, "true")

    def exec_true(self) -> None:
        """In a container that runs since the peer was made."""
        self("exec", CONTAINER, "true")

    def prepare(self, archive: Path) -> None:
        self("load", "-i", str(archive))
        self.run_true()
        self("run", *self.options, "-d", "--name", CONTAINER, busybox_image.REFERENCE, "sleep", "1000000")


@dataclass(frozen=True)
class Absent:
    """A peer that this machine does not have, and why not."""

    name: str
    reason: str


@contextlib.contextmanager
def peers() -> Iterator[dict[str, Peer | Absent]]:
    """By name: docker, podman.  None of them is a failure where it is not."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Peer | Absent] = {}
        for name, program, make in (("docker", "dockerd", docker), ("podman", "podman", podman)):
            if shutil.which(name) is None or shutil.which(program) is None:
                found[name] = Absent(name, "not installed")
                continue
            try:
                found[name] = stack.enter_context(make())
            except (AssertionError, OSError) as error:
                found[name] = Absent(name, f"does not run here: {str(error).strip().splitlines()[-1]}")
        yield found


@contextlib.contextmanager
def docker() -> Iterator[Peer]:
    """dockerd's own containerd, runtime, storage driver and bridge, as they are without configuration."""
    with _workspace() as (work, group):
        (work / "daemon.json").write_text("{}")
        address = f"unix://{work}/docker.sock"
        daemon = ["dockerd", "--config-file", str(work / "daemon.json"), "-H", address]
        daemon += ["--data-root", str(work / "data"), "--exec-root", str(work / "exec")]
        daemon += ["--pidfile", str(work / "docker.pid"), "--exec-opt", "native.cgroupdriver=cgroupfs"]
        environment = {**os.environ, "DOCKER_CONFIG": str(work), "NOTIFY_SOCKET": str(work / "notify")}
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind(environment["NOTIFY_SOCKET"])
            with _namespaces(work, daemon, environment) as first:
                _await_datagram(notified, first, work)
                client = [_client_of("dockerd"), "-H", address]
                peer = Peer("docker", "", client, ("--cgroup-parent", f"/{group}"), environment)
                peer.prepare(work / "image.tar")
                facts = peer("info", "--format", "{{.ServerVersion}}, {{.DefaultRuntime}}, {{.Driver}}")
                yield Peer("docker", f"dockerd {facts}, bridge", client, peer.options, environment)


@contextlib.contextmanager
def podman() -> Iterator[Peer]:
    """No daemon: each call enters the namespaces, at about a millisecond."""
    with _workspace() as (work, group), _namespaces(work, ["sleep", "infinity"], os.environ) as first:
        client = ["nsenter", "--target", str(first), "--net", "--mount", "--pid", "--", "podman"]
        client += ["--root", str(work / "data"), "--runroot", str(work / "run")]
        client += ["--tmpdir", str(work / "tmp"), "--cgroup-manager", "cgroupfs"]
        peer = Peer("podman", "", client, ("--cgroup-parent", f"/{group}"), os.environ)
        peer.prepare(work / "image.tar")
        facts = "{{.Version.Version}}, {{.Host.OCIRuntime.Name}}, {{.Store.GraphDriverName}}"
        facts = peer("info", "--format", facts)
        network = peer("inspect", "--format", "{{.HostConfig.NetworkMode}}", CONTAINER)
        yield Peer("podman", f"podman {facts}, {network}", client, peer.options, os.environ)


@contextlib.contextmanager
def _workspace() -> Iterator[tuple[Path, str]]:
    """A directory with the image in it, and the name of a cgroup; nothing of either stays."""
    work = Path(tempfile.mkdtemp(prefix="hyper-peer-"))
    try:
        (work / "image.tar").write_bytes(busybox_image.archive([busybox_image.layer()]))
        yield work, work.name
    finally:
        shutil.rmtree(work, ignore_errors=True)
        for top in (CGROUPS, *CGROUPS.glob("*")):
            for folder, _, _ in os.walk(top / work.name, topdown=False):
                Path(folder).rmdir()


@contextlib.contextmanager
def _namespaces(work: Path, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[int]:
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
            raise AssertionError(f"namespaces: {_last_line(work)}")
        first = int(Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().split()[0])
        yield first
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
        # Its end comes after that of every process in the namespace.
        assert not first or ends_within(first, READY_TIMEOUT_S), f"processes of {work} do not end"


def _await_datagram(notified: socket.socket, daemon: int, work: Path) -> None:
    """dockerd says by systemd's protocol when it serves."""
    descriptor = os.pidfd_open(daemon)
    try:
        ready, _, _ = select.select([notified.fileno(), descriptor], [], [], READY_TIMEOUT_S)
    finally:
        os.close(descriptor)
    if notified.fileno() not in ready:
        raise AssertionError(f"dockerd does not serve: {_last_line(work)}")


def _client_of(daemon: str) -> str:
    """Of several docker clients in PATH the one of dockerd's version; a newer one may refuse an old daemon."""
    version = _version(daemon)
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    clients = [found for folder in folders if (found := shutil.which("docker", path=folder))]
    return next((client for client in clients if _version(client) == version), clients[0])


def _version(program: str) -> str:
    """ "20.10.24" of "Docker version 20.10.24, build 5d6db84"."""
    return run([program, "--version"]).partition("version ")[2].partition(",")[0].strip()


def _last_line(work: Path) -> str:
    lines = (work / "log").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it says nothing"
