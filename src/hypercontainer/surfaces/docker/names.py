"""Images' names and platforms as Docker's clients send them."""

from __future__ import annotations

import msgspec

from hypercontainer.errors import InvalidArgument
from hypercontainer.image.platforms import normalized
from hypercontainer.image.reference import parse
from hypercontainer.surfaces.docker.query import Query


class _Platform(msgspec.Struct):
    os: str = "linux"
    architecture: str = ""
    variant: str = ""


def tagged(name: str, tag: str) -> str:
    """``tag``, a digest perhaps, goes before one that the name has itself; without any it is the usual."""
    if not tag:
        return parse(name).canonical
    return f"{parse(name).name}{'@' if ':' in tag else ':'}{tag}"


def platform_of(text: str) -> str | None:
    """``linux/arm64``, or the same as JSON; None where nothing is said."""
    if not text.startswith("{"):
        return text or None
    try:
        said = msgspec.json.decode(text, type=_Platform)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise InvalidArgument("invalid platform: it is no JSON of architecture and os") from None
    return str(normalized(said.os, said.architecture, said.variant))


def instructions(query: Query) -> list[str]:
    """Lines of a Dockerfile, of which clients send one or several at once."""
    return [line for text in query.many("changes") for line in text.splitlines() if line.strip()]


def one_platform(query: Query) -> str | None:
    """Of newer clients there may be several, and an image here is of one."""
    said = {platform_of(text) for text in query.many("platform")}
    if len(said) > 1:
        raise InvalidArgument("several platforms are given: an image here is of one")
    return said.pop() if said else None
