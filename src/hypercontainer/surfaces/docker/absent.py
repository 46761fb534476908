"""What Docker has and Hyper has not, so that who asks goes on: swarm and plugins."""

from __future__ import annotations

from hypercontainer.errors import NotFound, NotSupported, Unavailable
from hypercontainer.surfaces.docker.call import Call, found
from hypercontainer.surfaces.http.answers import Reply

_NOT_A_MANAGER = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)


async def of_swarm(call: Call) -> Reply:
    """In the words that some clients look for."""
    raise Unavailable(_NOT_A_MANAGER)


async def begin_swarm(call: Call) -> Reply:
    raise NotSupported("there is no swarm here: a hyperd has the containers of one machine")


async def leave_swarm(call: Call) -> Reply:
    raise Unavailable("This node is not part of a swarm")


async def of_cluster(call: Call) -> Reply:
    raise Unavailable("volume update is of cluster volumes, and there is no swarm")


async def plugins(call: Call) -> Reply:
    return found([])


async def plugin(call: Call) -> Reply:
    raise NotFound(f'plugin "{call.name[:200]}" not found')


async def new_plugin(call: Call) -> Reply:
    raise NotSupported("plugins would run on the host, beside the virtual machines: there are none")
