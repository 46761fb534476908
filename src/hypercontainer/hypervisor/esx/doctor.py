"""What an examination of a vSphere finds, for the one user whose it is.  Blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyVmomi import vim, vmodl

from hypercontainer.errors import HyperError
from hypercontainer.hypervisor.driver import Check
from hypercontainer.hypervisor.esx import inventory
from hypercontainer.hypervisor.esx.inventory import Place
from hypercontainer.hypervisor.esx.session import Live, Session, properties

LOW_BYTES = 4 << 30
# Of the user's role; docs/esx.md says on what.
ON_FOLDER = (
    "VirtualMachine.Inventory.Create",
    "VirtualMachine.Inventory.Delete",
    "VirtualMachine.Interact.PowerOn",
    "VirtualMachine.Interact.PowerOff",
    "VirtualMachine.Interact.Suspend",
    "VirtualMachine.Config.AddNewDisk",
    "VirtualMachine.Config.AddExistingDisk",
    "VirtualMachine.Config.RemoveDisk",
    "VirtualMachine.Config.AddRemoveDevice",
    "VirtualMachine.Config.Settings",
    "VirtualMachine.Config.AdvancedConfig",
    "VApp.Export",
)
ON_POOL = ("Resource.AssignVMToPool", "VApp.Import")
ON_DATASTORE = ("Datastore.AllocateSpace", "Datastore.FileManagement")


def introduced(live: Live) -> str:
    """What it is, in words, once everything that a VM needs was found there."""
    inventory.place(live)
    return f"{live.content.about.fullName}, by version {live.content.about.apiVersion} of its API"


def diagnose(session: Session) -> list[Check]:
    """Stops at what everything after it needs."""
    found: list[Check] = []
    steps: tuple[tuple[str, Callable[[Live], Check]], ...] = (
        ("session", lambda live: Check("session", True, live.content.about.fullName)),
        ("place of VMs", _place),
        ("role", _role),
        ("datastore", _room),
        ("hosts", _hosts),
    )
    for name, step in steps:
        try:
            check = session.call(name, step)
        except HyperError as error:
            check = Check(name, False, error.message, error.hint or "")
        where = session.settings.where
        found.append(Check(f"{where}: {check.name}", check.ok, check.detail, check.remedy))
        if name in ("session", "place of VMs") and not check.ok:
            break
    return found


def _place(live: Live) -> Check:
    place = inventory.place(live)
    networks = ", ".join(sorted(inventory.named(live, each) for each in place.networks)[:10]) or "no networks"
    return Check(
        "place of VMs", True, f"datacenter {place.path}, datastore {place.datastore_name}; {networks}"
    )


def _role(live: Live) -> Check:
    """By what it says itself, where it says that."""
    place, lacking = inventory.place(live), []
    for target, wanted in ((place.folder, ON_FOLDER), (place.pool, ON_POOL), (place.datastore, ON_DATASTORE)):
        lacking += _lacking(live, target, wanted)
    if lacking:
        return Check(
            "role", False, f"user {live.settings.user!r} lacks {', '.join(lacking)}", "docs/esx.md lists them"
        )
    return Check("role", True, f"user {live.settings.user!r} has what is needed")


def _lacking(live: Live, target: Any, wanted: tuple[str, ...]) -> list[str]:
    manager = live.content.authorizationManager
    session = properties(live, live.content.sessionManager, "currentSession")["currentSession"]
    try:
        has = manager.HasPrivilegeOnEntity(target, session.key, list(wanted))
    except (vmodl.fault.MethodNotFound, vmodl.fault.NotSupported, vmodl.fault.NotImplemented):
        return []
    return [name for name, there in zip(wanted, has, strict=True) if not there]


def _room(live: Live) -> Check:
    place = inventory.place(live)
    summary = properties(live, place.datastore, "summary")["summary"]
    if not summary.accessible:
        return Check("datastore", False, f"{place.datastore_name} is not accessible", "is its storage there?")
    free = summary.freeSpace or 0
    detail = f"{place.datastore_name} has {free >> 30} GiB free"
    if free < LOW_BYTES:
        return Check("datastore", False, detail, "make room there, or configure another one")
    return Check("datastore", True, detail)


def _hosts(live: Live) -> Check:
    hosts = _of(live, inventory.place(live))
    runtimes = [properties(live, host, "runtime")["runtime"] for host in hosts]
    ready = [each for each in runtimes if each.connectionState == "connected" and not each.inMaintenanceMode]
    detail = f"{len(ready)} of {len(hosts)} run VMs"
    remedy = "" if ready else "are they in maintenance, or disconnected?"
    return Check("hosts", bool(ready), detail, remedy)


def _of(live: Live, place: Place) -> list[Any]:
    if place.host is not None:
        return [place.host]
    owner: vim.ComputeResource = properties(live, place.pool, "owner")["owner"]
    return list(properties(live, owner, "host").get("host", ()))
