"""Asks the process of a VM over HTTP, on a unix socket: one request a connection.

The process may be its guest's by now: what it answers is bounded, and believed no further than who reads it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Sequence

import h11
import msgspec

from hypercontainer.errors import HypervisorError

TIMEOUT_S = 10.0
MAX_ANSWER_BYTES = 1 << 20
_READ_BYTES = 65536
_MAX_WORDS = 300

Connect = Callable[[], socket.socket]


class Refused(HypervisorError):
    """In the process's own words."""


class Api:
    """``connect`` makes a connection that does not block, or raises ``OSError``; ``who`` answers there, in words, one
    request after the other."""

    def __init__(self, connect: Connect, who: str) -> None:
        self._connect = connect
        self._who = who
        self._turn = asyncio.Lock()

    async def ask(
        self,
        method: str,
        target: str,
        body: object = None,
        *,
        fds: Sequence[int] = (),
        timeout_s: float = TIMEOUT_S,
    ) -> object:
        """The answer's JSON, None without any; ``fds`` go along with the request.

        Raises ``Refused``, and ``HypervisorError`` where there is no answer, or none that can be read.
        """
        what = f"{self._who}: {method} {target}"
        try:
            async with asyncio.timeout(timeout_s), self._turn:
                with contextlib.closing(self._connect()) as connection:
                    client = h11.Connection(h11.CLIENT)
                    await _send(connection, _request(client, method, target, body), fds)
                    status, said = await _answer(connection, client)
        except TimeoutError:
            raise HypervisorError(f"{what}: no answer within {timeout_s:g} s") from None
        except OSError as error:
            raise HypervisorError(f"{what}: {error.strerror or error}") from error
        except h11.ProtocolError as error:
            raise HypervisorError(f"{what}: an answer that cannot be read: {error}") from error
        if status >= 300:
            raise Refused(f"{what}: {_words(said) or f'status {status}'}")
        try:
            return msgspec.json.decode(said) if said.strip() else None
        except (msgspec.MsgspecError, RecursionError) as error:
            raise HypervisorError(f"{what}: an answer that cannot be read: {error}") from error


def _request(client: h11.Connection, method: str, target: str, body: object) -> bytes:
    content = b"" if body is None else msgspec.json.encode(body)
    headers = [("Host", "localhost"), ("Accept", "application/json"), ("Content-Length", str(len(content)))]
    headers += [("Content-Type", "application/json")] if content else []
    parts = [client.send(h11.Request(method=method, target=target, headers=headers))]
    parts += [client.send(h11.Data(data=content))] if content else []
    return b"".join(part for part in [*parts, client.send(h11.EndOfMessage())] if part)


async def _send(connection: socket.socket, request: bytes, fds: Sequence[int]) -> None:
    sent = (
        socket.send_fds(connection, [request], fds) if fds else 0
    )  # the first there is to send: there is room
    if rest := request[sent:]:
        await asyncio.get_running_loop().sock_sendall(connection, rest)


async def _answer(connection: socket.socket, client: h11.Connection) -> tuple[int, bytes]:
    """Status and content, once both are whole."""
    loop = asyncio.get_running_loop()
    status, said = 0, b""
    while True:
        event = client.next_event()
        if event is h11.NEED_DATA:
            client.receive_data(await loop.sock_recv(connection, _READ_BYTES))
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            said += event.data
            if len(said) > MAX_ANSWER_BYTES:
                raise h11.RemoteProtocolError("it has no end")
        elif isinstance(event, h11.EndOfMessage):
            return status, said
        elif not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("it has no beginning")


def _words(said: bytes) -> str:
    """Of a refusal: Firecracker has an object with a ``fault_message``, Cloud Hypervisor a list, outermost first."""
    with contextlib.suppress(msgspec.MsgspecError, RecursionError):
        tree = msgspec.json.decode(said)
        if isinstance(tree, dict):
            said = str(tree.get("fault_message", "")).encode()
        elif isinstance(tree, list):
            said = ": ".join(str(word) for word in tree).encode()
    text = said[: _MAX_WORDS * 4].decode(errors="replace")
    return "".join(letter if letter.isprintable() else " " for letter in text)[:_MAX_WORDS].strip()
