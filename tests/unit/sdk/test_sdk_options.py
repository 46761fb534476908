"""What people write in a call, as the specification that it becomes."""

from __future__ import annotations

from typing import Any

import pytest

from hypercontainer.contract.networks import Join
from hypercontainer.contract.spec import ContainerSpec, PortMapping, RestartPolicy, Tmpfs
from hypercontainer.contract.volumes import (
    EmptyDir,
    HostPath,
    InjectedFile,
    NamedVolume,
    Volume,
    VolumeMount,
)
from hypercontainer.errors import InvalidArgument
from hypercontainer.sdk.options import container_spec


def spec(**options: Any) -> ContainerSpec:
    return container_spec("an-image", None, options)


def test_nothing_said_is_nothing_asked_for() -> None:
    assert spec() == ContainerSpec("an-image")
    assert spec(name=None, memory=None) == ContainerSpec("an-image")


def test_sizes_mappings_and_texts() -> None:
    made = container_spec(
        "an-image",
        ["run", "it"],
        {
            "memory": "256m",
            "shm_size": 1024,
            "disk_size": "1.5g",
            "env": {"A": "b=c", "E": ""},
            "labels": {"x": "y"},
            "tmpfs": {"/tmp": "size=1m"},
            "files": {"/a": "text", "/b": b"\xff", "/c": InjectedFile("", b"c", mode=0o600)},
            "restart": "on-failure:3",
            "extra_hosts": {"db": "10.0.0.1"},
            "cap_add": ["NET_ADMIN"],
            "cpus": 1.5,
        },
    )
    assert made == ContainerSpec(
        "an-image",
        command=("run", "it"),
        memory_bytes=256 << 20,
        shm_size_bytes=1024,
        disk_size_bytes=3 << 29,
        env=("A=b=c", "E="),
        labels={"x": "y"},
        tmpfs=(Tmpfs("/tmp", "size=1m"),),
        files=(
            InjectedFile("/a", b"text"),
            InjectedFile("/b", b"\xff"),
            InjectedFile("/c", b"c", mode=0o600),
        ),
        restart=RestartPolicy("on-failure", 3),
        extra_hosts=("db:10.0.0.1",),
        cap_add=("NET_ADMIN",),
        cpus=1.5,
    )


def test_ports() -> None:
    assert spec(ports={80: 8080, "53/udp": 0, "443": ("127.0.0.1", 8443)}).ports == (
        PortMapping(80, 8080),
        PortMapping(53, 0, protocol="udp"),
        PortMapping(443, 8443, "127.0.0.1"),
    )
    ranges = {80: "8000-8009", 81: ("127.0.0.1", "9000-9001"), 82: "7000-7000"}
    assert spec(ports=ranges).ports == (
        PortMapping(80, 8000, host_port_last=8009),
        PortMapping(81, 9000, "127.0.0.1", host_port_last=9001),
        PortMapping(82, 7000),
    )


@pytest.mark.parametrize(
    ("said", "networks"),
    [
        ("none", (Join("none"),)),
        (["back", Join("front", aliases=("web",))], (Join("back"), Join("front", aliases=("web",)))),
        (Join("back", ip="10.89.0.7", priority=1), (Join("back", ip="10.89.0.7", priority=1),)),
        (("back",), (Join("back"),)),
        (None, ()),
    ],
)
def test_networks(said: Any, networks: tuple[Join, ...]) -> None:
    assert spec(network=said).networks == networks


def test_volumes() -> None:
    shared = Volume("shared", EmptyDir(memory=True), read_only=True)
    made = spec(volumes={"/data": "db", "/src": "/home/me", "/a": shared, "/b": shared, "/c": EmptyDir()})
    assert made.volumes == (
        Volume("volume-0", NamedVolume("db")),
        Volume("volume-1", HostPath("/home/me")),
        shared,
        Volume("volume-4", EmptyDir()),
    )
    assert made.mounts == (
        VolumeMount("volume-0", "/data", copy_up=True),
        VolumeMount("volume-1", "/src"),
        VolumeMount("shared", "/a"),
        VolumeMount("shared", "/b"),
        VolumeMount("volume-4", "/c"),
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memry": 1}, "no option 'memry'"),
        ({"memory": "lots"}, "memory 'lots': a size is wanted"),
        ({"memory": True}, "memory True"),
        ({"ports": {"eighty": 80}}, "ports 'eighty': 80: not a port"),
        ({"ports": {80: "9-8"}}, "ports 80: '9-8': not a port"),
        ({"ports": {80: 70000}}, "not within 1-65535"),
        ({"ports": {0: 80}}, "not within 1-65535"),
        ({"restart": "on-failure:many"}, "'many' is no number"),
        ({"entrypoint": "sh -c"}, "entrypoint is a list of words"),
        ({"dns": "1.1.1.1"}, "dns is a list of words"),
        ({"networks": ["back"]}, "no option 'networks'"),
        ({"network": [Join("back", ip=7)]}, "networks[0].ip: is a whole number; a text"),  # type: ignore[arg-type]
        ({"name": 3}, "name: is a whole number; a text is wanted"),
        ({"cpus": "two"}, "cpus: is a text; a number is wanted"),
    ],
)
def test_what_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        spec(**options)
    assert message in caught.value.message


def test_a_command_is_a_list() -> None:
    with pytest.raises(InvalidArgument, match="list of words"):
        container_spec("an-image", "echo hello", {})


def test_a_specification_is_taken_as_it_is() -> None:
    given = ContainerSpec("x", name="y")
    assert container_spec(given, None, {}) is given
    with pytest.raises(InvalidArgument, match="says everything itself"):
        container_spec(given, None, {"memory": 1})
