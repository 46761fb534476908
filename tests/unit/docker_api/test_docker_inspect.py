"""A container as Docker's API shows it, by version; what was asked for comes back; and what an update asks for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from docker_client import DockerClient
from hypercontainer.contract.probes import Healthcheck
from hypercontainer.contract.spec import RestartPolicy
from hypercontainer.surfaces.docker.create.body import HostConfig
from hypercontainer.surfaces.docker.create.fields import FATES

DOCUMENT = Path(__file__).parents[3] / "docs" / "docker-compat.md"
MIB = 1024 * 1024
# Of each field a value that is not what it is without it, and that Hyper takes.
ASKED: dict[str, Any] = {
    "Annotations": {"a": "b"},
    "AutoRemove": True,
    "Binds": ["/h:/c:ro", "n:/d:rw"],
    "BlkioWeight": 10,
    "CapAdd": ["NET_ADMIN"],
    "CapDrop": ["ALL"],
    "CgroupParent": "/x",
    "ConsoleSize": [24, 80],
    "ContainerIDFile": "/tmp/id",
    "CpuPeriod": 50_000,
    "CpuQuota": 25_000,
    "CpuShares": 512,
    "CpusetCpus": "0",
    "CpusetMems": "0",
    "Dns": ["10.0.0.1"],
    "DnsOptions": ["ndots:1"],
    "DnsSearch": ["x.test"],
    "ExtraHosts": ["a:host-gateway"],
    "GroupAdd": ["7"],
    "Init": True,
    "IpcMode": "shareable",
    "LogConfig": {"Type": "local", "Config": {"max-size": "1m"}},
    "Memory": 64 * MIB,
    "MemoryReservation": 32 * MIB,
    "MemorySwap": 64 * MIB,
    "MemorySwappiness": 7,
    "Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 4096}}],
    "NetworkMode": "back",
    "OomKillDisable": True,
    "OomScoreAdj": 3,
    "PidsLimit": 9,
    "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8000-8002"}]},
    "Privileged": True,
    "PublishAllPorts": True,
    "ReadonlyRootfs": True,
    "Runtime": "runc",
    "SecurityOpt": ["no-new-privileges", "seccomp=unconfined"],
    "ShmSize": MIB,
    "StorageOpt": {"size": "1G"},
    "Sysctls": {"net.core.somaxconn": "5"},
    "Tmpfs": {"/run": "size=1m"},
    "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}],
    "UsernsMode": "host",
}


async def made(docker: DockerClient, host: dict[str, Any], **config: Any) -> None:
    got = await docker.ask(
        "POST", "/v1.51/containers/create?name=one", {"Image": "busybox", "HostConfig": host, **config}
    )
    assert got.status == 201, got.body


async def inspected(docker: DockerClient, version: str = "1.51") -> dict[str, Any]:
    got = await docker.ask("GET", f"/v{version}/containers/one/json")
    assert got.status == 200, got.body
    found: dict[str, Any] = got.json
    return found


async def test_what_was_asked_for_comes_back(docker: DockerClient) -> None:
    async with docker.served():
        await made(docker, ASKED, AttachStdout=True, Shell=["sh"])
        found = await inspected(docker)
        host = found["HostConfig"]
        assert {name: host[name] for name in ASKED} == ASKED
        assert host["NanoCpus"] == 0  # as CpuQuota says the same
        assert found["Config"]["AttachStdout"] and found["Config"]["Shell"] == ["sh"]


async def test_what_is_shown_can_be_asked_for(docker: DockerClient) -> None:
    """As those do who make a container anew from its inspection."""
    async with docker.served():
        log = {"Type": "json-file", "Config": {}}
        await made(docker, {"Binds": ["n:/d"], "NanoCpus": 500_000_000, "LogConfig": log})
        first = await inspected(docker)
        spec = docker.engine.containers.known[-1].spec
        again = {**first["Config"], "HostConfig": first["HostConfig"]}
        got = await docker.ask("POST", "/v1.51/containers/create?name=two", again)
        assert got.status == 201, got.body
        shown = await docker.ask("GET", "/v1.51/containers/two/json")
        assert shown.json["HostConfig"] == first["HostConfig"]
        assert docker.engine.containers.known[-1].spec.cpus == spec.cpus == 0.5


@pytest.mark.parametrize(
    ("version", "present", "absent"),
    [
        ("1.40", ["HostConfig.KernelMemory", "NetworkSettings.IPAddress"], ["HostConfig.Annotations"]),
        ("1.43", ["HostConfig.Annotations"], ["HostConfig.KernelMemory", "Config.Healthcheck.StartInterval"]),
        ("1.44", ["Config.Healthcheck.StartInterval", "Config.MacAddress"], []),
        (
            "1.51",
            ["HostConfig.KernelMemoryTCP", "NetworkSettings.Bridge", "Config.OnBuild"],
            ["VM", "Pod", "State.Message", "HostConfig.Umask"],
        ),
        (
            "1.52",
            ["NetworkSettings.Networks", "NetworkSettings.Ports", "Id"],
            [
                "HostConfig.KernelMemoryTCP",
                "NetworkSettings.IPAddress",
                "Config.MacAddress",
                "Config.OnBuild",
            ],
        ),
    ],
)
async def test_versions(docker: DockerClient, version: str, present: list[str], absent: list[str]) -> None:
    async with docker.served():
        await made(docker, {"Annotations": {"a": "b"}}, MacAddress="02:42:ac:11:00:02")
        shown = await docker.engine.containers.known[-1].inspect()
        check = msgspec.structs.replace(shown.config, healthcheck=Healthcheck(start_interval_ns=5))
        docker.engine.notes.stand_ins["containers.inspect"] = msgspec.structs.replace(shown, config=check)
        found = await inspected(docker, version)
        for path in present:
            assert _at(found, path) is not None, path
        for path in absent:
            assert _at(found, path) is None, path


def _at(found: Any, path: str) -> Any:
    """None where it is not there; a null is one that is."""
    for name in path.split("."):
        if name not in found:
            return None
        found = found[name]
    return "null" if found is None else found


async def test_whose_logs_can_be_read(docker: DockerClient) -> None:
    """By the driver's name clients decide."""
    async with docker.served():
        got = (await docker.ask("GET", "/v1.51/containers/web/json")).json
        assert got["HostConfig"]["LogConfig"]["Type"] in ("json-file", None)
        assert got["HostConfig"]["MaskedPaths"]
        assert (await docker.ask("GET", "/containers/nobody/json")).status == 404


async def test_sizes(docker: DockerClient) -> None:
    async with docker.served():
        got = (await docker.ask("GET", "/v1.51/containers/web/json?size=1")).json
        assert (got["SizeRw"], got["SizeRootFs"]) == (7, 10)


# ------------------------------------------------------------------------------------- update


async def test_an_update(docker: DockerClient) -> None:
    """As the command line sends it: all of it, with nulls and zeros."""
    body = {
        "CpuShares": 0,
        "Memory": 128 * MIB,
        "NanoCpus": 0,
        "CpusetCpus": "",
        "Devices": None,
        "MemorySwappiness": None,
        "Ulimits": None,
        "PidsLimit": None,
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
    }
    async with docker.served():
        got = await docker.ask("POST", "/v1.51/containers/web/update", body)
        assert (got.status, got.json) == (200, {"Warnings": None})
        spec = docker.engine.containers.known[0].spec
        assert (spec.memory_bytes, spec.restart) == (128 * MIB, RestartPolicy("on-failure", 2))
        body = {"RestartPolicy": {"Name": "", "MaximumRetryCount": 0}, "BlkioWeight": 5}
        got = await docker.ask("POST", "/v1.51/containers/web/update", body)
        assert len(got.json["Warnings"]) == 1
        assert docker.engine.containers.known[0].spec.restart == RestartPolicy("on-failure", 2)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"RestartPolicy": {"Name": "odd"}}, 400, "unknown policy 'odd'"),
        ({"Memory": 1}, 400, "Minimum memory limit"),
        ({"BlkioDeviceReadBps": [{}]}, 501, "HostConfig.BlkioDeviceReadBps"),
    ],
)
async def test_updates_that_are_refused(
    docker: DockerClient, body: dict[str, Any], status: int, words: str
) -> None:
    async with docker.served():
        got = await docker.ask("POST", "/v1.51/containers/web/update", body)
        assert got.status == status and words in got.message


# ------------------------------------------------------------------------------------- the document


def test_every_field_has_its_fate() -> None:
    assert {each.encode_name for each in msgspec.structs.fields(HostConfig)} == FATES.keys()


def test_the_document_says_what_the_code_does() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", DOCUMENT.read_text(), re.MULTILINE)
    said = {name: (fate, words) for name, fate, words in rows if name in FATES}
    assert said == {name: (fate.fate, fate.words) for name, fate in FATES.items()}
