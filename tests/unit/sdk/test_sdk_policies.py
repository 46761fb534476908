"""Network policies in the SDK."""

from __future__ import annotations

import msgspec

from fake_hyperd import FakeHyperd
from hypercontainer import Client, EgressRule, NetworkPolicy


def test_policies(hyperd: FakeHyperd, client: Client) -> None:
    policy = NetworkPolicy((EgressRule(("10.0.0.0/8",), except_=("10.1.0.0/16",), ports=(443,)),))
    info = {"name": "ci", "policy": msgspec.to_builtins(policy), "users": ["web"]}
    hyperd.answer("POST", "/v1/policies", info, 201)
    hyperd.answer("PUT", "/v1/policies", info)
    hyperd.answer("GET", "/v1/policies", {"policies": [info]})
    hyperd.answer("GET", "/v1/policies/ci", info)
    hyperd.answer("DELETE", "/v1/policies/ci", None, 204)
    assert client.policies.create("ci", policy).policy == policy
    assert hyperd.asked("POST", "/v1/policies").json["policy"]["egress"][0]["except"] == ["10.1.0.0/16"]
    assert client.policies.update("ci", policy).users == ("web",)
    assert [one.name for one in client.policies.list()] == [client.policies.inspect("ci").name]
    client.policies.remove("ci", force=True)
    assert hyperd.asked("DELETE", "/v1/policies/ci").target.endswith("?force=true")


def test_what_a_policy_says_and_has_denied(hyperd: FakeHyperd, client: Client) -> None:
    hyperd.answer("GET", "/v1/pods/web/policy", {"allowed": False, "reason": "no rule allows it"})
    assert not client.policies.check("web", "https://a.org", method="PUT").allowed
    assert "method=PUT" in hyperd.asked("GET", "/v1/pods/web/policy").target
    denial = {"time": "2026-01-02T03:04:05Z", "pod": "ab", "reason": "no rule allows it", "count": 2}
    hyperd.lines("GET", "/v1/denied", denial)
    assert [one.count for one in client.policies.audit("web")] == [2]
