"""Talks to what a container publishes.  A published port is open before the server behind it is."""

from __future__ import annotations

import http.client
import time

DEADLINE_S = 60.0


def http_get(address: str, path: str = "/") -> tuple[int, bytes]:
    """Status and body.  Tried again while connections are reset: a server seldom tells when it is ready."""
    limit = time.monotonic() + DEADLINE_S
    while True:
        connection = http.client.HTTPConnection(address, timeout=DEADLINE_S)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (ConnectionError, http.client.RemoteDisconnected):
            if time.monotonic() > limit:
                raise
            time.sleep(0.1)
        finally:
            connection.close()
