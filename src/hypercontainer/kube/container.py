"""One container of a Kubernetes pod -> ContainerSpec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING

from hypercontainer.contract.spec import NAME_MAX, ContainerSpec, RestartPolicy
from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import environment, names, probes, security, volumes
from hypercontainer.kube.context import Context
from hypercontainer.kube.resources import Amounts

if TYPE_CHECKING:
    from lightkube.models import core_v1

TERMINATION_LOG = "/dev/termination-log"
_RESTART = {"Always": "always", "OnFailure": "on-failure", "Never": "no"}
_LEAST_SHARES, _MOST_SHARES = 2, 262_144  # the kubelet's: what is less or more counts as these


def translate(
    given: core_v1.Container,
    role: str,
    own: Mapping[str, Amounts],
    volume_names: Iterable[str],
    ctx: Context,
    path: str,
) -> ContainerSpec:
    """``role``: main, init or sidecar.  ``own``: the resources of all the pod's containers."""
    _check_role(given, role, ctx, path)
    pod = ctx.model.spec
    assert pod is not None
    variables = environment.variables(given, own, ctx, path)
    ports = {one.name: one.containerPort for one in given.ports or () if one.name}
    amounts, hooks = own[given.name], given.lifecycle
    return ContainerSpec(
        image=names.image(given.image, ctx.at(f"{path}.image")),
        name=_name(given.name, ctx, path),
        entrypoint=_arguments(given.command, variables, ctx, f"{path}.command"),
        command=_arguments(given.args, variables, ctx, f"{path}.args"),
        env=tuple(f"{name}={value}" for name, value in variables.items()),
        working_dir=names.text(given.workingDir, ctx.at(f"{path}.workingDir")) if given.workingDir else None,
        tty=bool(given.tty),
        stdin_open=bool(given.stdin),
        stdin_once=bool(given.stdinOnce),
        expose=tuple(dict.fromkeys(_exposed(given))),
        mounts=volumes.mounts(given, volume_names, variables, ctx, path),
        memory_bytes=amounts.memory_limit_bytes or None,
        cpus=(amounts.cpu_limit_millis or 0) / 1000 or None,
        cpu_shares=_shares(amounts),
        pid_mode="pod" if pod.shareProcessNamespace else "",
        stop_signal=hooks.stopSignal if hooks else None,
        stop_timeout_s=grace_s(pod, ctx),
        restart=_restart(given, role, pod),
        role=role,
        startup=probes.probe(given.startupProbe, ports, ctx, f"{path}.startupProbe"),
        liveness=probes.probe(given.livenessProbe, ports, ctx, f"{path}.livenessProbe"),
        readiness=probes.probe(given.readinessProbe, ports, ctx, f"{path}.readinessProbe", readiness=True),
        lifecycle=probes.lifecycle(hooks, ports, ctx, f"{path}.lifecycle"),
        termination_message_path=names.absolute_path(
            given.terminationMessagePath or TERMINATION_LOG, ctx.at(f"{path}.terminationMessagePath")
        ),
        termination_message_fallback=given.terminationMessagePolicy == "FallbackToLogsOnError",
        pull=names.pull(given.image or "", given.imagePullPolicy),
        **asdict(security.of_container(given, pod, ctx, path)),
    )


def _check_role(given: core_v1.Container, role: str, ctx: Context, path: str) -> None:
    if role != "init":
        return
    for name in ("livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
        if getattr(given, name) is not None:
            raise InvalidArgument(
                f"{ctx.at(path)}.{name}: an init container has none",
                hint="a sidecar has: restartPolicy: Always",
            )


def grace_s(pod: core_v1.PodSpec, ctx: Context) -> int:
    value = 30 if pod.terminationGracePeriodSeconds is None else pod.terminationGracePeriodSeconds
    if not 0 <= value <= probes.MAX_SECONDS:
        raise InvalidArgument(f"{ctx.at('spec.terminationGracePeriodSeconds')}: {value} is not 0 or more")
    return value


def _name(name: str, ctx: Context, path: str) -> str:
    names.label(name, ctx.at(f"{path}.name"))
    whole = f"{ctx.name}-{name}"
    if len(whole) > NAME_MAX:
        raise InvalidArgument(
            f"{ctx.at(path)}.name: {whole!r} has more than {NAME_MAX} characters",
            hint="pod and container have a name together: shorten one",
        )
    return whole


def _arguments(
    given: Iterable[str] | None, variables: Mapping[str, str], ctx: Context, path: str
) -> tuple[str, ...] | None:
    """None where the image's apply: an empty list is as good as none."""
    found = []
    for one in given or ():
        found.append(names.text(environment.expand(one, variables, ctx.at(path)), ctx.at(path)))
        ctx.spend(len(found[-1]), path)
    return tuple(found) or None


def _exposed(given: core_v1.Container) -> Iterable[str]:
    for port in given.ports or ():
        if not port.hostPort:
            yield f"{port.containerPort}/{(port.protocol or 'TCP').lower()}"


def _shares(amounts: Amounts) -> int | None:
    if amounts.cpu_request_millis is None:
        return None
    return min(max(_LEAST_SHARES, amounts.cpu_request_millis * 1024 // 1000), _MOST_SHARES)


def _restart(given: core_v1.Container, role: str, pod: core_v1.PodSpec) -> RestartPolicy:
    name = _RESTART[given.restartPolicy or pod.restartPolicy or "Always"]
    if role == "init" and name == "always":
        name = "on-failure"  # it ends once, well
    return RestartPolicy(name, backoff="kubernetes")
