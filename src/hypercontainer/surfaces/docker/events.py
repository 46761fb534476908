"""What happens, in Docker's words: what only Hyper knows of (pods, templates, policies) is left out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any

from hypercontainer.contract.answers import Event
from hypercontainer.engine import times
from hypercontainer.errors import InvalidArgument
from hypercontainer.image import reference
from hypercontainer.surfaces.docker import versions
from hypercontainer.surfaces.docker.call import Call
from hypercontainer.surfaces.docker.versions import Version
from hypercontainer.surfaces.http.answers import JSON, Chunks, closed_after, json_line

SEQUENCE = "application/json-seq"
_LINES = ("application/jsonl", "application/x-ndjson")
_RECORD = b"\x1e"  # before each text of a sequence: RFC 7464

# Docker's, by type.
_ACTIONS = {
    "container": frozenset(
        "attach commit create destroy detach die exec_create exec_detach exec_die exec_start export health_status kill "
        "oom pause prune rename resize restart start stop unpause update".split()
    ),
    "image": frozenset("delete import load prune pull push save tag untag".split()),
    "network": frozenset("connect create destroy disconnect prune update".split()),
    "volume": frozenset("create destroy mount prune unmount".split()),
    "builder": frozenset({"prune"}),
    "daemon": frozenset({"reload"}),
}
_OURS = ("vm", "timings")  # attributes of a start


async def events(call: Call) -> Chunks:
    query, kind = call.query, _kind(call)
    until = query.text("until")
    found = call.engine.system.events(
        since=query.text("since"),
        until=until if until.strip("0.") else "",  # 0 is none, as with Docker
        filters=query.filters(),
    )
    before = _RECORD if kind == SEQUENCE else b""
    return Chunks(200, (("Content-Type", kind),), _lines(found, call.version, before), at_once=True)


def _kind(call: Call) -> str:
    accepted = call.header("accept")
    return next((kind for kind in (*_LINES, SEQUENCE) if kind in accepted and call.version >= (1, 52)), JSON)


async def _lines(found: AsyncIterator[Event], version: Version, before: bytes) -> AsyncGenerator[bytes, None]:
    async with closed_after(found):
        async for event in found:
            if (told := docker_event(event)) is not None:
                yield before + json_line(versions.shaped("event", told, version))


def docker_event(event: Event) -> dict[str, Any] | None:
    """None of what Docker has no word for."""
    if event.action.partition(":")[0] not in _ACTIONS.get(event.type, ()):
        return None
    identifier, attributes = _actor(event)
    moment_ns = times.to_ns(event.time)
    return {
        **_old(event, identifier),
        "Type": event.type,
        "Action": event.action,
        "Actor": {"ID": identifier, "Attributes": attributes},
        "scope": "local",
        "time": moment_ns // 10**9,
        "timeNano": moment_ns,
    }


def _actor(event: Event) -> tuple[str, dict[str, str]]:
    if event.type == "container" and event.action == "start":
        return event.id, {key: value for key, value in event.attributes.items() if key not in _OURS}
    if event.type == "image" and event.action in ("pull", "push"):  # of the name, not of what it leads to
        with suppress(InvalidArgument):
            named = reference.parse(event.attributes.get("name", event.id))
            return named.familiar(), {"name": named.familiar_name()}
    return event.id, event.attributes


def _old(event: Event, identifier: str) -> dict[str, str]:
    """As it was before there were types."""
    if event.type == "container":
        return {"status": event.action, "id": identifier, "from": event.attributes.get("image", "")}
    return {"status": event.action, "id": identifier} if event.type == "image" else {}
