"""Listings and other output for people, compared with files beside this one.

After a change that is meant: ``HYPER_GOLDEN=write pytest tests/golden/cli``, and read the difference.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_hyperd import FakeHyperd, fake_hyperd
from hypercontainer.cli import units
from hypercontainer.cli.commands import stats
from hypercontainer.cli.main import main
from listed import JOINS, NETWORKS, STATE, VOLUME

HERE = Path(__file__).parent
NOW = 1767268800.0  # 2026-01-01T12:00:00Z


def summary(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{number:064x}",
        "name": f"c{number}",
        "image": "debian:12",
        "image_id": "sha256:" + "ab" * 32,
        "command": "sleep 1000",
        "created": "2026-01-01T11:57:00.5Z",
        "started": "2026-01-01T11:57:01Z",
        "finished": "",
        "state": "running",
        "status": "Up 3 minutes",
        "exit_status": 0,
        "ports": [],
        "labels": {},
        "pod": f"{number:064x}",
        "networks": ["user"],
        "mounts": [],
    } | more


SHOP = "feedc0de" * 8
CONTAINERS = [
    summary(
        0xABCDEF0123456789 << 192,
        name="web",
        image="nginx",
        command="/docker-entrypoint.sh nginx -g 'daemon off;'",
        ports=[
            {"host_ip": "0.0.0.0", "host_port": 8080, "container_port": 80, "protocol": "tcp"},
            {"host_ip": "::1", "host_port": 5353, "container_port": 53, "protocol": "udp"},
            {"host_ip": "", "host_port": 0, "container_port": 443, "protocol": "tcp"},
        ],
        labels={"tier": "front", "a": "b"},
        mounts=[
            {"kind": "volume", "source": "a-long-volume-name", "path": "/data"},
            {"kind": "bind", "source": "/srv/site", "path": "/site"},
            {"kind": "", "source": "anonymous-2", "path": "/tmp"},
        ],
        size_bytes=1234567,
        networks=["back", "front"],
    ),
    summary(
        2,
        image="sha256:" + "ab" * 32,
        state="exited",
        status="Exited (3) 2 hours ago",
        command='sh -c "exit 3"',
        exit_status=3,
        pod=SHOP,
    ),
]
IMAGES = [
    {
        "id": "sha256:" + "ab" * 32,
        "references": ["docker.io/library/debian:12", "localhost:5000/me/debian:mine"],
        "repo_digests": ["docker.io/library/debian@sha256:" + "cd" * 32],
        "created": "2025-12-18T00:00:00Z",
        "size_bytes": 126_123_456,
        "architecture": "amd64",
        "os": "linux",
        "labels": {},
        "containers": 2,
    },
    {
        "id": "sha256:" + "12" * 32,
        "references": [],
        "repo_digests": [],
        "created": "",
        "size_bytes": 4_261_000,
        "architecture": "amd64",
        "os": "linux",
        "labels": {"x": "y"},
        "containers": 0,
    },
]
SPEC: dict[str, Any] = {
    "image": "nginx",
    "name": "web",
    "command": None,
    "entrypoint": None,
    "env": ["A=b"],
    "working_dir": None,
    "user": None,
    "groups": [],
    "umask": None,
    "hostname": None,
    "domainname": "",
    "tty": False,
    "stdin_open": False,
    "stdin_once": False,
    "init": False,
    "labels": {},
    "annotations": {},
    "networks": JOINS,
    "ports": [{"container_port": 80, "host_port": 8080, "host_ip": "0.0.0.0", "protocol": "tcp"}],
    "publish_all": False,
    "expose": ["443/tcp"],
    "dns": [],
    "dns_search": [],
    "dns_options": [],
    "extra_hosts": [],
    "mac_address": None,
    "read_only": True,
    "tmpfs": [{"path": "/run", "options": ""}],
    "shm_size_bytes": 67108864,
    "disk_size_bytes": None,
    "volumes": [
        {"name": "data", "source": {"kind": "named", "name": "data", "size_bytes": None}, "read_only": False},
        {"name": "host-1", "source": {"kind": "host", "path": "/srv/site", "expect": ""}, "read_only": True},
        {"name": "anonymous-2", "source": {"kind": "empty", "memory": False, "size_bytes": None}},
    ],
    "mounts": [
        {"volume": "data", "path": "/var/lib/data", "sub_path": "", "read_only": False, "copy_up": True},
        {"volume": "host-1", "path": "/srv", "sub_path": "", "read_only": True, "copy_up": False},
        {"volume": "anonymous-2", "path": "/cache", "sub_path": "", "read_only": False, "copy_up": True},
        {"volume": "the-pods", "path": "/shared", "sub_path": "", "read_only": False, "copy_up": False},
    ],
    "memory_bytes": 268435456,
    "cpus": 1.5,
    "cpu_shares": None,
    "pids_limit": None,
    "ulimits": [{"name": "nofile", "soft": 1024, "hard": 2048}],
    "sysctls": {},
    "oom_score_adj": 0,
    "privileged": False,
    "cap_add": ["NET_ADMIN"],
    "cap_drop": [],
    "no_new_privileges": True,
    "seccomp": "unconfined",
    "pid_mode": "",
    "stop_signal": None,
    "stop_timeout_s": None,
    "restart": {"name": "on-failure", "maximum_retries": 3},
    "auto_remove": False,
    "log": {"driver": "file", "max_size_bytes": 20971520, "max_files": 5},
    "platform": None,
    "pull": "never",
    "kernel": None,
    "initrd": None,
    "kernel_args": [],
    "accelerator": None,
}
INSPECT = CONTAINERS[0] | {
    "spec": SPEC,
    "config": {
        "env": ["PATH=/usr/bin", "A=b"],
        "entrypoint": ["/docker-entrypoint.sh"],
        "command": ["nginx", "-g", "daemon off;"],
        "user": "",
        "working_dir": "/",
        "stop_signal": "QUIT",
        "hostname": "abcdef012345",
        "exposed": ["8443/tcp", "90/sctp"],
    },
    "pid": 4711,
    "error": "",
    "oom_killed": False,
    "restart_count": 0,
    "vm": {
        "memory_mib": 256,
        "vcpus": 2,
        "accelerator": "tcg",
        "kernel": "/cache/vmlinux",
        "kernel_args": ["quiet"],
        "run_dir": "/run/hyper/pods/abc",
        "pid": 4711,
    },
    "network": STATE,
    "log_path": "/var/lib/hyper/log",
    "execs": [],
}
IMAGE_INSPECT = IMAGES[0] | {
    "config": {
        "author": "me",
        "config": {"Cmd": ["bash"], "Env": ["PATH=/usr/bin"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "ee" * 32]},
    },
    "layers": ["sha256:" + "ff" * 32],
    "manifest_digest": "sha256:" + "cd" * 32,
}
HISTORY = [
    {
        "id": "sha256:" + "ab" * 32,
        "created": "2025-12-18T00:00:00Z",
        "created_by": 'CMD ["bash"]   # and something that is long enough to be cut',
        "size_bytes": 0,
        "comment": "",
    },
    {
        "id": "",
        "created": "2025-12-18T00:00:00Z",
        "created_by": "ADD rootfs",
        "size_bytes": 126_000_000,
        "comment": "base",
    },
]
PROCESSES = [
    {
        "pid": 1,
        "ppid": 0,
        "uid": 0,
        "user": "root",
        "cpu_ns": 3_725_000_000_000,
        "rss_bytes": 4096000,
        "started": "2026-01-01T11:57:01Z",
        "state": "S",
        "tty": "",
        "command": "nginx: master process",
    },
    {
        "pid": 7,
        "ppid": 1,
        "uid": 101,
        "user": "",
        "cpu_ns": 0,
        "rss_bytes": 2048,
        "started": "",
        "state": "R",
        "tty": "pts/0",
        "command": "nginx: worker",
    },
]
INFO = {
    "DaemonPid": 123,
    "Containers": 2,
    "ContainersRunning": 1,
    "Accelerator": "tcg",
    "AcceleratorReason": "no KVM",
    "Sandbox": True,
    "Confinement": ["system calls", "namespaces"],
    "NotLimited": ["memory", "tasks"],
    "MemTotal": 25769803776,
    "ConfigFile": "",
}
CHECKS = [
    {"name": "QEMU", "ok": True, "detail": "7.2.22", "remedy": ""},
    {"name": "accelerator kvm", "ok": None, "detail": "not usable", "remedy": "none needed"},
    {"name": "guest kernel", "ok": False, "detail": "there is none", "remedy": "make kernel"},
]
DF = {
    "images": IMAGES,
    "containers": [CONTAINERS[0], CONTAINERS[1] | {"size_bytes": 1000}],
    "volumes": [VOLUME, VOLUME | {"name": "spare", "pods": [], "used_bytes": 30_000_000}],
    "layers": {"size_bytes": 5},
    "totals": {
        "images_bytes": 130_384_456,
        "images_reclaimable_bytes": 4_261_000,
        "layers_bytes": 134_000_000,
        "layers_reclaimable_bytes": 13_400_000,
        "volumes_bytes": 100_000_000,
        "volumes_reclaimable_bytes": 30_000_000,
        "containers_bytes": 1_235_567,
        "containers_reclaimable_bytes": 1000,
    },
}
EVENTS = [
    {
        "time": "2026-01-01T11:57:01Z",
        "type": "container",
        "action": "start",
        "id": "abc",
        "attributes": {"name": "web", "image": "nginx"},
    },
    {"time": "2026-01-01T11:58:00Z", "type": "daemon", "action": "start", "id": "", "attributes": {}},
]
KERNELS = [
    {"name": "own-6.1", "version": "6.1", "source": "own", "path": "/c/vmlinux", "default": True},
    {
        "name": "debian-6.1",
        "version": "6.1-cloud",
        "source": "debian",
        "path": "/c/vmlinuz",
        "default": False,
    },
]
VERSION = {
    "version": "0.1.0",
    "api_version": "1",
    "python": "3.11.2",
    "qemu": "7.2.22",
    "kernel": "6.1 (own)",
    "agent": "0.1.0",
    "os": "linux",
    "arch": "x86_64",
}

PODS = [
    {
        "id": SHOP,
        "name": "shop",
        "created": "2026-01-01T11:57:00.5Z",
        "state": "running",
        "status": "Running",
        "ready": True,
        "containers": [
            summary(3, name="shop-web", image="nginx", pod=SHOP),
            summary(4, name="shop-cache", image="redis", pod=SHOP, state="exited", exit_status=1),
        ],
        "ports": [CONTAINERS[0]["ports"][0]],
        "labels": {"tier": "front"},
    },
    {
        "id": "0" * 63 + "9",
        "name": "empty",
        "created": "2026-01-01T09:00:00Z",
        "state": "created",
        "status": "Created",
        "ready": False,
        "containers": [],
        "ports": [],
        "labels": {},
    },
]
POD_INSPECT = PODS[0] | {
    "spec": {
        "name": "shop",
        "containers": [
            {"name": "shop-web", "image": "nginx", "volumes": [], "mounts": SPEC["mounts"][:1]},
            {"name": "shop-cache", "image": "redis", "volumes": [], "mounts": []},
        ],
        "volumes": SPEC["volumes"],
        "annotations": {},
        "hostname": None,
        "share_pids": True,
        "networks": JOINS,
    },
    "reason": "",
    "vm": INSPECT["vm"],
    "network": INSPECT["network"],
}
POD_SAMPLE = {
    "time": "2026-01-01T12:00:00Z",
    "id": f"{3:064x}",
    "name": "shop-web",
    "cpu_ns": 1_000_000,
    "vcpus": 1,
    "memory_bytes": 64 << 20,
    "memory_limit_bytes": 128 << 20,
    "net_rx_bytes": 1000,
    "net_tx_bytes": 0,
    "block_read_bytes": 0,
    "block_write_bytes": 2_000_000,
    "pids": 3,
    "vm_rss_bytes": 100 << 20,
}
PLAYED = [
    {"kind": "ConfigMap", "name": "conf", "action": "created", "pods": [], "warnings": []},
    {"kind": "Deployment", "name": "shop", "action": "created", "pods": ["shop-0", "shop-1"], "warnings": []},
]

CASES: dict[str, tuple[str, ...]] = {
    "ps": ("ps", "-a"),
    "ps-no-trunc": ("ps", "-a", "--no-trunc"),
    "ps-size": ("ps", "-as"),
    "ps-quiet": ("ps", "-aq"),
    "ps-json": ("ps", "-a", "--format", "json"),
    "ps-table": ("ps", "-a", "--format", 'table {{.Names}}\\t{{.Status}}\\t{{.Label "tier"}}'),
    "ps-mounts": ("ps", "-a", "--format", "{{.Names}}|{{.Mounts}}|{{.LocalVolumes}}|{{.Size}}|{{.Image}}"),
    "ps-template": ("container", "ls", "-a", "--format", "{{.ID}}\\t{{.Ports}}"),
    "ps-pod": ("ps", "-a", "--pod"),
    "ps-pod-template": ("ps", "-a", "--format", "{{.Names}} {{.PodName}} {{.Pod}}"),
    "pod-ls": ("pod", "ls"),
    "pod-ls-ctr": ("pod", "ps", "--ctr-names", "--ctr-status", "--ctr-ids"),
    "pod-ls-json": ("pod", "ls", "--format", "json", "--no-trunc"),
    "pod-ls-quiet": ("pod", "ps", "-q"),
    "pod-ls-template": ("pod", "ls", "--format", 'table {{.Name}}\\t{{.Ready}}\\t{{.Label "tier"}}'),
    "pod-inspect": ("pod", "inspect", "shop"),
    "pod-top": ("pod", "top", "shop"),
    "pod-stats": ("pod", "stats", "--no-stream", "shop"),
    "ports-ls": ("ports", "ls", "shop"),
    "volume-ls": ("volume", "ls"),
    "volume-ls-quiet": ("volume", "ls", "-q"),
    "volume-ls-json": ("volume", "ls", "--format", "json"),
    "volume-inspect": ("volume", "inspect", "data"),
    "network-ls": ("network", "ls"),
    "network-ls-quiet": ("network", "list", "-q", "--no-trunc"),
    "network-ls-json": ("network", "ls", "--format", "json"),
    "network-ls-table": ("network", "ls", "--format", "table {{.Name}}\\t{{.Subnets}}\\t{{.Internal}}"),
    "network-inspect": ("network", "inspect", "front"),
    "network-inspect-verbose": ("network", "inspect", "-v", "-f", "{{json .Containers}}", "front"),
    "network-inspect-template": (
        "inspect",
        "--type",
        "network",
        "-f",
        "{{range .IPAM.Config}}{{.Subnet}} {{end}}",
        "front",
    ),
    "play": ("play", "/dev/null"),
    "play-quiet": ("kube", "play", "-q", "/dev/null"),
    "play-json": ("play", "kube", "--format", "json", "/dev/null"),
    "generate": ("generate", "kube", "shop"),
    "ps-last": ("ps", "-l", "--format", "{{.Names}}"),
    "images": ("images",),
    "images-digests": ("image", "ls", "--digests"),
    "images-quiet": ("images", "-q"),
    "images-template": ("images", "--format", "{{.Repository}}:{{.Tag}} {{.CreatedAt}}"),
    "history": ("history", "debian:12"),
    "history-raw": ("history", "--no-trunc", "-H=false", "debian:12"),
    "inspect-container": ("inspect", "web"),
    "inspect-image": ("inspect", "--type", "image", "debian:12"),
    "inspect-template": ("inspect", "-f", "{{.Name}} {{.State.Pid}} {{json .NetworkSettings.Ports}}", "web"),
    "port": ("port", "web"),
    "top": ("top", "web"),
    "info": ("info",),
    "doctor": ("doctor",),
    "df": ("system", "df"),
    "df-verbose": ("system", "df", "-v"),
    "events": ("events", "--since", "1h"),
    "events-template": ("events", "--format", "{{.Type}} {{.Action}} {{.Actor.Attributes}}"),
    "kernels": ("kernel", "ls"),
    "version-template": ("version", "--format", "{{.Server.QEMU}} {{.Client.ApiVersion}}"),
}
STATUSES = {"doctor": 1}


@pytest.fixture
def hyperd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHyperd]:
    monkeypatch.setattr(units, "time", lambda: NOW)
    monkeypatch.setattr(stats, "INTERVAL_S", 0.0)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("HYPER_RUN", str(tmp_path))
    with fake_hyperd(tmp_path) as fake:
        monkeypatch.setenv("HYPER_HOST", f"unix://{fake.path}")
        yield fake


@pytest.fixture
def answers(hyperd: FakeHyperd) -> None:
    hyperd.answer("GET", "/v1/containers", {"containers": CONTAINERS})
    hyperd.answer("GET", "/v1/containers/web", INSPECT)
    hyperd.answer("GET", "/v1/containers/web/top", {"processes": PROCESSES})
    hyperd.answer("GET", "/v1/images", {"images": IMAGES})
    hyperd.answer("GET", "/v1/images/inspect", IMAGE_INSPECT)
    hyperd.answer("GET", "/v1/images/history", {"history": HISTORY})
    hyperd.answer("GET", "/v1/info", INFO)
    hyperd.answer("GET", "/v1/doctor", {"checks": CHECKS})
    hyperd.answer("GET", "/v1/system/df", DF)
    hyperd.answer("GET", "/v1/kernels", {"kernels": KERNELS})
    hyperd.answer("GET", "/v1/version", VERSION)
    hyperd.lines("GET", "/v1/events", *EVENTS)
    hyperd.answer("GET", "/v1/pods", {"pods": PODS})
    hyperd.answer("GET", "/v1/pods/shop", POD_INSPECT)
    found = [{"container": "shop-web", "process": process} for process in PROCESSES]
    hyperd.answer("GET", "/v1/pods/shop/top", {"processes": found})
    later = POD_SAMPLE | {"time": "2026-01-01T12:00:01Z", "cpu_ns": 251_000_000}
    hyperd.answer("GET", "/v1/pods/shop/stats", {"samples": [POD_SAMPLE]})
    hyperd.answer("GET", "/v1/pods/shop/stats", {"samples": [later]})
    hyperd.answer("GET", "/v1/pods/shop/ports", {"ports": CONTAINERS[0]["ports"]})
    hyperd.answer("GET", "/v1/networks", {"networks": NETWORKS})
    hyperd.answer("GET", "/v1/networks/front", NETWORKS[0])
    hyperd.answer("GET", "/v1/volumes", {"volumes": [VOLUME]})
    hyperd.answer("GET", "/v1/volumes/data", VOLUME)
    hyperd.lines("POST", "/v1/manifests/play", {"result": PLAYED})
    hyperd.answer("POST", "/v1/manifests/generate", {"text": "apiVersion: v1\nkind: Pod\n"})


@pytest.mark.usefixtures("answers")
@pytest.mark.parametrize("name", CASES)
def test_output(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(CASES[name]) == STATUSES.get(name, 0)
    shown = capsys.readouterr()
    assert shown.err == ""
    path = HERE / f"{name}.txt"
    if os.environ.get("HYPER_GOLDEN") == "write":
        path.write_text(shown.out)
    assert shown.out == path.read_text()


def test_no_file_without_its_case() -> None:
    assert {path.stem for path in HERE.glob("*.txt")} == set(CASES)
