"""From the options of run to the API's specification, which the API's own type must accept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hypercontainer.cli.container_options import RUN_OPTIONS
from hypercontainer.cli.container_spec import container_spec
from hypercontainer.cli.options import REFUSED, UsageError, parse
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.errors import NotSupported


def spec_of(*words: str) -> dict[str, Any]:
    values, arguments = parse(RUN_OPTIONS, (*words, "image"), interspersed=False)
    spec = container_spec(values, arguments[0], arguments[1:])
    msgspec.convert(spec, ContainerSpec)  # strict: an unknown field is an error
    del spec["image"]
    return spec


def test_nothing_said_is_nothing_sent() -> None:
    assert spec_of() == {}


def test_the_command_is_what_follows_the_image() -> None:
    values, arguments = parse(RUN_OPTIONS, ("--rm", "image", "ls", "-l", "--rm"), interspersed=False)
    assert container_spec(values, arguments[0], arguments[1:]) == {
        "image": "image",
        "command": ["ls", "-l", "--rm"],
        "auto_remove": True,
    }


ROWS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("--name", "web"), {"name": "web"}),
    (("-it",), {"tty": True, "stdin_open": True}),
    (("-e", "A=b=c", "-e", "E="), {"env": ["A=b=c", "E="]}),
    (("-e", "A=1", "-e", "A=2"), {"env": ["A=2"]}),
    (("-e", "SET", "-e", "UNSET"), {"env": ["SET=here", "UNSET"]}),
    (("-e", "A=1", "-e", "A"), {"env": ["A"]}),
    (("-e", "A B=1"), {"env": ["A B=1"]}),
    (("-w", "/tmp", "-u", "1:2"), {"working_dir": "/tmp", "user": "1:2"}),
    (("-h", "box", "--domainname", "lan"), {"hostname": "box", "domainname": "lan"}),
    (("-m", "256m"), {"memory_bytes": 256 << 20}),
    (("--cpus", "1.5"), {"cpus": 1.5}),
    (("--cpu=2",), {"cpus": 2.0}),
    (("-c", "512", "--pids-limit", "-1"), {"cpu_shares": 512, "pids_limit": -1}),
    (("-l", "a=b", "-l", "c"), {"labels": {"a": "b", "c": ""}}),
    (("--no-healthcheck",), {"healthcheck": {"test": ["NONE"]}}),
    (("--health-cmd", "curl -f x || exit 1"), {"healthcheck": {"test": ["CMD-SHELL", "curl -f x || exit 1"]}}),
    (("--health-interval", "1m30s", "--health-timeout", "500ms", "--health-start-period", "0",
      "--health-start-interval", "1.5s", "--health-retries", "2"),
     {"healthcheck": {"interval_ns": 90_000_000_000, "timeout_ns": 500_000_000, "start_period_ns": 0,
                      "start_interval_ns": 1_500_000_000, "retries": 2}}),
    (("--annotation", "a=b"), {"annotations": {"a": "b"}}),
    (("--entrypoint", "/bin/sh"), {"entrypoint": ["/bin/sh"]}),
    (("--entrypoint", ""), {"entrypoint": []}),
    (("--read-only", "--tmpfs", "/run:size=64m,mode=1777", "--tmpfs", "/tmp"),
     {"read_only": True,
      "tmpfs": [{"path": "/run", "options": "size=64m,mode=1777"}, {"path": "/tmp", "options": ""}]}),
    (("--shm-size", "1g"), {"shm_size_bytes": 1 << 30}),
    (("--ulimit", "nofile=1024:4096", "--ulimit", "core=-1"),
     {"ulimits": [{"name": "nofile", "soft": 1024, "hard": 4096}, {"name": "core", "soft": -1, "hard": -1}]}),
    (("--sysctl", "net.core.somaxconn=1024"), {"sysctls": {"net.core.somaxconn": "1024"}}),
    (("--cap-add", "ALL", "--cap-drop", "NET_RAW"), {"cap_add": ["ALL"], "cap_drop": ["NET_RAW"]}),
    (("--privileged", "--init"), {"privileged": True, "init": True}),
    (("--security-opt", "no-new-privileges"), {"no_new_privileges": True}),
    (("--security-opt", "no-new-privileges:true", "--security-opt", "seccomp=unconfined"),
     {"no_new_privileges": True, "seccomp": "unconfined"}),
    (("--restart", "on-failure:3"), {"restart": {"name": "on-failure", "maximum_retries": 3}}),
    (("--restart", "never"), {"restart": {"name": "no", "maximum_retries": 0}}),
    (("--restart", "onFailure"), {"restart": {"name": "on-failure", "maximum_retries": 0}}),
    (("--restart", "always"), {"restart": {"name": "always", "maximum_retries": 0}}),
    (("--stop-signal", "INT", "--stop-timeout", "5"), {"stop_signal": "INT", "stop_timeout_s": 5}),
    (("--dns", "1.1.1.1", "--dns-search", "lan", "--dns-option", "ndots:1", "--add-host", "a:1.2.3.4"),
     {"dns": ["1.1.1.1"], "dns_search": ["lan"], "dns_options": ["ndots:1"], "extra_hosts": ["a:1.2.3.4"]}),
    (("--dns-opt", "ndots:1", "--dns-option", "rotate"), {"dns_options": ["rotate", "ndots:1"]}),
    (("--mac-address", "02:00:00:00:00:01"), {"mac_address": "02:00:00:00:00:01"}),
    (("--add-host", "db=10.0.0.1", "--add-host", "home:host-gateway"),
     {"extra_hosts": ["db=10.0.0.1", "home:host-gateway"]}),
    (("--log-driver", "none"), {"log": {"driver": "none"}}),
    (("--log-driver", "json-file", "--log-opt", "max-size=10m", "--log-opt", "max-file=3"),
     {"log": {"max_size_bytes": 10 << 20, "max_files": 3}}),
    (("--pull", "never", "--platform", "linux/arm64"), {"pull": "never", "platform": "linux/arm64"}),
    (("--pid", "pod", "--oom-score-adj", "-5"), {"pid_mode": "pod", "oom_score_adj": -5}),
    (("--umask", "0027"), {"umask": 0o027}),
    (("--umask", "0o7"), {"umask": 7}),
    (("--umask", "0"), {"umask": 0}),
    (("--storage-opt", "size=20g"), {"disk_size_bytes": 20 << 30}),
    (("--kernel", "own", "--accel", "tcg", "--kernel-args", "quiet debug", "--kernel-args", "x=1"),
     {"kernel": "own", "accelerator": "tcg", "kernel_args": ["quiet", "debug", "x=1"]}),
    (("--no-template",), {"template": False}),
    (("--no-template=false",), {}),
    (("--group-add", "audio", "--expose", "80", "-P"),
     {"groups": ["audio"], "expose": ["80/tcp"], "publish_all": True}),
]  # fmt: skip


@pytest.mark.parametrize(("words", "spec"), ROWS, ids=[" ".join(words) for words, _ in ROWS])
def test_options(words: tuple[str, ...], spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SET", "here")
    monkeypatch.delenv("UNSET", raising=False)
    assert spec_of(*words) == spec


def port(container: int, host: int = 0, ip: str = "0.0.0.0", protocol: str = "tcp") -> dict[str, object]:
    return {"container_port": container, "host_port": host, "host_ip": ip, "protocol": protocol}


@pytest.mark.parametrize(
    ("text", "ports"),
    [
        ("80", [port(80)]),
        ("8080:80", [port(80, 8080)]),
        ("8080:80/udp", [port(80, 8080, protocol="udp")]),
        ("127.0.0.1:8080:80", [port(80, 8080, "127.0.0.1")]),
        ("127.0.0.1::80", [port(80, 0, "127.0.0.1")]),
        ("[::1]:8080:80", [port(80, 8080, "::1")]),
        ("8000-8001:80-81", [port(80, 8000), port(81, 8001)]),
        (":80", [port(80)]),
        ("0:80", [port(80)]),
        ("0:80-81", [port(80), port(81)]),
        ("18080-18085:80", [port(80, 18080) | {"host_port_last": 18085}]),
        ("127.0.0.1:9000-9001:53/udp", [port(53, 9000, "127.0.0.1", "udp") | {"host_port_last": 9001}]),
        ("[::1]::80", [port(80, 0, "::1")]),
        ("[::]:8000-8001:80-81/UDP", [port(80, 8000, "::", "udp"), port(81, 8001, "::", "udp")]),
        ("2001:db8::1:8080:80", [port(80, 8080, "2001:db8::1")]),
        ("published=8080,target=80", [port(80, 8080)]),
        ("target=53,protocol=udp,mode=host", [port(53, protocol="udp")]),
    ],
)
def test_published_ports(text: str, ports: list[dict[str, object]]) -> None:
    assert spec_of("-p", text) == {"ports": ports}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "0",
        "65536",
        "1-",
        "80:",
        "1:2:3:4",
        "80/sctp",
        "1-2:3-5",
        "9-8",
        "[::1:80",
        "-1",
        "٣",
        "localhost:1:2",
    ]
    + [
        "[::1]:80",
        "[1::2::3]:1:2",
        "300.0.0.1::80",
        "published=80",
        "target=80,size=1",
        "target=80,mode=x",
        "::1:",
    ],
)
def test_ports_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="invalid port"):
        spec_of("-p", text)


@pytest.mark.parametrize(
    "words",
    [
        ("-m", "much"),
        ("--cpus", "0"),
        ("--cpus", "nan"),
        ("-e", "=x"),
        ("--tmpfs", "run"),
        ("--ulimit", "nofile"),
        ("--ulimit", "nofile=5:4"),
        ("--restart", "sometimes"),
        ("--restart", "always:3"),
        ("--restart", "never:3"),
        ("--rm", "--restart", "always"),
        ("--security-opt", "magic"),
        ("--pull", "often"),
        ("--accel", "hax"),
        ("--pids-limit", "many"),
        ("-l", "=x"),
    ],
)
def test_values_that_are_wrong(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        spec_of(*words)


def test_a_bare_number_of_memory_is_bytes_and_the_hint_says_so() -> None:
    with pytest.raises(UsageError) as caught:
        spec_of("--memory=128")
    assert caught.value.hint == "a plain number is bytes: did you mean 128m?"


@pytest.mark.parametrize(
    "words",
    [
        ("--log-driver", "syslog"),
        ("--log-opt", "tag=x"),
        ("--storage-opt", "x=1"),
        ("--security-opt", "apparmor=x"),
    ],
)
def test_what_is_not_to_be_had_here(words: tuple[str, ...]) -> None:
    with pytest.raises(NotSupported, match=words[0]):
        spec_of(*words)


@pytest.mark.parametrize("option", [option for option in RUN_OPTIONS if option.kind == REFUSED], ids=str)
def test_every_refused_option_of_docker_says_why(option: Any) -> None:
    words = (f"--{option.name}", "value") if option.metavar else (f"--{option.name}",)
    with pytest.raises(NotSupported, match=f"--{option.name}: .+"):
        spec_of(*words)


def test_paths_of_kernels_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert spec_of("--kernel", "./k", "--initrd", "i") == {
        "kernel": f"{tmp_path}/k",
        "initrd": f"{tmp_path}/i",
    }


def test_files_of_variables_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_SHELL", "yes")
    env, labels = tmp_path / "env", tmp_path / "labels"
    env.write_text("\ufeff# comment\n\n  A=1\nB=with space \nFROM_SHELL\nUNSET_ONE\nC=\n", encoding="utf-8")
    labels.write_text("x=y\nz\n")
    spec = spec_of("--env-file", str(env), "-e", "A=2", "--label-file", str(labels))
    assert spec == {"env": ["A=2", "B=with space ", "FROM_SHELL=yes", "C="], "labels": {"x": "y", "z": ""}}


def test_only_newlines_end_lines_of_files(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("F=a\fb\nV=a\vb\r\nC=a\rb\nN=a\x85b\nU=a\u2028b\nS=a\x1cb", encoding="utf-8", newline="")
    values = {"F": "a\fb", "V": "a\vb", "C": "a\rb", "N": "a\x85b", "U": "a\u2028b", "S": "a\x1cb"}
    assert spec_of("--label-file", str(path)) == {"labels": values}
    assert spec_of("--env-file", str(path)) == {"env": [f"{name}={value}" for name, value in values.items()]}


@pytest.mark.parametrize("line", ["A B=1", "=1", "A\tB"])
def test_a_line_without_a_name(tmp_path: Path, line: str) -> None:
    path = tmp_path / "file"
    path.write_text(line)
    for option in ("--env-file", "--label-file"):
        with pytest.raises(UsageError, match="a name has no space and is not empty"):
            spec_of(option, str(path))


def test_a_file_of_variables_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_bytes(b"A=\xff\n")
    with pytest.raises(UsageError, match="not UTF-8"):
        spec_of("--env-file", str(path))
    with pytest.raises(FileNotFoundError):
        spec_of("--env-file", str(tmp_path / "none"))


def test_a_seccomp_profile_is_read_here(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    assert spec_of("--security-opt", f"seccomp={path}") == {"seccomp": path.read_text()}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--no-healthcheck", "--health-retries", "1"), "--no-healthcheck conflicts with --health-"),
        (("--health-interval", "-1s"), "--health-interval cannot be negative"),
        (("--health-timeout", "10us"), "--health-timeout cannot be less than 1ms"),
        (("--health-start-period", "soon"), "invalid --health-start-period: 'soon' is no duration"),
        (("--health-retries", "-1"), "--health-retries cannot be negative"),
    ],
)
def test_health_checks_that_cannot_be(words: tuple[str, ...], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        spec_of(*words)
