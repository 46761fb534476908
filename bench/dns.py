"""How many questions a second one core answers about names of ours: ``python -m bench.dns``.

A process asks, always with a number of questions on their way, and this one is hyperd's part: the server, its loop and
its UDP socket.  What one question costs is the CPU time of this process alone, which has nothing else to do.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import struct
import sys
import time
from collections.abc import Sequence

from hypercontainer.network.dns.fairness import Rate
from hypercontainer.network.dns.server import Server, ServerLimits
from hypercontainer.network.dns.upstream import Upstream

ON_THEIR_WAY = 32
QUESTIONS = 100_000
PACED = 2_000  # a second, as many as a busy network asks
PACED_S = 5.0
TIMEOUT_S = 5.0
_UNBOUNDED = ServerLimits(rate_each=Rate(per_second=1e9, burst=1e9))
Told = multiprocessing.connection.Connection


class _Zone:
    def lookup(self, asker: str, name: str) -> Sequence[str] | None:
        return ("10.0.0.2", "fd00::2") if name == "web.front" else None

    def reverse(self, asker: str, address: str) -> str | None:
        return None

    def learns(self, asker: str, answer: bytes) -> None:
        pass

    def may_forward(self, asker: str, name: str) -> bool:
        return False

    def servers(self, asker: str) -> None:
        return None


def _question(number: int) -> bytes:
    header = struct.pack("!6H", number & 0xFFFF, 0x100, 1, 0, 0, 0)
    return header + b"\3web\5front\0\0\1\0\1"


def _asks(server: tuple[str, int], told: Told) -> None:
    """At first as fast as answers come, then at a pace; says how long each took."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.connect(server)
        told.recv()
        began = time.perf_counter()
        for number in range(QUESTIONS + ON_THEIR_WAY):
            if number < QUESTIONS:
                sock.send(_question(number))
            if number >= ON_THEIR_WAY:
                sock.recv(512)
        told.send(time.perf_counter() - began)
        told.recv()
        began = time.perf_counter()
        for number in range(int(PACED * PACED_S)):
            time.sleep(max(0.0, began + number / PACED - time.perf_counter()))
            sock.send(_question(number))
            sock.recv(512)
        told.send(time.perf_counter() - began)


async def _measured(told: Told) -> tuple[float, float]:
    """Seconds of the clock, and of this process, until the other has said that it is done."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    loop.add_reader(told.fileno(), done.set)
    told.send(None)
    before = time.process_time()
    await done.wait()
    spent = time.process_time() - before
    loop.remove_reader(told.fileno())
    return float(told.recv()), spent


async def _serve(udp: socket.socket, told: Told) -> None:
    server = Server(Upstream(tuple), limits=_UNBOUNDED)
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        server.serve(udp, tcp, _Zone())
        fast_s, fast_cpu_s = await _measured(told)
        paced_s, paced_cpu_s = await _measured(told)
        await server.close()
    print(f"{QUESTIONS / fast_s:,.0f} questions/s, {fast_cpu_s / QUESTIONS * 1e6:.1f} us of CPU each")
    asked = PACED * PACED_S
    print(
        f"at {asked / paced_s:,.0f} questions/s {paced_cpu_s / paced_s * 100:.1f} % of a core, "
        f"{paced_cpu_s / asked * 1e6:.1f} us each"
    )


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    ours, theirs = multiprocessing.Pipe()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        asking = os.fork()
        if asking == 0:
            _asks(udp.getsockname(), theirs)
            os._exit(0)
        try:
            asyncio.run(_serve(udp, ours))
        finally:
            os.kill(asking, signal.SIGKILL)
            os.waitpid(asking, 0)
    return 0


if __name__ == "__main__":
    sys.exit(main())
