"""Every field that Kubernetes' types have is taken, reported or refused, and each does what it says."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lightkube.models import apps_v1, batch_v1, core_v1

from hypercontainer import kube
from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import fields, objects
from hypercontainer.kube.schema import Check, fields_of

MODULES = {"v1": core_v1, "apps/v1": apps_v1, "batch/v1": batch_v1}
KINDS = [getattr(MODULES[version], kind) for kind, version in objects.VERSIONS.items()]
SOURCE = "".join(
    path.read_text() for path in Path(objects.__file__).parent.glob("*.py") if path.stem != "fields"
)


def structs_in(kind: Any) -> list[type[msgspec.Struct]]:
    if typing.get_origin(kind) is not None:
        return [one for inner in typing.get_args(kind) for one in structs_in(inner)]
    return [kind] if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else []


def reachable() -> dict[str, type[msgspec.Struct]]:
    """The types of everything that is taken, to any depth."""
    found: dict[str, type[msgspec.Struct]] = {}
    todo = list(KINDS)
    while todo:
        kind = todo.pop()
        if kind.__name__ in found:
            continue
        found[kind.__name__] = kind
        taken = fields.TABLE[kind.__name__].taken
        todo += [one for name, inner in fields_of(kind).items() if name in taken for one in structs_in(inner)]
    return found


TYPES = reachable()


def every(which: str) -> list[Any]:
    return [
        pytest.param(kind, field, id=f"{name}.{field}")
        for name, kind in sorted(TYPES.items())
        for field in sorted(getattr(fields.TABLE[name], which))
        if field in fields_of(kind)  # older releases of the types have fewer
    ]


def example(kind: Any) -> Any:
    """Some value of this type that says something."""
    if typing.get_origin(kind) is typing.Union:
        return example(next(one for one in typing.get_args(kind) if one is not type(None)))
    if typing.get_origin(kind) is list:
        return [example(typing.get_args(kind)[0])]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return {one.encode_name: example(one.type) for one in msgspec.structs.fields(kind)[:1]}
    return {str: "x", int: 1, bool: True, float: 1.0, dict: {"a": "b"}}.get(kind, "2026-01-01T00:00:00Z")


@pytest.mark.parametrize("name", sorted(TYPES))
def test_every_field_is_decided_once(name: str) -> None:
    table, known = fields.TABLE[name], set(fields_of(TYPES[name]))
    decided = [*table.taken, *table.reported, *table.refused]
    assert len(decided) == len(set(decided))
    assert known <= set(decided)


@pytest.mark.parametrize(("kind", "field"), every("taken"))
def test_what_is_taken_is_used(kind: type[msgspec.Struct], field: str) -> None:
    attribute = next(one.name for one in msgspec.structs.fields(kind) if one.encode_name == field)
    assert f".{attribute}" in SOURCE or f'"{attribute}"' in SOURCE


@pytest.mark.parametrize(("kind", "field"), every("reported"))
def test_what_has_no_effect_is_reported(kind: type[msgspec.Struct], field: str) -> None:
    check = Check("subject")
    check.walk({field: example(fields_of(kind)[field])}, kind, "at")
    assert list(check.reported) == [f"at.{field}"]


@pytest.mark.parametrize(("kind", "field"), every("refused"))
def test_what_cannot_be_is_refused_by_name(kind: type[msgspec.Struct], field: str) -> None:
    with pytest.raises(InvalidArgument, match=rf"subject: at\.{field}: not supported") as caught:
        Check("subject").walk({field: example(fields_of(kind)[field])}, kind, "at")
    assert caught.value.hint


def test_a_field_that_is_new_to_us_is_refused() -> None:
    class Invented(msgspec.Struct):
        wonder: str | None = None

    with pytest.raises(InvalidArgument, match="wonder: not supported"):
        Check("subject").walk({"wonder": "x"}, Invented)


def test_what_says_nothing_harms_nobody() -> None:
    manifest = """
apiVersion: v1
kind: Pod
metadata: {name: a, creationTimestamp: null}
spec:
  hostNetwork: false
  hostPID: false
  ephemeralContainers: []
  nodeSelector: {}
  priority: 0
  containers: [{name: a, image: "x:1", volumeDevices: []}]
status: {}
"""
    assert kube.read(manifest)[1] == ()


def test_each_field_is_reported_once() -> None:
    policies = "resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}]"
    containers = ", ".join(f'{{name: {name}, image: "x:1", {policies}}}' for name in "abc")
    manifest = f"{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{containers: [{containers}]}}}}"
    assert kube.read(manifest)[1] == ("Pod/p: spec.containers.resizePolicy has no effect here",)


def test_unknown_fields_are_found_below_what_has_no_effect() -> None:
    with pytest.raises(InvalidArgument, match=r"at\.affinity\.nodeAffinty: unknown field .*nodeAffinity"):
        Check("subject").walk({"affinity": {"nodeAffinty": {}}}, core_v1.PodSpec, "at")


@pytest.mark.parametrize("which", ["reported", "refused"])
def test_the_documentation_names_what_is_not_taken(which: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / "kubernetes.md").read_text()
    missing = {
        field
        for table in fields.TABLE.values()
        for field in getattr(table, which)
        if f"`{field}`" not in text
    }
    assert not missing
