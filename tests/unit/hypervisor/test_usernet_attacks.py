"""The network of a NIC under a guest, askers and a host that mean it no good; how it begins, and in its jail."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from frames import DNS, GATEWAY, GUEST, UDP, arp, echo, ethernet, ipv4, tcp, udp
from free_port import free_port
from hypercontainer.contract.spec import PortMapping
from hypercontainer.hypervisor import jail, usernet
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.launching import held
from hypercontainer.hypervisor.uml.places import UmlRunDir
from hypercontainer.linux import unix
from hypercontainer.linux.confine import Means
from nics import nat
from usernet_guest import DEADLINE_S, LOOPBACK, NETWORK, Network, bound, forwarded, running

QUESTION = b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\1a\0\0\1\0\1"

# ---------------------------------------------------------------------------------------------- robustness


def mutated(frame: bytes, chance: random.Random) -> bytes:
    made = bytearray(frame[: chance.randrange(len(frame) + 1)] if chance.random() < 0.2 else frame)
    for _ in range(chance.randrange(4)):
        if made:
            made[chance.randrange(len(made))] = chance.randrange(256)
    return bytes(made)


def test_a_hostile_guest(tmp_path: Path, own: str) -> None:
    chance = random.Random(1)
    port = free_port()
    makers: list[Callable[[], bytes]] = [
        lambda: arp(chance.randrange(4), chance.choice((GATEWAY, GUEST, "255.255.255.255"))),
        lambda: echo(chance.choice((GATEWAY, own, "224.0.0.1"))),
        lambda: udp(chance.randrange(9), (own, port), chance.randbytes(chance.randrange(2000))),
        lambda: udp(68, ("255.255.255.255", 67), chance.randbytes(chance.randrange(600)), source="0.0.0.0"),
        lambda: udp(chance.randrange(9), (GATEWAY, 69), chance.randbytes(60)),
        lambda: tcp(chance.randrange(9), (own, port), chance.randrange(256), data=chance.randbytes(9)),
        lambda: ipv4(UDP, own, bytes(chance.randrange(99)), offset=chance.randrange(1 << 16), identity=2),
        lambda: ethernet(chance.choice((0x88F8, 0x86DD, 0x0800)), chance.randbytes(chance.randrange(1500))),
        lambda: chance.randbytes(chance.randrange(1, 65536)),
    ]
    with running(tmp_path, f"forward=tcp:{LOOPBACK}:{port}:{GUEST}:80") as network:
        network.card.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        for _ in range(200):
            for _ in range(20):
                network.send(mutated(chance.choice(makers)(), chance) or b"\0")
            network.settle()
        network.meet()
        forwarded(network, port)


def test_a_guest_that_opens_all_it_can(tmp_path: Path, own: str) -> None:
    port = free_port()
    with (
        running(
            tmp_path, f"forward=tcp:{LOOPBACK}:{port}:{GUEST}:80", before=("prlimit", "--nofile=512")
        ) as network,
        bound(own) as server,
    ):
        for number in range(1, 1000):
            network.send(udp(number, server.getsockname(), b"x"))
            if number % 50 == 0:
                network.settle()
        network.settle()
        assert network.ask("nonsense") == ["error a request is add, remove, forward or ready"]
        forwarded(network, port)


def test_a_guest_that_reads_nothing(tmp_path: Path) -> None:
    """Its frames are lost, and who connects waits; the rest goes on."""
    port = free_port()
    with running(tmp_path, f"forward=udp:{LOOPBACK}:{port}:{GUEST}:53") as network, bound(LOOPBACK) as client:
        for _ in range(20_000):
            network.send(echo(GATEWAY))
        assert network.ask("nonsense") == ["error a request is add, remove, forward or ready"]
        network.drain()
        network.settle()
        client.sendto(b"question", (LOOPBACK, port))
        assert network.packet(UDP).data == b"question"


# ---------------------------------------------------------------------------------------------- the beginning


def test_what_it_cannot_begin_with(tmp_path: Path) -> None:
    with (
        socket.create_server((LOOPBACK, 0)) as taken,
        unix.listen(tmp_path / "s", kind=socket.SOCK_SEQPACKET) as one,
    ):
        port, fd = taken.getsockname()[1], one.fileno()
        forward = f"forward=tcp:{LOOPBACK}:{port}:{GUEST}:80"
        for options, words in {
            (*NETWORK, forward): f"port {port} of {LOOPBACK} is taken",
            (*NETWORK, "forward=tcp:x"): "a forward is PROTOCOL:ADDRESS:PORT:ADDRESS:PORT",
            (*NETWORK, "mtu=65522"): "65522 bytes are no MTU, 68 to 65521",
            (*NETWORK, "smb=/"): "smb: no such option",
            (*NETWORK, "fast"): "fast: no such option",
            (*NETWORK, "gateway=10.0.3.2"): "gateway: it is not in the network",
            (*NETWORK, f"guest={GATEWAY}"): "guest, gateway and dns need three addresses",
            NETWORK[1:]: "there is no network",
        }.items():
            done = subprocess.run(
                [str(usernet.PROGRAM), str(fd), str(fd), *options],
                pass_fds=[fd],
                capture_output=True,
                text=True,
            )
            assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{words}\n")


def test_command_line() -> None:
    run, means = UmlRunDir(Path("/run/a")), Means(namespaces=True, landlock=7)
    assert usernet.argv(nat(), run, means) == [
        *(str(usernet.PROGRAM), "4", "5", *NETWORK, "mtu=1500", "offers=/names/ports"),
    ]
    port = PortMapping(80, 8080, LOOPBACK)
    without = Means(namespaces=False, landlock=7)
    assert usernet.argv(nat(port, restrict=True, hostname="box"), run, without, mtu=9000) == [
        *(str(usernet.PROGRAM), "4", "5", *NETWORK, "restrict", "hostname=box", "mtu=9000"),
        "offers=/run/a/names/ports",
        f"forward=tcp:{LOOPBACK}:8080:{GUEST}:80",
    ]


def test_in_its_jail(tmp_path: Path) -> None:
    """Names are asked of the host's resolver, also where that is on its loopback."""
    resolver = "127.1.2.3"
    try:
        server = bound(resolver, 53)
    except PermissionError:
        pytest.skip("only root has a resolver's port")
    with server:
        asyncio.run(_jailed(tmp_path, resolver, server))


async def _jailed(directory: Path, resolver: str, server: socket.socket) -> None:
    run = UmlRunDir(directory / "run")
    run.create()
    run.names.mkdir(mode=0o755)
    run.resolver.write_text(f"nameserver {resolver}\n")
    means = await jail.means(FactCache(directory / "facts"))
    port = free_port()
    network = nat(PortMapping(80, port, LOOPBACK))
    control = run.path / "control.sock"
    with contextlib.ExitStack() as fds:
        card, frames = (
            fds.enter_context(end) for end in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        )
        listener = fds.enter_context(unix.listen(control, kind=socket.SOCK_SEQPACKET))
        gate, process = await held(
            usernet.argv(network, run, means),
            environment={},
            rights=await usernet.rights(network, run, means, 54_321 if os.geteuid() == 0 else None),
            means=means,
            stdio=(0, 1, 2),
            inherited=[frames.fileno(), listener.fileno()],
            fds=fds,
        )
        try:
            frames.close()
            gate.open()
            card.settimeout(DEADLINE_S)
            await _used(Network(card, control), port, server)
            card.close()
            async with asyncio.timeout(DEADLINE_S):
                assert await process.wait() == 0
        finally:
            process.kill(signal.SIGKILL)
            await process.wait()
            process.close()


async def _used(network: Network, port: int, server: socket.socket) -> None:
    network.meet()
    network.send(udp(5000, (DNS, 53), QUESTION))
    question, peer = server.recvfrom(512)
    assert question == QUESTION
    server.sendto(b"answer", peer)
    answer = network.packet(UDP)
    assert (answer.source, answer.data) == (DNS, b"answer")
    network.send(echo("192.0.2.1"))
    network.settle()
    forwarded(network, port)
    more = PortMapping(80, free_port(), LOOPBACK)
    await usernet.add(network.control, more)
    forwarded(network, more.host_port)
    await usernet.remove(network.control, more)
