"""Whether this machine is a dom0, and what its Xen can do: read from files of its kernel."""

from __future__ import annotations

import os
from pathlib import Path

from hypercontainer.errors import Unavailable
from hypercontainer.hypervisor.driver import Check
from hypercontainer.hypervisor.xen import xl
from hypercontainer.hypervisor.xen.config import Mode
from hypercontainer.hypervisor.xen.store import SOCKET

ABILITIES = Path("/proc/xen/capabilities")
PROPERTIES = Path("/sys/hypervisor/properties/capabilities")
VERSION = Path("/sys/hypervisor/version")
DEVICES = ("/dev/xen/evtchn", "/dev/xen/gntdev", "/dev/xen/privcmd")


def check(abilities: Path = ABILITIES, store: Path = SOCKET) -> None:
    """Raises ``Unavailable``, with what there is to do."""
    if "control_d" not in _read(abilities):
        hint = "boot it under Xen (apt install xen-system-amd64) and mount xenfs on /proc/xen"
        raise Unavailable("this machine is no dom0 of Xen", hint=hint)
    xl.check_installed()
    if not store.exists():
        hint = "systemctl start xenstored xenconsoled, or /etc/init.d/xen start"
        raise Unavailable("Xen's daemons do not run: there is no xenstored", hint=hint)
    if os.geteuid() != 0:
        raise Unavailable("Xen is managed by root", hint="run hyperd as root in dom0")
    for device in DEVICES:
        if not Path(device).exists():
            hint = "modprobe xen-evtchn xen-gntdev xen-privcmd"
            raise Unavailable(f"there is no {device}", hint=hint)


def version() -> str:
    """ "" where it is not known."""
    parts = [_read(VERSION / part).strip() for part in ("major", "minor", "extra")]
    return f"{parts[0]}.{parts[1]}{parts[2]}" if parts[0] else ""


def has_hvm() -> bool:
    return "hvm-3.0-x86_64" in _read(PROPERTIES)


def best() -> Mode:
    return Mode.PVH if has_hvm() else Mode.PV


def diagnose() -> list[Check]:
    name = "Xen"
    try:
        check()
    except Unavailable as error:
        return [Check(name, None, error.message, error.hint or "")]
    kinds = "PVH and PV" if has_hvm() else "PV alone: the processor has no hardware virtualization for it"
    return [Check(name, True, f"version {version()}; {kinds}")]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
