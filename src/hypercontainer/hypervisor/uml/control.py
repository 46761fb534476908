"""Has a running User Mode Linux plug disks in and out, over its management console.

That is a datagram socket, which the kernel was handed and whose name is in the run directory.  A request carries
descriptors: the first is where the answer goes, since the kernel, in namespaces of its own, finds nobody by an address;
the others are files, "@+0" and on in the request's words.  Records are those of the kernel's mconsole.h.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from hypercontainer.errors import HypervisorError
from hypercontainer.linux import unix

TIMEOUT_S = 10.0
MAX_WORDS_BYTES, MAX_FILES = 4000, 250  # what fits in a request, and goes with one
_MAGIC, _VERSION = 0xCAFEBABE, 2
_HEAD = struct.Struct("=III")  # of both; in a request the interface's magic and version
_ANSWER_BYTES = 1 << 16


async def ask(path: Path, words: str, files: Sequence[int] = (), *, timeout_s: float = TIMEOUT_S) -> str:
    """What the kernel answers.  ``Refused`` where it will not, ``HypervisorError`` where it says nothing."""
    data = words.encode()
    if len(data) > MAX_WORDS_BYTES or len(files) > MAX_FILES:
        raise HypervisorError(f"too much to ask of a kernel at once: {len(data)} bytes, {len(files)} files")
    try:
        asking = unix.connect(path, kind=socket.SOCK_DGRAM)
    except OSError as error:
        raise HypervisorError(f"the guest's kernel is not there to be asked: {error.strerror}") from error
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs, asking:
        ours.setblocking(False)
        request = _HEAD.pack(_MAGIC, _VERSION, len(data)) + data
        try:
            async with asyncio.timeout(timeout_s):
                await _send(asking, request, [theirs.fileno(), *files])
                return await _answer(ours)
        except TimeoutError:
            raise HypervisorError(f"the guest's kernel did not answer within {timeout_s:g} s") from None
        except OSError as error:
            raise HypervisorError(f"the guest's kernel cannot be asked: {error.strerror}") from error


class Refused(HypervisorError):
    """The kernel's own words."""


async def _send(asking: socket.socket, request: bytes, fds: list[int]) -> None:
    """Waits while others' requests fill its queue."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            socket.send_fds(asking, [request], fds)
            return
        except BlockingIOError:
            room = loop.create_future()
            loop.add_writer(asking, room.set_result, None)
            try:
                await room
            finally:
                loop.remove_writer(asking)


async def _answer(ours: socket.socket) -> str:
    loop = asyncio.get_running_loop()
    said = b""
    while True:
        part = await loop.sock_recv(ours, _ANSWER_BYTES)
        if len(part) < _HEAD.size:
            raise HypervisorError("the guest's kernel gave no answer that can be read")
        error, more, length = _HEAD.unpack_from(part)
        said += part[_HEAD.size : _HEAD.size + length]
        if len(said) > _ANSWER_BYTES:
            raise HypervisorError("the guest's kernel answers without end")
        if not more:
            break
    text = said.rstrip(b"\0\n").decode(errors="replace")
    if error:
        raise Refused(text)
    return text
