"""What xl is given, and what Xen's store is: to the letter, in tests/golden/xen."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor.spec import DiskSpec, Limits, VMSpec
from hypercontainer.hypervisor.xen import blocks, devices
from hypercontainer.hypervisor.xen.config import Mode, disk_name, disk_number, quoted, xl_config

GOLDEN = Path(__file__).parents[3] / "golden/xen"
UUID = "0f5b2c34-6a7d-4e8f-9012-3456789abcde"
PLAIN = VMSpec("a1", "web", Path("/r/a1"), Path("/k/vmlinux"), None, ("console=hvc0", "quiet"), 128, 1)
FULL = replace(
    PLAIN,
    initrd=Path("/i"),
    kernel_args=("console=hvc0", 'note="it\'s \\ é"'),
    memory_mib=512,
    vcpus=2,
    limits=Limits(cpus=1.5),
    disks=(
        DiskSpec("image", ((Path("/d/1"), 512), (Path("/d/2"), 1024)), read_only=True),
        DiskSpec("disk", ((Path("/d/root"), 4096),), read_only=False),
    ),
)


@pytest.mark.parametrize(
    ("name", "spec", "mode"), [("pv", PLAIN, Mode.PV), ("pvh", PLAIN, Mode.PVH), ("full", FULL, Mode.PVH)]
)
def test_a_configuration(name: str, spec: VMSpec, mode: Mode) -> None:
    assert xl_config(spec, UUID, mode) == (GOLDEN / f"{name}.cfg").read_text()


def test_no_cap_is_beyond_the_processors() -> None:
    for cpus, said in ((0.5, "cap = 50\n"), (1.0, ""), (1.25, ""), (None, "")):
        config = xl_config(replace(PLAIN, limits=Limits(cpus=cpus)), UUID, Mode.PV)
        assert re.findall(r"cap = .*\n", config) == ([said] if said else [])


def test_the_store() -> None:
    said = []
    for device in (
        devices.line(7),
        devices.disk(7, 0, (7, 17), read_only=True),
        devices.nic(7, 1, "52:54:00:00:00:01"),
    ):
        for path, entries in (
            (device.back_path, device.back_entries()),
            (device.front_path, device.front_entries()),
        ):
            said += [f"{path}/{name} = {value}\n" for name, value in entries.items()]
            assert list(entries)[-1] == devices.STATE, "whoever sees it begins"
    assert "".join(said) == (GOLDEN / "store.txt").read_text()


def test_nothing_ends_a_quoted_text() -> None:
    assert quoted("a\"b\\c'd é") == '"a\\"b\\\\c\'d é"'
    for bad in ("a\nb", "a\0"):
        with pytest.raises(InvalidArgument, match="control characters"):
            quoted(bad)


def test_disks_have_the_names_that_xen_gives_them() -> None:
    assert [disk_name(place) for place in (0, 15, 25, 26, 27, 701, 702)] == [
        *("xvda", "xvdp", "xvdz", "xvdaa", "xvdab", "xvdzz", "xvdaaa")
    ]
    assert [disk_number(place) for place in (0, 1, 15, 16)] == [51712, 51728, 51952, 268439552]


def test_extents_are_a_table_of_sectors() -> None:
    assert blocks.table([(7, 0), (7, 3)], [1024, 4096]) == "0 2 linear 7:0 0\n2 8 linear 7:3 0\n"


def test_names_of_devices_are_one_vms_alone() -> None:
    """Some ids begin with others, and long names would be cut."""
    ids = ["a", "a-b", "a-b-image", "a.b", "x" * 32, "x" * 33, "x" * 64, "x" * 127 + "y", "x" * 128]
    for vm in ids:
        names = [f"{blocks.tag(vm, 's' * 20)}/127", blocks.mapped_name(vm, "s" * 20)]
        assert max(map(len, names)) <= 63
        for place, begin in enumerate((blocks.tag, blocks.mapped_name)):
            assert [other for other in ids if names[place].startswith(begin(other))] == [vm]


def test_a_pv_guest_is_not_told_a_half() -> None:
    words = replace(PLAIN, kernel_args=("x" * 1023,))
    assert f'"{"x" * 1023}"' in xl_config(words, UUID, Mode.PV)
    long = replace(words, disks=FULL.disks)
    assert "hyper.disks=" in xl_config(long, UUID, Mode.PVH)
    with pytest.raises(InvalidArgument, match="1023"):
        xl_config(long, UUID, Mode.PV)
