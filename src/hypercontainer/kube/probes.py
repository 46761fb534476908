"""Probes and lifecycle hooks, with named ports resolved."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hypercontainer.contract.probes import Action, Exec, Grpc, HttpGet, Lifecycle, Probe, Sleep, TcpConnect
from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import names
from hypercontainer.kube.context import Context, exactly_one

if TYPE_CHECKING:
    from lightkube.models import core_v1

_HEADER = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]{1,256}")
_HOST = re.compile(r"[-A-Za-z0-9_.:]{0,253}")
_TARGET = re.compile(r"[!-~]*")
_CHECKS = ("exec", "grpc", "httpGet", "tcpSocket")
MAX_SECONDS = 2**31 - 1

Ports = Mapping[str, int]


def probe(
    given: core_v1.Probe | None, ports: Ports, ctx: Context, path: str, *, readiness: bool = False
) -> Probe | None:
    if given is None:
        return None
    which = exactly_one(given, _CHECKS, ctx.at(path))
    check: Exec | Grpc | HttpGet | TcpConnect
    if given.grpc is not None:
        port = names.port(given.grpc.port, ctx.at(f"{path}.grpc.port"))
        check = Grpc(port, names.text(given.grpc.service or "", ctx.at(f"{path}.grpc.service")))
    else:
        check = _common(given, which, ports, ctx, path)
    successes = _number(given.successThreshold, 1, 1, ctx, f"{path}.successThreshold")
    grace_s = given.terminationGracePeriodSeconds
    if not readiness and successes != 1:
        raise InvalidArgument(
            f"{ctx.at(path)}.successThreshold: {successes} is not 1", hint="only readiness has more"
        )
    if readiness and grace_s is not None:
        raise InvalidArgument(f"{ctx.at(path)}.terminationGracePeriodSeconds: this probe ends no container")
    return Probe(
        check,
        initial_delay_s=_number(given.initialDelaySeconds, 0, 0, ctx, f"{path}.initialDelaySeconds"),
        period_s=_number(given.periodSeconds, 10, 1, ctx, f"{path}.periodSeconds"),
        timeout_s=_number(given.timeoutSeconds, 1, 1, ctx, f"{path}.timeoutSeconds"),
        success_threshold=successes,
        failure_threshold=_number(given.failureThreshold, 3, 1, ctx, f"{path}.failureThreshold"),
        termination_grace_s=None
        if grace_s is None
        else _number(grace_s, 0, 1, ctx, f"{path}.terminationGracePeriodSeconds"),
    )


def lifecycle(given: core_v1.Lifecycle | None, ports: Ports, ctx: Context, path: str) -> Lifecycle:
    if given is None:
        return Lifecycle()
    return Lifecycle(
        _action(given.postStart, ports, ctx, f"{path}.postStart"),
        _action(given.preStop, ports, ctx, f"{path}.preStop"),
    )


def _action(given: core_v1.LifecycleHandler | None, ports: Ports, ctx: Context, path: str) -> Action | None:
    if given is None:
        return None
    which = exactly_one(given, ("exec", "httpGet", "sleep", "tcpSocket"), ctx.at(path))
    if given.sleep is not None:
        return Sleep(_number(given.sleep.seconds, 0, 0, ctx, f"{path}.sleep.seconds"))
    return _common(given, which, ports, ctx, path)


def _common(
    given: core_v1.Probe | core_v1.LifecycleHandler, which: str, ports: Ports, ctx: Context, path: str
) -> Exec | HttpGet | TcpConnect:
    where = ctx.at(f"{path}.{which}")
    if given.exec is not None:
        command = tuple(names.text(one, where) for one in given.exec.command or ())
        if not command:
            raise InvalidArgument(f"{where}.command: is empty")
        return Exec(command)
    if given.httpGet is not None:
        http = given.httpGet
        return HttpGet(
            _port(http.port, ports, where),
            _matching(_TARGET, "/" + (http.path or "").removeprefix("/"), f"{where}.path", "path of a URL"),
            _matching(_HOST, http.host or "", f"{where}.host", "host"),
            (http.scheme or "HTTP").lower(),
            tuple(_header(one, f"{where}.httpHeaders") for one in http.httpHeaders or ()),
        )
    assert given.tcpSocket is not None
    host = _matching(_HOST, given.tcpSocket.host or "", f"{where}.host", "host")
    return TcpConnect(_port(given.tcpSocket.port, ports, where), host)


def _header(given: core_v1.HTTPHeader, where: str) -> tuple[str, str]:
    _matching(_HEADER, given.name, where, "header's name")
    if any(character in given.value for character in "\r\n\0") or len(given.value) > names.MAX_PATH_CHARS:
        raise InvalidArgument(f"{where}: the value of {given.name} has more than one line, or is too long")
    return given.name, given.value


def _matching(form: re.Pattern[str], value: str, where: str, what: str) -> str:
    if len(value) > names.MAX_PATH_CHARS or not form.fullmatch(value):
        raise InvalidArgument(f"{where}: {value[:80]!r} is no {what}")
    return value


def _port(given: int | str, ports: Ports, where: str) -> int:
    if isinstance(given, str):
        if given in ports:
            return ports[given]
        if not (given.isascii() and given.isdigit() and len(given) <= 5):
            raise InvalidArgument(
                f"{where}.port: the container has no port {given[:80]!r}", hint="name it in ports"
            )
    return names.port(int(given), f"{where}.port")


def _number(given: int | None, default: int, least: int, ctx: Context, path: str) -> int:
    """Kubernetes takes 0 for "not said"."""
    value = given or default
    if not least <= value <= MAX_SECONDS:
        raise InvalidArgument(f"{ctx.at(path)}: {value} is not {least} or more")
    return value
