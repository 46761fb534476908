"""Docker's API as a surface (``http.server.Surface``)."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

from hypercontainer import __version__
from hypercontainer.surfaces.docker import routes, versions
from hypercontainer.surfaces.docker.call import Call
from hypercontainer.surfaces.docker.query import Query
from hypercontainer.surfaces.docker.wording import Forbidden, refused
from hypercontainer.surfaces.http.answers import Answer, Reply, Silent, Upgrade
from hypercontainer.surfaces.http.server import Request, Work
from hypercontainer.surfaces.http.tls import Who

if TYPE_CHECKING:
    from hypercontainer.engine.engine import Engine

logger = logging.getLogger(__name__)

# In front of every answer but an upgrade's, whatever version was asked for.
COMMON = (
    ("Api-Version", versions.words(versions.NEWEST)),
    ("Docker-Experimental", "false"),
    ("Ostype", "linux"),
    ("Server", f"Hyper/{__version__} (linux)"),
)


class DockerApi:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def accept(self, request: Request) -> Work:
        target, _, text = request.target.partition("?")
        version, path = versions.split(target)
        route, names = routes.find(request.method, path, version)
        _check_allowed(request.who, request.method, route)
        query = Query(text)

        async def do(body: Any) -> Answer:
            call = Call(
                engine=self._engine,
                version=version,
                method=request.method,
                names=names,
                query=query,
                headers=request.headers,
                body=body,
                peer_uid=request.peer_uid,
            )
            try:
                return _with_common(await route.handler(call))
            except Exception as error:
                return _with_common(refused(error))

        return Work(do, route.takes)

    def refuse(self, error: Exception) -> Reply:
        reply = refused(error)
        return dataclasses.replace(reply, headers=(*COMMON, *reply.headers))


def _check_allowed(who: Who, method: str, route: routes.Route) -> None:
    if who.role is None:
        raise Forbidden(f"the certificate of {who.name or 'this client'} has no role here")
    if who.role == "read" and (method not in ("GET", "HEAD") or route.does in routes.MORE_THAN_LOOKING):
        raise Forbidden(f"{who.name} may look, and no more")


def _with_common(answer: Answer) -> Answer:
    if isinstance(answer, Upgrade | Silent):
        return answer
    return dataclasses.replace(answer, headers=(*COMMON, *answer.headers))
