"""What Docker's create call refuses, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from docker_client import DockerClient
from docker_created import created, failing, refusal
from hypercontainer.errors import Conflict, NotFound

MIB = 1024 * 1024

REFUSED: list[tuple[dict[str, Any], dict[str, Any], int, str]] = [
    ({"Memory": 5 * MIB}, {}, 400, "Minimum memory limit allowed is 6MB"),
    ({"MemorySwap": 9 * MIB}, {}, 400, "You should always set the Memory limit"),
    ({"Memory": 9 * MIB, "MemorySwap": 8 * MIB}, {}, 400, "Minimum memoryswap limit should be larger"),
    ({"Memory": 9 * MIB, "MemoryReservation": 10 * MIB}, {}, 400, "memory reservation limit"),
    ({"MemorySwappiness": 101}, {}, 400, "swappiness range is 0-100"),
    ({"NanoCpus": 1, "CpuPeriod": 1000}, {}, 400, "Nano CPUs and CPU Period cannot both be set"),
    ({"CpuPeriod": 999}, {}, 400, "CPU cfs period"),
    ({"CpuQuota": 999}, {}, 400, "CPU cfs quota"),
    ({"ShmSize": -1}, {}, 400, "SHM size"),
    ({"NetworkMode": "host"}, {}, 501, "a VM has a network of its own"),
    ({"PidMode": "host"}, {}, 501, "HostConfig.PidMode host"),
    ({"IpcMode": "host"}, {}, 501, "HostConfig.IpcMode host"),
    ({"UTSMode": "host"}, {}, 501, "HostConfig.UTSMode host"),
    ({"PidMode": "strange"}, {}, 400, "invalid PidMode: strange"),
    ({"Runtime": "nvidia"}, {}, 400, "unknown or invalid runtime name: nvidia"),
    ({"DeviceRequests": [{"Count": -1}]}, {}, 501, "HostConfig.DeviceRequests"),
    ({"BlkioDeviceReadBps": [{"Path": "/dev/sda", "Rate": 1}]}, {}, 501, "HostConfig.BlkioDeviceReadBps"),
    ({"VolumeDriver": "nfs"}, {}, 400, "invalid VolumeDriver"),
    ({"StorageOpt": {"other": "1"}}, {}, 501, "StorageOpt other"),
    ({"SecurityOpt": ["apparmor=mine"]}, {}, 501, "apparmor=mine"),
    ({"SecurityOpt": ["strange"]}, {}, 400, "invalid security option: strange"),
    ({"MaskedPaths": []}, {}, 501, "HostConfig.MaskedPaths"),
    ({"RestartPolicy": {"Name": "sometimes"}}, {}, 400, "unknown policy 'sometimes'"),
    ({"RestartPolicy": {"Name": "always", "MaximumRetryCount": 1}}, {}, 400, "maximum retry count"),
    (
        {"AutoRemove": True, "RestartPolicy": {"Name": "always"}},
        {},
        400,
        "can't create 'AutoRemove' container",
    ),
    ({"LogConfig": {"Type": "fluentd"}}, {}, 400, "no log driver named 'fluentd' is registered"),
    (
        {"LogConfig": {"Type": "json-file", "Config": {"no": "1"}}},
        {},
        400,
        "unknown log opt 'no' for json-file",
    ),
    ({"Binds": ["a:b:c:d"]}, {}, 400, "invalid volume specification"),
    ({"Binds": ["./x:/c"]}, {}, 400, "includes invalid characters for a local volume name"),
    ({"Binds": ["/h:/c:shared"]}, {}, 501, "nothing propagates"),
    ({"Binds": ["/h:/c:odd"]}, {}, 400, "invalid mode"),
    ({"Binds": ["/h:/c", "/i:/c"]}, {}, 400, "Duplicate mount point: /c"),
    ({"Binds": ["/h:/"]}, {}, 400, "destination can't be '/'"),
    ({"Mounts": [{"Type": "npipe", "Target": "/c"}]}, {}, 400, "mount type unknown"),
    ({"Mounts": [{"Type": "bind", "Target": "/c"}]}, {}, 400, "field Source must not be empty"),
    ({"PortBindings": {"80/sctp": []}}, {}, 400, "invalid port specification"),
    ({"PortBindings": {"80/tcp": [{"HostPort": "x"}]}}, {}, 400, "invalid port specification"),
    ({}, {"Healthcheck": {"Interval": 1}}, 400, "Interval in Healthcheck cannot be less than 1ms"),
    ({}, {"Healthcheck": {"Retries": -1}}, 400, "Retries in Healthcheck cannot be negative"),
    (
        {"NetworkMode": "back"},
        {"NetworkingConfig": {"EndpointsConfig": {"back": {"DriverOpts": {"a": "b"}}}}},
        501,
        "DriverOpts",
    ),
]


@pytest.mark.parametrize(("host", "config", "status", "words"), REFUSED)
async def test_what_is_refused(
    docker: DockerClient, host: dict[str, Any], config: dict[str, Any], status: int, words: str
) -> None:
    async with docker.served():
        got = await refusal(docker, host, **config)
        assert got[0] == status and words in got[1], got


async def test_a_missing_image_and_nothing_else_is_404(docker: DockerClient) -> None:
    async with docker.served():
        got = await created(docker, {"Image": "nope"})
        assert (got.status, got.message) == (404, "No such image: nope:latest")
        docker.engine.notes.stand_ins["containers.create"] = failing(NotFound("/h: there is no such file"))
        got = await created(docker, {"Image": "busybox"})
        assert (got.status, got.message) == (400, "/h: there is no such file")


async def test_names(docker: DockerClient) -> None:
    async with docker.served():
        got = await created(docker, {"Image": "busybox"}, "?name=/web")
        assert got.status == 409
        assert got.message.startswith(
            'Conflict. The container name "/web" is already in use by container "c1".'
        )
        got = await created(docker, {"Image": "busybox"}, "?name=a%20b")
        assert got.status == 400 and got.message.startswith("Invalid container name (a b), only [a-zA-Z0-9]")
        docker.engine.notes.stand_ins["containers.create"] = failing(Conflict("something else"))
        got = await created(docker, {"Image": "busybox"}, "?name=web")
        assert got.status == 409
