"""Answers of the native API in the shape of ``docker inspect`` (images: `image_shape.py`), and pods in that of
``podman pod inspect``, so that people's templates and scripts go on working.

What these do not have is under ``VM`` (and ``Reason`` of a pod).  What Docker has and Hyper has not is there and empty,
as Docker leaves it, since scripts ask for it: `tests/compat` compares.  What a pod's volumes hold is not shown.  Which
of it are maps: `kinds.py`.  The command line loads this.
"""

from __future__ import annotations

from hypercontainer.semantics import network_shape
from hypercontainer.semantics.volume_shape import of_server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DRIVER = "erofs"  # what an image's layers are made of
API_SOCKET = "/var/run/docker.sock"  # of the host, as people write it
NEVER = "0001-01-01T00:00:00Z"


def _state(found: dict[str, Any]) -> dict[str, Any]:
    status = found["state"]
    runs = status in ("running", "paused")
    return {
        "Status": status,
        "Running": runs,
        "Paused": status == "paused",
        "Restarting": status == "restarting",
        "OOMKilled": found["oom_killed"],
        "Dead": status == "dead",
        "Pid": found["pid"],
        "ExitCode": 0 if runs else found["exit_status"],
        "Error": found["error"],
        "Message": found.get("message", ""),
        "StartedAt": found["started"] or NEVER,
        "FinishedAt": found["finished"] or NEVER,
        **_health(found.get("health")),
    }


def _health(known: dict[str, Any] | None) -> dict[str, Any]:
    if known is None:
        return {}
    results = [
        {
            "Start": result["started"],
            "End": result["ended"],
            "ExitCode": result["exit_status"],
            "Output": result["output"],
        }
        for result in known["log"]
    ]
    return {"Health": {"Status": known["status"], "FailingStreak": known["failing_streak"], "Log": results}}


def _healthcheck(config: dict[str, Any]) -> dict[str, Any]:
    check = config.get("healthcheck")
    if check is None:
        return {}
    shown = {
        "Test": check["test"],
        "Interval": check["interval_ns"],
        "Timeout": check["timeout_ns"],
        "StartPeriod": check["start_period_ns"],
        "StartInterval": check["start_interval_ns"],
        "Retries": check["retries"],
    }
    return {"Healthcheck": {name: value for name, value in shown.items() if value}}


def _config(found: dict[str, Any]) -> dict[str, Any]:
    spec, config = found["spec"], found["config"]
    ports = [*found.get("ports", ()), *spec["ports"]]
    exposed = [f"{port['container_port']}/{port['protocol']}" for port in ports]
    asked = found.get("asked", {}).get("Config", {})
    shown = {
        "Hostname": config["hostname"],
        "Domainname": spec["domainname"],
        "User": config["user"],
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "ExposedPorts": {port: {} for port in [*exposed, *(config.get("exposed") or spec["expose"])]},
        "Tty": spec["tty"],
        "OpenStdin": spec["stdin_open"],
        "StdinOnce": spec["stdin_once"],
        "Env": config["env"],
        "Cmd": config["command"] or None,
        "Image": found["image"],
        "Volumes": {place: {} for place in config.get("volumes", ())} or None,
        "WorkingDir": config["working_dir"],
        "Entrypoint": config["entrypoint"] or None,
        "OnBuild": None,
        "Labels": found.get("labels", {}),
        **_healthcheck(config),
        **({"Shell": config["shell"]} if config.get("shell") else {}),
        "StopSignal": config["stop_signal"],
        **asked,
    }
    if not shown["ExposedPorts"]:
        del shown["ExposedPorts"]
    if spec["stop_timeout_s"] is not None:
        shown["StopTimeout"] = spec["stop_timeout_s"]
    return shown


def _host_config(found: dict[str, Any]) -> dict[str, Any]:
    """What was asked for in Docker's words is shown in these."""
    shown: dict[str, Any] = _host_config_of(found) | found.get("asked", {}).get("HostConfig", {})
    shown["PortBindings"] = {
        port: bindings and [{"HostIp": "", "HostPort": "", **each} for each in bindings]
        for port, bindings in (shown["PortBindings"] or {}).items()
    }
    if shown["CpuQuota"] > 0:  # the same in other words, unless that has changed
        quota = round(shown["CpuQuota"] * 1_000_000_000 / (shown["CpuPeriod"] or 100_000))
        same = abs(quota - shown["NanoCpus"]) <= 1
        shown |= {"NanoCpus": 0} if same else {"CpuQuota": 0, "CpuPeriod": 0}
    return shown


def _host_config_of(found: dict[str, Any]) -> dict[str, Any]:
    spec = found["spec"]
    return {
        "Binds": _binds(_mounts(spec, {})),
        "ContainerIDFile": "",
        **_policies(spec),
        "NetworkMode": network_shape.mode(found),
        "PortBindings": requested_ports(spec["ports"]),
        "AutoRemove": spec["auto_remove"],
        "VolumeDriver": "",
        "VolumesFrom": None,
        "CapAdd": spec["cap_add"] or None,
        "CapDrop": spec["cap_drop"] or None,
        "CgroupnsMode": "private",
        **_names(spec),
        "GroupAdd": spec["groups"] or None,
        "IpcMode": "private",
        "Cgroup": "",
        "Links": [_link(text, found["name"]) for text in spec.get("links", ())] or None,
        "OomScoreAdj": spec["oom_score_adj"],
        "PidMode": spec["pid_mode"],
        "Privileged": spec["privileged"],
        "PublishAllPorts": spec["publish_all"],
        "ReadonlyRootfs": spec["read_only"],
        "SecurityOpt": _security(spec) or None,
        **({"Tmpfs": {item["path"]: item["options"] for item in spec["tmpfs"]}} if spec["tmpfs"] else {}),
        "UTSMode": "",
        "UsernsMode": "",
        "ShmSize": spec["shm_size_bytes"],
        **({"Sysctls": spec["sysctls"]} if spec["sysctls"] else {}),
        "Runtime": "hyper",
        "ConsoleSize": [0, 0],
        "Isolation": "",
        **_limits(spec),
        "MaskedPaths": [],
        "ReadonlyPaths": [],
        **({"Init": True} if spec["init"] else {}),
        **({"Annotations": spec["annotations"]} if spec["annotations"] else {}),
        "Umask": spec.get("umask"),
    }


def _link(text: str, own: str) -> str:
    """As Docker has it, with who has this name for another."""
    name, _, alias = text.partition(":")
    return f"/{name}:/{own}/{alias or name}"


def _names(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "Dns": spec["dns"],
        "DnsOptions": spec["dns_options"],
        "DnsSearch": spec["dns_search"],
        "ExtraHosts": spec["extra_hosts"] or None,
    }


def _security(spec: dict[str, Any]) -> list[str]:
    said = ["no-new-privileges"] if spec["no_new_privileges"] else []
    if spec["seccomp"] is not None:
        said.append("seccomp=" + ("unconfined" if spec["seccomp"] == "unconfined" else "custom"))
    return said


def _limits(spec: dict[str, Any]) -> dict[str, Any]:
    memory = spec["memory_bytes"] or 0
    return {
        "CpuShares": spec["cpu_shares"] or 0,
        "Memory": memory,
        "NanoCpus": round((spec["cpus"] or 0) * 1_000_000_000),
        "CgroupParent": "",
        "BlkioWeight": 0,
        "BlkioWeightDevice": [],
        **dict.fromkeys(("BlkioDeviceReadBps", "BlkioDeviceWriteBps"), None),
        **dict.fromkeys(("BlkioDeviceReadIOps", "BlkioDeviceWriteIOps"), None),
        **dict.fromkeys(("CpuPeriod", "CpuQuota", "CpuRealtimePeriod", "CpuRealtimeRuntime"), 0),
        "CpusetCpus": "",
        "CpusetMems": "",
        "Devices": [_device(text) for text in spec.get("devices", ())],
        "DeviceCgroupRules": None,
        "DeviceRequests": None,
        **dict.fromkeys(("KernelMemory", "KernelMemoryTCP", "MemoryReservation"), 0),
        "MemorySwap": memory,  # a VM has no swap: the two together are the memory
        "MemorySwappiness": None,
        "OomKillDisable": False,
        "PidsLimit": spec["pids_limit"],
        "Ulimits": [
            {"Name": item["name"], "Hard": item["hard"], "Soft": item["soft"]} for item in spec["ulimits"]
        ]
        or None,
        **dict.fromkeys(("CpuCount", "CpuPercent", "IOMaximumIOps", "IOMaximumBandwidth"), 0),
    }


def _device(text: str) -> dict[str, str]:
    path, _, inside = text.partition(":")
    return {"PathOnHost": path, "PathInContainer": inside or path, "CgroupPermissions": "rwm"}


_KINDS = {"named": "volume", "empty": "volume", "host": "bind", "network": "disk", "contents": "tmpfs"}


def _mounts(spec: dict[str, Any], disks: dict[str, str]) -> list[dict[str, Any]]:
    """With the socket of Docker's API, which is no volume here."""
    found = mounts(spec["volumes"], spec["mounts"], disks)
    if (place := spec.get("api_socket")) is not None:
        shown = {"Type": "bind", "Source": API_SOCKET, "Destination": place, "Mode": "", "RW": True}
        found.append({**shown, "Propagation": "rprivate"})
    return found


def mounts(
    volumes: list[dict[str, Any]], wanted: list[dict[str, Any]], disks: dict[str, str]
) -> list[dict[str, Any]]:
    """Of a container: what ``wanted`` takes of ``volumes``; one that is another container's has no source here.
    ``disks``: the file on the host of each volume that has one, and the ID of each image."""
    known = {volume["name"]: volume for volume in volumes}
    found = []
    for mount in wanted:
        volume = known.get(mount["volume"], {"source": {"kind": "named", "name": mount["volume"]}})
        source = volume["source"]
        kind = "tmpfs" if source.get("memory") else _KINDS.get(source["kind"], source["kind"])
        if kind == "image":
            found.append(_image_mount(source["reference"], mount, disks))
            continue
        read_only = mount.get("read_only", False) or volume.get("read_only", False)
        name = (source.get("name") or mount["volume"]) if kind == "volume" else ""
        place = of_server(source) if kind == "nfs" else source.get("path") or source.get("uri", "")
        shown = {
            "Type": kind,
            **({"Name": name} if name else {}),
            "Source": disks.get(name, "") if name else place,
            "Destination": mount["path"],
            **({"Driver": "local"} if name else {}),
            "Mode": "ro" if read_only else "",
            "RW": not read_only,
            "Propagation": "rprivate" if kind == "bind" else "",
        }
        found.append(shown)
    return found


def _image_mount(reference: str, mount: dict[str, Any], images: dict[str, str]) -> dict[str, Any]:
    """As Docker 28 has it, whose source is a directory of its own; here it is the image that the reference led to."""
    return {
        "Type": "image",
        "Name": reference,
        "Source": images.get(mount["volume"], ""),
        "Destination": mount["path"],
        "Mode": "",
        "RW": False,
        "Propagation": "",
    }


def _binds(shown: list[dict[str, Any]]) -> list[str] | None:
    """As -v has them."""
    return [
        ":".join(filter(None, (mount.get("Name") or mount["Source"], mount["Destination"], mount["Mode"])))
        for mount in shown
        if mount["Type"] in ("bind", "volume")
    ] or None


def _policies(spec: dict[str, Any]) -> dict[str, Any]:
    restart, log = spec["restart"], spec["log"]
    return {
        "LogConfig": {
            "Type": log["driver"],
            "Config": {"max-size": str(log["max_size_bytes"]), "max-file": str(log["max_files"])},
        },
        "RestartPolicy": {"Name": restart["name"], "MaximumRetryCount": restart["maximum_retries"]},
    }


def _binding(port: dict[str, Any]) -> dict[str, str]:
    number = str(port["host_port"]) if port["host_port"] else ""
    if last := port.get("host_port_last"):
        number += f"-{last}"
    return {"HostIp": port["host_ip"], "HostPort": number}


def requested_ports(ports: list[dict[str, Any]]) -> dict[str, list[dict[str, str]]]:
    found: dict[str, list[dict[str, str]]] = {}
    for port in ports:
        found.setdefault(f"{port['container_port']}/{port['protocol']}", []).append(_binding(port))
    return found


def _network(found: dict[str, Any]) -> dict[str, Any]:
    ports: dict[str, list[dict[str, str]] | None] = {}
    for port in found.get("ports", ()):
        name = f"{port['container_port']}/{port['protocol']}"
        if port["host_port"]:
            ports[name] = [*(ports.get(name) or ()), _binding(port)]
        else:
            ports.setdefault(name, None)
    pod, names = found.get("pod", ""), (found["name"], found["id"][:12], found["config"]["hostname"])
    return {
        "Bridge": "",
        "SandboxID": "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": ports,
        "SandboxKey": "",
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **network_shape.first(found, pod),
        "Networks": network_shape.places(found, pod, names),
    }


def _machine(vm: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "MemoryMiB": vm["memory_mib"],
        "Vcpus": vm["vcpus"],
        "Hypervisor": vm.get("hypervisor", ""),
        "Accelerator": vm["accelerator"],
        "Kernel": vm["kernel"],
        "KernelArgs": vm["kernel_args"],
        "RunDir": vm["run_dir"],
        "DiskFull": vm.get("disk_full", False),
        "Verified": vm.get("verified", False),
        "Pid": vm["pid"],
        "NetworkPolicy": spec.get("network_policy"),
    }


def container(found: dict[str, Any]) -> dict[str, Any]:
    """``found``: an ``Inspect``."""
    words = [*found["config"]["entrypoint"], *found["config"]["command"]]
    shaped = {
        "Id": found["id"],
        "Created": found["created"],
        "Path": words[0] if words else "",
        "Args": words[1:],
        "State": _state(found),
        "Image": found["image_id"],
        **dict.fromkeys(("ResolvConfPath", "HostnamePath", "HostsPath"), ""),
        "LogPath": found["log_path"],
        "Name": f"/{found['name']}",
        "RestartCount": found["restart_count"],
        "Driver": DRIVER,
        "Platform": "linux",
        **dict.fromkeys(("MountLabel", "ProcessLabel", "AppArmorProfile"), ""),
        "ExecIDs": found["execs"] or None,
        "HostConfig": _host_config(found),
        "GraphDriver": {"Data": None, "Name": DRIVER},
        "Mounts": _mounts(found["spec"], found.get("disks", {})),
        "Config": _config(found),
        "NetworkSettings": _network(found),
        "Pod": found.get("pod", ""),
        "VM": _machine(found["vm"], found["spec"]),
    }
    if found.get("size_bytes") is not None:
        shaped["SizeRw"] = found["size_bytes"]
    return shaped


def _member(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "Id": found["id"],
        "Name": found["name"],
        "State": found["state"],
        "Status": found["status"],
        "ExitCode": found["exit_status"],
        "Image": found["image"],
    }


def pod(found: dict[str, Any]) -> dict[str, Any]:
    """``found``: a ``PodInspect``."""
    spec, network = found["spec"], network_shape.first(found, found["id"])
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
        "Containers": [_member(container) for container in found["containers"]],
        "Ports": requested_ports([port for port in found["ports"] if port["host_port"]]),
        "Mounts": {
            container["name"] or container["image"]: shown
            for container in spec["containers"]
            if (shown := mounts([*spec["volumes"], *container["volumes"]], container["mounts"], {}))
        },
        "NetworkSettings": {
            "NetworkMode": network_shape.mode(found),
            **{name: network[name] for name in ("IPAddress", "Gateway", "MacAddress")},
            "Networks": network_shape.places(found, found["id"], (found["name"], found["id"][:12])),
        },
        "VM": _machine(found["vm"], found["spec"]),
    }


def info(found: dict[str, Any]) -> dict[str, Any]:
    """``found``: an ``Info``.  Docker's keys where Docker has the fact; what of the host is Docker's is read here."""
    import os
    import platform

    return {
        "DaemonPid": found["daemon_pid"],
        "ServerVersion": found["version"],
        "Containers": found["containers"],
        "ContainersRunning": found["running"],
        "ContainersPaused": found["paused"],
        "ContainersStopped": found["containers"] - found["running"] - found["paused"],
        "Images": found["images"],
        "Hypervisor": found["hypervisor"],
        "Accelerator": found["accelerator"],
        "AcceleratorReason": found["accelerator_reason"],
        "Sandbox": found["sandbox"],
        "Confinement": found["confinement"],
        "NotLimited": found["not_limited"],
        "Kernel": found["kernel"],
        "Drivers": found.get("drivers", []),
        "Architectures": found["architectures"],
        "Verity": found.get("verity", ""),
        "Templates": found["templates"],
        "ReadyClones": found["ready_clones"],
        "DefaultMemory": found["memory_bytes"],
        "DefaultCpus": found["cpus"],
        "Root": found["root"],
        "Run": found["run"],
        "Host": found["host"],
        "DockerHost": found.get("docker_host", ""),
        "ConfigFile": found["config_file"],
        "Rootless": found["rootless"],
        "SetAside": found["set_aside"],
        "OperatingSystem": _os_name(),
        "KernelVersion": platform.release(),
        "Architecture": platform.machine(),
        "NCPU": os.cpu_count() or 1,
        "MemTotal": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "SystemTime": found["time"],
    }


def _os_name() -> str:
    import platform

    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        return "Linux"
