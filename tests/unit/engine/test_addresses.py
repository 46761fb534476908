"""What a VM gets of its own, user IDs, and of the host's: published ports."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from fake_world import World
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network import ports
from hypercontainer.engine.sandbox.uids import free_uid
from hypercontainer.errors import Conflict, InvalidArgument, Unavailable
from stories import Tell, member, pod


def test_user_ids_run_out_only_when_all_are_taken() -> None:
    taken: set[int] = set()
    for _ in range(8):
        taken.add(free_uid(1000, 8, taken))
    assert taken == set(range(1000, 1008))
    with pytest.raises(Unavailable, match="uid_count"):
        free_uid(1000, 8, taken)


def test_two_hyperds_take_user_ids_from_different_places() -> None:
    first = {free_uid(500_000, 1 << 24, ()) for _ in range(16)}
    assert len(first) > 1


@pytest.fixture
def neighbours() -> Iterator[tuple[int, int]]:
    """Two ports of this machine that follow one another: the first is taken, the second is free."""
    for _ in range(100):
        with socket.socket() as taken, socket.socket() as free:
            taken.bind(("127.0.0.1", 0))
            first = taken.getsockname()[1]
            try:
                free.bind(("127.0.0.1", first + 1))
            except OSError:
                continue
            free.close()
            taken.listen()
            yield first, first + 1
            return


def test_of_a_range_the_first_free_port_is_taken(neighbours: tuple[int, int]) -> None:
    taken, free = neighbours
    wish = PortMapping(80, taken, "127.0.0.1", host_port_last=free)
    assert ports.choose([wish]) == (PortMapping(80, free, "127.0.0.1"),)
    with pytest.raises(Conflict, match=f"127.0.0.1:{taken}-{free}/tcp is already allocated"):
        ports.choose([wish, PortMapping(81, taken, "127.0.0.1", host_port_last=free)])
    twice = [PortMapping(80, free), PortMapping(81, free, "127.0.0.1")]
    with pytest.raises(Conflict, match=f"127.0.0.1:{free}/tcp is already allocated"):
        ports.choose(twice)
    with pytest.raises(Conflict, match=f"127.0.0.1:{taken}/tcp is already allocated"):
        ports.choose([PortMapping(80, taken, "127.0.0.1")])


@pytest.mark.parametrize(
    ("wish", "complaint"),
    [
        (PortMapping(80, 8080, "fd00::1"), "ports: fd00::1 is an address of IPv6, and of the network 'user'"),
        (PortMapping(80, 8080, "::1"), "of IPv6 the loopback address cannot be published"),
        (PortMapping(80, 0, "::"), "ports: :: is an address of IPv6, and of the network 'user'"),
        (PortMapping(80, 0, "::ffff:127.0.0.1"), "is no address of this machine"),
        (PortMapping(80, 8080, host_port_last=8079), "8080-8079 is no range"),
        (PortMapping(80, 0, host_port_last=9), "0-9 is no range"),
        (PortMapping(80, 65535, host_port_last=65536), "is no range"),
    ],
)
def test_ports_that_cannot_be_are_refused_when_they_are_asked_for(
    tell: Tell, wish: PortMapping, complaint: str
) -> None:
    async def story(w: World) -> None:
        with pytest.raises(InvalidArgument, match=complaint):
            await w.engine.containers.create(member("c", ports=(wish,), **w.spec_defaults))
        with pytest.raises(InvalidArgument, match=complaint):
            await pod(w, member("c"), ports=(wish,))
        assert await w.engine.containers.find(all=True) == []
        await pod(w, member("c"))
        with pytest.raises(InvalidArgument, match=complaint):
            await w.engine.any_pods.add_ports("p", [wish])

    tell(story)


def test_a_port_of_a_range_is_told_once_it_is_chosen(tell: Tell, neighbours: tuple[int, int]) -> None:
    taken, free = neighbours

    async def story(w: World) -> None:
        await pod(w, member("c"), ports=(PortMapping(80, taken, "127.0.0.1", host_port_last=free),))
        assert [port.host_port for port in await w.engine.any_pods.ports("p")] == [0]
        await w.engine.pods.start("p")
        assert [port.host_port for port in await w.engine.any_pods.ports("p")] == [free]
        with pytest.raises(Conflict, match="published already"):
            await w.engine.any_pods.add_ports("p", [PortMapping(80, free)])
        await w.engine.any_pods.remove_ports("p", [PortMapping(80, free)])
        assert await w.engine.any_pods.ports("p") == []

    tell(story)


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("shop", "shop"),
        ("shop-1.example", "shop-1.example"),
        ("my_shop", ""),
        ("shop-", ""),
        ("a" * 63, "a" * 63),
        ("a" * 64, ""),
        ("a.." + "b", ""),
    ],
)
def test_a_pods_host_name_is_its_name_where_that_is_one(tell: Tell, name: str, host: str) -> None:
    async def story(w: World) -> None:
        made = await pod(w, member("c"), name=name)
        assert (await w.engine.containers.inspect("c")).config.hostname == (host or made.id[:12])
        await w.engine.containers.create(member("later", pod=name))
        assert (await w.engine.containers.inspect("later")).config.hostname == (host or made.id[:12])

    tell(story)


def test_names_are_as_long_as_file_names(tell: Tell) -> None:
    async def story(w: World) -> None:
        made = await w.engine.containers.create(member("a" * 255, **w.spec_defaults))
        assert (await w.engine.containers.inspect("a" * 255)).config.hostname == made.id[:12]
        for name in ("b" * 256, "-b", "b/c", "", "ü"):
            if name:
                with pytest.raises(InvalidArgument, match="invalid container name"):
                    await w.engine.containers.create(member(name, **w.spec_defaults))
        await w.engine.containers.start("a" * 255)

    tell(story)
