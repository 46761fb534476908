"""Pods in vSphere by hyperd and its command line: the simulator has the machines, and QEMU runs what they have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

pytest.importorskip("pyVmomi", reason="pyvmomi is not installed")

import busybox_image
from audit import daemon_pid, kill_process
from esx_hands import Hands
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from simulated_vsphere import Simulator
from soak import rounds

BUSYBOX = busybox_image.REFERENCE
STARTED_S = 600.0
WAITS = "trap exit TERM; echo up; while :; do sleep 1000 & wait; done"
LAN = {"network": "VM Network", "subnet": "10.0.2.0/24", "gateway": "10.0.2.2", "range": "10.0.2.64/26"}

# Tables beside the right one, and what who uses them is told.
MISTAKEN: dict[str, dict[str, object]] = {
    "stranger": {"user": "nobody"},
    "away": {"port": 9},
    "untrusted": {"ca": None},
    "elsewhere": {"datastore": "there"},
}
MISTAKES = {
    "stranger": "does not know user 'nobody' with this password\n.*hint: user and the contents of /.*/password",
    "away": "cannot be reached.*\n.*hint: host and port, in the configuration",
    "untrusted": "certificate is not trusted.*\n.*hint: ca, or thumbprint",
    "elsewhere": "no datastore 'there'\n.*hint: there is LocalDS_0",
}
FAULTS = [
    ("ImportVApp", "NoPermission", "hyper: launching VM box: user .* may not: .*\n.*hint: docs/esx.md"),
    ("ReconfigVM_Task", "NoDiskSpace", "VM box: the datastore is full.*\n.*hint: make room there"),
    ("PowerOnVM_Task", "InsufficientResourcesFault", "VM box: the hosts have not the resources"),
]
EXAMINED = (
    "✓ hypervisor: esx, as the hypervisor does it",
    "✓ vSphere at 127.0.0.1: hosts: 3 of 3 run VMs",
    "✗ stranger: vSphere at 127.0.0.1: session: vSphere at 127.0.0.1 does not know user 'nobody' with this password",
    "✗ elsewhere: vSphere at 127.0.0.1: place of VMs: vSphere at 127.0.0.1 has no datastore 'there'",
)


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    made = Simulator(tmp_path)
    yield made
    made.stop()


def table(name: str, simulator: Simulator, **changes: object) -> str:
    keys = {key: value for key, value in (simulator.settings | LAN | changes).items() if value is not None}
    return "\n".join([f"[hypervisor.{name}]", *(f"{key} = {json.dumps(keys[key])}" for key in keys), ""])


@pytest.fixture
def esx(simulator: Simulator) -> Iterator[Hyper]:
    tables = [table("esx", simulator)]
    tables += [table(name, simulator, driver="esx", **changes) for name, changes in MISTAKEN.items()]
    config = "\n".join([NO_POOL, "[machine]", "boot_timeout_s = 300", *tables])
    with hyper_context(config, hypervisor="esx") as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        yield made
        made.remove_all()


def of_vms(simulator: Simulator) -> list[str]:
    """What there is in its datastores of VMs."""
    return [name for name in simulator.files() if not name.startswith("hyper-image-")]


def said(hyper: Hyper, *words: str) -> str:
    """By a start that fails, in one line, beside what helps."""
    done = hyper("run", "--rm", *words, BUSYBOX, "true", check=False)
    assert (done.returncode, done.stdout, hyper.out("ps", "-aq")) == (125, b"", "")
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 2 and lines[0].startswith("hyper: ") and lines[1].startswith("  hint: "), lines
    return "\n".join(lines)


def test_what_is_wrong_is_said_to_who_asked(esx: Hyper, simulator: Simulator) -> None:
    """And nothing is left of it, nor touched."""
    assert "esx stranger away untrusted elsewhere" in esx.out("info", "--format", "{{.Drivers}}")
    for name, words in MISTAKES.items():
        assert re.search(words, said(esx, "--hypervisor", name)), name
    clash = said(esx, "--name", "DC0_H0_VM0")
    assert "has something of this name already, which is not ours to touch" in clash
    assert "directories of the host" in said(esx, "-v", "/etc:/there")
    assert "publishes nothing" in said(esx, "-p", "80:80")
    for method, fault, words in FAULTS:
        simulator.fail(method, fault)
        assert re.search(words, said(esx, "--name", "box"), re.DOTALL), fault
    assert of_vms(simulator) == []
    examined = esx("doctor", check=False).stdout.decode()
    for line in EXAMINED:
        assert line in examined


@pytest.mark.skipif(
    not rounds(short=0, soak=1), reason="`make soak`: a BIOS, a disc and a wide kernel, emulated"
)
@pytest.mark.timeout(1800)
def test_a_pod_of_vspheres_from_its_image_to_its_end(
    esx: Hyper, simulator: Simulator, tmp_path: Path
) -> None:
    with Hands(simulator, tmp_path, esx.root / "hypervisors/esx/line.pem"):
        once = esx(
            "run", "--rm", BUSYBOX, "sh", "-c", "echo from vSphere; exit 7", check=False, timeout_s=STARTED_S
        )
        assert (once.returncode, once.stdout) == (7, b"from vSphere\n"), once.stderr
        assert of_vms(simulator) == []
        life(esx, simulator)


def life(hyper: Hyper, simulator: Simulator) -> None:
    """Of a container that writes, whose hyperd is killed meanwhile."""
    words = ("--name", "web", "-v", "kept:/kept", BUSYBOX, "sh", "-c", WAITS)
    hyper("run", "-d", *words, timeout_s=STARTED_S)
    hyper.wait_for_log("web", b"up")
    identifier = hyper.inspect("web")["Id"][:12]
    assert hyper.out("exec", "web", "sh", "-c", "echo mine > /kept/file; hostname") == identifier
    address = re.search(r"inet (10\.0\.2\.\d+)/24", hyper.out("exec", "web", "ip", "-4", "addr"))
    assert address and IPv4Address(address[1]) in IPv4Network(LAN["range"])
    assert any(name.startswith("web/") for name in simulator.files())
    assert kill_process(daemon_pid(hyper))
    assert hyper.out("ps", "--format", "{{.Names}} {{.State}}") == "web running"
    assert hyper.inspect("web")["VM"]["Hypervisor"] == "esx"
    assert hyper.out("exec", "web", "cat", "/kept/file") == "mine"
    assert hyper.out("logs", "web") == "up"
    hyper("stop", "web", timeout_s=STARTED_S)
    assert of_vms(simulator) == []
    hyper("start", "web", timeout_s=STARTED_S)
    assert hyper.out("exec", "web", "cat", "/kept/file") == "mine"  # it has been here, and there again
    hyper("rm", "-f", "web")
    assert of_vms(simulator) == []
