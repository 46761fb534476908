"""Every header form that layers come in, read back from the disk image made of it."""

from __future__ import annotations

import base64
import io
import struct
import tarfile
from pathlib import Path

import pytest

import layer_tar as lt


def one(tmp_path: Path, *entries: bytes) -> dict[bytes, lt.Found]:
    return lt.contents(lt.root_disk(tmp_path, lt.tar(*entries)))


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_what_another_implementation_writes(tmp_path: Path, form: int) -> None:
    name = "usr/" + "directory/" * 9 + "f" * 90  # needs ustar's prefix, GNU's long name, or a pax path
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for path, size in ((name, 5000), ("empty", 0), ("block", 4096)):
            info = tarfile.TarInfo(path)
            info.size, info.mode, info.uid, info.gid, info.mtime = size, 0o4751, 1000, 2000, 1700000000
            archive.addfile(info, io.BytesIO(bytes(range(250)) * 20))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "t" * 99
        archive.addfile(link)
    found = lt.contents(lt.root_disk(tmp_path, buffer.getvalue()))
    file = found[b"/" + name.encode()]
    assert file.content == bytes(range(250)) * 20
    assert (file.mode, file.uid, file.gid, file.mtime_ns) == (0o104751, 1000, 2000, 1700000000 * 10**9)
    assert found[b"/empty"].content == b""
    assert found[b"/block"].content == (bytes(range(250)) * 20)[:4096]
    assert (found[b"/link"].mode, found[b"/link"].content) == (0o120777, b"t" * 99)


def test_gnu_long_names_and_targets(tmp_path: Path) -> None:
    name, target = b"n" * 200, b"t" * 4095
    longs = b"".join(
        lt.header(b"././@LongLink", kind, size=len(text) + 1, magic=lt.GNU) + lt.padded(text + b"\0")
        for kind, text in ((b"L", name), (b"K", target))
    )
    found = one(tmp_path, longs + lt.header(name[:100], lt.SYMLINK, target=target[:100], magic=lt.GNU))
    assert found[b"/" + name].content == target


def test_v7_directory_is_told_by_its_slash(tmp_path: Path) -> None:
    found = one(
        tmp_path, lt.header(b"old/", b"\0", mode=0o700, magic=lt.V7), lt.header(b"old/f", b"\0", magic=lt.V7)
    )
    assert found[b"/old"].mode == 0o40700
    assert found[b"/old/f"].content == b""


def test_pax_overrides_the_header(tmp_path: Path) -> None:
    pax = {
        b"path": b"by/pax \xff\xfe",
        b"uid": b"4294967295",
        b"gid": b"3000000000",
        b"mtime": b"1700000000.123456789123",
        b"size": b"3",
    }
    found = one(tmp_path, lt.extended(pax.items()), lt.header(b"plain", size=0) + lt.padded(b"abc"))
    file = found[b"/by/pax \xff\xfe"]
    assert (file.uid, file.gid, file.mtime_ns) == (4294967295, 3000000000, 1700000000123456789)
    assert file.content == b"abc"
    assert b"/plain" not in found


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (b"-1.5", 0),
        (b"0.000000001", 1),
        (b"-0.25", 0),
        (b"12", 12 * 10**9),
        (b"3.", 3 * 10**9),
    ],
)
def test_times(tmp_path: Path, text: bytes, nanoseconds: int) -> None:
    assert one(tmp_path, lt.entry(b"f", pax={b"mtime": text}))[b"/f"].mtime_ns == nanoseconds


def test_base_256_numbers(tmp_path: Path) -> None:
    found = one(
        tmp_path, lt.entry(b"f", uid=0xFFFFFFFF, gid=1 << 31, mtime=-5), lt.entry(b"g", mtime=1 << 33)
    )
    assert (found[b"/f"].uid, found[b"/f"].gid) == (0xFFFFFFFF, 1 << 31)
    assert found[b"/g"].mtime_ns == (1 << 33) * 10**9


@pytest.mark.parametrize("seconds", [-1, -(1 << 40), 1 << 40, (1 << 63) // 10**9 + 1])
def test_times_that_go_has_not_are_1970(tmp_path: Path, seconds: int) -> None:
    assert one(tmp_path, lt.entry(b"f", mtime=seconds))[b"/f"].mtime_ns == 0


def test_global_records_have_no_effect(tmp_path: Path) -> None:
    found = one(
        tmp_path,
        lt.extended([(b"uid", b"7"), (b"comment", b"from git")], kind=b"g"),
        lt.entry(b"a"),
        lt.entry(b"b", pax={b"uid": b"8"}),
        lt.extended([(b"uid", b"")], kind=b"g"),
        lt.entry(b"c", uid=9),
    )
    assert [found[path].uid for path in (b"/a", b"/b", b"/c")] == [0, 8, 9]


def test_xattrs_in_both_pax_forms(tmp_path: Path) -> None:
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    acl = struct.pack("<IHHIHHI", 2, 1, 6, 0xFFFFFFFF, 2, 4, 1000)
    pax = {
        b"SCHILY.xattr.security.capability": capability,
        b"SCHILY.xattr.user.a%b": b"line\nline\0",
        b"SCHILY.xattr.user.empty": b"",
        b"SCHILY.xattr.system.posix_acl_access": acl,
        b"SCHILY.xattr.trusted.deep": b"x" * 60000,
        b"LIBARCHIVE.xattr.user.caf%C3%A9": base64.b64encode(b"\0\1").rstrip(b"="),
        b"LIBARCHIVE.xattr.user.empty": base64.b64encode(b"loses"),
        b"SCHILY.xattr.com.apple.quarantine": b"no such namespace here",
        b"SCHILY.xattr.trusted.overlay.opaque": b"y",
        b"SCHILY.xattr.trusted.hypercontainer.link": b"etc/shadow",
    }
    found = one(tmp_path, lt.entry(b"f", pax=pax), lt.entry(b"g", pax=pax), lt.directory(b"d"))
    assert dict(found[b"/f"].xattrs) == {
        b"security.capability": capability,
        b"user.a%b": b"line\nline\0",
        b"user.empty": b"",
        b"system.posix_acl_access": acl,
        b"trusted.deep": b"x" * 60000,
        "user.café".encode(): b"\0\1",
    }
    assert found[b"/g"].xattrs == found[b"/f"].xattrs


@pytest.mark.parametrize("device", [(0, 1), (8, 17), (4095, 1048575), (259, 70000)])
def test_device_numbers(tmp_path: Path, device: tuple[int, int]) -> None:
    found = one(tmp_path, lt.entry(b"c", lt.CHAR, device=device), lt.entry(b"b", lt.BLOCK, device=device))
    major, minor = device
    encoded = (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
    assert (found[b"/c"].mode, found[b"/c"].content) == (0o20644, encoded)
    assert (found[b"/b"].mode, found[b"/b"].content) == (0o60644, encoded)


def test_fifo(tmp_path: Path) -> None:
    assert one(tmp_path, lt.entry(b"p", lt.FIFO, mode=0o600))[b"/p"].mode == 0o10600


def test_size_of_entries_without_data_is_not_believed(tmp_path: Path) -> None:
    found = one(
        tmp_path,
        lt.entry(b"f", data=b"data"),
        lt.header(b"hard", lt.LINK, size=4, target=b"f"),
        lt.header(b"d/", lt.DIRECTORY, size=1 << 40),
        lt.entry(b"g"),
    )
    assert found[b"/hard"].content == b"data"
    assert b"/g" in found


def test_signed_checksum_of_old_programs(tmp_path: Path) -> None:
    head = lt.header(b"caf\xc3\xa9", mode=0o600)
    total = sum(struct.unpack("512b", head[:148] + b" " * 8 + head[156:]))
    assert one(tmp_path, head[:148] + b"%06o\0 " % total + head[156:])["/café".encode()].permissions == 0o600


@pytest.mark.parametrize("end", [b"", bytes(512), bytes(1024), bytes(10240), bytes(1024) + b"rubbish" * 99])
def test_ends_of_archives(tmp_path: Path, end: bytes) -> None:
    disk = lt.root_disk(tmp_path, lt.entry(b"f", data=b"x" * 600) + end)
    assert lt.files(disk)[b"/f"] == b"x" * 600


def test_last_padding_may_be_missing(tmp_path: Path) -> None:
    assert lt.files(lt.root_disk(tmp_path, lt.header(b"f", size=3) + b"abc"))[b"/f"] == b"abc"
