"""A layer by its table of contents: its tree before any of its data is here, and where in its blob each piece is.

The table is the JSON document of eStargz (containerd's stargz-snapshotter, docs/estargz.md), which zstd:chunked
(containers/storage, pkg/chunked) has with a few fields more.  Files get places one behind the other, each from a
block's start, in an area that is as large as all of them and has nothing in it.

A table is input from strangers, whoever vouches for its digest: sizes, counts and order are checked.  Of a table that
has what cannot be had one piece at a time, `Unfit` says so.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import msgspec

from . import tar
from .entries import Entries
from .limits import LayerLimits, Refusal
from .tree import BLOCK_SIZE, Data, Inode

MAX_PIECE_BYTES = 32 << 20  # of data, and of what has to be unpacked before it
MAX_PACKED_BYTES = MAX_PIECE_BYTES + (1 << 20)  # in the blob, which may not have become smaller by it
MAX_PIECES = 1_000_000
LANDMARK, NO_LANDMARK, TABLE_NAME = ".prefetch.landmark", ".no.prefetch.landmark", "stargz.index.json"
_OF_THE_FORMAT = frozenset({LANDMARK, NO_LANDMARK, TABLE_NAME})
_KINDS = {
    "reg": tar.FILE,
    "dir": tar.DIRECTORY,
    "symlink": tar.SYMLINK,
    "hardlink": tar.LINK,
    "char": tar.CHAR,
    "block": tar.BLOCK_DEVICE,
    "fifo": tar.FIFO,
}
_ZEROS = "zeros"
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_DIGEST_BYTES = 32


class Unfit(Exception):
    """Why a layer cannot be had in pieces, although a table says what is in it: it comes whole."""


_Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class _Entry(msgspec.Struct, rename="camel"):
    name: str
    type: str
    size: _Count = 0
    modtime: str | None = None
    link_name: str = ""
    mode: _Count = 0
    uid: _Count = 0
    gid: _Count = 0
    dev_major: _Count = 0
    dev_minor: _Count = 0
    xattrs: dict[str, str] | None = None
    digest: str = ""
    offset: _Count = 0
    end_offset: _Count = 0
    inner_offset: _Count = 0
    chunk_offset: _Count = 0
    chunk_size: _Count = 0
    chunk_digest: str = ""
    chunk_type: str = ""


class _Document(msgspec.Struct):
    version: int
    entries: list[_Entry]


class Piece(NamedTuple):
    """``size`` bytes at ``at`` of the layer's data: what is ``skip`` bytes into what the blob's bytes from ``start`` to
    ``end`` unpack to, perhaps with more behind it.  ``digest``: sha256 of the ``size`` bytes."""

    at: int
    size: int
    start: int
    end: int
    skip: int
    digest: bytes


class Pieces:
    """Of one layer, in the order of ``at``; what none of them has are zeros.  ``end``: where in the blob data ends."""

    def __init__(self, end: int) -> None:
        self._at, self._size, self._start, self._skip = array("Q"), array("L"), array("Q"), array("L")
        self._digests = bytearray()
        self._borders = {end}
        self._sorted: list[int] = []

    def __len__(self) -> int:
        return len(self._at)

    def add(self, at: int, size: int, start: int, skip: int, digest: bytes) -> None:
        for column, value in zip(
            (self._at, self._size, self._start, self._skip), (at, size, start, skip), strict=True
        ):
            column.append(value)
        self._digests += digest
        self._borders.add(start)

    def border(self, offset: int) -> None:
        """Something else begins there in the blob."""
        self._borders.add(offset)

    def finish(self) -> None:
        """Unfit where a piece is beyond the blob's data, or too large to be unpacked for a few bytes of it."""
        self._sorted = sorted(self._borders)
        self._borders.clear()
        for index in range(len(self)):
            size, skip = self._size[index], self._skip[index]
            if size > MAX_PIECE_BYTES or skip > MAX_PIECE_BYTES:
                raise Unfit(f"it has a piece of {size} bytes behind {skip}, at most {MAX_PIECE_BYTES}")
            if self._start[index] >= self._sorted[-1]:
                raise Unfit("it has a piece beyond its end")
            piece = self[index]
            if piece.end - piece.start > MAX_PACKED_BYTES:
                raise Unfit(f"it has a piece of {piece.end - piece.start} packed bytes")

    def __getitem__(self, index: int) -> Piece:
        start = self._start[index]
        return Piece(
            self._at[index],
            self._size[index],
            start,
            self._sorted[bisect_right(self._sorted, start)],
            self._skip[index],
            bytes(self._digests[index * _DIGEST_BYTES : (index + 1) * _DIGEST_BYTES]),
        )

    def between(self, start: int, end: int) -> Iterator[int]:
        """Of those that have a byte from ``start`` of the layer's data, and none from ``end`` on: their numbers."""
        first = max(0, bisect_right(self._at, start) - 1)
        for index in range(first, len(self)):
            if self._at[index] >= end:
                return
            if self._at[index] + self._size[index] > start:
                yield index


class Table:
    """``data_bytes``: of the area with the layer's files, whole blocks.  ``prefetch_end``: up to where in the blob
    those files are that its maker found to be needed first; 0 where it says nothing."""

    def __init__(self, raw: bytes, data_end: int, limits: LayerLimits) -> None:
        """``data_end``: where in the blob its data ends.  Raises Unfit, and Refusal."""
        self._limits = limits
        self.data_bytes = 0
        self.prefetch_end = 0
        self.pieces = Pieces(data_end)
        try:
            document = msgspec.json.decode(raw, type=_Document)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Unfit(f"its table of contents cannot be read: {error}") from error
        if document.version != 1:
            raise Unfit(f"its table of contents has version {document.version}, not 1")
        self._files: list[tuple[tar.Entry, int]] = []  # with their first block
        self._take(document.entries)
        self.pieces.finish()

    @property
    def entries(self) -> int:
        return len(self._files)

    def tree(self, base_block: int) -> Inode:
        """As ``RootReader.tree``: marks included, ``base_block`` added to every data address.  Raises Refusal."""
        place = 0
        entries = Entries(self._limits, lambda entry: Data(entry.size, place if entry.size else 0))
        for entry, block in self._files:
            place = block + base_block
            entries.take(entry)
        return entries.tree.finish()

    def _take(self, entries: list[_Entry]) -> None:
        index = 0
        while index < len(entries):
            first = entries[index]
            index += 1
            name = first.name.removeprefix("./").lstrip("/")
            if name in _OF_THE_FORMAT:
                self._landmark(name, first)
                continue
            made = _entry(first)
            self._files.append((made, self.data_bytes // BLOCK_SIZE))
            if len(self._files) > self._limits.max_entries:
                raise Refusal(f"the layer has more than {self._limits.max_entries} entries")
            if first.type != "reg":
                continue
            begin = index
            while index < len(entries) and entries[index].type == "chunk":
                index += 1
            self._place(first, entries[begin:index])

    def _landmark(self, name: str, entry: _Entry) -> None:
        if name == LANDMARK:
            self.prefetch_end = entry.offset
        if entry.size:
            self.pieces.border(entry.offset)

    def _place(self, file: _Entry, more: list[_Entry]) -> None:
        """The pieces of a regular file, which must be all of it, in order."""
        done = 0
        if file.end_offset:
            self.pieces.border(file.end_offset)
        for entry in (file, *more) if file.size else ():
            if entry.name != file.name or entry.chunk_offset != done:
                raise Unfit(f"the pieces of {file.name[:200]!r} are not in order")
            size = entry.chunk_size or file.size - done
            digest = entry.chunk_digest or (file.digest if not more else "")
            if entry.chunk_type != _ZEROS:
                match = _DIGEST.fullmatch(digest)
                if match is None:
                    raise Unfit(f"a piece of {file.name[:200]!r} has no digest")
                at = self.data_bytes + done
                self.pieces.add(at, size, entry.offset, entry.inner_offset, bytes.fromhex(match[1]))
            done += size
            if done > file.size or len(self.pieces) > MAX_PIECES:
                raise Unfit(f"the pieces of {file.name[:200]!r} are more than the file, or too many")
        if done != file.size:
            raise Unfit(f"the pieces of {file.name[:200]!r} are {done} bytes of {file.size}")
        self.data_bytes += done + -done % BLOCK_SIZE
        if self.data_bytes > self._limits.max_image_bytes:
            raise Refusal(f"the disk image would be larger than {self._limits.max_image_bytes} bytes")


def _entry(entry: _Entry) -> tar.Entry:
    kind = _KINDS.get(entry.type)
    if kind is None:
        raise Unfit(f"{entry.name[:200]!r} is a {entry.type[:40]!r}")
    size = entry.size if kind == tar.FILE else 0
    return tar.Entry(
        name=_bytes(entry.name),
        kind=kind,
        mode=entry.mode & 0o7777,
        uid=entry.uid,
        gid=entry.gid,
        mtime_ns=_time_ns(entry.modtime),
        size=size,
        stored=size,
        target=_bytes(entry.link_name),
        device=(entry.dev_major, entry.dev_minor),
        xattrs={_bytes(name): _value(value) for name, value in (entry.xattrs or {}).items()},
    )


def _bytes(text: str) -> bytes:
    """A name: one that was no UTF-8 is lost in JSON, and stands as U+FFFD."""
    if "\ufffd" in text:
        raise Unfit(f"the name {text[:200]!r} is no UTF-8")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Unfit(f"the name {text[:200]!r} is no UTF-8") from None


def _value(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Unfit("an xattr's value is no base64") from None


def _time_ns(text: str | None) -> int:
    """Of RFC 3339; 0 where there is none."""
    if not text:
        return 0
    match = _TIME.fullmatch(text)
    if match is None:
        raise Unfit(f"{text[:40]!r} is no time")
    *moment, fraction, sign, hours, minutes = match.groups()
    try:
        seconds = calendar.timegm((*map(int, moment), 0, 0, 0))
    except ValueError:
        raise Unfit(f"{text[:40]!r} is no time") from None
    if sign:
        seconds -= (int(hours) * 3600 + int(minutes) * 60) * (1 if sign == "+" else -1)
    return seconds * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))
