"""What is asked of hyperd itself."""

from __future__ import annotations

import asyncio
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from hypercontainer.config import Config
from hypercontainer.contract.answers import Info
from hypercontainer.image.platforms import host_platform
from hypercontainer.semantics import shape
from hypercontainer.surfaces.docker import versions
from hypercontainer.surfaces.docker.call import Call, found
from hypercontainer.surfaces.http.answers import Reply

_NOT_KEPT = (("Cache-Control", "no-cache, no-store, must-revalidate"), ("Pragma", "no-cache"))
BUILDER = "2"  # BuildKit, over /grpc and /session
HUB = "docker.io"
_HUBS = "https://index.docker.io/v1/"  # what Docker's clients keep the hub's credentials under
_LOOPBACK = ("::1/128", "127.0.0.0/8")  # registries there may always speak plain HTTP
_RUNTIME = "hyper"
_UNKNOWN = {"ID": "N/A", "Expected": "N/A"}  # of a program that Docker has and Hyper has not
_PLUGINS = {
    "Volume": ["local"],
    "Network": ["bridge", "host", "null"],
    "Authorization": None,
    "Log": ["json-file", "local"],
}
_NO_SWARM = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}


async def ping(call: Call) -> Reply:
    said = (
        ("Builder-Version", BUILDER),
        ("Swarm", "inactive"),
        ("Content-Type", "text/plain; charset=utf-8"),
    )
    return Reply(200, (*said, *_NOT_KEPT), b"" if call.method == "HEAD" else b"OK")


async def version(call: Call) -> Reply:
    told = await call.engine.system.version()
    engine = {
        "ApiVersion": versions.words(versions.NEWEST),
        "MinAPIVersion": versions.words(versions.LEAST),
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": host_platform().architecture,
        "KernelVersion": platform.release(),
        "BuildTime": "",
    }
    parts = {"qemu": "QEMU", "kernel": "Guest kernel", "python": "Python"}
    return found(
        {
            "Platform": {"Name": "Hyper: a virtual machine for each container"},
            "Components": [
                {
                    "Name": "Engine",
                    "Version": told["version"],
                    "Details": {**engine, "Experimental": "false"},
                },
                *({"Name": title, "Version": told[name], "Details": {}} for name, title in parts.items()),
            ],
            "Version": told["version"],
            **engine,
        }
    )


async def info(call: Call) -> Reply:
    told = await call.engine.system.info()
    shown = await asyncio.to_thread(_info, told, call.engine.config)
    return found(versions.shaped("info", shown, call.version))


def _info(told: Info, config: Config) -> dict[str, Any]:
    here = shape.info(msgspec.to_builtins(told))
    alike = (
        "Containers ContainersRunning ContainersPaused ContainersStopped Images ServerVersion OperatingSystem "
        "KernelVersion Architecture NCPU MemTotal SystemTime"
    ).split()
    return {
        "ID": told.id,
        **{name: here[name] for name in alike},
        "Name": platform.node(),
        "Labels": [],
        "Driver": shape.DRIVER,
        "DriverStatus": [[title, value] for title, value in _status(told)],
        "DockerRootDir": told.root,
        "Plugins": dict(_PLUGINS),
        "LoggingDriver": "json-file",
        **_limits(),
        **_process(),
        "OSType": "linux",
        "OSVersion": _os_version(),
        "IndexServerAddress": _HUBS,
        "RegistryConfig": _registries(config),
        "HttpProxy": os.environ.get("HTTP_PROXY", ""),
        "HttpsProxy": os.environ.get("HTTPS_PROXY", ""),
        "NoProxy": os.environ.get("NO_PROXY", ""),
        "GenericResources": None,
        "ExperimentalBuild": False,
        "Runtimes": {_RUNTIME: {"path": "hyperd"}},
        "DefaultRuntime": _RUNTIME,
        "Swarm": dict(_NO_SWARM),
        "LiveRestoreEnabled": True,  # containers go on without hyperd
        "Isolation": "",
        "InitBinary": "hyperstart",
        **{name: dict(_UNKNOWN) for name in ("ContainerdCommit", "RuncCommit", "InitCommit")},
        "SecurityOptions": ["name=seccomp,profile=builtin", *(["name=rootless"] if told.rootless else [])],
        "CDISpecDirs": [],
        "Warnings": [f"set aside: {each}" for each in told.set_aside] or None,
    }


def _status(told: Info) -> Iterable[tuple[str, str]]:
    """What the command line shows below the storage driver."""
    yield "Hypervisor", told.hypervisor
    if told.accelerator:
        yield "Accelerator", f"{told.accelerator}: {told.accelerator_reason}"
    yield "Guest kernel", told.kernel
    yield "Default memory of a virtual machine", f"{told.memory_bytes >> 20} MiB"
    yield "Default processors of a virtual machine", f"{told.cpus:g}"


def _limits() -> dict[str, Any]:
    """By a virtual machine's kernel, which has no swap."""
    can = "MemoryLimit CpuCfsPeriod CpuCfsQuota CPUShares PidsLimit IPv4Forwarding".split()
    cannot = "SwapLimit KernelMemory KernelMemoryTCP CPUSet OomKillDisable BridgeNfIptables BridgeNfIp6tables".split()
    return {
        **dict.fromkeys(can, True),
        **dict.fromkeys(cannot, False),
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": "2",
    }


def _process() -> dict[str, Any]:
    """Of hyperd itself."""
    return {
        "Debug": False,
        "NFd": sum(1 for _ in Path("/proc/self/fd").iterdir()),
        "NGoroutines": 0,
        "NEventsListener": 0,
    }


def _os_version() -> str:
    try:
        return platform.freedesktop_os_release().get("VERSION_ID", "")
    except OSError:
        return ""


def _registries(config: Config) -> dict[str, Any]:
    registries = config.registries

    def index(name: str, *, secure: bool) -> dict[str, Any]:
        mirrors = list(registries.mirrors.get(name, ()))
        return {"Name": name, "Mirrors": mirrors, "Secure": secure, "Official": name == HUB}

    networks = [each for each in registries.insecure if "/" in each]
    named = [each for each in registries.insecure if "/" not in each]
    indexes = {HUB: index(HUB, secure=True), **{each: index(each, secure=False) for each in named}}
    return {
        "AllowNondistributableArtifactsCIDRs": [],
        "AllowNondistributableArtifactsHostnames": [],
        "InsecureRegistryCIDRs": [*_LOOPBACK, *networks],
        "IndexConfigs": indexes,
        "Mirrors": indexes[HUB]["Mirrors"] or None,
    }
