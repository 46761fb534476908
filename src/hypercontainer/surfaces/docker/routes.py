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
GET /info system.info
GET /system/df usage.usage

POST /containers/create creating.create
GET /containers/{id}/json inspecting.container
POST /containers/{id}/update creating.update
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
GET /containers/json listing.listed
GET /containers/{id}/logs logs.logs
GET /containers/{id}/stats stats.stats
GET /containers/{id}/top top.top
GET /containers/{id}/changes archives.changes
GET /containers/{id}/export archives.export
GET /containers/{id}/archive archives.pack
HEAD /containers/{id}/archive archives.stat
PUT /containers/{id}/archive archives.unpack takes=pieces
GET /events events.events

GET,POST /containers/{id}/checkpoints containers.checkpoint
DELETE /containers/{id}/checkpoints/{name} containers.checkpoint
DELETE /containers/{id} containers.remove
POST /containers/prune containers.prune

POST /containers/{id}/exec execs.create
POST /exec/{id}/start execs.start
POST /exec/{id}/resize execs.resize
GET /exec/{id}/json execs.inspect

GET /networks networks.find
POST /networks/create networks.create
POST /networks/prune networks.prune
GET /networks/{id} networks.inspect
DELETE /networks/{id} networks.remove
POST /networks/{id}/connect networks.connect
POST /networks/{id}/disconnect networks.disconnect

GET /volumes volumes.find
POST /volumes/create volumes.create
POST /volumes/prune volumes.prune
GET /volumes/{id} volumes.inspect
DELETE /volumes/{id} volumes.remove

POST /swarm/init absent.begin_swarm
PUT /volumes/{id} absent.of_cluster since=1.42
POST /swarm/join absent.begin_swarm
POST /swarm/leave absent.leave_swarm
GET,POST /swarm absent.of_swarm
GET,POST /swarm/{id} absent.of_swarm
GET,POST /services absent.of_swarm
GET,POST /nodes absent.of_swarm
GET,POST /tasks absent.of_swarm
GET,POST /secrets absent.of_swarm
GET,POST /configs absent.of_swarm
GET,POST,DELETE /services/{name} absent.of_swarm
GET,POST,DELETE /nodes/{name} absent.of_swarm
GET,POST,DELETE /tasks/{name} absent.of_swarm
GET,POST,DELETE /secrets/{name} absent.of_swarm
GET,POST,DELETE /configs/{name} absent.of_swarm
GET /plugins absent.plugins
GET /plugins/privileges absent.new_plugin
POST /plugins/pull absent.new_plugin
POST /plugins/create absent.new_plugin
GET,POST /plugins/{name}/{id} absent.plugin
DELETE /plugins/{name} absent.plugin
GET /images/json images.find
GET /images/search images.search
GET /images/get transfers.save
GET /images/{name}/get transfers.save
GET /images/{name}/json images.inspect
GET /images/{name}/history images.history
POST /images/create transfers.create takes=file
POST /images/load transfers.load takes=file
POST /images/prune images.prune
POST /images/{name}/push transfers.push
POST /images/{name}/tag images.tag
DELETE /images/{name} images.remove
GET /distribution/{name}/json images.distribution
POST /auth images.authenticate
POST /commit images.commit

POST /build builds.build takes=file
POST /build/cancel builds.cancel
POST /build/prune builds.prune
POST /grpc builds.grpc
PRI * builds.http2
POST /session builds.session
"""

# Of GET, and yet not for those who may only look: they reach into a container, or take its files with them.
MORE_THAN_LOOKING = frozenset(
    {"containers.attach_websocket", "archives.pack", "archives.export", "transfers.save"}
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
