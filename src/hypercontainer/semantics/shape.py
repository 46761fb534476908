"""Answers of the native API in the shape of ``docker inspect``, and pods in that of ``podman pod inspect``, so that
people's templates and scripts go on working.

What these do not have is under ``VM`` (and ``Reason`` of a pod); what Hyper does not have is left out or empty, as they
leave it.  What a pod's volumes hold is not shown.  The command line loads this.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NEVER = "0001-01-01T00:00:00Z"


def _state(found: dict[str, Any]) -> dict[str, Any]:
    status = found["state"]
    return {
        "Status": status,
        "Running": status in ("running", "paused"),
        "Paused": status == "paused",
        "Restarting": status == "restarting",
        "OOMKilled": found["oom_killed"],
        "Dead": status == "dead",
        "Pid": found["pid"],
        "ExitCode": found["exit_status"],
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
    exposed = [f"{port['container_port']}/{port['protocol']}" for port in found.get("ports", ())]
    return {
        "Hostname": config["hostname"],
        "Domainname": spec["domainname"],
        "User": config["user"],
        "Tty": spec["tty"],
        "OpenStdin": spec["stdin_open"],
        "StdinOnce": spec["stdin_once"],
        "ExposedPorts": {port: {} for port in [*exposed, *spec["expose"]]},
        "Env": config["env"],
        "Cmd": config["command"] or None,
        "Entrypoint": config["entrypoint"] or None,
        "Image": found["image"],
        "WorkingDir": config["working_dir"],
        "StopSignal": config["stop_signal"],
        "StopTimeout": spec["stop_timeout_s"],
        "Labels": found.get("labels", {}),
        **_healthcheck(config),
        **({"Shell": config["shell"]} if config.get("shell") else {}),
    }


def _host_config(found: dict[str, Any]) -> dict[str, Any]:
    spec = found["spec"]
    security = ["no-new-privileges"] if spec["no_new_privileges"] else []
    if spec["seccomp"] is not None:
        security.append("seccomp=" + ("unconfined" if spec["seccomp"] == "unconfined" else "custom"))
    return {
        "AutoRemove": spec["auto_remove"],
        "Privileged": spec["privileged"],
        "ReadonlyRootfs": spec["read_only"],
        "PublishAllPorts": spec["publish_all"],
        "NetworkMode": spec["network"],
        "PortBindings": requested_ports(spec["ports"]),
        "Memory": spec["memory_bytes"] or 0,
        "NanoCpus": int((spec["cpus"] or 0) * 1_000_000_000),
        "CpuShares": spec["cpu_shares"] or 0,
        "PidsLimit": spec["pids_limit"],
        "ShmSize": spec["shm_size_bytes"],
        "OomScoreAdj": spec["oom_score_adj"],
        "Ulimits": [
            {"Name": item["name"], "Soft": item["soft"], "Hard": item["hard"]} for item in spec["ulimits"]
        ],
        "Sysctls": spec["sysctls"],
        "Tmpfs": {item["path"]: item["options"] for item in spec["tmpfs"]},
        "CapAdd": spec["cap_add"],
        "CapDrop": spec["cap_drop"],
        "SecurityOpt": security,
        "GroupAdd": spec["groups"],
        "Umask": spec.get("umask"),
        "PidMode": spec["pid_mode"],
        "Init": spec["init"],
        "Dns": spec["dns"],
        "DnsSearch": spec["dns_search"],
        "DnsOptions": spec["dns_options"],
        "ExtraHosts": spec["extra_hosts"],
        **_policies(spec),
        "Annotations": spec["annotations"],
        "Binds": _binds(mounts(spec["volumes"], spec["mounts"])),
    }


_KINDS = {"named": "volume", "empty": "volume", "host": "bind", "disk": "disk", "contents": "tmpfs"}


def mounts(volumes: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of a container: what ``wanted`` takes of ``volumes``; one that is another container's has no source here."""
    known = {volume["name"]: volume for volume in volumes}
    found = []
    for mount in wanted:
        volume = known.get(mount["volume"], {"source": {"kind": "named", "name": mount["volume"]}})
        source = volume["source"]
        kind = "tmpfs" if source.get("memory") else _KINDS.get(source["kind"], source["kind"])
        read_only = mount.get("read_only", False) or volume.get("read_only", False)
        shown = {
            "Type": kind,
            "Source": source.get("path", ""),
            "Destination": mount["path"],
            "Mode": "ro" if read_only else "",
            "RW": not read_only,
            "Propagation": "",
        }
        if kind == "volume":
            shown |= {"Name": source.get("name", mount["volume"]), "Driver": "local"}
        found.append(shown)
    return found


def _binds(shown: list[dict[str, Any]]) -> list[str] | None:
    """As -v has them."""
    return [
        ":".join(
            filter(None, (mount["Source"] or mount.get("Name", ""), mount["Destination"], mount["Mode"]))
        )
        for mount in shown
        if mount["Type"] in ("bind", "volume")
    ] or None


def _policies(spec: dict[str, Any]) -> dict[str, Any]:
    restart, log = spec["restart"], spec["log"]
    return {
        "RestartPolicy": {"Name": restart["name"], "MaximumRetryCount": restart["maximum_retries"]},
        "LogConfig": {
            "Type": log["driver"],
            "Config": {"max-size": str(log["max_size_bytes"]), "max-file": str(log["max_files"])},
        },
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
    network = found["network"]
    address, _, prefix = network["address"].partition("/")
    facts = {
        "IPAddress": address,
        "IPPrefixLen": int(prefix or 0),
        "Gateway": network["gateway"],
        "MacAddress": network["mac_address"],
    }
    return {"Ports": ports, **facts, "Networks": {found["spec"]["network"]: facts}}


def _machine(vm: dict[str, Any]) -> dict[str, Any]:
    return {
        "MemoryMiB": vm["memory_mib"],
        "Vcpus": vm["vcpus"],
        "Accelerator": vm["accelerator"],
        "Kernel": vm["kernel"],
        "KernelArgs": vm["kernel_args"],
        "RunDir": vm["run_dir"],
        "DiskFull": vm.get("disk_full", False),
        "Pid": vm["pid"],
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
        "Name": f"/{found['name']}",
        "RestartCount": found["restart_count"],
        "Driver": "erofs",
        "Platform": "linux",
        "LogPath": found["log_path"],
        "ExecIDs": found["execs"] or None,
        "HostConfig": _host_config(found),
        "Mounts": mounts(found["spec"]["volumes"], found["spec"]["mounts"]),
        "Config": _config(found),
        "NetworkSettings": _network(found),
        "Pod": found.get("pod", ""),
        "VM": _machine(found["vm"]),
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
    spec, network = found["spec"], found["network"]
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
            if (shown := mounts([*spec["volumes"], *container["volumes"]], container["mounts"]))
        },
        "NetworkSettings": {
            "NetworkMode": spec["network"],
            "IPAddress": network["address"].partition("/")[0],
            "Gateway": network["gateway"],
            "MacAddress": network["mac_address"],
        },
        "VM": _machine(found["vm"]),
    }


def image(found: dict[str, Any]) -> dict[str, Any]:
    """``found``: an ``ImageInspect``."""
    document = found["config"]
    return {
        "Id": found["id"],
        "RepoTags": [reference for reference in map(_familiar, found["references"]) if "@" not in reference],
        "RepoDigests": [_familiar(digest) for digest in found["repo_digests"]],
        "Comment": "",
        "Created": found["created"],
        "Author": document.get("author", ""),
        "Config": document.get("config") or {},
        "Architecture": found["architecture"],
        "Variant": document.get("variant", ""),
        "Os": found["os"],
        "Size": found["size_bytes"],
        "RootFS": {
            "Type": "layers",
            "Layers": (document.get("rootfs") or {}).get("diff_ids", found["layers"]),
        },
        "Descriptor": {"digest": found["manifest_digest"]},
    }


def _familiar(reference: str) -> str:
    from hypercontainer.image.reference import parse

    return parse(reference).familiar()


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
        "Templates": found["templates"],
        "ReadyClones": found["ready_clones"],
        "DefaultMemory": found["memory_bytes"],
        "DefaultCpus": found["cpus"],
        "Root": found["root"],
        "Run": found["run"],
        "Host": found["host"],
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
