"""What an examination of the host says about VirtualBox."""

from __future__ import annotations

import os
from pathlib import Path

from hypercontainer.contract.devices import PC
from hypercontainer.errors import HyperError, Unavailable
from hypercontainer.hypervisor.driver import Check
from hypercontainer.hypervisor.virtualbox.manage import PACKAGE_HINT, Installation, Manage
from hypercontainer.hypervisor.virtualbox.parsing import Version

DEVICES = PC
# Whose programs, words and options are the ones that this driver knows.
SUPPORTED = 7
KERNEL_MODULE = Path("/dev/vboxdrv")
_NAME = "VirtualBox"


def supported(version: Version | None, text: str) -> Version:
    """``Unavailable`` for one of another kind."""
    if version is None or version[0] != SUPPORTED:
        known = ".".join(map(str, version)) if version else text.strip()[:80]
        raise Unavailable(f"VirtualBox {known} is not one of version {SUPPORTED}", hint=PACKAGE_HINT)
    return version


def means(installation: Installation) -> list[Check]:
    """By which guests are run: the kernel module, or software and a display."""
    if not installation.driverless:
        if KERNEL_MODULE.exists():
            return [Check(f"{_NAME}'s kernel module", True, f"{KERNEL_MODULE} is there")]
        remedy = "load it (modprobe vboxdrv; package virtualbox-dkms), or do without: driverless = true"
        return [Check(f"{_NAME}'s kernel module", False, f"{KERNEL_MODULE} is not there", remedy)]
    display = installation.environment.get("DISPLAY", "")
    found = Check(f"{_NAME} without a kernel module", True, "by software, which takes its time")
    if display:
        return [found, Check(f"{_NAME}'s display", True, display)]
    remedy = 'start one (Xvfb :97), and name it in [hypervisor.virtualbox]: display = ":97"'
    return [found, Check(f"{_NAME}'s display", False, "software execution opens a window", remedy)]


async def diagnose(installation: Installation, manage: Manage) -> list[Check]:
    try:
        installation.runner()
        said = (await manage.run("--version")).strip()
    except HyperError as error:
        return [Check(_NAME, None, error.message, error.hint or "")]
    home = installation.environment.get("VBOX_USER_HOME", "the user's own")
    checks = [Check(_NAME, True, f"{said}, its VMs in {home}")]
    try:
        await manage.run("list", "vms")
    except HyperError as error:
        checks.append(Check(f"{_NAME}'s server", False, error.message, error.hint or ""))
    if os.geteuid() == 0 and installation.home is None:
        checks.append(Check(f"{_NAME}'s VMs", None, "they run as root, whose VirtualBox alone shows them"))
    return [*checks, *means(installation)]
