"""A client for QMP, QEMU's control protocol (docs/interop/qmp-spec of QEMU).

``QmpParser`` is the protocol without I/O: bytes in, messages out.  ``QmpClient`` is one connection, which owns its
socket and one reading task.  QEMU may have been taken over by its guest, so nothing it sends is trusted: a line is
bounded, what is not valid JSON of the expected shape ends the connection, and so does anything in a wrong state, or
more than there can be to say in a second (``Budget``).  ``QmpClient.broken`` tells such an end from others.

    CONNECTING --greeting--> NEGOTIATING --qmp_capabilities--> READY --close, error, end of file--> CLOSED

When the connection ends, for whatever reason, every waiter fails at once with that reason.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Protocol, Self

import msgspec

from hypercontainer.errors import HypervisorError
from hypercontainer.linux import unix

MAX_LINE_BYTES = 1 << 20
COMMAND_TIMEOUT_S = 10.0
# What is handled before others have their turn, and what no QEMU has to say in a second, whatever its guest does.
MESSAGES_PER_TURN = 256
MESSAGES_PER_S = 50_000
BYTES_PER_S = 32 << 20
_READ_BYTES = 65536


class QmpError(HypervisorError):
    """QEMU refused a command.  ``kind`` is QMP's error class, ``description`` QEMU's own words."""

    def __init__(self, command: str, kind: str, description: str) -> None:
        super().__init__(f"QEMU refused {command}: {description}")
        self.kind = kind
        self.description = description


class QmpDisconnected(HypervisorError):
    """The connection is over, so QEMU's answer will not come."""


@dataclass(frozen=True)
class Greeting:
    version: str


@dataclass(frozen=True)
class Reply:
    """``error`` is (class, description), or None for a success."""

    id: int
    value: object
    error: tuple[str, str] | None


@dataclass(frozen=True)
class Event:
    name: str
    data: Mapping[str, object]


Message = Greeting | Reply | Event


class QmpParser:
    """Cuts the stream into lines and lines into messages; raises ``ValueError`` for what is neither."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """``data`` may be cut anywhere."""
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest
        if max(map(len, [*lines, rest])) > MAX_LINE_BYTES:
            raise ValueError(f"a line is longer than {MAX_LINE_BYTES} bytes")
        return [parse_message(bytes(line)) for line in lines if line.strip()]


class _Version(msgspec.Struct):
    major: int
    minor: int
    micro: int


class _Greeting(msgspec.Struct):
    class Inner(msgspec.Struct):
        class Version(msgspec.Struct):
            qemu: _Version

        version: Version

    qmp: Inner = msgspec.field(name="QMP")


class _Failure(msgspec.Struct):
    kind: str = msgspec.field(name="class")
    desc: str


class _Any(msgspec.Struct):
    """Every other message: a reply has ``return`` or ``error``, an event has ``event``."""

    value: object = msgspec.field(name="return", default=msgspec.UNSET)
    error: _Failure | None = None
    id: int = -1
    event: str | None = None
    data: dict[str, object] = {}


def parse_message(line: bytes) -> Message:
    """Raises ``ValueError`` for anything that is not a message."""
    try:
        return _parse(line)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(f"not a message: {error}") from error


def _parse(line: bytes) -> Message:
    if line.startswith(b'{"QMP"'):
        version = msgspec.json.decode(line, type=_Greeting).qmp.version.qemu
        return Greeting(f"{version.major}.{version.minor}.{version.micro}")
    found = msgspec.json.decode(line, type=_Any)
    if found.event is not None:
        return Event(found.event, found.data)
    if found.error is not None:
        return Reply(found.id, None, (found.error.kind, found.error.desc))
    if found.value is msgspec.UNSET:
        raise ValueError("neither a reply nor an event")
    return Reply(found.id, found.value, None)


class Budget:
    """Of one second after the other: what may be said in it."""

    def __init__(self, now_s: float) -> None:
        self._began_s = now_s
        self._messages = self._bytes = 0

    def spend(self, now_s: float, messages: int, size_bytes: int) -> None:
        """Raises ``ValueError`` where it is overdrawn."""
        if now_s - self._began_s >= 1:
            self._began_s, self._messages, self._bytes = now_s, 0, 0
        self._messages += messages
        self._bytes += size_bytes
        if self._messages > MESSAGES_PER_S or self._bytes > BYTES_PER_S:
            raise ValueError(f"{self._messages} messages, {self._bytes} bytes within a second")


class Qmp(Protocol):
    """What has a QEMU do something: a ``QmpClient``, or whoever passes it on to QEMU."""

    async def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        fds: Sequence[int] = (),
        timeout_s: float | None = COMMAND_TIMEOUT_S,
    ) -> object:
        """Runs one command, ``fds`` travelling with it; raises ``QmpError`` when QEMU refuses it."""


class QmpState(Enum):
    CONNECTING = auto()
    NEGOTIATING = auto()
    READY = auto()
    CLOSED = auto()


class QmpClient:
    """One connection.  ``on_event`` is called from the event loop for every event, and must not block.

    ``broken``: what QEMU has done that ended it, "" while it has not."""

    def __init__(self, sock: socket.socket, on_event: Callable[[Event], None]) -> None:
        self.state = QmpState.CONNECTING
        self.version = ""
        self._sock = sock
        self._on_event = on_event
        self._ids = itertools.count()
        self._waiters: dict[int, tuple[str, asyncio.Future[object]]] = {}
        self._greeted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sending = asyncio.Lock()
        self._end = "closed"
        self.broken = ""
        self._reader = asyncio.create_task(self._read(), name="qmp-reader")

    @classmethod
    async def connect(
        cls, path: Path, on_event: Callable[[Event], None], *, timeout_s: float = COMMAND_TIMEOUT_S
    ) -> Self:
        """Connects and negotiates; returns in state READY, which QEMU reaches once its machine is built."""
        try:
            client = cls(unix.connect(path), on_event)
        except OSError as error:
            raise QmpDisconnected(f"cannot connect to QEMU at {path}: {error.strerror}") from error
        try:
            async with asyncio.timeout(timeout_s):
                await client._greeted
                await client.execute("qmp_capabilities", timeout_s=None)
                client.state = QmpState.READY
        except TimeoutError:
            await client.close()
            raise HypervisorError(f"QEMU at {path} did not answer within {timeout_s:g} s") from None
        except BaseException:
            await client.close()
            raise
        return client

    async def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        fds: Sequence[int] = (),
        timeout_s: float | None = COMMAND_TIMEOUT_S,
    ) -> object:
        """Runs one command, ``fds`` travelling with it; raises ``QmpError`` when QEMU refuses it."""
        if self.state is QmpState.CLOSED:
            raise QmpDisconnected(f"{command}: the connection to QEMU is over: {self._end}")
        number = next(self._ids)
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiters[number] = (command, answer)
        try:
            async with asyncio.timeout(timeout_s):
                message = {"execute": command, "arguments": arguments or {}, "id": number}
                await self._send(msgspec.json.encode(message) + b"\n", fds)
                return await answer
        except TimeoutError:
            raise HypervisorError(f"QEMU did not answer {command} within {timeout_s:g} s") from None
        except OSError as error:
            raise QmpDisconnected(f"{command}: the connection to QEMU is over: {error.strerror}") from error
        finally:
            del self._waiters[number]

    async def wait_closed(self) -> None:
        """Returns when QEMU has ended the connection and all that it sent has been handled."""
        await asyncio.wait([self._reader])

    async def close(self) -> None:
        self._reader.cancel()
        await asyncio.wait([self._reader])

    async def _send(self, data: bytes, fds: Sequence[int]) -> None:
        loop = asyncio.get_running_loop()
        async with self._sending:
            sent = 0
            if fds:
                # The descriptors travel with the first byte.  One byte always fits in an idle control socket;
                # if it does not, QEMU has stopped reading and the error says so.
                sent = socket.send_fds(self._sock, [data], list(fds))
            if sent < len(data):
                await loop.sock_sendall(self._sock, data[sent:])

    async def _read(self) -> None:
        loop = asyncio.get_running_loop()
        parser, budget = QmpParser(), Budget(loop.time())
        try:
            while data := await loop.sock_recv(self._sock, _READ_BYTES):
                messages = parser.feed(data)
                budget.spend(loop.time(), len(messages), len(data))
                for first in range(0, len(messages), MESSAGES_PER_TURN):
                    for message in messages[first : first + MESSAGES_PER_TURN]:
                        self._handle(message)
                    await asyncio.sleep(0)  # others' turn, which a socket with more to read does not give
            self._end = "QEMU closed it"
        except OSError as error:
            self._end = error.strerror or str(error)
        except ValueError as error:
            self._end = self.broken = f"QEMU broke the protocol: {error}"
        finally:
            self.state = QmpState.CLOSED
            self._sock.close()
            self._fail_waiters()

    def _handle(self, message: Message) -> None:
        match message:
            case Greeting(version):
                if self.state is not QmpState.CONNECTING:
                    raise ValueError("a second greeting")
                self.version = version
                self.state = QmpState.NEGOTIATING
                if not self._greeted.done():
                    self._greeted.set_result(None)
            case Event():
                self._on_event(message)
            case Reply(number, value, error):
                command, answer = self._waiters.get(number, ("", None))
                if answer is None or answer.done():
                    return  # its waiter has given up
                if error is None:
                    answer.set_result(value)
                else:
                    answer.set_exception(QmpError(command, *error))

    def _fail_waiters(self) -> None:
        if not self._greeted.done():
            self._greeted.set_exception(QmpDisconnected(f"no greeting from QEMU: {self._end}"))
            self._greeted.exception()  # it may have no waiter
        for command, answer in self._waiters.values():
            if not answer.done():
                text = f"{command}: the connection to QEMU is over: {self._end}"
                answer.set_exception(QmpDisconnected(text))
                answer.exception()
