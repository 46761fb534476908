"""Where VMs go: datacenter, pool, folder, datastore, networks, by the configuration's names; machines, by UUID."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from hypercontainer.errors import NotFound
from hypercontainer.hypervisor.esx.faults import Gone, unconfigured
from hypercontainer.hypervisor.esx.session import Live, properties

# What is said of a machine of ours, in its configuration.
OWNER, ID, READY, IMAGES = "hyper.owner", "hyper.id", "hyper.ready", "hyper.images"


@dataclass(frozen=True)
class Place:
    """``host``: the only one that the VMs may be on, if it is one; ``path``: the datacenter's, as file transfers name
    it."""

    datacenter: vim.Datacenter
    path: str
    pool: vim.ResourcePool
    host: vim.HostSystem | None
    folder: vim.Folder
    datastore: vim.Datastore
    datastore_name: str
    networks: tuple[vim.Network, ...]


def place(live: Live) -> Place:
    """Raises ``Unavailable`` for what is not there, ``InvalidArgument`` where there are several and none is named."""
    if "place" not in live.memo:
        live.memo["place"] = _find_place(live)
    found = live.memo["place"]
    assert isinstance(found, Place)
    return found


def network(live: Live, name: str) -> vim.Network:
    for _ in range(2):  # it may have been made since
        for each in place(live).networks:
            if named(live, each) == name:
                return each
        forget(live)
    have = ", ".join(sorted(named(live, each) for each in place(live).networks)[:10])
    raise NotFound(f"network {name!r}: {live.settings.where} has none of this name", hint=f"there is {have}")


def forget(live: Live) -> None:
    live.memo.pop("place", None)


@dataclass(frozen=True)
class Machine:
    """A machine that is ours, as it is now; ``directory``: "[datastore] path"."""

    ref: vim.VirtualMachine
    on: bool
    suspended: bool
    said: dict[str, str]
    directory: str


def find(live: Live, uuid: str, owner: str) -> Machine | None:
    """None where there is none; ``Gone`` where it is not ours, whatever its UUID."""
    ref = live.content.searchIndex.FindByUuid(None, uuid, True, True)
    if ref is None:
        return None
    return look(live, ref, owner)


def look(live: Live, ref: vim.VirtualMachine, owner: str) -> Machine:
    found = properties(live, ref, "config.extraConfig", "config.files.vmPathName", "runtime.powerState")
    said = {each.key: str(each.value) for each in found.get("config.extraConfig", ())}
    if said.get(OWNER) != owner:
        raise Gone(f"a machine of {live.settings.where} has the UUID of one of ours and is not ours")
    state = found.get("runtime.powerState")
    directory = found.get("config.files.vmPathName", "").rpartition("/")[0]
    return Machine(ref, state == "poweredOn", state == "suspended", said, directory)


def _find_place(live: Live) -> Place:
    settings = live.settings
    root = live.content.rootFolder
    datacenter = _one(live, _all(live, root, vim.Datacenter), "datacenter")
    compute = _compute(live, datacenter)
    pool, host = compute.resourcePool, None
    if settings.pool:
        pool = _one(live, _all(live, pool, vim.ResourcePool), "pool")
    if not isinstance(compute, vim.ClusterComputeResource):
        host = compute.host[0]
    elif settings.cluster and named(live, compute) != settings.cluster:
        host = next(each for each in compute.host if named(live, each) == settings.cluster)
    folder = datacenter.vmFolder
    if settings.folder:
        folder = _one(live, _all(live, folder, vim.Folder), "folder")
    datastore = _one(live, list(compute.datastore), "datastore")
    return Place(
        datacenter,
        _path(live, datacenter),
        pool,
        host,
        folder,
        datastore,
        named(live, datastore),
        tuple(datacenter.network),
    )


def _compute(live: Live, datacenter: vim.Datacenter) -> vim.ComputeResource:
    """The cluster of this name, or that which has the host of this name."""
    there = _all(live, datacenter.hostFolder, vim.ComputeResource)
    wanted = live.settings.cluster
    for each in there:
        if wanted and wanted in (named(live, each), *(named(live, host) for host in each.host)):
            return each
    if not wanted and len(there) == 1:
        return there[0]
    raise unconfigured(live.settings, "cluster", [named(live, each) for each in there])


def _one(live: Live, there: list[Any], key: str) -> Any:
    """By the name in the configuration, or the only one."""
    wanted = getattr(live.settings, key)
    names = [named(live, each) for each in there]
    found = [each for each, name in zip(there, names, strict=True) if name == wanted or not wanted]
    if len(found) != 1:
        raise unconfigured(live.settings, key, names)
    return found[0]


def _all(live: Live, root: Any, kind: type) -> list[Any]:
    view = live.content.viewManager.CreateContainerView(root, [kind], True)
    try:
        return list(view.view)
    finally:
        view.Destroy()


def named(live: Live, entity: Any) -> str:
    """vCenter escapes three characters of names."""
    name = str(properties(live, entity, "name").get("name", ""))
    return name.replace("%2f", "/").replace("%5c", "\\").replace("%25", "%")


def _path(live: Live, entity: Any) -> str:
    parts: list[str] = []
    while entity is not None and entity._moId != live.content.rootFolder._moId:
        found = properties(live, entity, "name", "parent")
        parts.append(found.get("name", ""))
        entity = found.get("parent")
    return "/".join(reversed(parts))
