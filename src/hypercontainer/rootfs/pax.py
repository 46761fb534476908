"""PAX extended headers: records of "length key=value\\n" that override what the plain header says."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Protocol
from urllib.parse import unquote_to_bytes

from .limits import Refusal

Records = dict[bytes, bytes]

MAX_DIGITS = 20
NUMBER = re.compile(rb"-?[0-9]{1,20}")
TIME = re.compile(rb"(-?)([0-9]{1,20})(?:\.([0-9]*))?")
SCHILY_XATTR = b"SCHILY.xattr."
LIBARCHIVE_XATTR = b"LIBARCHIVE.xattr."
SPARSE_OFFSET, SPARSE_LENGTH = b"GNU.sparse.offset", b"GNU.sparse.numbytes"
SPARSE_MAP = b"GNU.sparse.map"
ENTRY_KEYS = frozenset((b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"))
KEPT_PREFIXES = (SCHILY_XATTR, LIBARCHIVE_XATTR, b"GNU.sparse.")


class Target(Protocol):
    name: bytes
    target: bytes
    stored: int
    uid: int
    gid: int
    mtime_ns: int
    xattrs: dict[bytes, bytes]


def parse(raw: bytes) -> Records:
    """The records that matter here.  Sparse format 0.0 repeats keys; its pairs become 0.1's one map."""
    records: Records = {}
    pairs: list[bytes] = []
    at = 0
    while at < len(raw):
        space = raw.find(b" ", at, at + MAX_DIGITS)
        digits = raw[at:space] if space > 0 else b""
        end = at + int(digits) if digits.isdigit() else 0
        equals = raw.find(b"=", space, end)
        if not (space + 1 < equals < end <= len(raw) and raw[end - 1] == ord("\n")):
            raise Refusal("a malformed extended header")
        key, value = raw[space + 1 : equals], raw[equals + 1 : end - 1]
        at = end
        if key in (SPARSE_OFFSET, SPARSE_LENGTH):
            if (key == SPARSE_LENGTH) != len(pairs) % 2:
                raise Refusal("a sparse map's offsets and lengths do not alternate")
            pairs.append(value)
        elif key in ENTRY_KEYS or key.startswith(KEPT_PREFIXES):
            records[key] = value
    if pairs:
        records[SPARSE_MAP] = b",".join(pairs)
    return records


def apply(records: Records, entry: Target) -> None:
    """Override an entry's fields; an empty value means the plain header's."""
    for key, value in records.items():
        if key == b"path":
            entry.name = value or entry.name
        elif key == b"linkpath":
            entry.target = value or entry.target
        elif key == b"size":
            entry.stored = _number(key, value) if value else entry.stored
        elif key == b"uid":
            entry.uid = _number(key, value) if value else entry.uid
        elif key == b"gid":
            entry.gid = _number(key, value) if value else entry.gid
        elif key == b"mtime":
            entry.mtime_ns = _time_ns(value) if value else entry.mtime_ns
        elif key.startswith(SCHILY_XATTR):
            entry.xattrs[key.removeprefix(SCHILY_XATTR)] = value
        elif key.startswith(LIBARCHIVE_XATTR):
            name = unquote_to_bytes(key.removeprefix(LIBARCHIVE_XATTR))
            if SCHILY_XATTR + name not in records:
                entry.xattrs[name] = _base64(value)


def _number(key: bytes, value: bytes) -> int:
    if not NUMBER.fullmatch(value):
        raise Refusal(f"its {key.decode()} is not a number: {value[:40]!r}")
    return int(value)


def _time_ns(value: bytes) -> int:
    """Seconds with a fraction, of which nine digits count."""
    match = TIME.fullmatch(value)
    if match is None:
        raise Refusal(f"its mtime is not a time: {value[:40]!r}")
    sign, seconds, fraction = match.groups()
    nanoseconds = int(seconds) * 1_000_000_000 + int((fraction or b"")[:9].ljust(9, b"0"))
    return -nanoseconds if sign else nanoseconds


def _base64(value: bytes) -> bytes:
    try:
        return base64.b64decode(value + b"=" * (-len(value) % 4), validate=True)
    except binascii.Error as error:
        raise Refusal(f"an xattr is not base64: {error}") from None
