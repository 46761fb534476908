"""The end of a serial port that an ESX host has, as VMware describes it: for tests, since there is no ESX here."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

IAC, DONT, DO, WONT, WILL, SB, SE = 255, 254, 253, 252, 251, 250, 240
EXTENSION = 232
KNOWN = bytes((0, 1, 2, 3, 40, 41, 70, 71, 73, 80, 82))


class Host:
    """What it says, and no I/O."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._out = bytes((IAC, WILL, EXTENSION))
        self._in = b""
        self.led = False
        self.refused = False

    def to_send(self) -> bytes:
        out, self._out = self._out, b""
        return out

    def send(self, data: bytes) -> None:
        assert self.led
        self._out += data.replace(b"\xff", b"\xff\xff")

    def receive(self, data: bytes) -> bytes:
        """What is for the port."""
        self._in += data
        found = b""
        while self._in:
            if self._in[0] != IAC:
                end = self._in.find(IAC)
                end = len(self._in) if end < 0 else end
                found, self._in = found + self._in[:end], self._in[end:]
                continue
            size = self._command()
            if not size:
                break
            if self._in[:2] == b"\xff\xff":
                found += b"\xff"
            self._in = self._in[size:]
        return found

    def _command(self) -> int:
        """Its size, 0 where it is not whole yet."""
        if len(self._in) < 2:
            return 0
        verb = self._in[1]
        if verb == SB:
            end = self._in.find(bytes((IAC, SE)))
            if end < 0:
                return 0
            self._told(self._in[2:end])
            return end + 2
        if verb < WILL or verb == IAC:
            return 2
        if len(self._in) < 3:
            return 0
        option = self._in[2]
        if verb == DO and option == EXTENSION:
            self._extend(0, KNOWN)
        elif verb in (WILL, DO) and option in (0, 3):
            self._out += bytes((IAC, DO if verb == WILL else WILL, option))
        return 3

    def _told(self, content: bytes) -> None:
        if content[:2] == bytes((EXTENSION, 1)):
            self._extend(70, b"S" + self._service.encode())
        elif content[:1] == bytes((EXTENSION,)):
            self.led |= content[1] == 71
            self.refused |= content[1] == 73

    def _extend(self, code: int, content: bytes) -> None:
        self._out += bytes((IAC, SB, EXTENSION, code)) + content + bytes((IAC, SE))


class Port:
    """A host's connection for one serial port, over TLS with the certificate that it was told."""

    def __init__(self, place: tuple[str, int], certificate: Path, service: str) -> None:
        """Raises ``OSError``; ``ConnectionError`` where it is refused."""
        context = ssl.create_default_context(cafile=certificate)
        context.check_hostname = False
        self.socket = context.wrap_socket(socket.create_connection(place, 10))
        self._host = Host(service)
        self.early = b""
        while not self._host.led:
            self.socket.sendall(self._host.to_send())
            data = self.socket.recv(65536)
            if not data or self._host.refused:
                self.socket.close()
                raise ConnectionError("refused")
            self.early += self._host.receive(data)

    def send(self, data: bytes) -> None:
        self._host.send(data)
        self.socket.sendall(self._host.to_send())

    def receive(self) -> bytes:
        """b"" at its end."""
        while True:
            if self.early:
                early, self.early = self.early, b""
                return early
            data = self.socket.recv(65536)
            if not data:
                return b""
            self.early = self._host.receive(data)
            if out := self._host.to_send():
                self.socket.sendall(out)

    def close(self) -> None:
        self.socket.close()
