"""Ports of the host that lead to the guest's."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

import pytest

from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import InvalidArgument, NotFound, NotSupported, Unavailable
from hypercontainer.suite.case import case
from hypercontainer.suite.harness import Harness
from hypercontainer.suite.linux import LinuxHarness, using
from hypercontainer.suite.nics import nat

ANSWER_S = 20.0


def to_port(port: int, protocol: str = "tcp") -> PortMapping:
    return PortMapping(80, port, "127.0.0.1", protocol)


def reachable(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def said_at(port: int, timeout_s: float, question: bytes = b"") -> bytes:
    """What is said there until its end, or b"" where nobody does."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as client:
            client.sendall(question)
            return client.makefile("rb").read()
    except ConnectionError:
        return b""


async def answer(harness: Harness, port: int, question: bytes = b"") -> bytes:
    """The first, of a guest that begins to listen at some time."""
    timeout_s = harness.patient(ANSWER_S)
    async with asyncio.timeout(timeout_s):
        while not (said := await asyncio.to_thread(said_at, port, timeout_s, question)):
            await asyncio.sleep(0.05)
    return said


@case("nat", "live_ports")
async def forwards_come_and_go(harness: Harness) -> None:
    vm = await harness.launch()
    port = harness.free_port()
    forward = to_port(port)
    assert not reachable(port)
    await vm.add_forward(forward)
    assert reachable(port)
    with pytest.raises(Unavailable, match=str(port)):
        await vm.add_forward(forward)
    await vm.remove_forward(forward)
    assert not reachable(port)
    with pytest.raises(NotFound):
        await vm.remove_forward(forward)
    await vm.add_forward(to_port(port, "udp"))
    await vm.remove_forward(to_port(port, "udp"))


@case("nat", "live_ports")
async def the_next_who_holds_the_vm_takes_a_forward_away(harness: Harness) -> None:
    port = harness.free_port()
    vm = await harness.launch(nics=(harness.nic(0, to_port(port)),))
    again = await harness.adopted(vm)
    assert reachable(port)
    await again.remove_forward(to_port(port))
    assert not reachable(port)
    await again.add_forward(to_port(port))
    assert reachable(port)


@case("nat", "live_ports")
async def a_port_that_somebody_else_has_is_not_forwarded(harness: Harness) -> None:
    vm = await harness.launch()
    port = harness.free_port()
    with socket.create_server(("127.0.0.1", port)), pytest.raises(Unavailable, match=str(port)):
        await vm.add_forward(to_port(port))
    await vm.add_forward(to_port(port))
    assert reachable(port)


@case("nat", "live_ports")
async def a_forward_leads_to_the_nic_that_it_names(harness: Harness) -> None:
    vm = await harness.launch(nics=(harness.nic(0), harness.nic(1)))
    port = harness.free_port()
    await vm.add_forward(to_port(port), nic=1)
    assert reachable(port)
    with pytest.raises(NotFound):
        await vm.remove_forward(to_port(port), nic=0)
    await vm.remove_forward(to_port(port), nic=1)
    assert not reachable(port)
    with pytest.raises(Unavailable, match=str(port)):
        await vm.add_forward(to_port(port), nic=2)


@case("nat")
async def a_forward_of_the_specification_is_there_from_the_start_and_goes_with_the_vm(
    harness: Harness,
) -> None:
    port = harness.free_port()
    vm = await harness.launch(nics=(harness.nic(0, to_port(port)),))
    assert reachable(port)
    await vm.kill()
    assert not reachable(port)


@case("nat", "live_ports")
async def a_forward_that_makes_no_sense_is_the_callers_error(harness: Harness) -> None:
    vm = await harness.launch()
    good = PortMapping(80, harness.free_port(), "127.0.0.1", "tcp")
    for wrong in (
        PortMapping(0, good.host_port, "127.0.0.1", "tcp"),
        PortMapping(80, 65536, "127.0.0.1", "tcp"),
        PortMapping(80, good.host_port, "127.0.0.1", "sctp"),
    ):
        with pytest.raises((InvalidArgument, NotSupported)):
            await vm.add_forward(wrong)
    await vm.add_forward(good)


@case("no live_ports")
async def a_driver_whose_forwards_do_not_change_says_so(harness: Harness) -> None:
    vm = await harness.launch()
    for call in (vm.add_forward, vm.remove_forward):
        with pytest.raises(NotSupported):
            await call(to_port(harness.free_port()))


@case("nat", "linux")
async def a_forwarded_port_reaches_who_listens_in_the_guest(harness: LinuxHarness) -> None:
    """From the start, or from later on, or until then; and what it says comes back."""
    first, second = harness.free_port(), harness.free_port()
    nic = harness.nic(0, to_port(first))
    listens = f"{using(nic)}; printf 'echo heard; head -n 1' > /answer; chmod +x /answer"
    script = f"{listens}; nc -ll -p 80 -e sh /answer"
    vm = await harness.launch(nics=(nic,), **harness.linux(script))
    assert await answer(harness, first, b"word\n") == b"heard\nword\n"
    if harness.has("live_ports"):
        await vm.add_forward(to_port(second))
        assert await answer(harness, second, b"word\n") == b"heard\nword\n"
        await vm.remove_forward(to_port(second))
        assert await asyncio.to_thread(said_at, second, harness.patient(ANSWER_S)) == b""
        assert await answer(harness, first, b"more\n") == b"heard\nmore\n"


@case("nat", "linux")
async def a_forwarded_port_of_udp_reaches_the_guest(harness: LinuxHarness) -> None:
    """Its kernel counts what came for nobody."""
    port = harness.free_port()
    nic = harness.nic(0, to_port(port, "udp"))
    count = "until [ $(awk '/^Udp: [0-9]/ {print $3}' /proc/net/snmp) -gt 0 ]; do usleep 50000; done"
    vm = await harness.launch(nics=(nic,), **harness.linux(f"{using(nic)}; {count}; echo counted"))
    waiting = asyncio.create_task(vm.wait())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(("127.0.0.1", port))
        while not waiting.done():
            with suppress(ConnectionRefusedError):  # the guest has nobody there, as it says by this
                client.send(b"word")
            await asyncio.wait([waiting], timeout=0.05)
    assert "counted" in waiting.result().console


@case("nat", "linux")
async def a_network_that_is_restricted_has_its_forwards_alone(harness: LinuxHarness) -> None:
    port = harness.free_port()
    nic = harness.nic()
    nic = type(nic)(nic.mac, nat(to_port(port), restrict=True))
    vm = await harness.launch(nics=(nic,), **harness.linux(f"{using(nic)}; echo inside | nc -l -p 80"))
    assert await answer(harness, port) == b"inside\n"
    await vm.wait()
