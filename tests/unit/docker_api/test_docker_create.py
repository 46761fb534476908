"""The body of Docker's create call: what the engine is asked for, what is refused, and in which words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from docker_client import DockerClient
from docker_created import asked, created, refusal, spec_of
from hypercontainer.contract.networks import Join
from hypercontainer.contract.probes import Healthcheck
from hypercontainer.contract.spec import (
    ContainerSpec,
    LogConfig,
    PodSpec,
    PortMapping,
    RestartPolicy,
    Syslog,
    Tmpfs,
    Ulimit,
)
from hypercontainer.contract.volumes import HostPath, ImageVolume, NamedVolume

MIB = 1024 * 1024
# As docker 28.5 sends it for `docker run busybox true`, without what is empty.
PLAIN = {
    "Image": "busybox",
    "Cmd": ["true"],
    "Env": None,
    "Entrypoint": None,
    "Volumes": {},
    "Labels": {},
    "AttachStdout": True,
    "HostConfig": {
        "NetworkMode": "default",
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "LogConfig": {"Type": "", "Config": {}},
        "PortBindings": {},
        "MemorySwappiness": -1,
        "OomKillDisable": False,
        "PidsLimit": 0,
        "Dns": [],
        "Devices": [],
        "Ulimits": [],
        "Binds": None,
        "Memory": 0,
        "ConsoleSize": [0, 0],
        "BlkioWeightDevice": [],
    },
    "NetworkingConfig": {
        "EndpointsConfig": {"default": {"Aliases": None, "GwPriority": 0, "DNSNames": None}}
    },
}


async def test_what_the_command_line_sends_for_nothing_special(docker: DockerClient) -> None:
    async with docker.served():
        got = await created(docker, PLAIN, "?name=one")
        assert (got.status, got.json) == (201, {"Id": "c2", "Warnings": ["slow"]})
        assert asked(docker) == ContainerSpec(image="busybox", name="one", command=("true",), pull="never")
        (call,) = [each for each in docker.engine.notes.calls if each[0] == "containers.create"]
        assert call[2]["networks_later"] and call[2]["couple"] is None
        assert call[2]["said"]["Config"] == {"AttachStdout": True}


async def test_an_empty_body_and_no_json(docker: DockerClient) -> None:
    async with docker.served():
        assert (await created(docker, b"")).status == 400
        assert (await created(docker, b"{")).status == 400
        assert (await created(docker, {"Image": "busybox", "Cmd": 3})).status == 400
        assert (await created(docker, {})).message == "no image specified"


PROCESS_HOST: dict[str, Any] = {
    "ConsoleSize": [24, 80],
    "GroupAdd": ["audio", "7"],
    "Init": True,
    "CapAdd": ["CAP_NET_ADMIN"],
    "CapDrop": ["MKNOD"],
    "Privileged": True,
    "ReadonlyRootfs": True,
    "SecurityOpt": ["no-new-privileges", "seccomp=unconfined", "label=disable"],
    "OomScoreAdj": 5,
    "Annotations": {"a": "b"},
}
PROCESS: dict[str, Any] = {
    "Cmd": "echo",
    "Entrypoint": ["sh", "-c"],
    "Env": ["A=1", "B"],
    "User": "7:8",
    "WorkingDir": "/w",
    "Hostname": "h",
    "Domainname": "d",
    "Tty": True,
    "OpenStdin": True,
    "StdinOnce": True,
    "Labels": {"l": ""},
    "StopSignal": "INT",
    "StopTimeout": 0,
}
PROCESS_SPEC = ContainerSpec(
    image="busybox",
    command=("echo",),
    entrypoint=("sh", "-c"),
    env=("A=1", "B"),
    user="7:8",
    working_dir="/w",
    hostname="h",
    domainname="d",
    tty=True,
    rows=24,
    columns=80,
    stdin_open=True,
    stdin_once=True,
    labels={"l": ""},
    annotations={"a": "b"},
    stop_signal="INT",
    stop_timeout_s=0,
    groups=("audio", "7"),
    init=True,
    cap_add=("CAP_NET_ADMIN",),
    cap_drop=("MKNOD",),
    privileged=True,
    read_only=True,
    no_new_privileges=True,
    seccomp="unconfined",
    oom_score_adj=5,
    pull="never",
)


async def test_the_process(docker: DockerClient) -> None:
    async with docker.served():
        assert await spec_of(docker, PROCESS_HOST, **PROCESS) == PROCESS_SPEC


@pytest.mark.parametrize(
    ("given", "wanted"),
    [(None, None), ([], None), ([""], ()), ("", ()), ("sh", ("sh",)), (["a", "b"], ("a", "b"))],
)
async def test_an_entry_point(docker: DockerClient, given: Any, wanted: Any) -> None:
    async with docker.served():
        assert (await spec_of(docker, Entrypoint=given)).entrypoint == wanted


async def test_resources(docker: DockerClient) -> None:
    async with docker.served():
        spec = await spec_of(
            docker,
            {
                "Memory": 64 * MIB,
                "MemorySwap": -1,
                "NanoCpus": 1_500_000_000,
                "CpuShares": 512,
                "PidsLimit": 9,
                "ShmSize": MIB,
                "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}],
                "Sysctls": {"net.core.somaxconn": "5"},
                "StorageOpt": {"size": "2G"},
                "CpusetCpus": "0",
                "KernelMemory": MIB,
            },
        )
        assert (spec.memory_bytes, spec.cpus, spec.cpu_shares, spec.pids_limit) == (64 * MIB, 1.5, 512, 9)
        assert (spec.shm_size_bytes, spec.disk_size_bytes) == (MIB, 2048 * MIB)
        assert spec.ulimits == (Ulimit("nofile", 1, 2),)
        assert spec.sysctls == {"net.core.somaxconn": "5"}
        assert (await spec_of(docker, {"CpuQuota": 50_000})).cpus == 0.5
        assert (await spec_of(docker, {"CpuQuota": 50_000, "CpuPeriod": 25_000})).cpus == 2


async def test_a_vm_has_more_memory_than_docker_needs(docker: DockerClient) -> None:
    async with docker.served():
        got = await created(docker, {"Image": "busybox", "HostConfig": {"Memory": 8 * MIB}})
        assert asked(docker).memory_bytes == 32 * MIB
        assert "32 MiB" in got.json["Warnings"][0]


async def test_what_does_nothing_is_warned_of(docker: DockerClient) -> None:
    async with docker.served():
        host = {"OomKillDisable": True, "CgroupParent": "/docker/buildx", "MemorySwappiness": 60}
        got = await created(docker, {"Image": "busybox", "HostConfig": host})
        assert got.status == 201
        assert [line.split()[0] for line in got.json["Warnings"]] == [
            "CgroupParent",
            "OomKillDisable",
            "slow",
        ]


async def test_binds(docker: DockerClient) -> None:
    async with docker.served():
        spec = await spec_of(
            docker,
            {"Binds": ["/h:/c:ro", "n:/d:rw,z", "n:/e:nocopy", "/h:/f:ro,rprivate", "/anon"]},
            Volumes={"/c": {}, "/own:rw,z": {}, "/d/": {}},
        )
        sources = {mount.path: mount.volume for mount in spec.mounts}
        volumes = {volume.name: volume for volume in spec.volumes}
        assert sources["/c"] == sources["/f"] and sources["/d"] == sources["/e"] == "n"
        assert volumes[sources["/c"]].source == HostPath("/h", "any-or-create")
        assert volumes[sources["/c"]].read_only
        assert volumes["n"].source == NamedVolume("n")
        assert sources.keys() == {"/c", "/d", "/e", "/f", "/anon", "/own"}
        assert volumes[sources["/own"]].source == NamedVolume()
        assert {mount.path for mount in spec.mounts if mount.copy_up} == {"/d", "/own", "/anon"}
        assert {mount.path for mount in spec.mounts if mount.read_only} == {"/c", "/f"}


MOUNTS: dict[str, Any] = {
    "Mounts": [
        {"Type": "bind", "Source": "/h", "Target": "/b", "ReadOnly": True},
        {
            "Type": "bind",
            "Source": "/made",
            "Target": "/m",
            "BindOptions": {"CreateMountpoint": True},
        },
        {
            "Type": "volume",
            "Source": "v",
            "Target": "/v",
            "VolumeOptions": {
                "NoCopy": True,
                "Subpath": "a/b",
                "Labels": {"x": "y"},
                "DriverConfig": {"Name": "local", "Options": {"size": "1g"}},
            },
        },
        {
            "Type": "image",
            "Source": "busybox",
            "Target": "/i",
            "ImageOptions": {"Subpath": "etc"},
        },
        {
            "Type": "tmpfs",
            "Target": "/t",
            "TmpfsOptions": {
                "SizeBytes": 4096,
                "Mode": 448,
                "Options": [["noexec"], ["uid", "7"]],
            },
        },
    ],
    "Tmpfs": {"/run": "size=1m"},
}


async def test_mounts(docker: DockerClient) -> None:
    async with docker.served():
        spec = await spec_of(docker, MOUNTS)
        at = {mount.path: mount for mount in spec.mounts}
        volumes = {volume.name: volume for volume in spec.volumes}
        assert volumes[at["/b"].volume].source == HostPath("/h")
        assert volumes[at["/m"].volume].source == HostPath("/made", "any-or-create")
        assert volumes["v"].source == NamedVolume("v", size_bytes=1024 * MIB, labels={"x": "y"})
        assert (at["/v"].sub_path, at["/v"].copy_up) == ("a/b", False)
        assert volumes[at["/i"].volume].source == ImageVolume("busybox", pull="never")
        assert (at["/i"].sub_path, at["/i"].read_only) == ("etc", True)
        assert spec.tmpfs == (Tmpfs("/t", "size=4096,mode=700,noexec,uid=7"), Tmpfs("/run", "size=1m"))


async def test_volumes_of_another_container(docker: DockerClient) -> None:
    async with docker.served():
        await created(docker, {"Image": "busybox", "HostConfig": {"Binds": ["n:/d", "/h:/c"]}}, "?name=other")
        spec = await spec_of(docker, {"VolumesFrom": ["other:ro"], "Binds": ["own:/c"]})
        assert [(mount.path, mount.volume, mount.read_only) for mount in spec.mounts] == [
            ("/c", "own", False),
            ("/d", "n", True),
        ]
        got = await created(docker, {"Image": "busybox", "HostConfig": {"VolumesFrom": ["nobody"]}})
        assert (got.status, got.message) == (400, "No such container: nobody")


async def test_ports(docker: DockerClient) -> None:
    async with docker.served():
        spec = await spec_of(
            docker,
            {
                "PortBindings": {
                    "80/tcp": [{"HostIp": "", "HostPort": ""}, {"HostIp": "127.0.0.1", "HostPort": "8080"}],
                    "53/udp": [{"HostPort": "8000-8002"}],
                    "81": [{"HostPort": "0"}],
                    "82/tcp": None,
                },
                "PublishAllPorts": True,
            },
            ExposedPorts={"80/tcp": {}, "9000-9001/udp": {}},
        )
        assert spec.ports == (
            PortMapping(80),
            PortMapping(80, 8080, "127.0.0.1"),
            PortMapping(53, 8000, protocol="udp", host_port_last=8002),
            PortMapping(81),
        )
        assert spec.publish_all and spec.expose == ("80/tcp", "9000-9001/udp")


NETWORKS: list[tuple[str | None, dict[str, Any] | None, dict[str, Any]]] = [
    (None, None, {}),
    ("default", {"default": {}}, {}),
    ("bridge", None, {}),
    ("none", None, {"networks": (Join("none"),)}),
    ("back", {"back": None}, {"networks": (Join("back"),)}),
    (None, {"bridge": None}, {}),
    ("default", {"default": {"MacAddress": "02:42:ac:11:00:02"}}, {"mac_address": "02:42:ac:11:00:02"}),
    (
        "back",
        {
            "back": {
                "Aliases": ["a", "b", "a"],
                "IPAMConfig": {"IPv4Address": "10.0.0.9", "IPv6Address": "fd00::9"},
                "MacAddress": "02:42:ac:11:00:03",
                "GwPriority": 3,
            },
            "front": {},
        },
        {
            "networks": (
                Join("back", ("a", "b"), "10.0.0.9", "fd00::9", "02:42:ac:11:00:03", 3),
                Join("front"),
            )
        },
    ),
    ("back", {"front": {}}, {"networks": (Join("back"), Join("front"))}),
    ("default", {"default": {"Aliases": ["x"]}}, {"networks": (Join("bridge", ("x",)),)}),
]


@pytest.mark.parametrize(("mode", "endpoints", "wanted"), NETWORKS)
async def test_networks(
    docker: DockerClient, mode: str | None, endpoints: dict[str, Any] | None, wanted: dict[str, Any]
) -> None:
    async with docker.served():
        spec = await spec_of(docker, {"NetworkMode": mode}, NetworkingConfig={"EndpointsConfig": endpoints})
        assert spec == msgspec.structs.replace(ContainerSpec(image="busybox", pull="never"), **wanted)


async def test_links_and_devices(docker: DockerClient) -> None:
    async with docker.served():
        spec = await spec_of(
            docker,
            {
                "NetworkMode": "back",
                "Links": ["/db:/web/sql", "db:sql"],
                "Devices": [
                    {"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"},
                    {"PathOnHost": "/dev/net/tun", "PathInContainer": "/dev/tun"},
                ],
            },
            NetworkingConfig={"EndpointsConfig": {"back": {"Links": ["db:sql", "db:db-1"]}}},
        )
        assert spec.links == ()  # said of the network as well
        assert spec.networks == (Join("back", links=("db:sql", "db:db-1")),)
        assert spec.devices == ("/dev/fuse", "/dev/net/tun:/dev/tun")


async def test_links_of_the_default_network(docker: DockerClient) -> None:
    """To who is there, by any of its names."""
    async with docker.served():
        known = await (await docker.engine.containers.held("web")).inspect()
        spec = await spec_of(docker, {"NetworkMode": "default", "Links": [known.id, "web:"]})
        assert spec.links == (f"{known.name}:{known.id}", "web:web")
        body = {"Image": "busybox", "HostConfig": {"Links": ["nosuch:a"]}}
        got = await docker.ask("POST", "/containers/create", body)
        assert (got.status, got.message) == (
            400,
            "could not get container for nosuch: No such container: nosuch",
        )


async def test_lists_are_shown_with_all_fields(docker: DockerClient) -> None:
    host = {
        "NetworkMode": "default",
        "Devices": [{"PathOnHost": "/dev/fuse"}],
        "Ulimits": [{"Name": "nofile", "Soft": 5}],
        "BlkioWeightDevice": [{"Path": "/dev/vda"}],
    }
    async with docker.served():
        await spec_of(docker, host)
        said = docker.engine.containers.known[-1].said["HostConfig"]
    assert {name: said.get(name) for name in host} == {
        "NetworkMode": None,
        "Devices": [{"PathOnHost": "/dev/fuse", "PathInContainer": "", "CgroupPermissions": ""}],
        "Ulimits": [{"Name": "nofile", "Soft": 5, "Hard": 0}],
        "BlkioWeightDevice": [{"Path": "/dev/vda", "Weight": 0}],
    }


async def test_a_mac_address_of_all(docker: DockerClient) -> None:
    """1.52 knows it no more."""
    body = {"Image": "busybox", "MacAddress": "02:42:ac:11:00:02"}
    async with docker.served():
        await created(docker, body)
        assert asked(docker).mac_address == "02:42:ac:11:00:02"
        await created(docker, body, version="/v1.52")
        assert asked(docker).mac_address is None


async def test_in_the_pod_of_another_container(docker: DockerClient) -> None:
    shown = await docker.engine.containers.known[0].inspect()
    sharing = msgspec.structs.replace(shown.spec, pid_mode="pod")
    stand_in = msgspec.structs.replace(shown, pod="p9", spec=sharing)
    docker.engine.notes.stand_ins["containers.inspect"] = stand_in
    async with docker.served():
        spec = await spec_of(docker, {"NetworkMode": "container:web", "PidMode": "container:web"})
        assert (spec.pod, spec.pid_mode, spec.networks) == ("p9", "pod", ())
        status, words = await refusal(docker, {"IpcMode": "container:web"})
        assert status == 501 and "NetworkMode container:web" in words
        docker.engine.notes.stand_ins["containers.inspect"] = msgspec.structs.replace(shown, pod="p9")
        status, words = await refusal(docker, {"NetworkMode": "container:web", "PidMode": "container:web"})
        assert status == 501 and "PidMode container:web" in words


async def test_a_pod_by_a_label(docker: DockerClient) -> None:
    labels = {"hyper.pod": "shop", "hyper.memory": "256m", "hyper.cpus": "2", "hyper.hypervisor": "uml"}
    async with docker.served():
        spec = await spec_of(docker, {"Memory": 64 * MIB}, Labels=labels)
        (call,) = [each for each in docker.engine.notes.calls if each[0] == "containers.create"]
        assert call[2]["couple"] == PodSpec(name="shop", memory_bytes=256 * MIB, cpus=2.0)
        assert (spec.memory_bytes, spec.cpus, spec.hypervisor) == (64 * MIB, None, "uml")


async def test_labels_of_the_machine(docker: DockerClient) -> None:
    async with docker.served():
        spec = await spec_of(
            docker, Labels={"hyper.memory": "1g", "hyper.cpus": "0.5", "hyper.kernel": "own"}
        )
        assert (spec.memory_bytes, spec.cpus, spec.kernel) == (1024 * MIB, 0.5, "own")
        for name, value in (("memory", "much"), ("cpus", "0")):
            status, words = await refusal(docker, Labels={f"hyper.{name}": value})
            assert status == 400 and f"hyper.{name}={value}" in words
        assert (await refusal(docker, {"Memory": 64 * MIB}, Labels={"hyper.memory": "1g"}))[0] == 400


async def test_life(docker: DockerClient) -> None:
    async with docker.served():
        spec = await spec_of(
            docker,
            {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}},
            Healthcheck={"Test": ["CMD-SHELL", "true"], "Interval": 1_000_000, "Retries": 2},
        )
        assert spec.restart == RestartPolicy("on-failure", 3)
        assert spec.healthcheck == Healthcheck(("CMD-SHELL", "true"), interval_ns=1_000_000, retries=2)
        assert (await spec_of(docker, {"AutoRemove": True})).auto_remove


LOGS = [
    ({"Type": "json-file", "Config": {"max-size": "1m", "max-file": "3"}}, LogConfig("file", MIB, 3)),
    ({"Type": "local"}, LogConfig("file")),
    ({"Type": "", "Config": {"max-size": "2k"}}, LogConfig("file", 2048)),
    ({"Type": "none"}, LogConfig("none")),
    (
        {
            "Type": "syslog",
            "Config": {"syslog-address": "udp://h:5", "tag": "{{.Name}}", "syslog-format": "rfc5424"},
        },
        LogConfig("syslog", syslog=Syslog("udp://h:5", format="rfc5424", tag="{{.Name}}")),
    ),
]


@pytest.mark.parametrize(("given", "wanted"), LOGS)
async def test_logs(docker: DockerClient, given: dict[str, Any], wanted: LogConfig) -> None:
    async with docker.served():
        assert (await spec_of(docker, {"LogConfig": given})).log == wanted


async def test_platforms(docker: DockerClient) -> None:
    async with docker.served():
        await created(docker, {"Image": "busybox"}, "?platform=linux/amd64")
        assert asked(docker).platform == "linux/amd64"
