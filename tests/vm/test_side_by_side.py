"""VMs of several drivers under one hyperd, each taken back by the driver that made it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import busybox_image
from audit import kill_process
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from libvirt_bed import LibvirtBed

DRIVERS = ("uml", "qemu", "libvirt")
CONFIG = '{}\n[hypervisor.libvirt]\nuri = "{}"\n'


@pytest.fixture
def beside() -> Iterator[tuple[Hyper, LibvirtBed]]:
    with LibvirtBed() as bed, hyper_context(CONFIG.format(NO_POOL, bed.uri), hypervisor="uml") as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        yield made, bed


def test_vms_of_several_drivers_live_beside_one_another(beside: tuple[Hyper, LibvirtBed]) -> None:
    hyper, bed = beside
    assert "libvirt " in hyper.out("info", "--format", "{{.Drivers}}")
    for driver in DRIVERS:
        hyper(
            "run", "-d", "--name", driver, "--hypervisor", driver, busybox_image.REFERENCE, "sleep", "10000"
        )
    uuids = bed.virsh("list", "--uuid").stdout.split()
    assert len(uuids) == 1
    assert kill_process(hyper.daemon_pid())
    for driver in DRIVERS:
        assert hyper.out("exec", driver, "echo", "still here") == "still here"
        assert hyper.json("inspect", driver)[0]["VM"]["Hypervisor"] == driver
    assert bed.virsh("list", "--uuid").stdout.split() == uuids
    hyper("rm", "-f", *DRIVERS)
    assert bed.virsh("list", "--all", "--uuid").stdout.split() == []


def test_a_libvirtd_that_is_gone_is_told_and_its_vm_goes_on(beside: tuple[Hyper, LibvirtBed]) -> None:
    hyper, bed = beside
    hyper("run", "-d", "--name", "box", "--hypervisor", "libvirt", busybox_image.REFERENCE, "sleep", "10000")
    bed.kill()
    assert hyper.out("exec", "box", "echo", "still here") == "still here"
    refused = hyper("run", "--rm", "--hypervisor", "libvirt", busybox_image.REFERENCE, "true", check=False)
    assert refused.returncode == 125
    assert b"libvirt" in refused.stderr
    bed.start()
    hyper("run", "--rm", "--hypervisor", "libvirt", busybox_image.REFERENCE, "true")
    hyper("rm", "-f", "box")
    assert bed.virsh("list", "--all", "--uuid").stdout.split() == []
