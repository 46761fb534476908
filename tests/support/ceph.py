"""A cluster of Ceph's on the loopback address: one monitor, one OSD whose disk is its memory, and a pool of images.

There is no manager: nothing that images need is its to do.
"""

from __future__ import annotations

import os
import struct
import subprocess
import uuid
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from free_port import free_port

POOL, NAMESPACE, USER = "disks", "team", "hyper"
ADMIN = "client.admin"
_CAPABILITIES = {
    "mon.": {"mon": "allow *"},
    ADMIN: {"mon": "allow *", "osd": "allow *"},
    "osd.0": {"mon": "allow profile osd", "osd": "allow *"},
    f"client.{USER}": {"mon": "profile rbd", "osd": f"profile rbd pool={POOL}"},
}
# What is decided is not held back for what else might be.
_AT_ONCE = ("paxos_propose_interval = 0.01", "paxos_min_wait = 0.01")


def new_key() -> str:
    """In the form that cephx has them: kind, time, length, key."""
    return b64encode(struct.pack("<HIIH", 1, 0, 0, 16) + os.urandom(16)).decode()


@dataclass(frozen=True)
class Ceph:
    folder: Path
    port: int

    @property
    def monitor(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def keyring(self) -> Path:
        """Of ``USER`` alone."""
        return self.folder / "user.keyring"

    def table(self, name: str = "ceph", user: str = USER) -> str:
        """Of hyperd's configuration."""
        lines = (f'monitors = ["{self.monitor}"]', f'user = "{user}"', f'keyring = "{self.keyring}"')
        return "\n".join((f"[rbd.{name}]", *lines, ""))

    def rbd(self, *words: str | Path) -> bytes:
        return self._run("rbd", *words)

    def image(self, disk: Path, name: str) -> None:
        """A new one, with what the file has."""
        self.rbd("import", disk, f"{POOL}/{name}")

    def content(self, name: str, path: str) -> bytes:
        """Of a file of the ext4 of an image."""
        copy = self.folder / "exported"
        self.rbd("export", f"{POOL}/{name}", copy)
        words = ["debugfs", "-R", f"cat {path}", str(copy)]
        found = subprocess.run(words, capture_output=True, check=True).stdout
        copy.unlink()
        return found

    def _run(self, *words: str | Path, said: str = "") -> bytes:
        command = [words[0], "-n", ADMIN, *words[1:]]
        environment = os.environ | {"CEPH_CONF": str(self.folder / "ceph.conf")}
        done = subprocess.run(command, input=said.encode(), env=environment, capture_output=True, check=False)
        assert done.returncode == 0, (command, done.stderr.decode())
        return done.stdout


@contextmanager
def ceph(folder: Path) -> Iterator[Ceph]:
    """In a folder, which has all that it writes."""
    cluster, identity = Ceph(folder, free_port()), str(uuid.uuid4())
    folder.mkdir()
    _write(cluster, identity)
    with ExitStack() as running:
        at = f"[v2:{cluster.monitor}]"
        _done(folder, "monmaptool", "--create", "--fsid", identity, "--addv", "a", at, "monmap")
        _done(folder, "ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        running.enter_context(_daemon(folder, "ceph-mon", "-f", "-i", "a"))
        _done(folder, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity, "--monmap", "monmap")
        made = f"osd new {identity} 0\nosd pool create {POOL} 8\nosd pool application enable {POOL} rbd\n"
        cluster._run("ceph", said=made)
        running.enter_context(_daemon(folder, "ceph-osd", "-f", "-i", "0"))
        cluster.rbd("namespace", "create", f"{POOL}/{NAMESPACE}")  # which waits for the OSD
        yield cluster


def _section(name: str) -> str:
    capabilities = (f'\tcaps {on} = "{what}"' for on, what in _CAPABILITIES[name].items())
    return "\n".join((f"[{name}]", f"\tkey = {new_key()}", *capabilities, ""))


def _write(cluster: Ceph, identity: str) -> None:
    folder = cluster.folder
    for name in ("mon", "osd"):
        (folder / name).mkdir()
    sections = {name: _section(name) for name in _CAPABILITIES}
    cluster.keyring.write_text(sections[f"client.{USER}"])
    (folder / "keyring").write_text("".join(sections.values()))
    (folder / "osd/keyring").write_text(sections["osd.0"])
    settings = (
        *("[global]", f"fsid = {identity}", f"mon_host = v2:{cluster.monitor}", *_AT_ONCE),
        *(f"auth_{which}_required = cephx" for which in ("cluster", "service", "client")),
        *(
            "osd_pool_default_size = 1",
            "osd_pool_default_pg_autoscale_mode = off",
            "mon_allow_pool_size_one = true",
        ),
        *(
            f"mon_data = {folder}/mon",
            f"osd_data = {folder}/osd",
            f"keyring = {folder}/keyring",
            f"run_dir = {folder}",
        ),
        *("osd_objectstore = memstore", "osd_crush_chooseleaf_type = 0", "ms_bind_msgr1 = false"),
        *("public_addr = 127.0.0.1", "cluster_addr = 127.0.0.1"),
        *("admin_socket =", "pid_file =", "log_file =", "crash_dir ="),
    )
    (folder / "ceph.conf").write_text("\n".join(settings) + "\n")


def _done(folder: Path, *words: str) -> None:
    with (folder / "log").open("ab") as log:
        subprocess.run([*words, "-c", "ceph.conf"], cwd=folder, stdout=log, stderr=log, check=True)


@contextmanager
def _daemon(folder: Path, *words: str) -> Iterator[None]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([*words, "-c", "ceph.conf"], cwd=folder, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()  # there is nothing of it to keep
        process.wait()
