"""What the guest is asked for, whole, for the containers that people run.

A difference is either a mistake or meant; then `HYPER_UPDATE_GOLDEN=1 pytest tests/golden/plan` writes it down,
and the review shows it.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.agent.fields import decode, encode
from hypercontainer.agent.operations import ContainerPlan, Disk, ProcessPlan
from hypercontainer.contract.spec import ContainerSpec, ExecSpec, Tmpfs, Ulimit
from hypercontainer.image.model import ImageConfig
from hypercontainer.semantics import docker as plan

ID = "0123456789abcdef" * 4
HERE = Path(__file__).parent
FACTS = plan.Facts(
    Disk("image", "erofs"), Disk("disk", "ext4"), 1, "10.0.2.15", "10.0.2.2", ("10.0.2.3",), (6, 1)
)
DEBIAN = ImageConfig(env=("PATH=/usr/local/bin:/usr/bin:/bin",), cmd=("bash",))
NGINX = ImageConfig(
    env=("PATH=/usr/sbin:/usr/bin", "NGINX_VERSION=1.27"),
    entrypoint=("/docker-entrypoint.sh",),
    cmd=("nginx", "-g", "daemon off;"),
    exposed_ports=("80/tcp",),
    stop_signal="SIGQUIT",
)
POSTGRES = ImageConfig(
    user="postgres:postgres",
    entrypoint=("docker-entrypoint.sh",),
    cmd=("postgres",),
    volumes=("/var/lib/postgresql/data",),
    working_dir="data",
    stop_signal="SIGINT",
)
SYSTEMD = ImageConfig(cmd=("/sbin/init",))

CASES: dict[str, tuple[ContainerSpec, ImageConfig]] = {
    "debian_tty": (ContainerSpec("debian", tty=True, stdin_open=True), DEBIAN),
    "nginx": (ContainerSpec("nginx", env=("A=b",), hostname="web", domainname="example.org"), NGINX),
    "postgres_hardened": (
        ContainerSpec(
            "postgres",
            read_only=True,
            cap_drop=("ALL",),
            cap_add=("SETUID", "SETGID"),
            no_new_privileges=True,
            tmpfs=(Tmpfs("/run", "rw,exec,size=64m,mode=1777"), Tmpfs("/tmp")),
            pids_limit=100,
            cpu_shares=512,
            ulimits=(Ulimit("nofile", 2048, 4096), Ulimit("memlock", -1, -1)),
            groups=("audio", "1000"),
            init=True,
            dns=("9.9.9.9",),
            dns_search=("example.org",),
            dns_options=("ndots:2",),
            extra_hosts=("db:10.0.0.5", "host.docker.internal:host-gateway"),
            sysctls={"net.core.somaxconn": "1024"},
            seccomp="unconfined",
        ),
        POSTGRES,
    ),
    "privileged": (
        ContainerSpec("debian", privileged=True, command=("sleep", "inf"), pid_mode="pod"),
        DEBIAN,
    ),
    "systemd": (ContainerSpec("systemd"), SYSTEMD),
}


def shown(record: Any) -> Any:
    """As JSON: without what is at its default, programs for the kernel as their length."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        values = {f.name: getattr(record, f.name) for f in dataclasses.fields(record)}
        defaults = {f.name: f.default for f in dataclasses.fields(record)}
        return {name: shown_field(name, value) for name, value in values.items() if value != defaults[name]}
    if isinstance(record, tuple):
        return [shown(item) for item in record]
    return record.decode() if isinstance(record, bytes) else record


def shown_field(name: str, value: Any) -> Any:
    if name == "seccomp":
        return f"{len(value) // 8} instructions"
    if name.startswith("cap_") or name == "flags":
        return hex(value)
    if name == "mode":
        return oct(value)
    return shown(value)


def compare(name: str, made: Any) -> None:
    path = HERE / f"{name}.json"
    text = json.dumps(made, indent=1) + "\n"
    if os.environ.get("HYPER_UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", CASES)
def test_plan(name: str) -> None:
    spec, image = CASES[name]
    effective, warnings = plan.effective(spec, image, ID)
    facts = dataclasses.replace(FACTS, upper=None) if spec.read_only else FACTS
    facts = dataclasses.replace(facts, name_servers=spec.dns or facts.name_servers)
    made = plan.start(spec, effective, ID, facts)
    assert warnings == ()
    assert decode(ContainerPlan, encode(made.container)) == made.container
    assert decode(ProcessPlan, encode(made.process)) == made.process
    stop = {"stop_signal": effective.stop_signal}
    compare(name, {"container": shown(made.container), "process": shown(made.process), **stop})


def test_exec() -> None:
    spec, image = CASES["nginx"]
    effective, _ = plan.effective(spec, image, ID)
    wish = ExecSpec(
        ("sh",), env=("A=c",), working_dir="/srv", user="www-data", tty=True, stdin=True, rows=24, columns=80
    )
    compare("exec", shown(plan.exec_process(wish, spec, effective, ID, 7)))
