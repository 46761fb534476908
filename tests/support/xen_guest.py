"""The guest's side of a console of Xen's."""

from __future__ import annotations

import struct

from hypercontainer.hypervisor.xen.ring import IN_BYTES, OUT_BYTES

INDEX_AT = IN_BYTES + OUT_BYTES


class Guest:
    """The other side."""

    def __init__(self, page: bytearray) -> None:
        self.page = page

    def index(self, which: int) -> int:
        return int(struct.unpack_from("<I", self.page, INDEX_AT + 4 * which)[0])

    def set_index(self, which: int, value: int) -> None:
        struct.pack_into("<I", self.page, INDEX_AT + 4 * which, value & 0xFFFFFFFF)

    def write(self, data: bytes) -> int:
        used = (self.index(3) - self.index(2)) & 0xFFFFFFFF
        data = data[: OUT_BYTES - used]
        for place, byte in enumerate(data, self.index(3)):
            self.page[IN_BYTES + place % OUT_BYTES] = byte
        self.set_index(3, self.index(3) + len(data))
        return len(data)

    def read(self) -> bytes:
        begin, end = self.index(0), self.index(1)
        self.set_index(0, end)
        return bytes(
            self.page[place % IN_BYTES] for place in range(begin, begin + ((end - begin) & 0xFFFFFFFF))
        )
