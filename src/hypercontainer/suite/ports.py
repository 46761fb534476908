"""A TCP port of the loopback address that nobody has, and that no test was given before."""

from __future__ import annotations

import os
import socket

TRIES = 200
_WORKERS = 8  # so many test runs at the same time are never given the same port
_given: set[int] = set()


def free_port() -> int:
    own = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    for _ in range(TRIES):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
        if port // 2 % _WORKERS == own and port not in _given:  # the kernel gives odd ones, or even ones
            _given.add(port)
            return port
    raise AssertionError("no port is free that nobody was given")
