"""The user's SSH agent for the steps of a build: what they say to it comes in frames, a channel a connection
(contract/lent.py)."""

from __future__ import annotations

import select
import socket

from hypercontainer.client.http import broken_frame
from hypercontainer.contract.lent import CREDIT, GONE, WINDOW_BYTES, LentReader, credit, data, gone

RECEIVE_BYTES = 65536


class _Connection:
    """With the agent.  ``credit``: bytes that the other side takes of what it says."""

    def __init__(self) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.credit = WINDOW_BYTES
        self.said_end = self.heard_end = False


class Lender:
    """``side`` carries the frames; ``agent`` is the path of the agent's socket."""

    def __init__(self, side: socket.socket, agent: str) -> None:
        self._side, self._agent = side, agent
        self._frames = LentReader(broken_frame)
        self._connections: dict[int, _Connection] = {}
        self._owed: set[int] = set()  # channels of which the other side has not said that they are gone

    def run(self) -> None:
        """Until ``side`` ends.  Blocks."""
        try:
            while self._turn():
                pass
        finally:
            for connection in self._connections.values():
                connection.socket.close()

    def _turn(self) -> bool:
        sources = {
            each.socket.fileno(): channel
            for channel, each in self._connections.items()
            if each.credit and not each.said_end
        }
        ready, _, _ = select.select([self._side.fileno(), *sources], [], [])
        for fd in ready:
            if fd in sources:
                self._answer(sources[fd])
        if self._side.fileno() in ready:
            if not (received := self._side.recv(RECEIVE_BYTES)):
                return False
            for channel, kind, number, payload in self._frames.feed(received):
                self._hear(channel, kind, number, payload)
        return True

    def _answer(self, channel: int) -> None:
        connection = self._connections[channel]
        try:
            said = connection.socket.recv(min(connection.credit, RECEIVE_BYTES))
        except OSError:
            self._part_from(channel)
            return
        connection.credit -= len(said)
        connection.said_end = not said
        self._side.sendall(data(channel, said))
        self._part_if_ended(channel)

    def _hear(self, channel: int, kind: int, number: int, payload: bytes) -> None:
        if kind == GONE:
            if channel in self._connections:
                self._part_from(channel)
            self._owed.discard(channel)
        elif kind == CREDIT:
            if channel in self._connections:
                self._connections[channel].credit += number
        elif channel not in self._owed:
            self._said(channel, payload)

    def _said(self, channel: int, payload: bytes) -> None:
        try:
            if channel not in self._connections:
                connection = self._connections[channel] = _Connection()
                connection.socket.connect(self._agent)
            connection = self._connections[channel]
            if payload:
                connection.socket.sendall(payload)
                self._side.sendall(credit(channel, len(payload)))
            else:
                connection.heard_end = True
                connection.socket.shutdown(socket.SHUT_WR)
        except OSError:  # there is no agent any more
            self._part_from(channel)
        else:
            self._part_if_ended(channel)

    def _part_if_ended(self, channel: int) -> None:
        connection = self._connections[channel]
        if connection.said_end and connection.heard_end:
            self._part_from(channel)

    def _part_from(self, channel: int) -> None:
        self._connections.pop(channel).socket.close()
        self._owed.add(channel)
        self._side.sendall(gone(channel))
