"""What vSphere is told of a VM, compared with files; as it travels, numbers and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyVmomi", reason="pyvmomi is not installed")

from pyVmomi import vim
from pyVmomi.SoapAdapter import Serialize

from hypercontainer.errors import NotSupported
from hypercontainer.hypervisor.esx import hardware
from hypercontainer.hypervisor.esx.hardware import Lines
from hypercontainer.hypervisor.esx.inventory import ID, OWNER
from hypercontainer.hypervisor.esx.vsphere import check, places
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec, Existing, Nic, ShareSpec, VMSpec
from nics import nat_nic

GOLDEN = Path(__file__).parents[3] / "golden" / "esx"
LINES = Lines(
    "telnets://192.0.2.1:13370#thumbprint=AB", {"console": "hyper-console-1", "agent": "hyper-agent-2"}
)


def spec(**changes: Any) -> VMSpec:
    usual: dict[str, Any] = {
        "id": "0123456789ab",
        "name": "web/<1>&",
        "run_dir": Path("/run/x"),
        "kernel": Path("/k"),
        "initrd": Path("/i"),
        "kernel_args": (),
        "memory_mib": 1 << 22,
        "vcpus": 2,
        "accelerator": Accelerator.OWN,
        "disks": (
            DiskSpec("image", ((Path("/a"), 1 << 20), (Path("/b"), 512)), read_only=True),
            DiskSpec("disk", ((Path("/d"), 3 << 42),), read_only=False),
        ),
        "nics": (Nic("02:00:00:00:00:01", Existing("VM Network")),),
    }
    return VMSpec(**usual | changes)


def travels(tree: Any) -> str:
    """As pyvmomi sends it, an element a line."""
    text = Serialize(tree, version="vim.version.version9").decode()
    return str(text).replace("><", ">\n<") + "\n"


def compare(name: str, tree: Any) -> None:
    assert travels(tree) == (GOLDEN / name).read_text()


def test_a_machine() -> None:
    backing = vim.vm.device.VirtualEthernetCard.NetworkBackingInfo(deviceName="VM Network")
    marks = {OWNER: "11111111-2222-3333-4444-555555555555", ID: "0123456789ab"}
    compare("machine.xml", hardware.machine(spec(), "uuid", marks, "ds 1", LINES, [backing]))


def test_what_it_boots_from() -> None:
    compare(
        "booted.xml",
        hardware.booted("ds 1", "[ds 1] web/boot.iso", [(0, "[ds 1] image/image.vmdk", 5 << 40)], ["key"]),
    )


def test_numbers_travel_as_what_they_are() -> None:
    """Disks are counted in 64 bits, whatever pyvmomi makes of a number whose type it does not know."""
    sent = travels(hardware.machine(spec(nics=()), "uuid", {}, "ds", LINES, []))
    assert f"<capacityInBytes>{3 << 42}</capacityInBytes>" in sent
    assert "xsd:int" not in sent
    assert (
        travels(vim.option.OptionValue(key="k", value=1 << 40)).count("xsd:int") == 1
    )  # why options are texts


def test_units_leave_out_the_controllers_own() -> None:
    assert [hardware.unit_of(place) for place in range(9)] == [0, 1, 2, 3, 4, 5, 6, 8, 9]
    disks = tuple(DiskSpec(f"d{place}", ((Path("/a"), 512),), read_only=True) for place in range(9))
    assert places(spec(disks=disks)).endswith("0:0:6:0:d6,0:0:8:0:d7,0:0:9:0:d8")
    assert places(spec(disks=())) == ""


def test_names_are_escaped_and_short() -> None:
    assert hardware.name_of(spec(name="a/b\\c%")) == "a%2fb%5cc%25"
    long = hardware.name_of(spec(name="n" * 200))
    assert len(long) <= 80 and long.endswith("-0123456789ab")


REFUSED: list[dict[str, Any]] = [
    {"shares": (ShareSpec("t", Path("/s"), read_only=True),)},
    {"nics": (nat_nic(),)},
    {"disks": (DiskSpec("d", ((Path("/q"), 512),), read_only=True, format="qcow2"),)},
    {"disks": (DiskSpec("d", ((Path("/dev/x"), 512),), read_only=False, device=True),)},
    {"disks": tuple(DiskSpec(f"d{place}", ((Path("/a"), 512),), read_only=True) for place in range(64))},
]


@pytest.mark.parametrize("changes", REFUSED)
def test_what_it_cannot_have_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(NotSupported):
        check(spec(**changes))
