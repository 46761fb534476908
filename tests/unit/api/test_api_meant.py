"""A pod's name where a container's is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.unit.api.conftest import Serving


@pytest.mark.parametrize(
    ("method", "path", "helps"),
    [
        ("POST", "stop", "pods.stop"),
        ("POST", "start", "pods.start"),
        ("POST", "pause", "pods.pause"),
        ("GET", "wait", "pods.wait"),
        ("GET", "logs", "pods.logs"),
        ("DELETE", "", "pods.remove"),
        ("GET", "files?path=/x", ""),
    ],
)
async def test_a_pods_name_where_a_container_is_meant(
    serving: Serving, method: str, path: str, helps: str
) -> None:
    async with serving() as harness:
        assert (await harness.call("POST", "/v1/pods", {"name": "shop"}))[0] == 201
        status, answer = await harness.call(method, f"/v1/containers/shop/{path}".rstrip("/"))
        assert status == 404
        assert answer["error"]["hint"].startswith("shop is a pod")
        remedies = answer["error"]["details"].get("remedies", [])
        assert [(each["call"], each["of"]) for each in remedies] == ([(helps, "shop")] if helps else [])
        status, answer = await harness.call(method, f"/v1/containers/nobody/{path}".rstrip("/"))
        assert status == 404
        assert "is a pod" not in (answer["error"]["hint"] or "")
