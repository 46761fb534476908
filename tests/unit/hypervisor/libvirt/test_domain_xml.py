"""A domain's XML, to the letter, and the mark in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hypercontainer.hypervisor.libvirt.domain import (
    MARK_NS,
    Mark,
    Plan,
    domain_xml,
    names,
    read_mark,
    uuid_of,
)
from hypercontainer.hypervisor.qemu.binary import Binary
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec, Existing, Nic, Tap, VMSpec
from nics import nat_nic

GOLDEN = Path(__file__).parents[3] / "golden" / "libvirt"
BINARY = Binary(
    Path("/usr/bin/qemu-system-x86_64"),
    "key",
    "7.2.22",
    frozenset({Accelerator.TCG}),
    sandbox=True,
    free_page_reporting=True,
    qboot=True,
)
PLAN = Plan(
    BINARY, Path("/boot/vmlinux"), Path("/boot/initrd"), (700001, 700001), "q35", Path("/var/lib/hyper")
)
PLAIN = VMSpec(
    id="0123456789ab",
    name="web",
    run_dir=Path("/run/hyper/pods/0123456789ab"),
    kernel=Path("/kernels/vmlinux"),
    initrd=Path("/kernels/initrd"),
    kernel_args=("console=ttyS0", "quiet"),
    memory_mib=512,
    vcpus=2,
    disks=(
        DiskSpec("image", ((Path("/images/one"), 4096), (Path("/images/two"), 8192)), read_only=True),
        DiskSpec("disk", ((Path("/disks/web"), 1 << 30),), read_only=False),
    ),
    nics=(nat_nic(), Nic("52:54:00:12:34:57", Tap(Path("/run/keeper.sock"), "tap0"))),
)
HOSTILE = replace(
    PLAIN,
    name="]]></name><name>&evil;",
    kernel_args=("init='/bin/sh'", '"<&>"', "a,b"),
    disks=(),
    nics=(Nic("52:54:00:12:34:58", Existing("default\"/><x y='")),),
    accelerator=Accelerator.KVM,
    waits_for_room=False,
    hotplug_slots=0,
)


@pytest.mark.parametrize(
    ("name", "spec", "plan"),
    [
        ("plain", PLAIN, PLAN),
        ("hostile", HOSTILE, replace(PLAN, initrd=None, owner=None, machine="pc-q35-7.2")),
    ],
)
def test_a_domain_is_as_it_was(name: str, spec: VMSpec, plan: Plan) -> None:
    assert domain_xml(spec, plan, spec.name) == (GOLDEN / f"{name}.xml").read_text()


def test_what_is_hostile_stays_text() -> None:
    tree = ElementTree.fromstring(domain_xml(HOSTILE, PLAN, HOSTILE.name))
    assert [tree.findtext("name"), len(tree.findall("name"))] == [HOSTILE.name, 1]
    assert tree.findtext("os/cmdline") == " ".join(HOSTILE.kernel_args)
    (source,) = tree.iterfind("devices/interface/source")
    assert source.attrib == {"network": "default\"/><x y='"}


def test_a_mark_is_found_again() -> None:
    tree = ElementTree.fromstring(domain_xml(PLAIN, PLAN, "web"))
    (mark,) = tree.iterfind(f"metadata/{{{MARK_NS}}}vm")
    found = read_mark(ElementTree.tostring(mark, encoding="unicode"))
    assert found == Mark("/var/lib/hyper", str(PLAIN.run_dir))


@pytest.mark.parametrize(
    "xml", ["", "<", "<other/>", "<!DOCTYPE a [<!ENTITY b 'c'>]><vm/>", "<vm>" + "x" * (9 << 20)]
)
def test_what_is_no_mark_of_ours(xml: str) -> None:
    assert read_mark(xml) is None


def test_each_run_directory_has_a_uuid_of_its_own() -> None:
    first, second = uuid_of(PLAIN.run_dir), uuid_of(PLAIN.run_dir.with_name("other"))
    assert first == uuid_of(PLAIN.run_dir) != second


def test_a_domain_is_called_as_its_vm_as_far_as_libvirt_takes_that() -> None:
    assert names(PLAIN) == ("web", "web 0123456789ab")
    assert names(replace(PLAIN, name="a/b"))[0] == "a_b"
    assert names(replace(PLAIN, name=" .. "))[0] == PLAIN.id
    assert len(names(replace(PLAIN, name="\N{WHALE}" * 200))[0].encode()) <= 128
