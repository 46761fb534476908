"""The user's SSH agent for the steps of a build: what they say to it comes in frames, a channel a connection.

A channel ends when both sides have said so by an empty frame (guest/init/lend.h).
"""

from __future__ import annotations

import select
import socket

from hypercontainer.client.http import broken_frame
from hypercontainer.contract.frames import FrameReader, frame

RECEIVE_BYTES = 65536


class Lender:
    """``side`` carries the frames; ``agent`` is the path of the agent's socket."""

    def __init__(self, side: socket.socket, agent: str) -> None:
        self._side, self._agent = side, agent
        self._frames = FrameReader(broken_frame)
        self._connections: dict[int, socket.socket] = {}
        self._ended: set[int] = set()  # channels whose end the other side has not said yet

    def run(self) -> None:
        """Until ``side`` ends.  Blocks."""
        try:
            while self._turn():
                pass
        finally:
            for connection in self._connections.values():
                connection.close()

    def _turn(self) -> bool:
        sources = {connection.fileno(): channel for channel, connection in self._connections.items()}
        ready, _, _ = select.select([self._side.fileno(), *sources], [], [])
        for fd in ready:
            if fd in sources:
                self._answer(sources[fd])
        if self._side.fileno() in ready:
            if not (data := self._side.recv(RECEIVE_BYTES)):
                return False
            for channel, payload in self._frames.feed(data):
                self._ask(channel, payload)
        return True

    def _answer(self, channel: int) -> None:
        try:
            data = self._connections[channel].recv(RECEIVE_BYTES)
        except OSError:
            data = b""
        if data:
            self._side.sendall(frame(channel, data))
        else:
            self._end(channel)

    def _end(self, channel: int) -> None:
        self._connections.pop(channel).close()
        self._ended.add(channel)
        self._side.sendall(frame(channel))

    def _ask(self, channel: int, data: memoryview) -> None:
        if channel in self._ended:
            if not data:
                self._ended.discard(channel)
        elif not data:
            if connection := self._connections.pop(channel, None):
                connection.close()
            self._side.sendall(frame(channel))
        else:
            self._said(channel, data)

    def _said(self, channel: int, data: memoryview) -> None:
        try:
            if channel not in self._connections:
                connection = self._connections[channel] = socket.socket(socket.AF_UNIX)
                connection.connect(self._agent)
            self._connections[channel].sendall(data)
        except OSError:  # there is no agent any more
            self._end(channel)
