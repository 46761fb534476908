"""What Docker's API says of images on their way, and what is brought there."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from docker_client import Answer, DockerClient

Served = Callable[[], AbstractAsyncContextManager[DockerClient]]
OTHER = "platform=%7B%22architecture%22%3A%22s390x%22%2C%22os%22%3A%22linux%22%7D"  # than what is here


def messages(answer: Answer) -> list[dict[str, Any]]:
    lines = answer.body.split(b"\r\n")
    assert lines.pop() == b""
    return [json.loads(line) for line in lines]


def statuses(answer: Answer) -> list[str]:
    """Without what says how far something is."""
    return [
        f"{message['id']}: {message['status']}" if "id" in message else message["status"]
        for message in messages(answer)
        if "progress" not in message
    ]


def layer_of(text: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(text)
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


def auth(**said: str) -> dict[str, str]:
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(said).encode()).decode()}


async def the_events(docker: DockerClient) -> list[tuple[str, str]]:
    events = docker.engine.system.events(since="1h", until="0s", filters={"type": ["image"]})
    return [(event.action, event.attributes.get("name", "")) async for event in events]
