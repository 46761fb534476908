"""ContainerSpec -> a container of a v1 Pod, without its mounts."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from hypercontainer.contract.probes import Action, Check, Exec, Grpc, HttpGet, Probe, Sleep
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.kube.container import TERMINATION_LOG

Document = dict[str, Any]

# No word of Kubernetes' for these; ``rows`` and ``columns`` are of one moment.
NOTED = (
    "annotations api_socket devices healthcheck init labels links log oom_score_adj pids_limit platform publish_all "
    "ulimits umask"
).split()
PULL = {"always": "Always", "missing": "IfNotPresent", "never": "Never"}
_RESTART = {"no": "Never", "on-failure": "OnFailure", "always": "Always", "unless-stopped": "Always"}


def without_empty(given: Mapping[str, Any]) -> Document:
    return {key: value for key, value in given.items() if value is not None and value not in ("", [], {})}


def cpus(count: float | None) -> str:
    return f"{math.ceil(count * 1000)}m" if count else ""


def put(body: Mapping[str, Document], key: str, content: bytes) -> None:
    """Into data or binaryData of a ConfigMap."""
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = "\0"
    if all(character.isprintable() or character in "\n\t" for character in text):
        body["data"][key] = text
    else:
        body["binaryData"][key] = base64.b64encode(content).decode()


def container(spec: ContainerSpec, name: str, notes: set[str]) -> Document:
    """``notes`` takes the names of what is lost."""
    defaults = ContainerSpec("")
    for field in NOTED:
        if getattr(spec, field) != getattr(defaults, field):
            notes.add(f"{field} of {name}")
    command, args = list(map(_escape, spec.entrypoint or ())), list(map(_escape, spec.command or ()))
    if spec.entrypoint in ((), ("",)):  # none, even where the image has one
        command, args = args, []
    made = {
        "name": name,
        "image": spec.image,
        "command": command,
        "args": args,
        "workingDir": spec.working_dir,
        "env": _env(spec, name, notes),
        "ports": _ports(spec, name, notes),
        "stdin": spec.stdin_open or None,
        "stdinOnce": spec.stdin_once or None,
        "tty": spec.tty or None,
        "resources": _resources(spec),
        "securityContext": _security(spec, name, notes),
        "startupProbe": _probe(spec.startup),
        "livenessProbe": _probe(spec.liveness),
        "readinessProbe": _probe(spec.readiness),
        "lifecycle": without_empty(
            {
                "postStart": _action(spec.lifecycle.post_start),
                "preStop": _action(spec.lifecycle.pre_stop),
                "stopSignal": spec.stop_signal,
            }
        ),
        "terminationMessagePath": spec.termination_message_path
        if spec.termination_message_path not in ("", TERMINATION_LOG)
        else None,
        "terminationMessagePolicy": "FallbackToLogsOnError" if spec.termination_message_fallback else None,
        "imagePullPolicy": PULL.get(spec.pull, "IfNotPresent"),
    }
    return without_empty(made) | _restart(spec, name, notes)


def _escape(text: str) -> str:
    """So that nothing in it is taken for a reference to a variable."""
    return text.replace("$", "$$") if "$(" in text or "$$" in text else text


def _env(spec: ContainerSpec, name: str, notes: set[str]) -> list[Document]:
    found = []
    for entry in spec.env:
        key, equals, value = entry.partition("=")
        if equals:
            found.append({"name": key, "value": _escape(value)})
        else:
            notes.add(f"variable {key} of {name}")
    return found


def _ports(spec: ContainerSpec, name: str, notes: set[str]) -> list[Document]:
    found: list[Document] = []
    for entry in spec.expose:
        number, _, protocol = entry.partition("/")
        if number.isdigit() and protocol in ("", "tcp"):
            found.append({"containerPort": int(number)})
        elif number.isdigit() and protocol == "udp":
            found.append({"containerPort": int(number), "protocol": "UDP"})
        else:
            notes.add(f"exposed port {entry} of {name}")
    return found


def _resources(spec: ContainerSpec) -> Document:
    limits = without_empty({"memory": str(spec.memory_bytes or ""), "cpu": cpus(spec.cpus)})
    requests: Document = {}
    if spec.cpu_shares:
        millis = math.ceil(spec.cpu_shares * 1000 / 1024)
        most = math.ceil(spec.cpus * 1000) if spec.cpus else millis
        requests = {"cpu": f"{min(millis, most)}m"}
    return without_empty({"limits": limits, "requests": requests})


def _security(spec: ContainerSpec, name: str, notes: set[str]) -> Document:
    user, colon, group = (spec.user or "").partition(":")
    numeric = user.isdigit() and (group.isdigit() or not colon)
    group = spec.group or group
    if spec.user and not numeric:
        notes.add(f"user {spec.user} of {name}")
    if spec.seccomp not in (None, "unconfined"):
        notes.add(f"seccomp of {name}")
    return without_empty(
        {
            "runAsUser": int(user) if numeric else None,
            "runAsGroup": int(group) if group.isdigit() and (numeric or spec.group) else None,
            "runAsNonRoot": spec.run_as_non_root or None,
            "privileged": spec.privileged or None,
            "allowPrivilegeEscalation": False if spec.no_new_privileges else None,
            "readOnlyRootFilesystem": spec.read_only or None,
            "capabilities": without_empty({"add": list(spec.cap_add), "drop": list(spec.cap_drop)}),
            "seccompProfile": {"type": "Unconfined"} if spec.seccomp == "unconfined" else None,
        }
    )


def _restart(spec: ContainerSpec, name: str, notes: set[str]) -> Document:
    if spec.role == "sidecar":
        return {"restartPolicy": "Always"}
    if spec.restart.maximum_retries:
        notes.add(f"maximum number of restarts of {name}")
    return {"restartPolicy": _RESTART.get(spec.restart.name, "Never")}


def _probe(probe: Probe | None) -> Document | None:
    if probe is None:
        return None
    defaults = Probe(probe.check)
    words = {
        "initialDelaySeconds": "initial_delay_s",
        "periodSeconds": "period_s",
        "timeoutSeconds": "timeout_s",
        "successThreshold": "success_threshold",
        "failureThreshold": "failure_threshold",
        "terminationGracePeriodSeconds": "termination_grace_s",
    }
    assert len(words) + 1 == len(structs.fields(Probe))
    given = {word: getattr(probe, field) for word, field in words.items()}
    said = {word: value for word, value in given.items() if value != getattr(defaults, words[word])}
    return {**(_action(probe.check) or {}), **said}


def _action(action: Action | Check | None) -> Document | None:
    if action is None:
        return None
    if isinstance(action, Exec):
        return {"exec": {"command": list(action.command)}}
    if isinstance(action, Sleep):
        return {"sleep": {"seconds": action.seconds}}
    if isinstance(action, Grpc):
        return {"grpc": without_empty({"port": action.port, "service": action.service})}
    if isinstance(action, HttpGet):
        headers = [{"name": name, "value": value} for name, value in action.headers]
        scheme = action.scheme.upper() if action.scheme != "http" else None
        body = {"path": action.path, "port": action.port, "host": action.host, "scheme": scheme}
        return {"httpGet": without_empty({**body, "httpHeaders": headers})}
    return {"tcpSocket": without_empty({"port": action.port, "host": action.host})}
