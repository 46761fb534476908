"""Whatever a manifest says: pods come of it, or an InvalidArgument; nothing else."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hypercontainer import kube
from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import documents
from soak import rounds

GOLDEN = Path(__file__).parents[2] / "golden" / "kube"
BASES = [list(documents.load(path.read_text())) for path in sorted(GOLDEN.glob("*.yaml"))]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(min_value=10**19, max_value=10**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=12)
    | st.sampled_from(
        ["$(A)", "..", "/", "a/b", "1Gi", "-1", "\0", "Always", "x" * 300, "é", "0", "a.b", "$$($("]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "key", "items", "a", "path", "spec", "metadata"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


def translate(text: str) -> None:
    try:
        objects, _ = kube.read(text)
        plans = kube.pods(objects)
        kube.services(objects)
        kube.claims(objects)
        kube.jobs(objects)
        kube.crons(objects)
    except InvalidArgument as error:
        error.message.encode()
        assert len(error.message) < 2000
        return
    pods = [
        (one.spec, kube.Names(one.spec.name or "", tuple(c.name or "" for c in one.spec.containers)))
        for one in plans
    ]
    if pods:
        kube.read(kube.generate(pods))


@given(st.text(max_size=200) | st.text(alphabet="-:{}[]&*!|>'\"#%,? \nab0<.", max_size=60))
@settings(max_examples=rounds(short=400, soak=20_000))
def test_any_text(text: str) -> None:
    translate(text)


@given(VALUES)
@settings(max_examples=rounds(short=200, soak=10_000))
def test_any_value(value: Any) -> None:
    translate(yaml.safe_dump(value))
    translate(json.dumps(value))


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = (
        list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    )
    return [path, *(found for key in keys for found in _paths(value[key], (*path, key)))]


@given(st.data())
@settings(max_examples=rounds(short=1500, soak=20_000), suppress_health_check=[HealthCheck.too_slow])
def test_damaged_manifests(data: st.DataObject) -> None:
    base = copy.deepcopy(data.draw(st.sampled_from(BASES)))
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(_paths(base)[1:]))
        target: Any = base
        for key in path[:-1]:
            target = target[key]
        action = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "remove":
            del target[path[-1]]
        elif action == "add" and isinstance(target[path[-1]], dict):
            target[path[-1]][data.draw(st.sampled_from(["name", "extra", "kind", ""]))] = data.draw(VALUES)
        else:
            target[path[-1]] = data.draw(VALUES)
        if not base:
            break
    translate("\n---\n".join(json.dumps(one) for one in base))
