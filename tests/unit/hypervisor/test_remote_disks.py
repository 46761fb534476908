"""Disks that servers have: the command line of QEMU's storage daemon, which says nothing secret."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hypercontainer.errors import LaunchError
from hypercontainer.hypervisor import helpers, remote_disks
from hypercontainer.hypervisor.driver import Helper
from hypercontainer.hypervisor.remote import RemoteDisk, Tls
from hypercontainer.linux.process import Process

FOLDER = Path("/credentials")
NBD = RemoteDisk("v-1", False, "nbd", "nbd://h/x", address="192.0.2.1", port=10809, name='a"b,c')
INET = {"type": "inet", "host": "192.0.2.1", "port": "10809", "numeric": True}


def options(disk: RemoteDisk) -> dict[str, list[dict[str, Any]]]:
    """By their names."""
    program, *words = remote_disks.argv(Path("/qsd"), disk, FOLDER)
    assert program == "/qsd"
    found: dict[str, list[dict[str, Any]]] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        found.setdefault(name, []).append(json.loads(value))
    return found


def test_nbd() -> None:
    assert options(NBD) == {
        "--blockdev": [
            {
                "driver": "nbd",
                "node-name": "disk",
                "read-only": False,
                "server": INET,
                "export": 'a"b,c',
                "discard": "unmap",
                "reconnect-delay": 300,
            }
        ],
        "--nbd-server": [{"addr": {"type": "fd", "str": "4"}, "max-connections": 1}],
        "--export": [{"type": "nbd", "id": "disk", "node-name": "disk", "name": "", "writable": True}],
    }


def test_tls() -> None:
    files = (("ca-cert.pem", b"secret"),)
    found = options(RemoteDisk("v-1", True, "nbd", "", "192.0.2.1", 1, tls=Tls("h"), files=files))
    x509 = {"qom-type": "tls-creds-x509", "id": "tls", "endpoint": "client", "dir": "/credentials"}
    assert found["--object"] == [x509 | {"verify-peer": True}]
    (node,) = found["--blockdev"]
    assert (node["tls-creds"], node["tls-hostname"], node["read-only"]) == ("tls", "h", True)
    assert found["--export"][0]["writable"] is False
    shared = options(
        RemoteDisk("v-1", True, "nbd", "", socket=Path("/s"), tls=Tls(user="alice"), files=files)
    )
    psk = {"qom-type": "tls-creds-psk", "id": "tls", "endpoint": "client", "dir": "/credentials"}
    assert shared["--object"] == [psk | {"username": "alice"}]
    (node,) = shared["--blockdev"]
    assert node["server"] == {"type": "fd", "str": "5"}
    assert "reconnect-delay" not in node  # to what it was handed connected
    assert "tls-hostname" not in node
    assert "secret" not in repr(NBD) + repr(files[0][0])


def test_iscsi() -> None:
    files = (("password", b"hunter2"),)
    disk = RemoteDisk(
        "v-1", False, "iscsi", "", "2001:db8::1", 3260, name="iqn.x", lun=2, user="bob", files=files
    )
    found = options(disk)
    assert found["--object"] == [{"qom-type": "secret", "id": "password", "file": "/credentials/password"}]
    assert found["--blockdev"] == [
        {
            "driver": "iscsi",
            "node-name": "disk",
            "read-only": False,
            "discard": "unmap",
            "transport": "tcp",
            "portal": "[2001:db8::1]:3260",
            "target": "iqn.x",
            "lun": 2,
            "user": "bob",
            "password-secret": "password",
        }
    ]
    assert "hunter2" not in repr(disk)
    assert "hunter2" not in repr(found)


def test_rbd() -> None:
    files = (("ceph.conf", b"key = hunter2"),)
    disk = RemoteDisk("v-1", False, "rbd", "", name="one", pool="disks", user="bob", files=files)
    (node,) = options(disk)["--blockdev"]
    common = {"driver": "rbd", "node-name": "disk", "read-only": False, "discard": "unmap"}
    where = {"pool": "disks", "image": "one", "user": "bob", "conf": "/credentials/ceph.conf"}
    assert node == common | where
    (node,) = options(replace(disk, namespace="team", snapshot="before"))["--blockdev"]
    assert node == common | where | {"namespace": "team", "snapshot": "before"}
    assert "hunter2" not in f"{disk!r} {options(disk)}"


class Silent:
    """A process that has ended; of two of a VM the first."""

    def kill(self) -> None: ...

    async def wait(self) -> None: ...


class Said:
    def __init__(self, text: str) -> None:
        self._text = text

    def stderr(self) -> str:
        return self._text


def test_each_is_told_its_own_words(tmp_path: Path) -> None:
    """Which all of a VM say in one place."""
    disks = [
        RemoteDisk(f"v-{name}", False, "rbd", f"rbd://c/p/{name}", name=name, pool="p", user="u")
        for name in ("one", "two")
    ]
    commands = [remote_disks.argv(Path("/qsd"), disk, FOLDER) for disk in disks]
    reasons = ("error connecting: Connection timed out", "error opening pool p: No such file or directory")
    said = "".join(
        f"qsd: --blockdev {command[2]}: {reason}\n" for command, reason in zip(commands, reasons, strict=True)
    )

    async def refused(place: int) -> LaunchError:
        client, other = socket.socketpair()
        other.close()
        with client:
            process: Any = Silent()
            gate: Any = None
            one = remote_disks.Serving(
                disks[place], process, gate, client, tmp_path / "none", commands[place]
            )
            spec: Any = SimpleNamespace(name="vm")
            output: Any = Said(said)
            with pytest.raises(LaunchError) as caught:
                await remote_disks.answering(spec, [one], output)
            return caught.value

    first, second = (asyncio.run(refused(place)) for place in (0, 1))
    assert first.message == f"VM vm did not start: disk rbd://c/p/one: {reasons[0]}"
    assert "do not let client.u in" in (first.hint or "")
    assert second.message == f"VM vm did not start: disk rbd://c/p/two: {reasons[1]}"
    assert "`rbd --id u info p/two`" in (second.hint or "")


def test_who_has_a_disk_is_asked_to_end_and_others_are_not() -> None:
    """And is ended all the same, where it does not."""
    stubborn = ["sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done"]
    polite = ["sh", "-c", "trap 'exit 7' TERM; echo up; while :; do read x; done"]

    async def test() -> None:
        with ExitStack() as running:
            children = []
            for command in (polite, stubborn, polite):
                child = running.enter_context(
                    subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                )
                assert child.stdout is not None
                assert child.stdout.readline() == b"up\n"
                children.append(Process.child(child.pid))
            names = ("disk a", "disk b", "network")
            made = [
                Helper(name, one.pid, one.identity.start_ticks)
                for name, one in zip(names, children, strict=True)
            ]
            await helpers.end_serving([*zip(made, children, strict=True)])
            assert [await one.wait() for one in children] == [7, -signal.SIGKILL, -signal.SIGKILL]
            for one in children:
                one.close()

    asyncio.run(test())
