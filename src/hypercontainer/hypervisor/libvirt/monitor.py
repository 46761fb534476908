"""QEMU's control protocol by libvirt, which holds the connection: commands of ours, and descriptors along with them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.libvirt import library
from hypercontainer.hypervisor.libvirt.library import Gone, Severed
from hypercontainer.hypervisor.libvirt.link import Link
from hypercontainer.hypervisor.qemu.qmp import (
    COMMAND_TIMEOUT_S,
    QmpDisconnected,
    QmpError,
    Reply,
    parse_message,
)

# libvirt's own limit of a string is far above what QEMU has to say to what is asked here.
MAX_ANSWER_BYTES = 1 << 22


class Monitor:
    """Of the domain with this ``uuid``; see ``qemu.qmp.Qmp``."""

    def __init__(self, link: Link[Any], uuid: str) -> None:
        self._link = link
        self.uuid = uuid
        self._turn = asyncio.Lock()  # who asks first is answered first, as on a connection
        self._known: tuple[Any, Any] | None = None  # the domain, as this connection has it
        self._closed = False

    async def execute(
        self,
        command: str,
        arguments: Mapping[str, object] | None = None,
        *,
        fds: Sequence[int] = (),
        timeout_s: float | None = COMMAND_TIMEOUT_S,
    ) -> object:
        if self._closed:
            raise HypervisorError(f"{command}: this process has let go of the VM")
        _, qemu = library.load()
        asked = msgspec.json.encode({"execute": command, "arguments": arguments or {}}).decode()

        copies = Copies(fds)  # libvirt may take longer than who asks waits, and closes their own

        def work(connection: Any) -> str:
            with copies.lent() as handed:
                domain = self._domain(connection)
                if handed:
                    return str(qemu.qemuMonitorCommandWithFiles(domain, asked, handed)[0])
                return str(qemu.qemuMonitorCommand(domain, asked, 0))

        try:
            async with self._turn:
                said = await self._link.call(command, work, timeout_s=timeout_s or COMMAND_TIMEOUT_S)
        except Gone as error:
            raise QmpDisconnected(error.message) from error
        finally:
            copies.close()
        return _answer(command, said)

    def close(self) -> None:
        """Lets go of the domain, which keeps a connection that is over."""
        self._known, self._closed = None, True

    def _domain(self, connection: Any) -> Any:
        known = self._known
        if known is None or known[0] is not connection:
            known = self._known = connection, connection.lookupByUUIDString(self.uuid)
        return known[1]


class Copies:
    """Copies of descriptors, for a thread that may come late."""

    def __init__(self, fds: Sequence[int]) -> None:
        self._fds: list[int] | None = [os.dup(fd) for fd in fds]
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def lent(self) -> Iterator[list[int]]:
        """Further ones, which are the caller's alone.  ``Severed`` where nobody waits for it any more."""
        with self._lock:
            if self._fds is None:
                raise Severed("nobody waits for it any more")
            lent = [os.dup(fd) for fd in self._fds]
        try:
            yield lent
        finally:
            for fd in lent:
                os.close(fd)

    def close(self) -> None:
        with self._lock:
            fds, self._fds = self._fds or [], None
        for fd in fds:
            os.close(fd)


def _answer(command: str, said: str) -> object:
    """Raises ``QmpError`` where QEMU has refused."""
    try:
        if len(said) > MAX_ANSWER_BYTES:
            raise ValueError("it is too long")
        reply = parse_message(_numbered(said))
    except ValueError as error:
        raise HypervisorError(f"QEMU's answer to {command} cannot be read: {error}") from error
    if not isinstance(reply, Reply):
        raise HypervisorError(f"QEMU's answer to {command} is none")
    if reply.error is not None:
        raise QmpError(command, *reply.error)
    return reply.value


def _numbered(said: str) -> bytes:
    """Without the name that libvirt has given it: it is the one answer to the one question."""
    tree = msgspec.json.decode(said, type=dict[str, object])
    tree.pop("id", None)
    return msgspec.json.encode(tree)
