"""What iperf3 and ab are told, and what is read out of what they say."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Callable

IPERF_PORT = 5201
IPERF_S = 1
CLIENTS, REQUESTS = 8, 2000
AGREED_MS = 5000  # until there is a connection
BUSY = ("busy", "reset by peer", "refused")
PATIENCE, PAUSE_S = 50, 0.1
_REQUESTS = re.compile(r"^Requests per second: +([0-9.]+) ", re.MULTILINE)
_FAILED = re.compile(r"^(?:Failed requests|Non-2xx responses): +([1-9][0-9]*)", re.MULTILINE)


class Busy(AssertionError):
    """The server has not done with the one before, or is just about to listen anew."""


def client(address: str, port: int = IPERF_PORT) -> list[str]:
    """To there, for a second, and its words are JSON."""
    how = ["-t", str(IPERF_S), "--connect-timeout", str(AGREED_MS)]
    return ["iperf3", "-J", "-c", address, "-p", str(port), *how]


def rate(said: str) -> float:
    """Gbit/s, as the receiver counted them; AssertionError with what iperf3 complains of."""
    try:
        told = json.loads(said)
        if "error" in told:
            busy = any(word in told["error"] for word in BUSY)
            raise (Busy if busy else AssertionError)(f"iperf3: {told['error']}")
        return float(told["end"]["sum_received"]["bits_per_second"]) / 1e9
    except (ValueError, KeyError, TypeError):
        raise AssertionError(f"iperf3 says no rate: {said[-200:]!r}") from None


def patient(figure: Callable[[], float]) -> float:
    """Again where the server was busy."""
    for _ in range(PATIENCE):
        with contextlib.suppress(Busy):
            return figure()
        time.sleep(PAUSE_S)
    return figure()


def asker(address: str, port: int, requests: int = REQUESTS) -> list[str]:
    """A client of HTTP with some connections, which it keeps."""
    return ["ab", "-q", "-k", "-c", str(CLIENTS), "-n", str(requests), f"http://{address}:{port}/"]


def requests_a_second(said: str) -> float:
    """AssertionError where a request was not answered well."""
    failed, found = _FAILED.search(said), _REQUESTS.search(said)
    assert not failed, f"ab: {failed[0] if failed else ''}"
    assert found, f"ab says no rate: {said[-200:]!r}"
    return float(found[1])
