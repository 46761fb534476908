"""`hyper policy`, and what run, create and pod create are told of policies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fake_hyperd import FakeHyperd
from hypercontainer.cli.container_options import POD_OPTIONS, RUN_OPTIONS
from hypercontainer.cli.container_spec import container_spec
from hypercontainer.cli.options import UsageError, parse
from hypercontainer.cli.pod_spec import pod_spec
from hypercontainer.contract.policies import EgressRule, NetworkPolicy, PolicyLimits
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.errors import InvalidArgument

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]
TEXT = """
egress:
- to: [10.0.0.0/8]
  ports: [443, 53/udp]
limits: {out: 1Mbit}
"""
POLICY = NetworkPolicy((EgressRule(("10.0.0.0/8",), ports=("443", "53/udp")),), PolicyLimits(out="1Mbit"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ci.yaml"
    path.write_text(TEXT)
    return path


def policy_of(*words: str) -> str | NetworkPolicy | None:
    """Of a container; a pod that is told the same has the same."""
    values, arguments = parse(RUN_OPTIONS, (*words, "image"), interspersed=False)
    made = msgspec.convert(container_spec(values, arguments[0], []), ContainerSpec).network_policy
    values, _ = parse(POD_OPTIONS, words)
    assert msgspec.convert(pod_spec(values, ""), PodSpec).network_policy == made
    return made


def test_a_policy_is_a_file_or_a_name(file: Path) -> None:
    assert policy_of() is None
    assert policy_of("--network-policy", "ci") == "ci"
    assert policy_of("--network-policy", str(file)) == POLICY
    assert policy_of("--network-policy", str(file), "--network-rate", "in=2Mbit,out=3Mbit") == NetworkPolicy(
        POLICY.egress, PolicyLimits(out="3Mbit", in_="2Mbit")
    )
    assert policy_of("--network-rate", "in=2Mbit") == NetworkPolicy(limits=PolicyLimits(in_="2Mbit"))


@pytest.mark.parametrize(
    "words",
    [
        ("--network-rate", "2Mbit"),
        ("--network-rate", "up=2Mbit"),
        ("--network-rate", "in="),
        ("--network-policy", "ci", "--network-rate", "in=2Mbit"),
        ("--network-policy", "/not/there.yaml"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        policy_of(*words)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("egress:\n- to: [a.org]\n  prts: [1]\n", "line 2 (egress[0])"),
        ("egress:\n- to: [a.org]\n- to: b.org\n", "line 3 (egress[1].to)"),
        ('{"egress": [{"to": ["a.org"]},\n {"to": [[]]}]}', "line 2 (egress[1].to[0])"),
        ("egress: [\n", "not YAML"),
        ("just text", "not a network policy"),
    ],
)
def test_a_file_that_is_wrong_is_told_by_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(InvalidArgument) as caught:
        policy_of("--network-policy", str(path))
    assert said in caught.value.message and "wrong.yaml" in caught.value.message


INFO: dict[str, Any] = {
    "name": "ci",
    "policy": json.loads(msgspec.json.encode(POLICY)),
    "users": ["web", "db"],
}


def test_policies_are_made_and_changed(hyperd: FakeHyperd, run: Run, file: Path, capsys: Capture) -> None:
    hyperd.answer("POST", "/v1/policies", INFO, 201)
    hyperd.answer("PUT", "/v1/policies", INFO)
    for verb, method in (("create", "POST"), ("update", "PUT")):
        assert run("policy", verb, "ci", str(file)) == 0
        asked = hyperd.asked(method, "/v1/policies").json
        assert asked["name"] == "ci" and msgspec.convert(asked["policy"], NetworkPolicy) == POLICY
    assert capsys.readouterr().out == "ci\nci\n"


def test_what_hyperd_refuses_is_told_by_its_line(
    hyperd: FakeHyperd, run: Run, file: Path, capsys: Capture
) -> None:
    field = {"field": "egress[0].ports[1]"}
    hyperd.fail("POST", "/v1/policies", 400, code="invalid_argument", message="no port", details=field)
    assert run("policy", "create", "ci", str(file)) == 1
    assert f"{file}, line 4 (egress[0].ports[1]): no port" in capsys.readouterr().err


def test_policies_are_listed_and_looked_at(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    hyperd.answer("GET", "/v1/policies", {"policies": [INFO]})
    hyperd.answer("GET", "/v1/policies/ci", INFO)
    hyperd.answer("DELETE", "/v1/policies/ci", None, 204)
    assert run("policy", "ls") == 0
    assert capsys.readouterr().out.split() == [
        *("NAME", "RULES", "LIMITS", "USED", "BY"),
        *("ci", "1", "out=1Mbit", "web,db"),
    ]
    assert run("policy", "ls", "-q") == 0
    assert capsys.readouterr().out == "ci\n"
    assert run("policy", "inspect", "ci") == 0
    assert json.loads(capsys.readouterr().out) == [INFO]
    assert run("policy", "rm", "ci") == 0


@pytest.mark.parametrize("allowed", [True, False])
def test_a_check_says_why_and_by_its_status_what(
    hyperd: FakeHyperd, run: Run, capsys: Capture, allowed: bool
) -> None:
    verdict = {"allowed": allowed, "reason": "because", "rule": None, "policy": "", "addresses": ["9.9.9.9"]}
    hyperd.answer("GET", "/v1/pods/web/policy", verdict)
    assert run("policy", "check", "--method", "POST", "web", "https://a.org/x") == (0 if allowed else 1)
    assert capsys.readouterr().out == f"{'allowed' if allowed else 'denied'}: because (9.9.9.9)\n"
    target = hyperd.asked("GET", "/v1/pods/web/policy").target
    assert "method=POST" in target and "url=https%3A%2F%2Fa.org%2Fx" in target


DENIAL = {
    "time": "2026-01-02T03:04:05Z",
    "pod": "ab" * 32,
    "pod_name": "web",
    "address": "2600::1",
    "port": 443,
    "protocol": "tcp",
    "name": "a.org",
    "reason": "no rule allows it",
    "count": 3,
}


def test_denials_are_lines(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    asked = {**DENIAL, "address": "", "protocol": "dns", "port": 53, "count": 1, "pod_name": ""}
    hyperd.lines("GET", "/v1/denied", DENIAL, asked)
    assert run("policy", "audit", "web") == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("web tcp [2600::1]:443 (a.org) no rule allows it, 3 times")
    assert second.endswith("abababababab dns a.org no rule allows it")
    assert "ref=web" in hyperd.asked("GET", "/v1/denied").target
