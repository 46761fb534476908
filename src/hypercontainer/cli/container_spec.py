"""From the options of run and create to the API's ContainerSpec (contract/spec.py), as plain JSON values.

Only what was said goes out; the engine knows the defaults.
"""

from __future__ import annotations

import os

from hypercontainer.cli.environment import environment, pairs
from hypercontainer.cli.health import healthcheck
from hypercontainer.cli.mounts import mounts_spec
from hypercontainer.cli.networks import networks_spec
from hypercontainer.cli.options import UsageError, Values
from hypercontainer.cli.policies import policy_spec
from hypercontainer.cli.ports import parse_expose, parse_publish
from hypercontainer.cli.secrets import secret_header
from hypercontainer.cli.units import bytes_of
from hypercontainer.cli.without_effect import check_without_effect
from hypercontainer.errors import NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PERIOD_US = 100_000  # Docker's
MIN_MEMORY_BYTES = 4 * 1024 * 1024
MAX_PROFILE_BYTES = 1024 * 1024
LOG_DRIVERS = {"file": "file", "json-file": "file", "local": "file", "none": "none"}
PULL_POLICIES = ("always", "missing", "never")
ACCELERATORS = ("kvm", "tcg", "hvf")


def container_spec(values: Values, image: str, command: list[str]) -> dict[str, Any]:
    """UsageError and NotSupported name the option."""
    spec: dict[str, Any] = {"image": image}
    if command:
        spec["command"] = command
    spec |= values.fields()
    if values.given("entrypoint"):
        entrypoint = values.text("entrypoint")
        spec["entrypoint"] = [entrypoint] if entrypoint else []
    for part in (_names, _pod, network, resources, _files, _security, _life, healthcheck, _pull, machine):
        spec |= part(values)
    check_without_effect(values)
    return spec


def _pod(values: Values) -> dict[str, Any]:
    """-c of create: Hyper's pod, but Docker's weight where it is a number."""
    if not values.given("container"):
        return {}
    pod = values.text("container")
    if pod.isascii() and pod.isdigit() and not values.given("cpu-shares"):
        return {"cpu_shares": int(pod)}
    if values.given("pod") and values.text("pod") != pod:
        raise UsageError("conflicting options: --pod and --container name different pods")
    return {"pod": pod}


def _names(values: Values) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    if env := environment(values.many("env"), values.many("env-file"), os.environ):
        spec["env"] = env
    if labels := pairs(values.many("label"), values.many("label-file")):
        spec["labels"] = labels
    if annotations := pairs(values.many("annotation"), what="annotation"):
        spec["annotations"] = annotations
    return spec


def network(values: Values) -> dict[str, Any]:
    spec = networks_spec(values) | policy_spec(values)
    if ports := [port for item in values.many("publish") for port in parse_publish(item)]:
        spec["ports"] = ports
    if values.given("dns-opt"):
        spec["dns_options"] = values.many("dns-option") + values.many("dns-opt")
    if exposed := [port for item in values.many("expose") for port in parse_expose(item)]:
        spec["expose"] = exposed
    if values.given("host-loopback"):
        spec["host_loopback"] = [_port(item) for item in values.many("host-loopback")]
    if secrets := [secret_header(item, os.environ) for item in values.many("secret-header")]:
        spec["secret_headers"] = secrets
    return spec


def _port(text: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"invalid --host-loopback {text!r}", hint="a port of the host, such as 5432")
    return int(text)


def resources(values: Values) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    if values.given("memory"):
        spec["memory_bytes"] = memory_bytes(values.text("memory"))
    if (cpus := _processors(values)) is not None:
        spec["cpus"] = cpus
    if values.given("shm-size"):
        spec["shm_size_bytes"] = bytes_of(values.text("shm-size"), "--shm-size")
    if ulimits := [_ulimit(item) for item in values.many("ulimit")]:
        spec["ulimits"] = ulimits
    if sysctls := pairs(values.many("sysctl"), what="sysctl"):
        spec["sysctls"] = sysctls
    for name, value in pairs(values.many("storage-opt"), what="storage option").items():
        if name != "size":
            raise NotSupported(f"--storage-opt {name}: there is 'size'")
        spec["disk_size_bytes"] = bytes_of(value, "--storage-opt size")
    return spec


def memory_bytes(text: str) -> int:
    count = bytes_of(text, "--memory")
    if count < MIN_MEMORY_BYTES:
        hint = f"a plain number is bytes: did you mean {text}m?" if text.isdigit() else "at least 4m"
        raise UsageError(f"--memory {text}: too little for a machine", hint=hint)
    return count


def _processors(values: Values) -> float | None:
    option = "cpus" if values.given("cpus") else "cpu"
    quota, period = (
        values.number(name) if values.given(name) else None for name in ("cpu-quota", "cpu-period")
    )
    if quota is None and period is None:
        return _cpus(values.text(option), option) if values.given(option) else None
    if values.given(option):
        raise UsageError(f"conflicting options: --{option} says the same as --cpu-quota and --cpu-period")
    if quota is None or quota <= 0:  # as much as there is
        return None
    if not 1000 <= (period or PERIOD_US) <= 1_000_000 or quota < 1000:
        raise UsageError("--cpu-quota is from 1000 on, --cpu-period from 1000 to 1000000")
    return _cpus(str(quota / (period or PERIOD_US)), "cpu-quota")


def _cpus(text: str, option: str) -> float:
    try:
        count = float(text)
    except ValueError:
        count = 0.0
    if not 0 < count <= 4096:
        raise UsageError(f"invalid argument {text!r} for --{option}", hint="such as 2 or 0.5")
    return count


def _ulimit(text: str) -> dict[str, Any]:
    name, equals, limits = text.partition("=")
    soft, colon, hard = limits.partition(":")
    try:
        if not name or not equals:
            raise ValueError
        limit = {"name": name, "soft": int(soft), "hard": int(hard if colon else soft)}
    except ValueError:
        raise UsageError(
            f"invalid ulimit {text!r}", hint="NAME=SOFT[:HARD], such as nofile=1024:4096"
        ) from None
    if -1 != limit["hard"] < limit["soft"] or (limit["soft"] == -1 != limit["hard"]):  # type: ignore[operator]
        raise UsageError(f"invalid ulimit {text!r}: the soft limit is above the hard one")
    return limit


def _files(values: Values) -> dict[str, Any]:
    mounts = []
    for item in values.many("tmpfs"):
        path, _, options = item.partition(":")
        if not path.startswith("/"):
            raise UsageError(f"invalid --tmpfs {item!r}: the path is not absolute")
        mounts.append({"path": path, "options": options})
    spec = mounts_spec(values)
    if mounts := [*mounts, *spec.pop("tmpfs", [])]:
        spec["tmpfs"] = mounts
    return spec


def _security(values: Values) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    for item in values.many("security-opt"):
        name, separator, value = item.partition("=" if "=" in item else ":")
        if name == "no-new-privileges" and value in ("", "true", "false"):
            spec["no_new_privileges"] = value != "false"
        elif name == "seccomp" and separator and value:
            spec["seccomp"] = value if value == "unconfined" else _profile(value)
        elif (name, value) in (("apparmor", "unconfined"), ("label", "disable")):
            continue  # nothing of the kind is in the guest
        elif name in ("apparmor", "label", "systempaths"):
            raise NotSupported(
                f"--security-opt {item}: the guest has no {name}", hint="the machine is the boundary"
            )
        else:
            raise UsageError(
                f"invalid --security-opt {item!r}", hint="no-new-privileges, seccomp=FILE|unconfined"
            )
    return spec


def _profile(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        text = file.read(MAX_PROFILE_BYTES + 1)
    if len(text) > MAX_PROFILE_BYTES:
        raise UsageError(f"seccomp profile {path}: more than {MAX_PROFILE_BYTES} characters")
    return text


def _life(values: Values) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    if values.given("restart"):
        spec["restart"] = restart_policy(values.text("restart"))
        if values.flag("rm") and spec["restart"]["name"] != "no":
            raise UsageError("conflicting options: cannot specify both --restart and --rm")
    driver = values.text("log-driver") or "file"
    if driver not in LOG_DRIVERS:
        raise NotSupported(f"--log-driver {driver}: there are 'file' and 'none'")
    log: dict[str, Any] = {} if LOG_DRIVERS[driver] == "file" else {"driver": "none"}
    for name, value in pairs(values.many("log-opt"), what="log option").items():
        if name == "max-size":
            log["max_size_bytes"] = bytes_of(value, "--log-opt max-size")
        elif name == "max-file" and value.isdigit():
            log["max_files"] = int(value)
        else:
            raise NotSupported(f"--log-opt {name}={value}: there are max-size and max-file")
    if log:
        spec["log"] = log
    return spec


_POLICIES_OF_PODFILES = {
    "never": "no",
    "onFailure": "on-failure",
}  # which earlier versions had on the command line


def restart_policy(text: str) -> dict[str, Any]:
    name, colon, retries = text.partition(":")
    name = _POLICIES_OF_PODFILES.get(name, name)
    if name not in ("no", "always", "on-failure", "unless-stopped"):
        raise UsageError(
            f"invalid restart policy {text!r}", hint="no, always, on-failure[:RETRIES], unless-stopped"
        )
    if colon and (name != "on-failure" or not retries.isdigit()):
        raise UsageError(f"invalid restart policy {text!r}: only on-failure takes a number of retries")
    return {"name": name, "maximum_retries": int(retries or 0)}


def _host_file(text: str, *, bare_name: bool) -> str:
    """A path for hyperd, which is somewhere else; of kernels, what has no slash is a name that hyperd knows."""
    return text if bare_name and "/" not in text else os.path.abspath(text)  # noqa: PTH100


def _pull(values: Values) -> dict[str, Any]:
    policy = values.text("pull")
    if policy not in PULL_POLICIES:
        raise UsageError(f"invalid pull option {policy!r}", hint=f"one of {', '.join(PULL_POLICIES)}")
    return {"pull": policy} if values.given("pull") else {}


def machine(values: Values) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    if values.given("hypervisor"):
        spec["hypervisor"] = values.text("hypervisor")
    if values.given("accel"):
        if values.text("accel") not in ACCELERATORS:
            raise UsageError(f"invalid --accel {values.text('accel')!r}", hint="kvm, tcg or hvf")
        spec["accelerator"] = values.text("accel")
    for name in ("kernel", "initrd"):
        if values.given(name):
            spec[name] = _host_file(values.text(name), bare_name=name == "kernel")
    if arguments := [word for item in values.many("kernel-args") for word in item.split()]:
        spec["kernel_args"] = arguments
    if values.flag("no-template"):
        spec["template"] = False
    return spec
