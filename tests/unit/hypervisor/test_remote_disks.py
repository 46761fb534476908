"""Disks that servers have: the command line of QEMU's storage daemon, which says nothing secret."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypercontainer.hypervisor import remote_disks
from hypercontainer.hypervisor.remote import RemoteDisk, Tls

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
