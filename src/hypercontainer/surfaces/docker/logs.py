"""What a container has written."""

from __future__ import annotations

from hypercontainer.errors import InvalidArgument
from hypercontainer.surfaces.docker.call import Call
from hypercontainer.surfaces.docker.streams import STDERR, STDOUT, content_type, joined
from hypercontainer.surfaces.http.answers import Chunks


async def logs(call: Call) -> Chunks:
    query = call.query
    channels = [number for name, number in (("stdout", STDOUT), ("stderr", STDERR)) if query.flag(name)]
    if not channels:
        raise InvalidArgument("Bad parameters: you must choose at least one stream")
    container = await call.container()
    follow, tty = query.flag("follow"), (await container.inspect()).spec.tty
    entries = container.logs(
        follow=follow,
        since=_moment(query.text("since")),
        until=_moment(query.text("until")),
        tail=_tail(query.text("tail")),
        timestamps=query.flag("timestamps"),
        details=query.flag("details"),
    )
    headers = (("Content-Type", content_type(call, tty=tty)),)
    return Chunks(200, headers, joined(entries, channels, tty=tty), at_once=follow)


def _moment(text: str) -> str:
    """0 is none, as with Docker."""
    return text if text.strip("0.") else ""


def _tail(text: str) -> int | None:
    """None: all, which anything is that is no number."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
