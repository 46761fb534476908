"""A host's addresses, asked of name servers as a pod's own question would be; and which of them may be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import dns.rcode
import pytest

from dns_stage import name_server
from dns_words import Asked
from hypercontainer.network.dns.upstream import Upstream
from hypercontainer.network.egress.looking import look_up
from hypercontainer.network.egress.reach import reachable

A = 1


def says(asked: Asked) -> Sequence[bytes]:
    if asked.name != "api.example.test":
        return [asked.answer(rcode=dns.rcode.NXDOMAIN)]
    return [
        asked.answer("60 A 192.0.2.7" if asked.message.question[0].rdtype == A else "60 AAAA 2001:db8::7")
    ]


def test_both_kinds_of_addresses_are_found() -> None:
    async def story() -> None:
        async with asyncio.timeout(20), name_server(says) as world:
            upstream = Upstream(list)
            assert await look_up(upstream, "p", "api.example.test", [world.address]) == (
                "192.0.2.7",
                "2001:db8::7",
            )
            assert await look_up(upstream, "p", "else.example.test", [world.address]) == ()
            assert await look_up(upstream, "p", "api.example.test", None) == ()
            await upstream.close()

    asyncio.run(story())


NEVER = (
    [
        "127.0.0.1",
        "127.255.0.1",
        "::1",
        "0.0.0.0",
        "::",
        "169.254.169.254",
        "fe80::1",
        "fd00:ec2::254",
        "224.0.0.1",
    ]
    + [
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::1",
        "255.255.255.255",
        "100.100.100.200",
        "ff02::1",
    ]
    + ["64:ff9b::a9fe:a9fe"]
)
NAMED = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "fd00::1",
    "::ffff:10.0.0.1",
    "100.64.0.1",
    "64:ff9b::a00:1",
]
ALWAYS = ["8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808"]


@pytest.mark.parametrize("address", NEVER)
def test_what_is_never_reached(address: str) -> None:
    assert reachable([address], named=True) == ()


@pytest.mark.parametrize("address", NAMED)
def test_what_is_reached_where_it_is_named(address: str) -> None:
    assert reachable([address], named=True) == (address,)
    assert reachable([address], named=False) == ()


@pytest.mark.parametrize("address", ALWAYS)
def test_what_is_reached(address: str) -> None:
    assert reachable([address], named=False) == (address,)
