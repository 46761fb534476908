"""Extended attributes in EROFS's packed form.

An entry (include/linux erofs_fs.h, ``struct erofs_xattr_entry``) is padded to four bytes:

    u8 name length | u8 prefix index | u16 value size | name without prefix | value | padding

The project's own marks are attributes as well, taken off when a layer is read back; what a tar carries under
their names is dropped, so that an image cannot forge them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

from .limits import Refusal

ENTRY = struct.Struct("<BBH")
MAX_VALUE_BYTES = 0xFFFF
MAX_NAME_BYTES = 255
HEADER_BYTES = 12
# The inode counts four-byte units in 16 bits; what is left of them is room for the marks.
MAX_PACKED_BYTES = 0xFFFE * 4 - 8192

PREFIXES: tuple[tuple[int, bytes], ...] = (
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
)
PREFIX_OF = dict(PREFIXES)

OPAQUE = b"trusted.overlay.opaque"
IMPLICIT = b"trusted.hypercontainer.implicit"
FAR_LINK = b"trusted.hypercontainer.link"
RESERVED = (b"trusted.overlay.", b"trusted.hypercontainer.")


def split_name(name: bytes) -> tuple[int, bytes] | None:
    """Prefix index and the rest of ``name``; None for a namespace that the file system does not have."""
    for index, prefix in PREFIXES:
        if name.startswith(prefix):
            rest = name[len(prefix) :]
            # The ACL names are whole names; every other needs something after its prefix.
            return (index, rest) if bool(rest) != (index in (2, 3)) else None
    return None


def pack(attributes: Mapping[bytes, bytes]) -> bytes:
    """Packed entries of ``attributes`` by full name; those of unknown namespaces are left out, as Docker does."""
    packed = bytearray()
    for name, value in attributes.items():
        split = split_name(name)
        if split is None:
            continue
        index, rest = split
        if len(rest) > MAX_NAME_BYTES or b"\0" in rest:
            raise Refusal(f"xattr name of {len(name)} bytes, or with a NUL in it")
        if len(value) > MAX_VALUE_BYTES:
            raise Refusal(f"xattr {name!r} has {len(value)} bytes, at most {MAX_VALUE_BYTES}")
        packed += ENTRY.pack(len(rest), index, len(value)) + rest + value
        packed += bytes(-len(packed) % 4)
    if len(packed) > MAX_PACKED_BYTES:
        raise Refusal(f"xattrs take {len(packed)} bytes, at most {MAX_PACKED_BYTES}")
    return bytes(packed)


def entries(packed: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Full name and value of each packed entry; raises struct.error or KeyError where they are damaged."""
    at = 0
    while at < len(packed):
        name_length, index, value_size = ENTRY.unpack_from(packed, at)
        name_at = at + ENTRY.size
        value_at = name_at + name_length
        yield PREFIX_OF[index] + packed[name_at:value_at], packed[value_at : value_at + value_size]
        at = value_at + value_size
        at += -at % 4


def body(packed: bytes) -> bytes:
    """What follows the inode: the header (no shared entries) and the entries; empty without any."""
    return bytes(HEADER_BYTES) + packed if packed else b""


def units(packed: bytes) -> int:
    """``i_xattr_icount``: 0 without entries, else one for the header and one per four bytes of entries."""
    return 1 + len(packed) // 4 if packed else 0
