"""A client of Xen's store: paths with values, and watches on them (docs/misc/xenstore.txt of Xen).

A message is a head of four little numbers (kind, request, transaction, bytes) and at most 4096 bytes.  The other end is
xenstored, at a socket that only root may open.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
from collections.abc import AsyncIterator
from pathlib import Path

from hypercontainer.errors import HypervisorError, Unavailable
from hypercontainer.linux import unix

SOCKET = Path("/run/xenstored/socket")
# Told when any domain has shut down or is gone.
RELEASED = "@releaseDomain"
DEADLINE_S = 10.0
MAX_BYTES = 4096
_HEAD = struct.Struct("<IIII")
_DIRECTORY, _READ, _WATCH, _UNWATCH, _WRITE, _REMOVE, _PERMISSIONS, _EVENT, _ERROR = (
    1,
    2,
    4,
    5,
    11,
    13,
    14,
    15,
    16,
)


class StoreError(HypervisorError):
    """``code`` is the store's word: ENOENT, EACCES, ..."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Store:
    """A connection; whoever opened it closes it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self._watches: dict[str, asyncio.Event] = {}
        self._task = asyncio.create_task(self._read_on(), name="xenstore")

    @classmethod
    async def open(cls, path: Path = SOCKET) -> Store:
        """Raises ``Unavailable``."""
        try:
            return cls(*await asyncio.open_unix_connection(sock=unix.connect(path)))
        except PermissionError:
            raise Unavailable("Xen's store is root's", hint="run hyperd as root in dom0") from None
        except OSError as error:
            hint = "are Xen's daemons running? systemctl start xen, /etc/init.d/xen start"
            raise Unavailable(f"Xen's store cannot be reached: {error.strerror}", hint=hint) from error

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    # ------------------------------------------------------------------------------------- what there is

    async def read(self, path: str) -> str | None:
        """None where there is nothing."""
        found = await self._ask_found(_READ, path.encode() + b"\0")
        return None if found is None else found.decode(errors="replace")

    async def names(self, path: str) -> list[str]:
        """Of what is below."""
        found = await self._ask_found(_DIRECTORY, path.encode() + b"\0")
        return found.decode(errors="replace").split("\0")[:-1] if found else []

    async def write(self, path: str, value: str) -> None:
        await self._ask(_WRITE, path.encode() + b"\0" + value.encode())

    async def remove(self, path: str) -> None:
        """With all below; nothing happens where it is not there."""
        await self._ask_found(_REMOVE, path.encode() + b"\0")

    async def give(self, path: str, owner: int, reader: int) -> None:
        """A directory, made where it is not there, and what will be below: ``owner`` may do all, ``reader`` read."""
        await self.write(path, "")
        await self._ask(_PERMISSIONS, b"\0".join([path.encode(), b"n%d" % owner, b"r%d" % reader, b""]))

    @contextlib.asynccontextmanager
    async def watching(self, path: str) -> AsyncIterator[asyncio.Event]:
        """An event that is set now, and whenever something happens there or below.  Its owner clears it."""
        token = f"hyper-{next(self._numbers)}"
        event = self._watches[token] = asyncio.Event()
        words = path.encode() + b"\0" + token.encode() + b"\0"
        await self._ask(_WATCH, words)
        event.set()
        try:
            yield event
        finally:
            del self._watches[token]
            with contextlib.suppress(HypervisorError):
                await self._ask(_UNWATCH, words)

    async def until_there(self, path: str, timeout_s: float) -> str | None:
        """Its value, once it has one; None where that is not in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self.watching(path) as event:
                while not (value := await self.read(path)):
                    await event.wait()
                    event.clear()
                return value
        return None

    # ------------------------------------------------------------------------------------- the connection

    async def _ask_found(self, kind: int, payload: bytes) -> bytes | None:
        try:
            return await self._ask(kind, payload)
        except StoreError as error:
            if error.code == "ENOENT":
                return None
            raise

    async def _ask(self, kind: int, payload: bytes) -> bytes:
        if len(payload) > MAX_BYTES:
            raise StoreError(f"a message of {len(payload)} bytes is too long for Xen's store")
        number = next(self._numbers) & 0xFFFFFFFF
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            if self._task.done():
                raise StoreError("the connection with Xen's store is lost")
            self._writer.write(_HEAD.pack(kind, number, 0, len(payload)) + payload)
            async with asyncio.timeout(DEADLINE_S):
                said, data = await answer
        except TimeoutError:
            raise StoreError(f"Xen's store did not answer within {DEADLINE_S:g} s") from None
        finally:
            del self._asked[number]
        if said == _ERROR:
            code = data.rstrip(b"\0").decode(errors="replace")
            what = payload.partition(b"\0")[0].decode(errors="replace")
            raise StoreError(f"Xen's store: {what}: {code}", code)
        return data

    async def _read_on(self) -> None:
        try:
            while True:
                kind, number, _, length = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
                if length > MAX_BYTES:
                    break
                self._heard(kind, number, await self._reader.readexactly(length))
        except (OSError, EOFError):
            pass
        finally:
            for waiting in self._asked.values():
                if not waiting.done():
                    waiting.set_exception(StoreError("the connection with Xen's store is lost"))
            for event in self._watches.values():
                event.set()

    def _heard(self, kind: int, number: int, data: bytes) -> None:
        if kind == _EVENT:
            token = data.rstrip(b"\0").rpartition(b"\0")[2].decode(errors="replace")
            if token in self._watches:
                self._watches[token].set()
        elif number in self._asked and not self._asked[number].done():
            self._asked[number].set_result((kind, data))
