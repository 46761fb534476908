"""Questions that come by UDP, and their answers.  What cannot be sent is lost: who misses it asks again."""

from __future__ import annotations

import contextlib
import functools
import socket
from typing import Any

from hypercontainer.network.dns.answering import Answering
from hypercontainer.network.dns.gate import Gate
from hypercontainer.network.dns.message import MAX_QUERY

AT_ONCE = 64  # datagrams that are taken before others have their turn
_BUFFER = 1 << 20  # bytes of questions that the kernel keeps, or as many as it allows: a burst is not lost


class Datagrams:
    def __init__(self, answering: Answering, gate: Gate) -> None:
        self._answering = answering
        self._gate = gate

    def take(self, udp: socket.socket) -> None:
        for _ in range(AT_ONCE):
            packet, (host, *rest) = udp.recvfrom(MAX_QUERY + 1)
            host = host.partition("%")[0]  # the scope is in the rest, and its name may be another namespace's
            if self._answering.admits(host):
                answered = functools.partial(_send, udp, (host, *rest))
                self._answering.answer(host, packet, stream=False, answered=answered)
            else:
                self._gate.shut(host)


def prepare(udp: socket.socket) -> None:
    udp.setblocking(False)
    with contextlib.suppress(OSError):
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)


def _send(udp: socket.socket, address: Any, answer: bytes) -> None:
    with contextlib.suppress(OSError):  # also when the network is gone by now
        udp.sendto(answer, address)
