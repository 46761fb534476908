"""A container's variables: from literals, ConfigMaps, Secrets and the pod itself; and $(NAME) in text."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import names, resources
from hypercontainer.kube.context import Context, exactly_one
from hypercontainer.kube.resources import Amounts

if TYPE_CHECKING:
    from lightkube.models import core_v1

_REFERENCE = re.compile(r"\$(\$|\(([^)]*)\))")
_KEYED = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")
MAX_EXPANDED_CHARS = 1024 * 1024


def expand(text: str, variables: Mapping[str, str], where: str, *, strict: bool = False) -> str:
    """``$(NAME)`` is replaced where there is such a variable, ``$$`` is a dollar sign, all else stays as it is.

    ``strict``: a name that is not there is an error.  Nothing is expanded twice.
    """
    length = 0

    def one(match: re.Match[str]) -> str:
        nonlocal length
        if match[2] is None:
            return "$"
        if strict and match[2] not in variables:
            raise InvalidArgument(f"{where}: there is no variable {match[2][:80]!r}")
        value = variables.get(match[2], match[0])
        length += len(value)
        if length > MAX_EXPANDED_CHARS:
            raise InvalidArgument(f"{where}: more than {MAX_EXPANDED_CHARS} characters when expanded")
        return value

    end = text.rfind(")") + 1  # behind it nothing is a reference, and looking for its end would take for ever
    return _REFERENCE.sub(one, text[:end]) + text[end:].replace("$$", "$")


def variables(
    container: core_v1.Container, own: Mapping[str, Amounts], ctx: Context, path: str
) -> dict[str, str]:
    """In Kubernetes' order: envFrom first, then env, the later of a name in the place of the earlier.

    ``own``: the resources of the pod's containers, by name.
    """
    found: dict[str, str] = {}
    for index, source in enumerate(container.envFrom or ()):
        found.update(_all_of(source, ctx, f"{path}.envFrom[{index}]"))
    for index, variable in enumerate(container.env or ()):
        where = f"{path}.env[{index}]"
        if not names.is_variable(variable.name):
            raise names.invalid(
                ctx.at(f"{where}.name"), variable.name, "variable's name", 'printable, without "="'
            )
        if variable.valueFrom is None:
            found[variable.name] = expand(variable.value or "", found, ctx.at(where))
        elif variable.value:
            raise InvalidArgument(f"{ctx.at(where)}: value and valueFrom exclude one another")
        else:
            amounts = own[container.name]
            given = _from(variable.valueFrom, amounts, own, ctx, f"{where}.valueFrom")
            if given is not None:
                found[variable.name] = given
        value = names.text(found.get(variable.name, ""), ctx.at(where))
        ctx.spend(len(variable.name) + len(value), where)
    return found


def _all_of(source: core_v1.EnvFromSource, ctx: Context, path: str) -> dict[str, str]:
    which = exactly_one(source, ("configMapRef", "secretRef"), ctx.at(path))
    ref: core_v1.ConfigMapEnvSource | core_v1.SecretEnvSource = getattr(source, which)
    kind = "ConfigMap" if which == "configMapRef" else "Secret"
    found = {}
    for key, value in ctx.data(kind, ref.name, ref.optional, ctx.at(f"{path}.{which}")).items():
        name = (source.prefix or "") + key
        if not names.is_variable(name):
            raise names.invalid(ctx.at(f"{path}.prefix"), name, "variable's name", 'printable, without "="')
        found[name] = _text(value, ctx.at(f"{path}.{which}"), key)
        ctx.spend(len(name) + len(value), path)
    return found


def _from(
    source: core_v1.EnvVarSource, amounts: Amounts, own: Mapping[str, Amounts], ctx: Context, path: str
) -> str | None:
    """None: optional, and not there."""
    choices = ("configMapKeyRef", "fieldRef", "resourceFieldRef", "secretKeyRef")
    which = exactly_one(source, choices, ctx.at(path))
    where = f"{path}.{which}"
    if source.fieldRef is not None:
        return field_value(source.fieldRef, ctx, where)
    if source.resourceFieldRef is not None:
        return resource_value(source.resourceFieldRef, amounts, own, ctx, where)
    ref: core_v1.ConfigMapKeySelector | core_v1.SecretKeySelector = getattr(source, which)
    kind = "ConfigMap" if which == "configMapKeyRef" else "Secret"
    data = ctx.data(kind, ref.name, ref.optional, ctx.at(where))
    if ref.key in data:
        return _text(data[ref.key], ctx.at(where), ref.key)
    if ref.optional:
        return None
    raise InvalidArgument(f"{ctx.at(where)}: {kind} {ref.name!r} has no key {ref.key[:80]!r}")


def resource_value(
    selector: core_v1.ResourceFieldSelector,
    amounts: Amounts | None,
    own: Mapping[str, Amounts],
    ctx: Context,
    path: str,
) -> str:
    """``amounts``: of the container that asks; None: a volume asks, which has to name one."""
    if selector.containerName:
        amounts = own.get(selector.containerName)
    if amounts is None:
        name = selector.containerName or ""
        raise InvalidArgument(f"{ctx.at(path)}: containerName {name[:80]!r} is no container of the pod")
    return resources.field_value(selector, amounts, ctx.node, ctx.at(path))


def field_value(
    selector: core_v1.ObjectFieldSelector, ctx: Context, path: str, *, volume: bool = False
) -> str:
    """``volume``: a file has the pod's labels as a whole too, and of its metadata only."""
    if selector.apiVersion not in (None, "", "v1"):
        raise InvalidArgument(f"{ctx.at(path)}.apiVersion: {selector.apiVersion[:60]!r} is not v1")
    field = selector.fieldPath
    metadata, spec = ctx.model.metadata, ctx.model.spec
    assert metadata is not None and spec is not None
    if match := _KEYED.fullmatch(field):
        return str((getattr(metadata, match[1]) or {}).get(match[2], ""))
    values = {
        "metadata.name": ctx.name,
        "metadata.namespace": metadata.namespace or "default",
        "metadata.uid": ctx.uid,
    }
    if volume:
        values["metadata.labels"] = _lines(metadata.labels)
        values["metadata.annotations"] = _lines(metadata.annotations)
    else:
        values |= {
            "spec.nodeName": spec.nodeName or ctx.node.name,
            "spec.serviceAccountName": spec.serviceAccountName or spec.serviceAccount or "default",
            "status.hostIP": ctx.node.address,
            "status.hostIPs": ctx.node.address,
            "status.podIP": ctx.node.pod_address,
            "status.podIPs": ctx.node.pod_address,
        }
    if field not in values:
        hint = "one of " + ", ".join((*values, "metadata.labels['KEY']", "metadata.annotations['KEY']"))
        raise InvalidArgument(f"{ctx.at(path)}: the field {field[:80]!r} is not known here", hint=hint)
    return values[field]


def _lines(given: Mapping[str, str] | None) -> str:
    return "\n".join(
        f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in sorted((given or {}).items())
    )


def _text(value: bytes, where: str, key: str) -> str:
    try:
        return names.text(value.decode(), where)
    except UnicodeDecodeError:
        raise InvalidArgument(f"{where}: the value of {key[:80]!r} is not UTF-8") from None
