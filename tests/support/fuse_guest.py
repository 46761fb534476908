"""A guest of ``sharefs`` without a VM: the rings of virtio-fs in a file of memory, and FUSE's requests by hand."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import select
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.hypervisor import helpers, shares
from hypercontainer.hypervisor.spec import ShareSpec

ROOT = 1
LOOKUP, FORGET, GETATTR, SETATTR, READLINK, SYMLINK, MKNOD, MKDIR = 1, 2, 3, 4, 5, 6, 8, 9
UNLINK, RMDIR, RENAME, LINK, OPEN, READ, WRITE, STATFS, RELEASE = 10, 11, 12, 13, 14, 15, 16, 17, 18
FSYNC, SETXATTR, GETXATTR, LISTXATTR, FLUSH, INIT, OPENDIR, READDIR = 20, 21, 22, 23, 25, 26, 27, 28
GETLK, SETLK, SETLKW, CREATE, INTERRUPT, FALLOCATE, RENAME2 = 31, 32, 33, 35, 36, 43, 45
IN_HEADER, OUT_HEADER = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
ATTR = struct.Struct("<6Q10I")  # struct fuse_attr
ENTRY_BYTES = 40  # of struct fuse_entry_out, before its attributes
MEMORY_BYTES, SLOTS, SLOT_BYTES, BUFFERS = 16 << 20, 64, 160 << 10, 1 << 20
RING_BYTES, AVAILABLE, USED = 0x10000, 0x4000, 0x8000
USER = 0x7000_0000  # where the VM's process is said to have the memory
NEXT, WRITTEN = 1, 2


@dataclass(frozen=True)
class Entry:
    node: int
    mode: int
    uid: int
    gid: int
    size: int
    links: int


def entry_of(data: bytes) -> Entry:
    """Of an answer that begins with a struct fuse_entry_out."""
    (node,) = struct.unpack_from("<Q", data)
    return attributes(data, ENTRY_BYTES, node)


def attributes(data: bytes, at: int = 16, node: int = 0) -> Entry:
    """Of a struct fuse_attr_out, or of what has its attributes at another place."""
    _, size, _, _, _, _, _, _, _, mode, links, uid, gid, _, _, _ = ATTR.unpack_from(data, at)
    return Entry(node, mode, uid, gid, size, links)


class FuseError(OSError):
    """``errno`` is what the server has answered."""


class FuseGuest:
    """``client``: the VM's end of the server's socket, which stays the caller's."""

    def __init__(self, client: int) -> None:
        self._socket = socket.socket(fileno=os.dup(client))
        self._memory_fd = os.memfd_create("guest")
        os.ftruncate(self._memory_fd, MEMORY_BYTES)
        self.memory = mmap.mmap(self._memory_fd, MEMORY_BYTES)
        self._kicks, self._calls = ([os.eventfd(0, os.EFD_CLOEXEC) for _ in range(2)] for _ in range(2))
        self._next, self._seen = [0, 0], [0, 0]
        self._answers: dict[int, tuple[int, bytes]] = {}
        self._slots: dict[tuple[int, int], int] = {}  # what is asked in a slot of a ring
        self._room: dict[int, int] = {}
        self._unique = 0
        self._begin()

    def close(self) -> None:
        self._socket.close()
        self.memory.close()
        for fd in (self._memory_fd, *self._kicks, *self._calls):
            os.close(fd)

    def say(self, request: int, payload: bytes, fds: tuple[int, ...] = ()) -> None:
        """Of vhost-user."""
        socket.send_fds(self._socket, [struct.pack("<3I", request, 1, len(payload)) + payload], list(fds))

    def _begin(self) -> None:
        region = struct.pack("<2I4Q", 1, 0, 0, MEMORY_BYTES, USER, 0)
        self.say(5, region, (self._memory_fd,))
        for ring in range(2):
            at = USER + ring * RING_BYTES
            self.say(8, struct.pack("<2I", ring, SLOTS))
            self.say(10, struct.pack("<2I", ring, 0))
            self.say(9, struct.pack("<2I4Q", ring, 0, at, at + USED, at + AVAILABLE, 0))
            self.say(12, struct.pack("<Q", ring), (self._kicks[ring],))
            self.say(13, struct.pack("<Q", ring), (self._calls[ring],))
            self.say(18, struct.pack("<2I", ring, 1))
        flags = 0xFFFF_FFFF
        self.ask(INIT, 0, struct.pack("<5I", 7, 38, 0, flags, 0xFFFF_FFFF) + bytes(44))

    # ------------------------------------------------------------------------------------- requests

    def put(self, ring: int, pieces: list[tuple[int, int, bool]], slot: int) -> None:
        """A chain of descriptors from ``slot`` on: where, how many bytes, and whether the server writes there."""
        base = ring * RING_BYTES
        for number, (at, size, written) in enumerate(pieces):
            last = number == len(pieces) - 1
            flags = (WRITTEN if written else 0) | (0 if last else NEXT)
            place = base + (slot + number) % SLOTS * 16
            struct.pack_into("<QIHH", self.memory, place, at, size, flags, (slot + number + 1) % SLOTS)
        struct.pack_into("<H", self.memory, base + AVAILABLE + 4 + self._next[ring] % SLOTS * 2, slot)
        self._next[ring] = (self._next[ring] + 1) & 0xFFFF
        struct.pack_into("<H", self.memory, base + AVAILABLE + 2, self._next[ring])
        os.eventfd_write(self._kicks[ring], 1)

    def submit(
        self, code: int, node: int, arguments: bytes = b"", *, uid: int = 0, gid: int = 0, room: int = 8192
    ) -> int:
        """The request's number."""
        self._unique += 2
        ring = 0 if code in (FORGET, INTERRUPT) else 1
        slot = next(n for n in range(0, SLOTS, 2) if (ring, n) not in self._slots)
        self._slots[ring, slot] = self._unique
        self._room[self._unique] = room
        at = BUFFERS + (slot // 2 + ring * SLOTS // 2) * SLOT_BYTES
        size = IN_HEADER.size + len(arguments)
        header = IN_HEADER.pack(size, code, self._unique, node, uid, gid, 1, 0, 0)
        self.memory[at : at + size] = header + arguments
        pieces = [(at, size, False)]
        if ring == 1:
            out = at + SLOT_BYTES // 2
            self.memory[out : out + OUT_HEADER.size] = bytes(OUT_HEADER.size)
            pieces.append((out, OUT_HEADER.size + room, True))
        self.put(ring, pieces, slot)
        return self._unique

    def answer(self, request: int, timeout_s: float = 30.0) -> bytes:
        """What the server has answered.  FuseError; TimeoutError."""
        self._until(lambda: request in self._answers, timeout_s)
        error, data = self._answers.pop(request)
        if error:
            raise FuseError(-error, os.strerror(-error))
        return data

    def first(self, requests: Iterable[int], timeout_s: float = 30.0) -> int:
        """Which of them is answered before the others.  FuseError; TimeoutError."""
        self._until(lambda: any(each in self._answers for each in requests), timeout_s)
        found = next(each for each in requests if each in self._answers)
        self.answer(found)
        return found

    def waits(self, request: int) -> bool:
        """Whether it is not answered by the time that everything asked before another one is."""
        self.ask(GETATTR, ROOT, bytes(16))
        return request not in self._answers

    def _until(self, there: Callable[[], bool], timeout_s: float) -> None:
        while not there():
            if not select.select(self._calls, (), (), timeout_s)[0]:
                raise TimeoutError
            self._collect()

    def _collect(self) -> None:
        for ring in range(2):
            with contextlib.suppress(BlockingIOError):
                if select.select([self._calls[ring]], (), (), 0)[0]:
                    os.eventfd_read(self._calls[ring])
            base = ring * RING_BYTES + USED
            while self._seen[ring] != struct.unpack_from("<H", self.memory, base + 2)[0]:
                slot, _ = struct.unpack_from("<II", self.memory, base + 4 + self._seen[ring] % SLOTS * 8)
                self._seen[ring] = (self._seen[ring] + 1) & 0xFFFF
                unique = self._slots.pop((ring, slot))
                at = BUFFERS + (slot // 2 + ring * SLOTS // 2) * SLOT_BYTES + SLOT_BYTES // 2
                size, error, said = OUT_HEADER.unpack_from(self.memory, at) if ring else (16, 0, unique)
                assert said == unique
                assert size <= OUT_HEADER.size + self._room[unique]
                self._answers[unique] = error, bytes(self.memory[at + OUT_HEADER.size : at + size])

    def ask(self, code: int, node: int, arguments: bytes = b"", **more: int) -> bytes:
        return self.answer(self.submit(code, node, arguments, **more))

    # ------------------------------------------------------------------------------------- in words

    def lookup(self, name: str, node: int = ROOT) -> Entry:
        return entry_of(self.ask(LOOKUP, node, os.fsencode(name) + b"\0"))

    def create(
        self,
        name: str,
        *,
        node: int = ROOT,
        flags: int = os.O_RDWR,
        mode: int = 0o644,
        uid: int = 0,
        gid: int = 0,
    ) -> tuple[Entry, int]:
        """The file, and its handle."""
        arguments = struct.pack("<4I", flags | os.O_CREAT, 0o100000 | mode, 0, 0) + os.fsencode(name) + b"\0"
        data = self.ask(CREATE, node, arguments, uid=uid, gid=gid)
        return entry_of(data), struct.unpack_from("<Q", data, ENTRY_BYTES + ATTR.size)[0]

    def open(self, node: int, flags: int = os.O_RDWR) -> int:
        return int(struct.unpack_from("<Q", self.ask(OPEN, node, struct.pack("<2I", flags, 0)))[0])

    def read(self, node: int, handle: int, size: int = 4096, at: int = 0) -> bytes:
        return self.ask(READ, node, struct.pack("<QQIIQII", handle, at, size, 0, 0, 0, 0), room=size)

    def write(self, node: int, handle: int, data: bytes, at: int = 0, flags: int = 0) -> int:
        arguments = struct.pack("<QQIIQII", handle, at, len(data), 0, 0, flags, 0) + data
        return int(struct.unpack_from("<I", self.ask(WRITE, node, arguments))[0])

    def release(self, node: int, handle: int) -> None:
        self.ask(RELEASE, node, struct.pack("<QIIQ", handle, 0, 0, 0))

    def lock(
        self,
        code: int,
        node: int,
        handle: int,
        kind: int,
        *,
        owner: int = 1,
        at: int = 0,
        to: int = 2**63 - 1,
        whole: bool = False,
    ) -> int:
        """The request's number; ``whole``: as flock has it."""
        arguments = struct.pack("<QQQQIIII", handle, owner, at, to, kind, 1, 1 if whole else 0, 0)
        return self.submit(code, node, arguments)

    def rename(self, old: str, new: str, flags: int = 0) -> None:
        arguments = struct.pack("<QII", ROOT, flags, 0) + os.fsencode(old) + b"\0" + os.fsencode(new) + b"\0"
        self.ask(RENAME2, ROOT, arguments)


@contextlib.contextmanager
def guest_of(directory: Path, scratch: Path, *, read_only: bool = False) -> Iterator[FuseGuest]:
    """Of a server of its own for the directory, in its jail."""
    with contextlib.ExitStack() as fds:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        fds.callback(os.close, null)
        share = ShareSpec("together", directory.resolve(), read_only, together=True)
        serving = shares.serve(shares.together(), share, scratch, (null, null, 2), fds)
        try:
            serving.open_gate()
            with contextlib.closing(FuseGuest(serving.client)) as guest:
                yield guest
        finally:
            asyncio.run(helpers.end(serving.process))
