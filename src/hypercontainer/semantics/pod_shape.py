"""A pod of the native API in the shape that podman's users know from ``podman pod inspect``.

What podman does not have is under ``VM`` and ``Reason``; what a pod's volumes hold is not shown.
"""

from __future__ import annotations

from hypercontainer.semantics.shape import mounts, requested_ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _container(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "Id": found["id"],
        "Name": found["name"],
        "State": found["state"],
        "Status": found["status"],
        "ExitCode": found["exit_status"],
        "Image": found["image"],
    }


def pod(found: dict[str, Any]) -> dict[str, Any]:
    """``found``: the answer to ``GET /v1/pods/ID``."""
    spec, vm, network = found["spec"], found["vm"], found["network"]
    return {
        "Id": found["id"],
        "Name": found["name"],
        "Created": found["created"],
        "State": found["state"].capitalize(),
        "Status": found["status"],
        "Ready": found["ready"],
        "Reason": found["reason"],
        "Hostname": spec["hostname"] or "",
        "Labels": found["labels"],
        "Annotations": spec["annotations"],
        "SharedNamespaces": ["ipc", "net", "uts", *(["pid"] if spec["share_pids"] else [])],
        "NumContainers": len(found["containers"]),
        "Containers": [_container(container) for container in found["containers"]],
        "Ports": requested_ports([port for port in found["ports"] if port["host_port"]]),
        "Mounts": {
            container["name"] or container["image"]: shown
            for container in spec["containers"]
            if (shown := mounts([*spec["volumes"], *container["volumes"]], container["mounts"]))
        },
        "NetworkSettings": {
            "NetworkMode": spec["network"],
            "IPAddress": network["address"].partition("/")[0],
            "Gateway": network["gateway"],
            "MacAddress": network["mac_address"],
        },
        "VM": {
            "MemoryMiB": vm["memory_mib"],
            "Vcpus": vm["vcpus"],
            "Accelerator": vm["accelerator"],
            "Kernel": vm["kernel"],
            "KernelArgs": vm["kernel_args"],
            "RunDir": vm["run_dir"],
            "Pid": vm["pid"],
        },
    }
