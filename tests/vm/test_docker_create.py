"""Containers that Docker's create call asks for, with real guests: what is in them is what was asked."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import busybox_image
from free_port import free_port
from hyper import Hyper

BUSYBOX = busybox_image.REFERENCE
MIB = 1024 * 1024
MOUNTS = [
    {"Type": "image", "Source": BUSYBOX, "Target": "/img", "ImageOptions": {"Subpath": "etc"}},
    {"Type": "tmpfs", "Target": "/sized", "TmpfsOptions": {"SizeBytes": MIB, "Mode": 448}},
]
LOOK = """
hostname; hostname -d; id -u; id -G; pwd; echo $A
cat /dir/file; ls /img; stat -c %a /sized; grep -c ' /v ' /proc/mounts
ulimit -n; cat /proc/sys/net/core/somaxconn; cat /proc/self/oom_score_adj; cat /sys/fs/cgroup/pids.max
grep -E 'CapBnd|NoNewPrivs' /proc/self/status; grep MemTotal /proc/meminfo; nproc
grep -E 'two|three' /etc/hosts; grep ndots /etc/resolv.conf; df -k /dev/shm | tail -1
touch /root-is-read-only 2>/dev/null || echo read-only
"""


class Docker:
    """Raw HTTP, as no library says it."""

    def __init__(self, hyper: Hyper) -> None:
        hyper("version")  # which starts hyperd
        self._path = hyper.run_dir / "docker.sock"

    def __call__(self, method: str, target: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("docker", timeout=60)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self._path))
        try:
            headers = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, target, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            data = answer.read()
            return answer.status, json.loads(data) if data else None
        finally:
            connection.close()

    def created(self, name: str, body: dict[str, Any]) -> str:
        status, answer = self("POST", f"/v1.51/containers/create?name={name}", {"Image": BUSYBOX, **body})
        assert status == 201, answer
        return str(answer["Id"])

    def started(self, name: str, body: dict[str, Any]) -> str:
        identifier = self.created(name, body)
        assert self("POST", f"/v1.51/containers/{identifier}/start") == (204, None)
        return identifier


@pytest.fixture
def docker(hyper: Hyper) -> Iterator[Docker]:
    yield Docker(hyper)
    hyper("volume", "prune", "-a", "-f")


def to_syslog(folder: Path) -> dict[str, str]:
    return {"syslog-address": f"unixgram://{folder}/log", "tag": "{{.Name}}"}


def wanted(folder: Path) -> dict[str, Any]:
    return {
        "Cmd": ["sh", "-c", LOOK],
        "Env": ["A=b c"],
        "Hostname": "box",
        "Domainname": "example.test",
        "User": "65534:65534",
        "WorkingDir": "/tmp",
        "Volumes": {"/v": {}},
        "HostConfig": {
            "Binds": [f"{folder}/read:/dir:ro,z", f"{folder}/made/here:/made"],
            "Mounts": MOUNTS,
            "Tmpfs": {"/tmp": "size=1m"},
            "GroupAdd": ["7"],
            "Memory": 96 * MIB,
            "NanoCpus": 1_000_000_000,
            "PidsLimit": 40,
            "ShmSize": 3 * MIB,
            "Ulimits": [{"Name": "nofile", "Soft": 99, "Hard": 99}],
            "Sysctls": {"net.core.somaxconn": "77"},
            "OomScoreAdj": 9,
            "CapDrop": ["ALL"],
            "CapAdd": ["CAP_NET_ADMIN"],
            "SecurityOpt": ["no-new-privileges:true"],
            "ExtraHosts": ["two:10.0.0.2", "three:10.0.0.3"],
            "DnsOptions": ["ndots:3"],
            "ReadonlyRootfs": True,
            "Init": True,
            "StorageOpt": {"size": "1G"},
            "LogConfig": {"Type": "syslog", "Config": to_syslog(folder)},
        },
    }


@pytest.mark.each_driver
def test_many_options_at_once(hyper: Hyper, docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "read").mkdir()
    (tmp_path / "read/file").write_text("of the host\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
        syslog.bind(str(tmp_path / "log"))
        docker.started(
            "all",
            wanted(tmp_path),
        )
        hyper("wait", "all")
        said = hyper.out("logs", "all").splitlines()
        syslog.settimeout(10)
        assert syslog.recv(1000).endswith(b"]: box") and b" all[" in syslog.recv(1000)
    assert said[:6] == ["box", "example.test", "65534", "65534 7", "/tmp", "b c"]
    assert said[6:11] == ["of the host", "group", "passwd", "700", "1"]
    assert said[11:15] == ["99", "77", "9", "40"]
    assert said[15:17] == ["CapBnd:\t0000000000001000", "NoNewPrivs:\t1"]
    assert 60_000 < int(said[17].split()[1]) < 96 * 1024 and said[18] == "1"
    assert said[19:22] == ["10.0.0.2\ttwo", "10.0.0.3\tthree", "options ndots:3"]
    assert said[22].split()[1] == "3072" and said[23:] == ["read-only"]
    assert (tmp_path / "made/here").is_dir()


def test_containers_that_a_label_puts_into_one_pod(hyper: Hyper, docker: Docker) -> None:
    labels, port = {"hyper.pod": "shop", "hyper.memory": "96m"}, free_port()
    docker.started(
        "web",
        {
            "Cmd": ["nc", "-ll", "-p", "80", "-e", "echo", "hello"],
            "Labels": labels,
            "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": str(port)}]}},
        },
    )
    docker.started("side", {"Cmd": ["sleep", "1000"], "Labels": {"hyper.pod": "shop"}})
    (pod,) = json.loads(hyper.out("pod", "inspect", "shop"))
    assert {each["Name"] for each in pod["Containers"]} == {"web", "side"}
    assert pod["VM"]["MemoryMiB"] == 96
    heard = (
        "until nc 127.0.0.1 80 2>/dev/null; do sleep 0.1; done"  # it has been started, and may not listen yet
    )
    assert hyper.out("exec", "side", "sh", "-c", heard) == "hello"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        assert client.recv(100) == b"hello\n"
    hyper("rm", "-f", "web")
    assert hyper.out("pod", "ls", "-q") == pod["Id"][:12]
    hyper("rm", "-f", "side")
    assert hyper.out("pod", "ls", "-q") == ""


def test_an_update_of_one_that_does_not_run(hyper: Hyper, docker: Docker) -> None:
    docker.started("one", {"Cmd": ["grep", "MemTotal", "/proc/meminfo"], "HostConfig": {"Memory": 96 * MIB}})
    hyper("wait", "one")
    update = {"Memory": 160 * MIB, "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 1}}
    assert docker("POST", "/v1.51/containers/one/update", update) == (200, {"Warnings": None})
    hyper("start", "one")
    hyper("wait", "one")
    first, second = (int(line.split()[1]) for line in hyper.out("logs", "one").splitlines())
    assert first < 96 * 1024 < second
    _, found = docker("GET", "/v1.51/containers/one/json")
    assert found["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 1}


@pytest.mark.each_driver
def test_devices_of_the_guest(hyper: Hyper, docker: Docker) -> None:
    look = "exec 3<>/dev/fuse && exec 4<>/dev/tun && echo open; ls /dev/kmsg 2>/dev/null; dd if=/dev/fuse count=1"
    devices = [
        {"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"},
        {"PathOnHost": "/dev/net/tun", "PathInContainer": "/dev/tun", "CgroupPermissions": "rwm"},
    ]
    docker.started("one", {"Cmd": ["sh", "-c", look], "HostConfig": {"Devices": devices}})
    hyper("wait", "one")
    assert hyper.out("logs", "one") == "open"
    host = [{"PathOnHost": "/dev/sda", "PathInContainer": "/dev/sda", "CgroupPermissions": "rwm"}]
    body = {"Image": BUSYBOX, "Cmd": ["true"], "HostConfig": {"Devices": host}}
    status, answer = docker("POST", "/v1.51/containers/create", body)
    assert status == 501 and "/dev/sda" in answer["message"]


def test_a_link_is_a_name_for_one_alone(hyper: Hyper, docker: Docker) -> None:
    hyper("network", "create", "made")
    place = {"NetworkMode": "made"}
    docker.started("db", {"Cmd": ["sleep", "1000"], "HostConfig": place})
    for name, links in (("web", ["db:sql"]), ("other", [])):
        endpoint = {"EndpointsConfig": {"made": {"Links": links}}}
        body = {"Cmd": ["nslookup", "sql"], "HostConfig": place, "NetworkingConfig": endpoint}
        docker.started(name, body)
    assert [hyper.out("wait", name) for name in ("web", "other")] == ["0", "1"]
    hyper("rm", "-f", "db", "web", "other")
    hyper("network", "rm", "made")


def test_a_network_that_is_not_there_is_missing_at_the_start(hyper: Hyper, docker: Docker) -> None:
    docker.created("one", {"Cmd": ["true"], "HostConfig": {"NetworkMode": "nowhere"}})
    status, answer = docker("POST", "/v1.51/containers/one/start")
    assert status == 404 and "nowhere" in answer["message"]
