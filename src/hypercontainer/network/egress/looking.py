"""Looks a host's name up for the proxy, as a pod's own question would be."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Hashable, Sequence

from hypercontainer.network.dns import message, records
from hypercontainer.network.dns.upstream import Answered, Upstream
from hypercontainer.network.dns.zone import Address

_KINDS = (message.A, message.AAAA)
_RECURSION_DESIRED, _INTERNET = 0x0100, 1


async def look_up(
    upstream: Upstream, asker: Hashable, name: str, servers: Sequence[Address] | None
) -> tuple[str, ...]:
    """Those of IPv4 first; () where there are none, or nobody says."""
    loop = asyncio.get_running_loop()
    answers: list[asyncio.Future[bytes]] = []
    for kind in _KINDS:
        future: asyncio.Future[bytes] = loop.create_future()
        upstream.ask(asker, _question(name, kind), servers, _once(future))
        answers.append(future)
    said = await asyncio.gather(*answers)
    return tuple(address for answer in said for _, address, _ in records.addresses(answer))


def _once(future: asyncio.Future[bytes]) -> Answered:
    def take(answer: bytes) -> None:
        if not future.done():
            future.set_result(answer)

    return take


def _question(name: str, kind: int) -> message.Query:
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split("."))
    head = message.HEADER.pack(0, _RECURSION_DESIRED, 1, 0, 0, 0)
    return message.parse(head + labels + b"\0" + struct.pack(">HH", kind, _INTERNET))
