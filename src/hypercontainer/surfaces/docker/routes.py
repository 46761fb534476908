"""Every call of Docker's API that is served, as data, and how a request finds its own.

A line: methods, path, "<module>.<function>" of this package, and what else is to be said: ``takes=pieces`` or
``takes=file`` of a body that is not read whole, ``since=1.42`` of a call that older versions do not have.  {id} stands
for one segment, {name} for one or more: images have slashes in their names, which clients do not escape.  The first
line that fits counts.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal
from urllib.parse import unquote

from hypercontainer.surfaces.docker.call import Handler
from hypercontainer.surfaces.docker.versions import LEAST, Version
from hypercontainer.surfaces.docker.wording import PageNotFound

Takes = Literal["whole", "file", "pieces"]

_TABLE = """
GET,HEAD /_ping system.ping
GET /version system.version

POST /containers/{id}/start containers.start
POST /containers/{id}/stop containers.stop
POST /containers/{id}/restart containers.restart
POST /containers/{id}/kill containers.kill
POST /containers/{id}/pause containers.pause
POST /containers/{id}/unpause containers.unpause
POST /containers/{id}/rename containers.rename
POST /containers/{id}/resize containers.resize
POST /containers/{id}/wait containers.wait
POST /containers/{id}/attach containers.attach
GET /containers/{id}/attach/ws containers.attach_websocket
GET,POST /containers/{id}/checkpoints containers.checkpoint
DELETE /containers/{id} containers.remove

POST /containers/{id}/exec execs.create
POST /exec/{id}/start execs.start
POST /exec/{id}/resize execs.resize
GET /exec/{id}/json execs.inspect
"""

# Of GET, and yet not for those who may only look: they reach into a container, or take its files with them.
MORE_THAN_LOOKING = frozenset(
    {"containers.attach_websocket", "archive.read", "archive.export", "images.get", "images.get_one"}
)


@dataclass(frozen=True)
class Route:
    methods: tuple[str, ...]
    path: str
    does: str
    takes: Takes = "whole"
    since: Version = LEAST

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        escaped = re.escape(self.path).replace(r"\{id\}", "([^/]+)").replace(r"\{name\}", "(.+)")
        return re.compile(escaped, re.DOTALL)

    def match(self, method: str, path: str) -> tuple[str, ...] | None:
        """What stands for the names in it; None where it does not fit."""
        if method not in self.methods or (found := self._pattern.fullmatch(path)) is None:
            return None
        return tuple(unquote(each) for each in found.groups())

    @cached_property
    def handler(self) -> Handler:
        module, _, function = self.does.partition(".")
        handler: Handler = getattr(importlib.import_module(f"{__package__}.{module}"), function)
        return handler


def _route(line: str) -> Route:
    methods, path, does, *words = line.split()
    said = dict(word.split("=") for word in words)
    takes: Takes = said.get("takes", "whole")  # type: ignore[assignment]  # a test reads the whole table
    major, _, minor = said.get("since", "1.40").partition(".")
    return Route(tuple(methods.split(",")), path, does, takes, (int(major), int(minor)))


ROUTES = tuple(_route(line) for line in _TABLE.splitlines() if line)


def find(method: str, path: str, version: Version) -> tuple[Route, tuple[str, ...]]:
    """PageNotFound also where the path has another method, as with Docker."""
    for route in ROUTES:
        if version >= route.since and (names := route.match(method, path)) is not None:
            return route, names
    raise PageNotFound
