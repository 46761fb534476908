"""What VBoxManage 7.2.22 has printed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.hypervisor.virtualbox import parsing
from hypercontainer.hypervisor.virtualbox.parsing import Refusal

GOLDEN = Path(__file__).parents[3] / "golden/virtualbox"
LOCKED = """\
VBoxManage: error: Cannot unregister the machine 'hyper-x' while it is locked
VBoxManage: error: Details: code VBOX_E_INVALID_OBJECT_STATE (0x80bb0007), component MachineWrap, interface IMachine
VBoxManage: error: Context: "Unregister(fDeleteAll)" at line 231 of file VBoxManageMisc.cpp
"""
NO_RULE = """\
VBoxManage: error: Code NS_ERROR_INVALID_ARG (0x80070057) - Invalid argument value (extended info not available)
VBoxManage: error: Context: "RemoveRedirect(Bstr(a->argv[3]).raw())" at line 961 of file VBoxManageControlVM.cpp
"""


def test_a_vms_settings() -> None:
    info = parsing.machine_readable((GOLDEN / "showvminfo.txt").read_text())
    assert info["UUID"] == "911e6d20-eb18-4e5c-8317-0b731b16ad08"
    assert info["CfgFile"] == "/run/hyper-rec/machines/hyper/hyper-web-1/hyper-web-1.vbox"
    assert info["VMState"] == "poweroff"
    assert info["memory"] == "256"
    assert info["sata-1-0"] == "/run/hyper-rec/disks/image.vmdk"
    assert info["uartmode2"] == "server,/run/hyper-rec/agent.sock"
    assert info["description"] == "w\"e\\b é: a VM of Hyper's"


@given(st.text(st.characters(exclude_characters="\0")))
def test_nothing_that_somebody_calls_a_vm_is_taken_for_another_line(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    info = parsing.machine_readable(f'name="{quoted}"\nCfgFile="/mine"\n"a-0"="b"\n')
    assert info == {"name": text, "CfgFile": "/mine", "a-0": "b"}


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        (LOCKED, Refusal(parsing.OBJECT_STATE, "Cannot unregister the machine 'hyper-x' while it is locked")),
        (
            NO_RULE,
            Refusal(
                parsing.INVALID,
                "Code NS_ERROR_INVALID_ARG (0x80070057) - Invalid argument value (extended info not available)",
            ),
        ),
        (
            "VBoxManage: fatal error: RTR3Init: VERR_NO_TRANSLATION\n",
            Refusal("", "RTR3Init: VERR_NO_TRANSLATION"),
        ),
        ("sh: 1: cannot open\n", Refusal("", "sh: 1: cannot open")),
        ("", Refusal("", "")),
    ],
)
def test_why_it_refuses(text: str, refusal: Refusal) -> None:
    assert parsing.refusal(text) == refusal


def test_versions() -> None:
    assert parsing.version("7.2.22_Debianr175245\n") == (7, 2, 22)
    assert parsing.version("WARNING: The character device /dev/vboxdrv does not exist.\n7.0.6r1\n") == (
        7,
        0,
        6,
    )
    assert parsing.version("Command not found") is None
