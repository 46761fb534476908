"""The description of Docker's API: what is served is in it, and the other way round; what differs from it is seen."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import schemathesis

import docker_schema
from hypercontainer.surfaces.docker import routes
from hypercontainer.surfaces.docker.openapi.document import document
from hypercontainer.surfaces.docker.openapi.notation import source
from hypercontainer.surfaces.docker.versions import LEAST, NEWEST

# Docker's, neither served nor described; why.
NOT_SERVED = {
    "POST /containers/{}/checkpoints/{}": "no client asks for it",
}


def test_a_document_is_one() -> None:
    schemathesis.openapi.from_dict(document((1, 44))).validate()


def test_every_type_and_name_leads_somewhere() -> None:
    for version in (LEAST, (1, 44), NEWEST):
        text = json.dumps(document(version))
        known = document(version)["components"]["schemas"]
        for part in text.split('"#/components/schemas/')[1:]:
            assert part.partition('"')[0] in known


def test_every_route_is_described_and_what_is_described_is_served() -> None:
    """But for what answers only that there is no such thing: swarm's calls; and what is no call, but the beginning of
    HTTP/2."""
    served = {
        _plain(f"{method} {route.path}"): route.since for route in routes.ROUTES for method in route.methods
    }
    described = {_plain(name): each.span.since for name, each in source().operations.items()}
    of_what_is_not_there = {
        _plain(f"{method} {route.path}")
        for route in routes.ROUTES
        for method in route.methods
        if route.does.startswith("absent.")
    }
    assert served.keys() - described.keys() <= of_what_is_not_there | {"PRI *"}
    assert described.keys() <= served.keys()
    assert not NOT_SERVED.keys() & (served.keys() | described.keys())
    assert all(described[name] == since for name, since in served.items() if name in described)


def _plain(name: str) -> str:
    """Whatever a path calls what stands in it."""
    return "/".join("{}" if part.startswith("{") else part for part in name.split("/"))


def test_the_document_is_printed() -> None:
    command = [sys.executable, "-m", "hypercontainer.surfaces.docker.openapi", "1.44"]
    assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout) == document((1, 44))


def test_the_table_of_versions_is_up_to_date() -> None:
    script = Path(__file__).parents[3] / "tools/make_docker_versions.py"
    assert subprocess.run([sys.executable, script, "--check"]).returncode == 0


# That it is strict

ENDPOINT: dict[str, Any] = {
    **dict.fromkeys(("IPAMConfig", "Links", "Aliases", "DriverOpts", "DNSNames")),
    **dict.fromkeys(("MacAddress", "NetworkID", "EndpointID", "Gateway", "IPAddress"), ""),
    **dict.fromkeys(("IPv6Gateway", "GlobalIPv6Address"), ""),
    **dict.fromkeys(("IPPrefixLen", "GlobalIPv6PrefixLen", "GwPriority"), 0),
}


def test_a_field_is_of_its_versions() -> None:
    assert docker_schema.wrong_with("EndpointSettings", (1, 48), ENDPOINT) == []
    (wrong,) = docker_schema.wrong_with("EndpointSettings", (1, 47), ENDPOINT)
    assert "'GwPriority' was unexpected" in wrong
    assert docker_schema.wrong_with("EndpointSettings", (1, 43), ENDPOINT, newer=True) == []
    older = {name: value for name, value in ENDPOINT.items() if name not in ("GwPriority", "DNSNames")}
    assert docker_schema.wrong_with("EndpointSettings", (1, 43), older) == []
    assert len(docker_schema.wrong_with("EndpointSettings", (1, 52), older)) == 2
    assert docker_schema.wrong_with("EndpointSettings", (1, 52), {**ENDPOINT, "Gateway": None})
    assert docker_schema.wrong_with("EndpointSettings", (1, 52), {**ENDPOINT, "IPPrefixLen": "16"})


def test_what_may_be_null_or_left_out() -> None:
    summary: dict[str, Any] = {
        "Id": "sha256:a",
        "ParentId": "",
        "RepoTags": None,
        "RepoDigests": [],
        "Created": 1,
        "Size": 1,
    }
    summary |= {"SharedSize": -1, "VirtualSize": 1, "Labels": None, "Containers": -1}
    assert docker_schema.wrong_with("ImageSummary", (1, 42), summary) == []
    (wrong,) = docker_schema.wrong_with("ImageSummary", (1, 43), summary)
    assert wrong == 'at /RepoTags: null is not of type "array"'
    assert docker_schema.wrong_with("ImageConfig", (1, 52), {}) == []
    assert docker_schema.wrong_with("ImageConfig", (1, 51), {})


@pytest.mark.parametrize(
    ("method", "target", "status", "kind", "body", "words"),
    [
        ("GET", "/containers/json", 200, "application/json", b"[]", ""),
        ("GET", "/containers/json", 200, "application/json", b"{}", "{} is not of types"),
        ("GET", "/containers/json", 200, "text/plain", b"[]", "Content-Type text/plain is none of"),
        ("GET", "/containers/json", 404, "application/json", b'{"message":"m"}', "status 404 is none"),
        ("GET", "/containers/a/json", 404, "application/json", b'{"message":"m"}', ""),
        ("GET", "/containers/a/json", 404, "application/json", b'{"error":"m"}', '"message" is a required'),
        ("GET", "/images/a/b/c:1/json", 404, "application/json", b'{"message":"m"}', ""),
        ("POST", "/containers/a/start", 204, None, b"", ""),
        ("POST", "/containers/a/start", 204, None, b"x", "a body, where there is none"),
        ("POST", "/containers/a/attach", 404, "application/vnd.docker.raw-stream", b"words", ""),
        ("GET", "/v1.41/containers/a/logs", 200, "application/vnd.docker.raw-stream", b"\1\0", ""),
        (
            "GET",
            "/v1.41/containers/a/logs",
            200,
            "application/vnd.docker.multiplexed-stream",
            b"",
            "is none of",
        ),
        ("POST", "/images/create", 200, "application/json", b'{"status":"s"}\r\n{"id":"i"}\r\n', ""),
        (
            "POST",
            "/images/create",
            200,
            "application/json",
            b'{"status":"s"}\r\n{"ip":1}',
            "'ip' was unexpected",
        ),
        ("GET", "/swarm", 404, "application/json", b'{"message":"page not found"}', ""),
        ("GET", "/swarm", 200, "application/json", b"{}", "there is no such call"),
        ("GET", "/v1.39/info", 400, "application/json", b'{"message":"m"}', ""),
        ("GET", "/v1.39/info", 200, "application/json", b"{}", "version that is not served"),
    ],
)
def test_an_answer(method: str, target: str, status: int, kind: str | None, body: bytes, words: str) -> None:
    headers = dict.fromkeys(docker_schema.COMMON_HEADERS, "x") | ({"content-type": kind} if kind else {})
    found = docker_schema.wrong_answer(method, target, status, headers, body)
    assert bool(found) == bool(words), found
    assert words in " ".join(found)


def test_an_answer_without_what_each_has() -> None:
    (wrong,) = docker_schema.wrong_answer("POST", "/containers/a/start", 204, {"server": "x"}, b"")
    assert "without the headers ['api-version', 'docker-experimental', 'ostype']" in wrong
