"""A container as ``docker inspect`` shows it, by the version of the API."""

from __future__ import annotations

from typing import Any

import msgspec

from hypercontainer.contract.answers import Inspect
from hypercontainer.semantics import shape
from hypercontainer.semantics.mounts import MASKED_PATHS, READONLY_PATHS
from hypercontainer.surfaces.docker import versions
from hypercontainer.surfaces.docker.call import Call, found
from hypercontainer.surfaces.http.answers import Reply

_OWN = ("Pod", "VM")  # of the native API's clients
_LOG_DRIVERS = {"file": "json-file"}  # Docker's clients know whose logs can be read by the driver's name


async def container(call: Call) -> Reply:
    inspected = await (await call.container()).inspect()
    sizes = await _sizes(call, inspected) if call.query.flag("size") else {}
    return found(versions.shaped("container", {**shown(inspected), **sizes}, call.version))


async def _sizes(call: Call, inspected: Inspect) -> dict[str, int]:
    """``SizeRw``: what is on its writable disk; ``SizeRootFs``: with its image."""
    (line, *_) = await call.engine.containers.find(all=True, filters={"id": [inspected.id]}, size=True)
    written = line.size_bytes or 0
    image = await call.engine.images.inspect(inspected.image_id)
    return {"SizeRw": written, "SizeRootFs": written + image.size_bytes}


def shown(inspected: Inspect) -> dict[str, Any]:
    """With all that any version has."""
    made = shape.container(msgspec.to_builtins(inspected))
    for name in _OWN:
        del made[name]
    del made["State"]["Message"]
    if mac := inspected.spec.mac_address:
        made["Config"]["MacAddress"] = mac
    host, asked = made["HostConfig"], inspected.asked.get("HostConfig", {})
    made["Mounts"] += in_memory(inspected)
    del host["Umask"]
    privileged = inspected.spec.privileged
    host |= {
        "MaskedPaths": None if privileged else list(MASKED_PATHS),
        "ReadonlyPaths": None if privileged else list(READONLY_PATHS),
        "Runtime": asked.get("Runtime", "hyper"),
        "LogConfig": asked.get("LogConfig") or _log(host["LogConfig"]),
        "ConsoleSize": asked.get("ConsoleSize", [0, 0]),
    }
    return made


def in_memory(inspected: Inspect) -> list[dict[str, Any]]:
    """File systems in memory that were asked for as mounts: those of ``Tmpfs`` Docker does not show so."""
    asked = inspected.asked.get("HostConfig", {}).get("Mounts", ())
    rest = {"Type": "tmpfs", "Source": "", "Mode": "", "RW": True, "Propagation": ""}
    return [{**rest, "Destination": mount["Target"]} for mount in asked if mount.get("Type") == "tmpfs"]


def _log(config: dict[str, Any]) -> dict[str, Any]:
    return {"Type": _LOG_DRIVERS.get(config["Type"], config["Type"]), "Config": config["Config"]}
