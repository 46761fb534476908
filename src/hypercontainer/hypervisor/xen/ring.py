"""The agent's line: a console of Xen's, of which we are the host's side.

It is a page of the guest's memory with a ring for each direction (io/console.h of Xen) and an event channel.  What is
in it outlives whoever has it mapped: nothing is lost when one hyperd follows another, and who is slow is waited for.
The guest may write into the page whatever it wants: positions are checked, and bytes are bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import mmap
import os
import socket
import struct

PAGE = 4096
IN_BYTES, OUT_BYTES = 1024, 2048
_INDEX_AT = (IN_BYTES + OUT_BYTES) // 4
_IN_CONS, _IN_PROD, _OUT_CONS, _OUT_PROD = range(_INDEX_AT, _INDEX_AT + 4)
_EVTCHN, _GNTDEV = "/dev/xen/evtchn", "/dev/xen/gntdev"
_BIND_INTERDOMAIN, _NOTIFY, _MAP_GRANT = 0x00084501, 0x00044504, 0x00184700
_PORT = struct.Struct("=I")
_GRANT = struct.Struct("=IIQII")
_BUFFER_BYTES = 65536


class Rings:
    """Both, in a page that is mapped; ``memory`` is writable."""

    def __init__(self, memory: memoryview) -> None:
        self._bytes = memory
        self._index = memory.cast("I")

    def release(self) -> None:
        self._index.release()
        self._bytes.release()

    def take(self) -> bytes:
        """All that the guest has written, which there is room for again.  ValueError for positions that cannot be."""
        begin, end = self._index[_OUT_CONS], self._index[_OUT_PROD]
        count = (end - begin) & 0xFFFFFFFF
        if count > OUT_BYTES:
            raise ValueError(f"{count} bytes are more than the ring has")
        at = begin % OUT_BYTES
        first = min(count, OUT_BYTES - at)
        data = bytes(self._bytes[IN_BYTES + at : IN_BYTES + at + first])
        data += bytes(self._bytes[IN_BYTES : IN_BYTES + count - first])
        self._index[_OUT_CONS] = end
        return data

    def put(self, data: bytes | bytearray) -> int:
        """As much as there is room for, for the guest to read; how much that was.  ValueError as ``take``."""
        begin, end = self._index[_IN_CONS], self._index[_IN_PROD]
        used = (end - begin) & 0xFFFFFFFF
        if used > IN_BYTES:
            raise ValueError(f"{used} bytes are more than the ring has")
        count = min(len(data), IN_BYTES - used)
        at = end % IN_BYTES
        first = min(count, IN_BYTES - at)
        self._bytes[at : at + first] = data[:first]
        self._bytes[0 : count - first] = data[first:count]
        self._index[_IN_PROD] = (end + count) & 0xFFFFFFFF
        return count


class Channel:
    """The page, and the events; owns both.  Raises ``OSError``."""

    def __init__(self, domain: int, reference: int, port: int) -> None:
        with contextlib.ExitStack() as undo:
            grants = os.open(_GNTDEV, os.O_RDWR | os.O_CLOEXEC)
            undo.callback(os.close, grants)
            asked = bytearray(_GRANT.pack(1, 0, 0, domain, reference))
            fcntl.ioctl(grants, _MAP_GRANT, asked)
            page = mmap.mmap(grants, PAGE, mmap.MAP_SHARED, offset=_GRANT.unpack(asked)[2])
            undo.callback(page.close)
            self.rings = Rings(memoryview(page))
            undo.callback(self.rings.release)
            self.events = os.open(_EVTCHN, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            undo.callback(os.close, self.events)
            peer = bytearray(struct.pack("=II", domain, port))  # of bytes alone it would give these back
            self._port = fcntl.ioctl(self.events, _BIND_INTERDOMAIN, peer)
            self._owned = undo.pop_all()

    def notify(self) -> None:
        fcntl.ioctl(self.events, _NOTIFY, _PORT.pack(self._port))

    def heard(self) -> None:
        """Events that have come are taken, and more may come."""
        with contextlib.suppress(BlockingIOError):
            os.write(self.events, os.read(self.events, PAGE))

    def close(self) -> None:
        self._owned.close()


class Line:
    """Carries bytes between the rings and whoever is connected, of whom there is one at a time.

    Before the guest has opened its end, what is written to it waits.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel: Channel | None = None
        self._peer: socket.socket | None = None
        self._to_guest, self._from_guest = bytearray(), bytearray()
        self._broken = False

    def attach(self, channel: Channel) -> None:
        """Owns it from now on."""
        self._channel = channel
        self._loop.add_reader(channel.events, self._move)
        self._move()

    def connect(self) -> socket.socket:
        """The caller's end of a new connection; the former one is closed.  ``OSError`` once the guest has broken it."""
        if self._broken:
            raise OSError(None, "the guest has broken the line")
        self._part()
        self._peer, end = socket.socketpair()
        self._peer.setblocking(False)
        end.setblocking(False)
        self._watch()
        return end

    def close(self) -> None:
        self._part()
        self.detach()

    def detach(self) -> None:
        """From the guest; who is connected is not told of it yet."""
        if self._channel is not None:
            self._loop.remove_reader(self._channel.events)
            self._channel.close()
            self._channel = None

    def _part(self) -> None:
        if self._peer is not None:
            self._loop.remove_reader(self._peer)
            self._loop.remove_writer(self._peer)
            self._peer.close()
            self._peer = None
        self._to_guest.clear()
        self._from_guest.clear()

    def _watch(self) -> None:
        """For as much as there is room for."""
        if self._peer is None:
            return
        if len(self._to_guest) < _BUFFER_BYTES:
            self._loop.add_reader(self._peer, self._read)
        else:
            self._loop.remove_reader(self._peer)
        if self._from_guest:
            self._loop.add_writer(self._peer, self._move)
        else:
            self._loop.remove_writer(self._peer)

    def _read(self) -> None:
        assert self._peer is not None
        try:
            data = self._peer.recv(_BUFFER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._part()
            return
        self._to_guest += data
        self._move()

    def _move(self) -> None:
        """What can be, in both directions."""
        try:
            if self._channel is not None:
                self._channel.heard()
                self._exchange(self._channel)
        except (OSError, ValueError):
            self._broken = True
            self.close()
            return
        self._watch()

    def _exchange(self, channel: Channel) -> None:
        """Once: whatever the guest does after its events were taken is an event again.  A guest that waits for room
        says nothing: so room is made first, and what it then may write is taken."""
        self._deliver()
        taken = b""
        if len(self._from_guest) < _BUFFER_BYTES:
            taken = channel.rings.take()
        if self._peer is not None:  # else it is of a session that is over
            self._from_guest += taken
        put = channel.rings.put(self._to_guest)
        del self._to_guest[:put]
        if taken or put:
            channel.notify()
        self._deliver()

    def _deliver(self) -> None:
        if self._peer is None or not self._from_guest:
            return
        try:
            del self._from_guest[: self._peer.send(self._from_guest)]
        except BlockingIOError:
            return
        except OSError:
            self._part()
