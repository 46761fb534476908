"""What layers hold is what a container sees: made by hand, byte for byte, and looked at from inside."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from typing import Any

import pytest

import busybox_image
import described
import layer_tar as lt
from described import Seen
from hyper import Hyper

CAPABILITY = b"SCHILY.xattr.security.capability"
# vfs_cap_data, version 2 with the effective bit: CAP_CHOWN, which is number 0.
CAP_CHOWN = struct.pack("<IIIII", 0x02000001, 1 << 0, 0, 0, 0)
# Version 2: the owner rw, user 1000 r, the group r, the mask r, others nothing.
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, mode, identity)
    for tag, mode, identity in (
        (0x01, 6, 0xFFFFFFFF),
        (0x02, 4, 1000),
        (0x04, 4, 0xFFFFFFFF),
        (0x10, 4, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    )
)
BIG = hashlib.shake_256(b"big").digest(3_000_001)
GIB = 1 << 30
LONG_NAME = b"n" * 255
DEEP = b"/".join([b"t/deep", *[b"d" * 200] * 18, b"file"])  # 3,700 bytes
ODD_NAMES = (b"\xff\xfe\x80", b"new\nline", b"back\\slash", b" ", b"\xc3\xa4", b"-n", b"%s", LONG_NAME)


def image(hyper: Hyper, name: str, *layers: bytes, **config: Any) -> str:
    """Loads an image of these layers, with `/describe` below them."""
    reference = f"localhost/{name}:latest"
    base = lt.tar(lt.entry(b"describe", data=described.program(), mode=0o755))
    hyper("load", "-q", stdin=busybox_image.archive([base, *layers], reference, config=config))
    return reference


def sparse(name: bytes, size: int, pieces: dict[int, bytes]) -> bytes:
    """A file of which only the pieces (offset: data) are stored, in PAX format 1.0."""
    numbers = [len(pieces), *(number for at, data in pieces.items() for number in (at, len(data)))]
    start = lt.padded(b"".join(b"%d\n" % number for number in numbers))
    stored = start + b"".join(pieces.values())
    records = {
        b"GNU.sparse.major": b"1",
        b"GNU.sparse.minor": b"0",
        b"GNU.sparse.name": name,
        b"GNU.sparse.realsize": b"%d" % size,
    }
    return lt.entry(b"GNUSparseFile/x", data=stored, pax=records)


LOWER = lt.tar(
    lt.directory(b"t", 0o751, uid=3, gid=4),
    *(lt.entry(b"t/wh/" + name, data=b"low") for name in (b"gone", b"stays", b"again", b"dir/x", b"dir/y/z")),
    lt.directory(b"t/opaque", 0o750, uid=5, gid=6),
    *(lt.entry(b"t/opaque/" + name) for name in (b"low", b"both", b"sub/low")),
    lt.entry(b"t/hard/one", data=b"linked", mode=0o640, uid=7, gid=8, mtime=1000),
    lt.entry(b"t/hard/two", lt.LINK, target=b"t/hard/one"),
    lt.entry(b"t/hard/far", data=b"far"),
    lt.entry(b"t/xattr", pax={b"SCHILY.xattr.user.bytes": b"\0=\n\xff", b"SCHILY.xattr.user.empty": b""}),
    lt.entry(b"t/acl", mode=0o640, pax={b"SCHILY.xattr.system.posix_acl_access": ACL}),
    lt.entry(b"t/capable", data=described.program(), mode=0o755, pax={CAPABILITY: CAP_CHOWN}),
    lt.entry(b"t/node/char", lt.CHAR, mode=0o620, gid=5, device=(4, 300)),
    lt.entry(b"t/node/block", lt.BLOCK, mode=0o660, device=(259, 70000)),
    lt.entry(b"t/node/fifo", lt.FIFO, mode=0o600),
    sparse(b"t/sparse", 5 * GIB + 1, {0: b"begin", 4 * GIB + 4096: b"middle", 5 * GIB: b"!"}),
    lt.entry(b"t/big", data=BIG),
    lt.entry(b"t/mode/setuid", mode=0o4711),
    lt.entry(b"t/mode/nothing", mode=0),
    lt.entry(b"t/mode/all", mode=0o7777),
    lt.directory(b"t/mode/setgid", 0o2775),
    lt.directory(b"t/mode/sticky", 0o1777),
    *(lt.entry(b"t/name/" + name, data=name) for name in ODD_NAMES),
    lt.entry(DEEP, data=b"deep"),
    lt.entry(b"t/time/fraction", pax={b"mtime": b"1234567890.123456789"}),
    lt.entry(b"t/time/before", pax={b"mtime": b"-1.5"}),
    lt.entry(b"t/time/after", mtime=1 << 33),
    lt.entry(b"t/owner/most", uid=(1 << 32) - 2, gid=1 << 31),
    lt.entry(b"t/twice", data=b"first", mode=0o600),
    lt.entry(b"t/twice", data=b"second", mode=0o644),
    lt.entry(b"t/link/out", lt.SYMLINK, target=b"../../../../../etc/shadow"),
    lt.entry(b"t/link/long", lt.SYMLINK, target=b"x" * 4000),
    lt.entry(b"t/link/self", lt.SYMLINK, target=b"self", uid=9, gid=9),
    lt.directory(b"t/kind/was-directory"),
    lt.entry(b"t/kind/was-directory/child"),
    lt.entry(b"t/kind/was-file", data=b"file"),
    lt.entry(b"t/kind/was-link", lt.SYMLINK, target=b"was-directory"),
)
UPPER = lt.tar(
    lt.entry(b"t/wh/.wh.gone"),
    lt.entry(b"t/wh/.wh.dir"),
    lt.entry(b"t/wh/.wh.never-was"),
    lt.entry(b"t/wh/again", data=b"new"),
    lt.entry(b"t/wh/.wh.again"),
    lt.entry(b"t/opaque/new"),
    lt.entry(b"t/opaque/both", data=b"new"),
    lt.entry(b"t/opaque/.wh..wh..opq"),
    lt.entry(b"t/opaque/.wh..wh..opq"),
    lt.entry(b"t/hard/near", lt.LINK, target=b"t/hard/far"),
    lt.entry(b"t/kind/was-directory", data=b"file now"),
    lt.directory(b"t/kind/was-file"),
    lt.entry(b"t/kind/was-file/child", data=b"child"),
    lt.entry(b"t/kind/.wh.was-link"),
    lt.directory(b"t/kind/was-link"),
)


@pytest.fixture(scope="module")
def seen(shared: Hyper) -> dict[bytes, Seen]:
    reference = image(shared, "layers", LOWER, UPPER)
    return described.parse(shared("run", "--rm", reference, "/describe", "t").stdout)


def names(seen: dict[bytes, Seen], folder: bytes) -> set[bytes]:
    start = folder + b"/"
    return {path[len(start) :] for path in seen if path.startswith(start)}


def test_whiteouts_hide_what_is_below_and_nothing_of_their_own_layer(seen: dict[bytes, Seen]) -> None:
    assert names(seen, b"t/wh") == {b"stays", b"again"}
    assert seen[b"t/wh/again"].content == b"new"
    assert names(seen, b"t/opaque") == {b"new", b"both"}
    assert seen[b"t/opaque/both"].content == b"new"
    opaque = seen[b"t/opaque"]
    assert (opaque.mode, opaque.owner) == (stat.S_IFDIR | 0o750, (5, 6))


def test_hard_links_within_and_across_layers(seen: dict[bytes, Seen]) -> None:
    one, two = seen[b"t/hard/one"], seen[b"t/hard/two"]
    assert (one, one.links) == (two, 2)
    assert (one.mode, one.owner, one.mtime_ns) == (stat.S_IFREG | 0o640, (7, 8), 1000 * 10**9)
    assert (one.content, seen[b"t/hard/near"]) == (b"linked", seen[b"t/hard/far"])
    assert (seen[b"t/hard/near"].content, seen[b"t/hard/near"].links) == (b"far", 2)


def test_extended_attributes(seen: dict[bytes, Seen]) -> None:
    assert seen[b"t/xattr"].xattrs == {b"user.bytes": b"\0=\n\xff", b"user.empty": b""}
    assert seen[b"t/capable"].xattrs == {b"security.capability": CAP_CHOWN}
    assert seen[b"t/acl"].xattrs == {b"system.posix_acl_access": ACL}
    assert all(
        not file.xattrs for path, file in seen.items() if path not in (b"t/xattr", b"t/capable", b"t/acl")
    )


def test_special_files(seen: dict[bytes, Seen]) -> None:
    char, block, fifo = (seen[b"t/node/" + name] for name in (b"char", b"block", b"fifo"))
    assert (char.mode, char.owner, char.device) == (stat.S_IFCHR | 0o620, (0, 5), os.makedev(4, 300))
    assert (block.mode, block.device) == (stat.S_IFBLK | 0o660, os.makedev(259, 70000))
    assert fifo.mode == stat.S_IFIFO | 0o600


def test_modes_owners_and_times(seen: dict[bytes, Seen]) -> None:
    modes = {name: seen[b"t/mode/" + name].mode for name in names(seen, b"t/mode")}
    assert modes == {
        b"setuid": stat.S_IFREG | 0o4711,
        b"nothing": stat.S_IFREG,
        b"all": stat.S_IFREG | 0o7777,
        b"setgid": stat.S_IFDIR | 0o2775,
        b"sticky": stat.S_IFDIR | 0o1777,
    }
    assert seen[b"t/owner/most"].owner == ((1 << 32) - 2, 1 << 31)
    assert (seen[b"t"].owner, stat.S_IMODE(seen[b"t"].mode)) == ((3, 4), 0o751)
    assert seen[b"t/time/fraction"].mtime_ns == 1234567890_123456789
    assert seen[b"t/time/before"].mtime_ns == 0  # as with containerd and podman
    assert seen[b"t/time/after"].mtime_ns == (1 << 33) * 10**9


def test_names_and_targets_are_bytes(seen: dict[bytes, Seen]) -> None:
    assert {name: seen[b"t/name/" + name].content for name in names(seen, b"t/name")} == {
        name: name for name in ODD_NAMES
    }
    assert seen[DEEP].content == b"deep"
    assert seen[b"t/link/out"].content == b"../../../../../etc/shadow"
    assert seen[b"t/link/long"].content == b"x" * 4000
    assert (seen[b"t/link/self"].content, seen[b"t/link/self"].owner) == (b"self", (9, 9))


def test_the_last_of_a_name_wins(seen: dict[bytes, Seen]) -> None:
    assert (seen[b"t/twice"].content, seen[b"t/twice"].mode) == (b"second", stat.S_IFREG | 0o644)
    assert seen[b"t/kind/was-directory"].content == b"file now"
    assert names(seen, b"t/kind") == {b"was-directory", b"was-file", b"was-file/child", b"was-link"}
    assert stat.S_ISDIR(seen[b"t/kind/was-link"].mode)


def test_large_and_sparse_files_and_what_capabilities_do(hyper: Hyper, seen: dict[bytes, Seen]) -> None:
    assert (seen[b"t/sparse"].size, seen[b"t/big"].size) == (5 * GIB + 1, len(BIG))
    assert seen[b"t/sparse"].content == b"begin".ljust(1024, b"\0")
    busybox = lt.entry(
        b"t/chown", data=busybox_image.BUSYBOX.read_bytes(), mode=0o755, pax={CAPABILITY: CAP_CHOWN}
    )
    reference = image(hyper, "more", LOWER, UPPER, busybox_image.layer(), lt.tar(busybox))
    script = f"""
        sha256sum < t/big; tail -c 1 t/sparse; echo
        dd if=t/sparse bs=4096 skip={GIB // 1024 + 1} count=1 2>/dev/null | head -c 6; echo
        dd if=t/sparse bs=1M skip=2000 count=1 2>/dev/null | tr -d '\\0' | wc -c
        id -u; chown 77 t/twice 2>/dev/null || t/chown 77 t/twice; stat -c %u t/twice
    """
    lines = hyper.out("run", "--rm", "-u", "1000", reference, "sh", "-c", script).split("\n")
    assert lines[0].split()[0] == hashlib.sha256(BIG).hexdigest()
    assert lines[1:] == ["!", "middle", "0", "1000", "77"]


def test_sixty_layers(hyper: Hyper) -> None:
    layers = [
        lt.tar(
            lt.entry(b"t/top", data=b"%d" % number),
            lt.entry(b"t/of/%d" % number, data=b"%d" % number),
            *([lt.entry(b"t/of/.wh.%d" % (number - 1))] if number % 2 else []),
        )
        for number in range(60)
    ]
    reference = image(hyper, "sixty", *layers)
    seen = described.parse(hyper("run", "--rm", reference, "/describe", "t").stdout)
    assert seen[b"t/top"].content == b"59"
    assert {name: seen[b"t/of/" + name].content for name in names(seen, b"t/of")} == {
        b"%d" % number: b"%d" % number for number in range(1, 60, 2)
    }


def test_thousands_of_nested_directories(hyper: Hyper) -> None:
    reference = image(
        hyper, "nested", busybox_image.layer(), lt.tar(lt.entry(b"d/" * 2000 + b"f", data=b"deep"))
    )
    script = "i=0; cd /; while cd -P d 2>/dev/null; do i=$((i+1)); done; echo $i; cat f; echo new > g; cat g"
    assert hyper.out("run", "--rm", reference, "sh", "-c", script) == "2000\ndeepnew"


# ------------------------------------------------------------------------------- images that lack or bend things


def looks(hyper: Hyper, reference: str, *words: str, run: tuple[str, ...] = ()) -> dict[bytes, Seen]:
    return described.parse(hyper("run", "--rm", *run, reference, "/describe", *words).stdout)


def test_an_image_of_a_single_program(hyper: Hyper) -> None:
    reference = image(hyper, "scratch", User="2147483647:2147483646")
    seen = looks(hyper, reference, "etc", "dev", "describe")
    assert names(seen, b"etc") == {b"hosts", b"hostname", b"resolv.conf"}
    assert {b"null", b"pts", b"shm", b"fd", b"stdout"} <= names(seen, b"dev")
    assert seen[b"dev/null"].device == os.makedev(1, 3)
    started = hyper("run", "--rm", "-u", "nobody", reference, "/describe", check=False)
    assert b"unable to find user nobody: no matching entries in passwd file" in started.stderr


def test_links_that_point_out_of_the_root_lead_to_places_in_it(hyper: Hyper) -> None:
    links = {
        b"etc": b"../../../../outside",
        b"dev": b"/../d",
        b"proc": b"p",
        b"sys": b"/s",
        b"tmp": b"../nowhere",
    }
    reference = image(
        hyper, "bent", lt.tar(*(lt.entry(name, lt.SYMLINK, target=to) for name, to in links.items()))
    )
    seen = looks(
        hyper,
        reference,
        *(name.decode() for name in links),
        "outside",
        "d/null",
        "p/1/comm",
        "s/fs/cgroup/cgroup.controllers",
    )
    assert {name: seen[name].content for name in links} == links
    assert names(seen, b"outside") == {b"hosts", b"hostname", b"resolv.conf"}
    assert b"localhost" in seen[b"outside/hosts"].content
    assert seen[b"d/null"].device == os.makedev(1, 3)
    assert seen[b"p/1/comm"].content == b"describe\n"


def test_files_that_hyper_binds_may_be_links_to_nothing(hyper: Hyper) -> None:
    links = {
        b"etc/resolv.conf": b"../run/systemd/resolve/stub-resolv.conf",
        b"etc/hosts": b"/../../../../../h/hosts",
        b"etc/passwd": b"/dev/zero",
        b"etc/group": b"/proc/kmsg",
    }
    reference = image(
        hyper, "dangling", lt.tar(*(lt.entry(name, lt.SYMLINK, target=to) for name, to in links.items()))
    )
    seen = looks(hyper, reference, "etc", "run", "h", run=("-u", "5:6"))
    assert b"nameserver" in seen[b"run/systemd/resolve/stub-resolv.conf"].content
    assert b"localhost" in seen[b"h/hosts"].content
    assert {name: seen[name].content for name in links} == links


@pytest.mark.parametrize(
    ("name", "entry", "why"),
    [
        ("etc", lt.entry(b"etc", data=b"x"), "/etc/hosts: cannot make the file: not a directory"),
        ("etc-loop", lt.entry(b"etc", lt.SYMLINK, target=b"etc"), "symbolic link loop"),
        ("hosts", lt.directory(b"etc/hosts"), "/etc/hosts: cannot bind it: not a directory"),
        ("dev", lt.entry(b"dev", data=b"x"), "/dev: is not a directory"),
    ],
)
def test_what_is_in_the_way_is_named(hyper: Hyper, name: str, entry: bytes, why: str) -> None:
    reference = image(hyper, f"in-the-way-of-{name}", lt.tar(entry))
    done = hyper("run", "--rm", reference, "/describe", check=False)
    assert (done.returncode, done.stdout) == (125, b"")
    assert why in done.stderr.decode()


PEOPLE = lt.tar(
    lt.entry(
        b"etc/passwd", data=b"# comment\nbroken\nann:x:100:200::/home/ann:/bin/sh\n7:x:300:300::/seven:\n"
    ),
    lt.entry(b"etc/group", data=b"ann:x:200:\nmore:x:201:ann,bob\nmost:x:202:bob,ann\n"),
    lt.directory(b"private", 0o700, uid=100, gid=200),
    lt.entry(b"link", lt.SYMLINK, target=b"private"),
    lt.entry(b"file"),
)
IDENTITY = "echo $(id -u):$(id -g) $(id -G) $HOME $(pwd -P)"


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"User": "ann", "WorkingDir": "/link"}, "100:200 200 201 202 /home/ann /private"),
        ({"User": "ann:more", "WorkingDir": "new/../made"}, "100:201 201 /home/ann /made"),
        ({"User": "7", "WorkingDir": "/made/by//hyper/."}, "300:300 300 /seven /made/by/hyper"),
        ({"User": "100:77"}, "100:77 77 /home/ann /"),
        ({"User": "2147483647"}, "2147483647:0 0 / /"),
        ({"User": "", "WorkingDir": "/etc/../../.."}, "0:0 0 / /"),
    ],
)
def test_odd_users_and_directories(hyper: Hyper, config: dict[str, str], expected: str) -> None:
    reference = image(hyper, "people", busybox_image.layer(), PEOPLE, **config)
    assert hyper.out("run", "--rm", reference, "sh", "-c", IDENTITY) == expected
