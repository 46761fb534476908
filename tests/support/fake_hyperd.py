"""A scripted hyperd on a unix socket, in threads: what the client's and the command line's tests talk to.

It is written against docs/api.md with its own code for frames, so that a mistake in the client's is seen.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STDIN, STDOUT, STDERR, CONTROL, CREDIT = range(5)
TIMEOUT_S = 20.0
WINDOW = 262144


def frame(channel: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BxxxI", channel, len(payload)) + payload


def control(**message: Any) -> bytes:
    return frame(CONTROL, json.dumps(message).encode())


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


class Peer:
    """The other end of one connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""

    def read(self, count: int) -> bytes:
        while len(self.buffer) < count:
            data = self.sock.recv(262144)
            if not data:
                raise EOFError
            self.buffer += data
        found, self.buffer = self.buffer[:count], self.buffer[count:]
        return found

    def line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\r\n")
        return line

    def request(self) -> Request:
        method, target, _ = self.line().decode().split(" ")
        headers = {}
        while line := self.line():
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        if headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.line(), 16):
                body += self.read(size)
                self.read(2)
            self.line()
        else:
            body = self.read(int(headers.get("content-length", "0")))
        return Request(method, target, headers, body)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def receive(self) -> tuple[int, bytes]:
        """The next frame."""
        channel, length = struct.unpack(">BxxxI", self.read(8))
        return channel, self.read(length)

    def expect(self, channel: int) -> bytes:
        """The payload of the next frame, which must be of ``channel``."""
        found, payload = self.receive()
        assert found == channel, (found, payload[:100])
        return payload

    def receive_control(self) -> Any:
        return json.loads(self.expect(CONTROL))

    def read_input(self) -> bytes:
        """All of standard input up to its end, with credit given for it."""
        data = b""
        while True:
            channel, payload = self.receive()
            if channel == STDIN:
                if not payload:
                    return data
                data += payload
                self.send(frame(CREDIT, struct.pack(">BxxxI", STDIN, len(payload))))

    def at_end(self) -> bool:
        """Whether the client closes the connection now."""
        try:
            return self.buffer == b"" and self.sock.recv(1) == b""
        except ConnectionResetError:
            return True


Script = Callable[[Peer, Request], None]


@dataclass
class FakeHyperd:
    path: str
    requests: list[Request] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)
    _scripts: dict[tuple[str, str], list[Script]] = field(default_factory=dict)

    def on(self, method: str, path: str, script: Script) -> None:
        """``script`` for the next such request; the last one given stays for those that follow."""
        self._scripts.setdefault((method, path), []).append(script)

    def answer(self, method: str, path: str, value: Any = None, status: int = 200) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.on(method, path, lambda peer, _request: peer.send(head.encode() + body))

    def fail(self, method: str, path: str, status: int, **error: Any) -> None:
        self.answer(method, path, {"error": error}, status)

    def lines(self, method: str, path: str, *values: Any) -> None:
        body = b"".join(chunk(json.dumps(value).encode() + b"\n") for value in values) + b"0\r\n\r\n"
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.on(method, path, lambda peer, _request: peer.send(head + body))

    def raw(self, method: str, path: str, data: bytes) -> None:
        self.on(method, path, lambda peer, _request: peer.send(data))

    def stream(self, path: str, script: Callable[[Peer], None]) -> None:
        """``script`` after the upgrade."""

        def upgraded(peer: Peer, request: Request) -> None:
            assert request.headers["upgrade"] == "hyper-stream"
            peer.send(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: hyper-stream\r\n\r\n"
            )
            script(peer)

        self.on("POST", path, upgraded)

    def asked(self, method: str, path: str) -> Request:
        """The one request of that kind."""
        (found,) = [r for r in self.requests if (r.method, r.path) == (method, path)]
        return found

    def serve(self, sock: socket.socket) -> None:
        with sock:
            sock.settimeout(TIMEOUT_S)
            peer = Peer(sock)
            try:
                request = peer.request()
            except (EOFError, OSError):
                return
            self.requests.append(request)
            scripts = self._scripts.get((request.method, request.path))
            if not scripts:
                body = json.dumps(
                    {"error": {"code": "not_found", "message": f"no such call: {request.path}"}}
                )
                peer.send(f"HTTP/1.1 404 X\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
                return
            script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
            try:
                script(peer, request)
            except BaseException as error:
                self.failures.append(error)


@contextlib.contextmanager
def fake_hyperd(folder: Path) -> Iterator[FakeHyperd]:
    """Listens in ``folder``; a script that failed fails the test."""
    hyperd = FakeHyperd(str(folder / "h.sock"))
    threads: list[threading.Thread] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(hyperd.path)
        listener.listen(16)

        def accept() -> None:
            while True:
                try:
                    sock, _ = listener.accept()
                except OSError:
                    return
                thread = threading.Thread(target=hyperd.serve, args=(sock,))
                threads.append(thread)
                thread.start()

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield hyperd
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join(TIMEOUT_S)
            os.unlink(hyperd.path)
    assert not hyperd.failures, hyperd.failures
