"""Whole manifests, and everything that comes of them.

After a change that is meant: ``HYPER_GOLDEN=write pytest tests/golden/kube``, and read the difference.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hypercontainer import kube

HERE = Path(__file__).parent
MANIFESTS = sorted(HERE.glob("*.yaml"))


def _plan(plan: kube.PodPlan) -> dict[str, Any]:
    found = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    found["spec"] = _without_defaults(json.loads(msgspec.json.encode(plan.spec)), plan.spec)
    found["ports"] = [[*key, port] for key, port in plan.ports.items()]
    del found["spec"]["manifest"]
    return found


def _without_defaults(value: Any, struct: Any) -> Any:
    """Only what is said is worth reading."""
    if not isinstance(struct, msgspec.Struct):
        if isinstance(struct, tuple):
            return [_without_defaults(one, other) for one, other in zip(value, struct, strict=True)]
        return value
    found = {}
    for field in msgspec.structs.fields(struct):
        own = getattr(struct, field.name)
        default = field.default_factory() if callable(field.default_factory) else field.default
        if own != default:
            found[field.name] = _without_defaults(value[field.name], own)
    kind = {"kind": value["kind"]} if "kind" in value else {}
    return kind | found


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_manifest(path: Path) -> None:
    objects, warnings = kube.read(path.read_text())
    result = {
        "warnings": warnings,
        "pods": [_plan(plan) for plan in kube.pods(objects)],
        "services": kube.services(objects),
        "claims": kube.claims(objects),
    }
    text = json.dumps(json.loads(msgspec.json.encode(result)), indent=1, ensure_ascii=False) + "\n"
    golden = path.with_suffix(".json")
    if os.environ.get("HYPER_GOLDEN") == "write":
        golden.write_text(text)
    assert text == golden.read_text()


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_what_is_kept_plays_again_as_the_same_pods(path: Path) -> None:
    objects, _ = kube.read(path.read_text())
    plans = kube.pods(objects)
    running = [
        (plan.spec, kube.Names(plan.spec.name or "", tuple(one.name or "" for one in plan.spec.containers)))
        for plan in plans
        if plan.owner[0] != "Job"  # whose pods are retried by the Job, of which a Pod knows nothing
    ]
    again, _ = kube.read(kube.generate(running) or "{}") if running else (kube.Objects(), ())
    uids = {plan.spec.name: "11111111-2222-3333-4444-555555555555" for plan in plans}
    replayed = kube.pods(
        again, known=objects, uid=lambda name: uids[name] if name == "env" else kube.stable_uid(name)
    )
    strip = msgspec.structs.replace
    assert [strip(plan.spec, manifest="") for plan in replayed] == [
        strip(spec, manifest="") for spec, _ in running
    ]
