"""Pods in vSphere by hyperd and its command line: the simulator has the machines, and QEMU runs what they have."""

from __future__ import annotations

import json
from collections.abc import Iterator
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


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    made = Simulator(tmp_path)
    yield made
    made.stop()


def config(simulator: Simulator, **changes: object) -> str:
    table = {key: value for key, value in (simulator.settings | LAN | changes).items() if value is not None}
    lines = [f"{key} = {json.dumps(value)}" for key, value in table.items()]
    return "\n".join([NO_POOL, "[machine]", "boot_timeout_s = 300", "[hypervisor.esx]", *lines, ""])


@pytest.fixture
def esx(simulator: Simulator, tmp_path: Path) -> Iterator[Hyper]:
    with hyper_context(config(simulator), hypervisor="esx") as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        with Hands(simulator, tmp_path, made.root / "hypervisors/esx/line.pem"):
            yield made
            made.remove_all()


@pytest.mark.skipif(
    not rounds(short=0, soak=1), reason="`make soak`: a BIOS, a disc and a wide kernel, emulated"
)
@pytest.mark.timeout(1800)
def test_a_pod_of_vspheres_from_its_image_to_its_end(esx: Hyper, simulator: Simulator) -> None:
    hyper = esx
    said = hyper.out(
        "run", "--rm", BUSYBOX, "sh", "-c", "echo from vSphere; exit 7", check=False, timeout_s=STARTED_S
    )
    assert said == "from vSphere"
    assert not [name for name in simulator.files() if not name.startswith("hyper-image-")]
    hyper(
        "run",
        "-d",
        "--name",
        "web",
        "-v",
        "kept:/kept",
        BUSYBOX,
        "sh",
        "-c",
        WAITS,
        timeout_s=STARTED_S,
    )
    hyper.wait_for_log("web", b"up")
    assert (
        hyper.out("exec", "web", "sh", "-c", "echo mine > /kept/file; hostname")
        == hyper.inspect("web")["Id"][:12]
    )
    assert "10.0.2." in hyper.out("exec", "web", "ip", "-4", "addr")
    kill_process(daemon_pid(hyper))
    assert hyper.out("ps", "--format", "{{.Names}} {{.State}}") == "web running"
    assert hyper.out("exec", "web", "cat", "/kept/file") == "mine"
    assert hyper.out("logs", "web") == "up"
    hyper("stop", "web", timeout_s=STARTED_S)
    hyper("start", "web", timeout_s=STARTED_S)
    assert hyper.out("exec", "web", "cat", "/kept/file") == "mine"
    hyper("rm", "-f", "web")
    assert not [name for name in simulator.files() if not name.startswith("hyper-image-")]
