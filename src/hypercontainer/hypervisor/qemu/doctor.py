"""What an examination of the host says about QEMU, its accelerators and its confinement."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Protocol

from hypercontainer.errors import HyperError, Unavailable
from hypercontainer.hypervisor import jail, kvm, remote_disks, shares
from hypercontainer.hypervisor.driver import Capabilities, Check, Verdict
from hypercontainer.hypervisor.qemu import binary as binaries
from hypercontainer.hypervisor.qemu.machines import Machine
from hypercontainer.hypervisor.spec import VIRTIOFS, Accelerator
from hypercontainer.linux import cgroup
from hypercontainer.linux.confine import Means

# What User Mode Linux, which may do, does not bring.
WITHOUT = (
    "without it there is no KVM, no template that VMs are cloned from, no qcow2 image and one processor a VM"
)


class Examined(Protocol):
    """What is looked at of a driver."""

    @property
    def uids(self) -> range: ...
    async def capabilities(self) -> Capabilities: ...
    async def probe(
        self, accelerator: Accelerator, kernel: Path | None = None, *, refresh: bool = False
    ) -> Verdict: ...
    async def probe_jail(self, *, refresh: bool = False) -> Means: ...
    async def probe_shares(self, *, refresh: bool = False) -> shares.Usable: ...


async def diagnose(driver: Examined, name: str, machine: Machine) -> list[Check]:
    """Every check, whatever the others say."""
    checks = [_cgroups(cgroup.here().not_limited)]
    if driver.uids:
        checks.append(uids_for_vms(driver.uids))
    try:
        capabilities = await driver.capabilities()
    except Unavailable as error:
        return [Check("QEMU", None, f"{error.message}: {WITHOUT}", error.hint or ""), *checks]
    path = binaries.find(name, machine)
    return [
        Check("QEMU", True, f"{path}, version {capabilities.version}"),
        _sandbox(capabilities.sandbox),
        _jail(await driver.probe_jail(refresh=True)),
        await _accelerator(driver, Accelerator.TCG, required=True),
        await _accelerator(driver, Accelerator.KVM, required=False),
        await _shares(driver),
        _remotes(),
        *checks,
    ]


async def _shares(driver: Examined) -> Check:
    usable = await driver.probe_shares(refresh=True)
    if usable.filesystem == VIRTIOFS:
        return Check("directories of the host", True, "virtiofsd serves them, confined")
    if usable.filesystem:
        detail = "virtfs-proxy-helper serves them by 9p, confined; virtiofsd would be faster"
        return Check("directories of the host", True, detail, shares.INSTALL_HINT)
    return Check("directories of the host", None, f"cannot be shared: {usable.reason}", usable.remedy)


def _remotes() -> Check:
    title = "disks of the network"
    try:
        remote_disks.find(["iscsi", "rbd"])
    except Unavailable as error:
        return Check(title, None, error.message, error.hint or "")
    return Check(title, True, "NBD, iSCSI and Ceph, by QEMU's storage daemon, confined")


def uids_for_vms(uids: range) -> Check:
    """Whether they are nobody else's."""
    taken = [entry.pw_name for entry in pwd.getpwall() if entry.pw_uid in uids]
    span = f"{uids.start}-{uids.stop - 1}"
    if os.geteuid() != 0:
        return Check("uids for VMs", None, "not root: VMs run as the daemon's user")
    if taken:
        remedy = "choose another range in the configuration"
        return Check("uids for VMs", False, f"{span} has accounts: {', '.join(taken[:5])}", remedy)
    return Check("uids for VMs", True, f"{span}, one for each VM")


async def _accelerator(driver: Examined, accelerator: Accelerator, *, required: bool) -> Check:
    title = f"accelerator {accelerator.value}"
    try:
        verdict = await driver.probe(accelerator, refresh=True)
    except HyperError as error:
        return Check(title, False if required else None, str(error))
    if verdict.usable:
        return Check(title, True, f"{verdict.reason} in {verdict.seconds:.2f} s")
    remedy = "" if required else "guests run under software emulation instead, which needs nothing"
    if not required and not kvm.DEVICE.exists():
        remedy = "enable virtualization in the firmware, or nested virtualization on the host; " + remedy
    return Check(title, False if required else None, verdict.reason, remedy)


def _sandbox(has: bool) -> Check:
    if has:
        return Check("QEMU sandbox", True, "seccomp filter on")
    remedy = "use a QEMU built with seccomp support"
    return Check("QEMU sandbox", False, "this QEMU has no seccomp filter", remedy)


def _jail(means: Means) -> Check:
    found = ", ".join(jail.words(means))
    if means.namespaces:
        return Check("confinement", True, f"VMs are shut in by {found}, without a network")
    missing = (
        "no namespaces"
        if means.landlock
        else "neither namespaces nor Landlock: QEMU may open what its user may"
    )
    return Check("confinement", None, f"only {found}; {missing}: {means.reason}", jail.NAMESPACES_HINT)


def _cgroups(not_limited: tuple[str, ...]) -> Check:
    if not not_limited:
        return Check("cgroups", True, "memory, CPU and tasks of a VM are limited")
    remedy = "" if os.geteuid() == 0 else "have the group delegated: systemd's Delegate=yes"
    return Check("cgroups", None, "not limited: " + "; ".join(not_limited), remedy)
