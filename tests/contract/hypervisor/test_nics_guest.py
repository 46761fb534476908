"""What is behind a NIC, seen from a guest: a network that does not lead to the host's loopback, and tap devices."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import select
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from frames import DNS, GATEWAY, GUEST, ROUTER, UDP, ipv4, parse, udp_packet
from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import LaunchError, Unavailable
from hypercontainer.hypervisor.driver import VM, ExitReason
from hypercontainer.hypervisor.qemu.binary import Binary
from hypercontainer.hypervisor.spec import Nic, Tap
from nics import MAC, nat_nic
from tap_space import TapSpace

pytestmark = pytest.mark.vm

Run = Callable[[Callable[[Any], Awaitable[None]]], None]
Linux = Callable[..., dict[str, Any]]
MEBIBYTE = 1 << 20
SIZE = 16 * MEBIBYTE
TAP = Nic(MAC, Tap(Path("/run/keeper.sock"), "tap0"))
# The guest's one interface, whatever it is called, with an address.
UP = (
    "for nic in $(ls /sys/class/net); do [ $nic = lo ] || break; done; ip link set lo up; ip link set $nic up; "
    f"ip addr add {GUEST}/24 dev $nic; ip route add default via {GATEWAY}; "
)


def to_port(port: int) -> PortMapping:
    return PortMapping(80, port, "127.0.0.1")


async def printed(vm: VM, text: str) -> None:
    async with asyncio.timeout(20):
        while text not in vm.console_tail():
            await asyncio.sleep(0.01)


def test_a_guest_does_not_reach_the_hosts_loopback(run_real: Run, linux: Linux) -> None:
    async def test(harness: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            threading.Thread(target=greet, args=(server,), daemon=True).start()
            script = UP
            for address in (GATEWAY, DNS, "127.0.0.1"):
                script += f"echo {address}: $(nc -w 5 {address} {port} </dev/null 2>&1) >/dev/console; "
            vm = await harness.launch(nics=(nat_nic(),), **linux(script, harness.accelerator))
            ended = await vm.wait()
            assert ended.reason is ExitReason.GUEST_SHUTDOWN
            assert "greetings" not in ended.console
            assert ended.console.count("nc: can't connect") == 3, ended.console
            server.shutdown(socket.SHUT_RDWR)

    run_real(test)


def test_a_vm_ends_with_its_network(run_real: Run) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(nics=(nat_nic(),))
        (helper,) = vm.record.helpers
        os.kill(helper.pid, signal.SIGKILL)
        ended = await vm.wait()
        assert ended.reason is ExitReason.CRASH
        assert "the process for network interface 0 had ended" in ended.stderr

    run_real(test)


def test_a_qemu_without_datagrams_has_a_network_too(
    run_qemu: Run, linux: Linux, monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    """Before 7.2, by what a newer one has as well."""
    monkeypatch.setattr(Binary, "datagrams", False)

    async def test(harness: Any) -> None:
        nic = nat_nic(to_port(free_port))
        vm = await harness.launch(
            nics=(nic,), **linux(f"{UP} echo up >/dev/console; echo hello | nc -l -p 80")
        )
        await printed(vm, "up")
        async with asyncio.timeout(20):
            while await asyncio.to_thread(said_at, free_port) != b"hello\n":
                await asyncio.sleep(0.05)
        assert (await vm.wait()).reason is ExitReason.GUEST_SHUTDOWN

    run_qemu(test)


def said_at(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        return client.recv(100)


def greet(server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = server.accept()
            with client:
                client.sendall(b"greetings\n")


def test_a_tap_carries_much_both_ways(run_real: Run, linux: Linux, space: TapSpace) -> None:
    """By frames that are larger than the link's: neither side cuts them, nor makes their checksums."""
    down = os.urandom(SIZE)
    script = (
        f"{UP} dd if=/dev/urandom of=/up bs=1M count={SIZE // MEBIBYTE} 2>/dev/null; sha256sum </up >/dev/console; "
        f"httpd -h /; nc -l -p 7001; wget -q -O- http://{GATEWAY}:7000/ | sha256sum >/dev/console"
    )

    async def test(harness: Any) -> None:
        vm = await harness.launch(nics=(TAP,), **linux(script, harness.accelerator))
        space.ip("addr", "add", f"{GATEWAY}/24", "dev", "tap0")
        space.ip("link", "set", "tap0", "up")
        up = await asyncio.to_thread(space.do, fetched)
        assert len(up) == SIZE
        assert larger(space, "rx")
        with space.server((GATEWAY, 7000)) as server:
            server.settimeout(30)
            space.do(lambda: socket.create_connection((GUEST, 7001), 30).close())
            await asyncio.to_thread(served, server, down)
        ended = await vm.wait()
        assert hashlib.sha256(up).hexdigest() in ended.console
        assert hashlib.sha256(down).hexdigest() in ended.console
        assert space.links() == set()

    run_real(test)


def fetched() -> bytes:
    """What the guest's HTTP server has, once it has begun."""
    limit = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://{GUEST}/up", timeout=30) as answer:
                return bytes(answer.read())
        except urllib.error.URLError:
            assert time.monotonic() < limit
            time.sleep(0.05)


def served(server: socket.socket, data: bytes) -> None:
    """By HTTP, once."""
    client, _ = server.accept()
    with client:
        client.settimeout(30)
        client.recv(MEBIBYTE)
        client.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)


def larger(space: TapSpace, way: str) -> bool:
    """Whether the tap's frames in this direction were more than the link's, and by far."""
    counted = json.loads(space.ip("-j", "-s", "link", "show", "tap0"))[0]["stats64"][way]
    return bool(counted["bytes"] > 4 * 1500 * counted["packets"])


def test_checksums_are_right_on_the_wire(run_real: Run, linux: Linux, space: TapSpace) -> None:
    """Over a bridge to a machine that makes and looks at its own."""
    script = f"{UP} nslookup box.example {GATEWAY} >/dev/console 2>&1"

    async def test(harness: Any) -> None:
        machine = space.machine("machine0")
        try:
            space.ip("link", "add", "bridge0", "type", "bridge")
            vm = await harness.launch(nics=(TAP,), **linux(script, harness.accelerator))
            for name in ("tap0", "machine0"):
                space.ip("link", "set", name, "master", "bridge0", "up")
            space.ip("link", "set", "bridge0", "up")
            answering = asyncio.create_task(asyncio.to_thread(answer_names, machine))
            ended = await vm.wait()
            await answering
            assert "192.0.2.7" in ended.console, ended.console
        finally:
            os.close(machine)

    run_real(test)


def answer_names(machine: int) -> None:
    """One question, as a name server at the gateway's address, with ARP; the guest's checksums are looked at."""
    while select.select([machine], [], [], 30)[0]:
        frame = os.read(machine, 1 << 16)
        if frame[12:14] == b"\x08\x06" and frame[38:42] == socket.inet_aton(GATEWAY) and frame[21] == 1:
            reply = frame[14:20] + b"\0\2" + ROUTER + frame[38:42] + frame[22:32]
            os.write(machine, frame[6:12] + ROUTER + b"\x08\x06" + reply)
        packet = parse(frame) if frame[14] == 0x45 else None  # what has options is none that asks
        if packet is not None and packet.protocol == UDP and packet.ports[1] == 53:
            question = packet.data
            answer = question[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question[12:]
            answer += b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("192.0.2.7")
            segment = udp_packet((GATEWAY, 53), packet.peer, answer)
            to_guest = ipv4(UDP, GUEST, segment, source=GATEWAY)
            os.write(machine, frame[6:12] + ROUTER + to_guest[12:])
            if question[-4:-2] == b"\0\1":  # of kind A
                return


def test_a_clone_has_a_tap_of_its_own(run_qemu: Run, linux: Linux, space: TapSpace) -> None:
    script = (
        f"{UP} until ping -c 1 -w 1 {GATEWAY} >/dev/null; do :; done; echo met >/dev/console; sleep 1000000"
    )

    async def test(harness: Any) -> None:
        guest = linux(f"echo begun >/dev/console; {script}")
        vm = await harness.launch_to_save(nics=(TAP,), **guest)
        await printed(vm, "begun")
        snapshot = await vm.save()
        try:
            assert space.links() == set()
            own = replace(TAP, backend=Tap(Path("/run/keeper.sock"), "other0"))
            clone = await harness.clone(snapshot, nics=(own,), **guest)
            space.ip("addr", "add", f"{GATEWAY}/24", "dev", "other0")
            space.ip("link", "set", "other0", "up")
            await clone.resume()
            await printed(clone, "met")
            await clone.kill()
            assert space.links() == set()
            with pytest.raises(Unavailable, match="cannot be cloned"):
                await harness.clone(snapshot, nics=(nat_nic(),), **guest)
        finally:
            snapshot.close()

    run_qemu(test)


def test_a_fingerprint_knows_a_tap_from_a_network(run_real: Run, space: TapSpace) -> None:
    async def test(harness: Any) -> None:
        spec = harness.spec(nics=(TAP,))
        other = replace(TAP, backend=Tap(Path("/run/another.sock"), "tap1"))
        fingerprint = await harness.driver.fingerprint(spec)
        assert await harness.driver.fingerprint(replace(spec, nics=(other,))) == fingerprint
        assert await harness.driver.fingerprint(replace(spec, nics=(nat_nic(),))) != fingerprint

    run_real(test)


def test_nothing_is_forwarded_to_a_tap(run_real: Run, space: TapSpace, free_port: int) -> None:
    async def test(harness: Any) -> None:
        vm = await harness.launch(nics=(nat_nic(), replace(TAP, mac="52:54:00:12:34:57")))
        assert len(vm.record.helpers) == 1
        for change in (vm.add_forward, vm.remove_forward):
            with pytest.raises(Unavailable, match="network interface 1"):
                await change(to_port(free_port), nic=1)

    run_real(test)


def test_a_tap_that_is_taken(run_real: Run, space: TapSpace) -> None:
    async def test(harness: Any) -> None:
        await harness.launch(nics=(TAP,))
        with pytest.raises(LaunchError, match="busy"):
            await harness.launch(nics=(TAP,))

    run_real(test)


PLUGGED = replace(TAP, mac="52:54:00:12:34:58")


def test_an_interface_comes_and_goes_while_the_guest_runs(
    run_real: Run, linux: Linux, space: TapSpace
) -> None:
    """Again and again, up or not; the next hyperd can take it away as well."""
    look = "ls /sys/class/net | grep -v lo"
    script = (
        "echo begun >/dev/console; for i in 1 2 3; do "
        f"until {look} >/dev/null; do usleep 10000; done; "
        f"{UP} until ping -c 1 -w 1 {GATEWAY} >/dev/null; do :; done; "
        "echo met $i $(cat /sys/class/net/$nic/address) >/dev/console; "
        f"while {look} >/dev/null; do usleep 10000; done; echo parted $i >/dev/console; done; sleep 1000000"
    )

    async def test(harness: Any) -> None:
        vm = await harness.launch(nics=(), hotplug_slots=1, **linux(script, harness.accelerator))
        await printed(vm, "begun")
        for count in (1, 2, 3):
            await vm.attach_nic(PLUGGED)
            space.ip("addr", "add", f"{GATEWAY}/24", "dev", "tap0")
            space.ip("link", "set", "tap0", "up")
            await printed(vm, f"met {count} {PLUGGED.mac}")
            if count == 2:
                await vm.close()
                vm = harness.owned(await harness.another_driver().adopt(vm.record))
            await vm.detach_nic(PLUGGED.mac)
            assert space.links() == set()
            await printed(vm, f"parted {count}")

    run_real(test)
