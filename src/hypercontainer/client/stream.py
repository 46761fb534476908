"""An attached process: one poll loop between the user's descriptors and hyperd's frames.

Memory is bounded by the credit of docs/api.md: a channel whose reader has stopped holds at most WINDOW_BYTES and
stalls alone; standard input is read only when hyperd has room for it and everything earlier has been sent.
"""

from __future__ import annotations

import os
import select
from time import monotonic

from hypercontainer.client.api import decode, encode, remote_error
from hypercontainer.client.http import BrokenAnswer, broken_frame
from hypercontainer.client.output import Output
from hypercontainer.contract.detach import DetachKeys
from hypercontainer.contract.frames import (
    CONTROL,
    CREDIT,
    MAX_PAYLOAD_BYTES,
    STDERR,
    STDIN,
    STDOUT,
    WINDOW_BYTES,
    FrameReader,
    credit,
    frame,
    header,
    read_credit,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket  # noqa: N812
    from collections.abc import Callable
    from typing import Any

RECEIVE_BYTES = 262144
ACKNOWLEDGE_BYTES = (
    WINDOW_BYTES // 2
)  # with half a window left, the sender never waits for a word that stays out
DETACH_TIMEOUT_S = 5.0
MAX_GATHERED = 64  # buffers in one sendmsg(2), which takes IOV_MAX
FAILED = select.POLLERR | select.POLLNVAL
READABLE = select.POLLIN | select.POLLHUP | FAILED


class Detached(Exception):
    """The client left; the process goes on."""


class ConnectionLost(BrokenAnswer):
    """hyperd ended or broke the stream before it said how the process ended; the process may go on."""


class Stream:
    """Runs until the process has ended.  The descriptors stay the caller's; the socket is owned.

    ``stdin``, ``stdout``, ``stderr``: descriptors, None for a channel that is not attached (its bytes are dropped).
    ``on_control`` gets every control message but exit, error and detached.  ``on_signal`` gets the number of each
    signal read from ``wakeup`` (the descriptor that signal.set_wakeup_fd writes to).
    """

    def __init__(
        self,
        sock: Socket,
        first: bytes = b"",
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        wakeup: int | None = None,
        detach_keys: bytes = b"",
        on_control: Callable[[str, Any], None] | None = None,
        on_signal: Callable[[int], None] | None = None,
    ) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._first = first
        self._frames = FrameReader(broken_frame)
        self._outgoing: list[memoryview] = []
        self._stdin = stdin
        self._stdin_credit = WINDOW_BYTES
        self._wakeup = wakeup
        self._keys = DetachKeys(detach_keys) if detach_keys else None
        self._outputs = {c: Output(fd) for c, fd in ((STDOUT, stdout), (STDERR, stderr)) if fd is not None}
        self._written = {STDOUT: 0, STDERR: 0}
        self._on_control = on_control or (lambda _name, _value: None)
        self._on_signal = on_signal or (lambda _number: None)
        self._exit: int | None = None
        self._detached = False
        self._leave_before: float | None = None
        self._poll = select.poll()
        self._interests: dict[int, int] = {}
        self.input_held = False  # while True, stdin is left alone

    def control(self, message: object) -> None:
        self._outgoing.append(memoryview(frame(CONTROL, encode(message))))

    def resize(self, rows: int, columns: int) -> None:
        self.control({"resize": [rows, columns]})

    def signal(self, name: str) -> None:
        self.control({"signal": name})

    def detach(self) -> None:
        """Asks hyperd to let go; run ends when it has, or after DETACH_TIMEOUT_S."""
        self._stdin = None
        self._leave_before = monotonic() + DETACH_TIMEOUT_S
        self.control({"detach": True})

    def run(self) -> int:
        """The process's exit status.  Detached, ConnectionLost, RemoteError, BrokenPipeError of an output."""
        try:
            self._take(self._first)
            while not self._over():
                self._arm()
                for fd, events in self._poll.poll(self._wait_ms()):
                    self._serve(fd, events)
            if self._detached or self._exit is None:
                raise Detached
            return self._exit
        finally:
            self.close()

    def close(self) -> None:
        for output in self._outputs.values():
            output.close()
        self._socket.close()

    def _over(self) -> bool:
        if self._leave_before is not None and monotonic() >= self._leave_before:
            return True
        ended = self._detached or self._exit is not None
        return ended and not any(output.pending for output in self._outputs.values())

    def _wait_ms(self) -> int | None:
        if self._leave_before is None:
            return None
        return max(0, int((self._leave_before - monotonic()) * 1000) + 1)

    def _arm(self) -> None:
        """Tells poll(2) what is of interest now."""
        wanted: dict[int, int] = {}
        if self._exit is None and not self._detached:
            wanted[self._socket.fileno()] = select.POLLIN | (select.POLLOUT if self._outgoing else 0)
        if self._wakeup is not None:
            wanted[self._wakeup] = select.POLLIN
        if self._stdin is not None and self._stdin_credit and not self._outgoing and not self.input_held:
            wanted[self._stdin] = select.POLLIN
        for output in self._outputs.values():
            if output.pending:
                wanted[output.fd] = wanted.get(output.fd, 0) | select.POLLOUT
        for fd in self._interests.keys() - wanted.keys():
            self._poll.unregister(fd)
        for fd, events in wanted.items():
            if self._interests.get(fd) != events:
                self._poll.register(fd, events)
        self._interests = wanted

    def _serve(self, fd: int, events: int) -> None:
        if fd == self._socket.fileno():
            if events & select.POLLOUT:
                self._send()
            if events & READABLE:
                self._receive()
        elif fd == self._wakeup:
            for number in os.read(fd, 512):
                self._on_signal(number)
        elif fd == self._stdin:
            self._read_input()
        for channel, output in self._outputs.items():
            if output.fd == fd and output.pending:
                self._done_with(channel, output.flush())

    def _send(self) -> None:
        while self._outgoing:
            try:
                sent = self._socket.sendmsg(self._outgoing[:MAX_GATHERED])
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                self._outgoing.clear()  # what hyperd said last can still be read
                self._stdin = None
                return
            while self._outgoing and sent >= len(self._outgoing[0]):
                sent -= len(self._outgoing.pop(0))
            if sent:
                self._outgoing[0] = self._outgoing[0][sent:]

    def _receive(self) -> None:
        try:
            data = self._socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            if self._leave_before is not None:
                self._detached = True
                return
            raise ConnectionLost("lost the connection to hyperd")
        self._take(data)

    def _take(self, data: bytes) -> None:
        for channel, payload in self._frames.feed(data):
            if channel in (STDOUT, STDERR):
                self._output(channel, payload)
            elif channel == CREDIT:
                of, count = read_credit(payload, broken_frame)
                if of == STDIN:
                    self._stdin_credit += count
            elif channel == CONTROL:
                self._controlled(decode(payload))
            else:
                self._stdin = None  # the process takes no more
            if self._exit is not None or self._detached:
                return

    def _output(self, channel: int, payload: memoryview) -> None:
        output = self._outputs.get(channel)
        if output is None or not payload:
            self._done_with(channel, len(payload))
            return
        if len(output.pending) + len(payload) > WINDOW_BYTES:
            raise BrokenAnswer(f"hyperd sent more of channel {channel} than it may")
        self._done_with(channel, output.write(payload))

    def _done_with(self, channel: int, count: int) -> None:
        self._written[channel] += count
        if self._written[channel] >= ACKNOWLEDGE_BYTES:
            self._outgoing.append(memoryview(credit(channel, self._written[channel])))
            self._written[channel] = 0

    def _controlled(self, message: Any) -> None:
        if not isinstance(message, dict) or len(message) != 1:
            raise BrokenAnswer(f"hyperd sent a control message of no known form: {str(message)[:80]}")
        ((name, value),) = message.items()
        if name == "exit":
            self._exit = int(value)
        elif name == "error":
            raise remote_error(value)
        elif name == "detached":
            self._detached = True
        else:
            self._on_control(name, value)

    def _read_input(self) -> None:
        assert self._stdin is not None
        try:
            data = os.read(self._stdin, min(MAX_PAYLOAD_BYTES, self._stdin_credit))
        except BlockingIOError:  # someone else's O_NONBLOCK, and someone else read first
            return
        except OSError:  # the terminal is gone
            data = b""
        ended = not data
        detach = False
        if self._keys is not None and data:
            data, detach = self._keys.feed(data)
        if data:
            self._stdin_credit -= len(data)
            self._outgoing += (memoryview(header(STDIN, len(data))), memoryview(data))
        if detach:
            self.detach()
        elif ended:
            self._outgoing.append(memoryview(frame(STDIN, b"")))
            self._stdin = None
        self._send()
