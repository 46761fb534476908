"""Where a pod finds who has a name, for what its kernel does on its behalf, which asks no name server."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from hypercontainer.engine.network.names import Names
from hypercontainer.engine.network.network import Network
from hypercontainer.engine.workers import Workers
from hypercontainer.errors import NotFound, Unavailable
from hypercontainer.semantics.files import HOST_GATEWAY

LOOK_UP_S = 10.0
_LOOKING = Workers("names of servers", 16, waits=True)


async def address_of(name: str, network: Network, names: Names) -> str:
    """Of a server: itself, where it is an address; the host's, by Docker's word for it; that of a pod in one of the
    pod's networks; else what the host's resolver says, of IPv4 where there is one.  NotFound; Unavailable."""
    with suppress(ValueError):
        return str(ipaddress.ip_address(name))
    if name == HOST_GATEWAY and network.host:
        return network.host
    askers = [host for attachment in network.attachments for host in attachment.hosts]
    found = next(filter(None, (names.lookup(asker, name.lower()) for asker in askers)), None)
    return _best(found or await _looked_up(name))


async def _looked_up(name: str) -> list[str]:
    try:
        async with asyncio.timeout(LOOK_UP_S):
            found = await _LOOKING.run(partial(socket.getaddrinfo, name, None, type=socket.SOCK_STREAM))
    except TimeoutError:
        raise Unavailable(
            f"server {name}: no name server answers", hint="name its address, or mend the host's resolver"
        ) from None
    except (socket.gaierror, UnicodeError) as error:
        raise NotFound(
            f"server {name}: there is no such name", hint="name its address, or mend the host's resolver"
        ) from error
    return [str(address[0]) for *_, address in found]


def _best(addresses: Iterable[str]) -> str:
    return min(addresses, key=lambda text: ipaddress.ip_address(text).version)
