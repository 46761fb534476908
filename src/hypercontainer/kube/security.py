"""Security contexts: what a container says goes before what its pod says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypercontainer.errors import InvalidArgument
from hypercontainer.kube.context import Context

if TYPE_CHECKING:
    from lightkube.models import core_v1

_CAPABILITY = re.compile(r"(CAP_)?[A-Z][A-Z_]{1,40}|ALL")
_SYSCTL = re.compile(r"[a-z0-9]([-_a-z0-9]*[a-z0-9])?([./][a-z0-9*]([-_a-z0-9*]*[a-z0-9*])?)*")
MAX_ID = 2**31 - 1


@dataclass(frozen=True)
class Security:
    """Of one container, in the words of ``ContainerSpec``."""

    user: str | None
    group: str | None
    groups: tuple[str, ...]
    run_as_non_root: bool
    privileged: bool
    cap_add: tuple[str, ...]
    cap_drop: tuple[str, ...]
    no_new_privileges: bool
    read_only: bool
    seccomp: str | None


def of_container(container: core_v1.Container, spec: core_v1.PodSpec, ctx: Context, path: str) -> Security:
    from lightkube.models import core_v1

    own, pod = container.securityContext or core_v1.SecurityContext(), spec.securityContext
    pod = pod or core_v1.PodSecurityContext()
    where = f"{path}.securityContext"
    uid = pod.runAsUser if own.runAsUser is None else own.runAsUser
    gid = pod.runAsGroup if own.runAsGroup is None else own.runAsGroup
    non_root = pod.runAsNonRoot if own.runAsNonRoot is None else own.runAsNonRoot
    if non_root and uid == 0:
        raise InvalidArgument(f"{ctx.at(where)}: runAsUser 0 and runAsNonRoot exclude one another")
    if own.procMount not in (None, "", "Default"):
        raise InvalidArgument(f"{ctx.at(where)}.procMount: {own.procMount} is not supported")
    add, drop = _capabilities(own.capabilities, ctx, f"{where}.capabilities")
    _check_escalation(own, add, ctx, where)
    user = None if uid is None else str(_id(uid, ctx, f"{where}.runAsUser"))
    group = None if gid is None else str(_id(gid, ctx, f"{where}.runAsGroup"))
    if user and group:
        user, group = f"{user}:{group}", None
    return Security(
        user=user,
        group=group,
        groups=tuple(
            str(_id(one, ctx, "spec.securityContext.supplementalGroups"))
            for one in pod.supplementalGroups or ()
        ),
        run_as_non_root=bool(non_root),
        privileged=bool(own.privileged),
        cap_add=add,
        cap_drop=drop,
        no_new_privileges=own.allowPrivilegeEscalation is False,
        read_only=bool(own.readOnlyRootFilesystem),
        seccomp=_seccomp(own.seccompProfile or pod.seccompProfile, ctx, where),
    )


def _check_escalation(own: core_v1.SecurityContext, add: tuple[str, ...], ctx: Context, where: str) -> None:
    if own.allowPrivilegeEscalation is not False:
        return
    if own.privileged or any(one.removeprefix("CAP_") == "SYS_ADMIN" for one in add):
        other = "privileged" if own.privileged else "CAP_SYS_ADMIN"
        raise InvalidArgument(
            f"{ctx.at(where)}: allowPrivilegeEscalation: false and {other} exclude one another"
        )


def _capabilities(
    given: core_v1.Capabilities | None, ctx: Context, path: str
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if given is None:
        return (), ()
    for one in (*(given.add or ()), *(given.drop or ())):
        if not _CAPABILITY.fullmatch(one):
            raise InvalidArgument(
                f"{ctx.at(path)}: {one[:60]!r} is no capability", hint="as in NET_ADMIN, or ALL"
            )
    return tuple(given.add or ()), tuple(given.drop or ())


def _seccomp(profile: core_v1.SeccompProfile | None, ctx: Context, where: str) -> str | None:
    if profile is None or profile.type == "RuntimeDefault":
        return None
    if profile.type == "Unconfined":
        return "unconfined"
    problem = f"{profile.type} is not supported" if profile.type else "missing"
    raise InvalidArgument(
        f"{ctx.at(where)}.seccompProfile.type: {problem}", hint="RuntimeDefault, or Unconfined"
    )


def _id(value: int, ctx: Context, path: str) -> int:
    if not 0 <= value <= MAX_ID:
        raise InvalidArgument(f"{ctx.at(path)}: {value} is not 0 to {MAX_ID}")
    return value


def of_pod(given: core_v1.PodSecurityContext | None, ctx: Context) -> tuple[int | None, dict[str, str]]:
    """(fs_group, sysctls)."""
    if given is None:
        return None, {}
    path = "spec.securityContext"
    if given.supplementalGroupsPolicy == "Strict":
        raise InvalidArgument(
            f"{ctx.at(path)}.supplementalGroupsPolicy: Strict is not supported",
            hint="the groups that the image gives its user are always added",
        )
    sysctls = {}
    for one in given.sysctls or ():
        if len(one.name) > 253 or not _SYSCTL.fullmatch(one.name) or "\0" in one.value:
            raise InvalidArgument(f"{ctx.at(path)}.sysctls: {one.name[:80]!r} is no sysctl")
        name = one.name.replace("/", ".") if "/" in one.name and "." not in one.name else one.name
        if name in sysctls:
            raise InvalidArgument(f"{ctx.at(path)}.sysctls: {name} is there twice")
        sysctls[name] = one.value
    fs_group = None if given.fsGroup is None else _id(given.fsGroup, ctx, f"{path}.fsGroup")
    return fs_group, sysctls
