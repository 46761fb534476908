"""What a guest has by its network interfaces."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from hypercontainer.errors import InvalidArgument, NotSupported
from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.hypervisor.spec import EXISTING, NAT, Existing, Nic
from hypercontainer.suite.case import case
from hypercontainer.suite.harness import Harness
from hypercontainer.suite.linux import LinuxHarness, using
from hypercontainer.suite.nics import nat

GREETING = b"greetings\n"


@contextmanager
def greeting(address: str) -> Iterator[int]:
    """Says so to everybody who comes to the port."""

    def greet(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = server.accept()
                with client:
                    client.sendall(GREETING)

    with socket.create_server((address, 0)) as server:
        thread = threading.Thread(target=greet, args=(server,))
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@case()
async def a_vm_needs_no_network(harness: Harness) -> None:
    vm = await harness.launch(nics=())
    assert (await (await harness.adopted(vm)).kill()).reason is ExitReason.HOST_KILL


@case("linux")
async def a_guest_without_interfaces_has_none(harness: LinuxHarness) -> None:
    said = await harness.says(
        "for i in /sys/class/net/*; do [ -e $i/device ] && echo $i; done; echo end", nics=()
    )
    assert said == "end"


@case("linux")
async def interfaces_are_found_by_their_addresses(harness: LinuxHarness) -> None:
    nics = tuple(harness.nic(place) for place in range(4))
    said = await harness.says(f"for i in {' '.join(nic.mac for nic in nics)}; do nic $i; done", nics=nics)
    assert len(set(said.split())) == 4


@case("nat", "linux")
async def a_guest_reaches_its_gateway(harness: LinuxHarness) -> None:
    nic = harness.nic()
    network = nic.backend
    assert hasattr(network, "gateway")
    said = await harness.says(
        f"{using(nic)}; ping -c 1 -W 10 {network.gateway} | grep -o '1 packets received'"
    )
    assert said == "1 packets received"


@case("nat", "linux")
async def two_networks_of_one_guest_are_two(harness: LinuxHarness) -> None:
    """Each interface is of the network that it was given."""
    nics = [harness.nic(0), harness.nic(1)]
    nics[1] = replace(nics[1], backend=nat(guest_cidr="10.9.8.7/24", gateway="10.9.8.2", dns="10.9.8.3"))
    script = (
        f"{using(nics[0])}; ip link set $(nic {nics[1].mac}) up; ip addr add 10.9.8.7/24 dev $(nic {nics[1].mac})\n"
        "for i in 10.0.2.2 10.9.8.2; do ping -c 1 -W 10 $i | grep -o '1 packets received'; done\n"
        f"ping -c 1 -W 1 -I $(nic {nics[1].mac}) 10.0.2.3 >/dev/null && echo both"
    )
    said = await harness.says(script, nics=tuple(nics))
    assert said.splitlines() == ["1 packets received"] * 2


@case("nat", "linux")
async def a_guest_does_not_reach_the_hosts_loopback(harness: LinuxHarness) -> None:
    nic = harness.nic()
    with greeting("127.0.0.1") as port:
        tries = "".join(
            f"echo {address}: $(nc -w 5 {address} {port} </dev/null 2>&1)\n"
            for address in ("10.0.2.2", "10.0.2.3", "127.0.0.1")
        )
        said = await harness.says(f"{using(nic)}\n{tries}", nics=(nic,))
    assert GREETING.decode().strip() not in said
    assert said.count("nc: can't connect") == 3, said


@case("nat")
async def networks_that_make_no_sense_are_the_callers_error(harness: Harness) -> None:
    for wrong in (
        nat(gateway="10.0.3.2"),
        nat(dns="10.0.2.2"),
        nat(guest_cidr="10.0.2.2/24"),
        nat(guest_cidr="10.0.2"),
        nat(hostname="a b"),
    ):
        spec = harness.spec(nics=(Nic(harness.nic().mac, wrong),))
        with pytest.raises(InvalidArgument, match=r"network|hostname"):
            harness.owned(await harness.driver.launch(spec))
        assert not spec.run_dir.exists()


@case(f"no {EXISTING}")
async def a_driver_that_knows_no_networks_says_so(harness: Harness) -> None:
    spec = harness.spec(nics=(Nic(harness.nic().mac, Existing("default")),))
    with pytest.raises(NotSupported):
        harness.owned(await harness.driver.launch(spec))
    assert not spec.run_dir.exists()


@case(f"no {NAT}")
async def a_driver_that_translates_no_addresses_says_so(harness: Harness) -> None:
    spec = harness.spec(nics=(Nic(harness.nic().mac, nat()),))
    with pytest.raises(NotSupported):
        harness.owned(await harness.driver.launch(spec))
    assert not spec.run_dir.exists()


@case("nat", "process")
async def a_network_of_a_vm_ends_with_it(harness: Harness) -> None:
    vm = await harness.launch(nics=(harness.nic(0), harness.nic(1)))
    again = await harness.adopted(vm)
    async with asyncio.timeout(harness.patient(10)):
        assert (await again.kill()).reason is ExitReason.HOST_KILL
