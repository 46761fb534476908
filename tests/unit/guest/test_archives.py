"""What packs and unpacks a container's trees, on directories of the host's, beside GNU tar and Python's tarfile."""

from __future__ import annotations

import errno
import io
import os
import random
import stat
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[3] / "guest/init"
LONG = "/".join(["a-directory-with-a-rather-long-name"] * 9)
MIB = 1 << 20

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def run(program: Path, tmp_path: Path) -> Run:
    (tmp_path / "root").mkdir()

    def run(*arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        argv = [str(program), str(tmp_path / "root"), *arguments]
        return subprocess.run(argv, input=given, capture_output=True, timeout=60)

    return run


def pack(run: Run, path: str, name: str, *, follow: bool = False) -> bytes:
    done = run("hyper-pack", path, name, "1" if follow else "0")
    assert (done.returncode, done.stderr) == (0, b"packing\n")
    return done.stdout


def unpack(run: Run, archive: bytes, path: str = "/to", *, replace: bool = False, owner: str = "-") -> None:
    done = run("hyper-unpack", path, "1" if replace else "0", owner, given=archive)
    assert (done.returncode, done.stderr) == (0, b"")


def refused(run: Run, archive: bytes, path: str = "/to") -> str:
    done = run("hyper-unpack", path, "0", "-", given=archive)
    assert done.returncode == errno.EBADMSG, done.stderr
    return done.stderr.decode()


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return opened.getnames()


def grow(root: Path, seed: int) -> None:
    """A tree with all that a file system has."""
    chosen = random.Random(seed)
    (root / LONG).mkdir(parents=True)
    (root / LONG / ("n" * 250)).write_bytes(b"long")
    (root / "empty").touch()
    (root / "odd \n\t\"'\\ \x01 name").write_bytes(b"odd")
    (root / b"\xff\xfe".decode(errors="surrogateescape")).write_bytes(b"no utf-8")
    for number in range(20):
        file = root / f"file-{number}"
        file.write_bytes(chosen.randbytes(chosen.choice([1, 511, 512, 513, 4096, 300_000])))
        os.chown(file, chosen.choice([0, 1000, 3_000_000]), chosen.choice([0, 77, 4_000_000_000]))
        file.chmod(chosen.choice([0o644, 0o4755, 0o2711, 0o000]))
        os.utime(file, (1, chosen.choice([0, 1, 1_700_000_000, 9_999_999_999])))
    (root / "linked").write_bytes(b"linked")
    (root / "again").hardlink_to(root / "linked")
    (root / "link").symlink_to("file-1")
    (root / "far").symlink_to("x" * 300)
    os.mkfifo(root / "pipe")
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "disk", stat.S_IFBLK | 0o600, os.makedev(259, 70_000))
    for name, size, parts in (("holes", 64 * MIB, 40), ("end", 5 * MIB, 1), ("nothing", MIB, 0)):
        with (root / name).open("wb") as writing:
            writing.truncate(size)
            for _ in range(parts):
                writing.seek(chosen.randrange(size // 4096 - 1) * 4096)
                writing.write(chosen.randbytes(4096))
    for directory in (root / LONG, root):
        directory.chmod(0o1777)
        os.utime(directory, (5, 1_600_000_000))


def facts(root: Path) -> dict[bytes, tuple[object, ...]]:
    """All of a tree that an archive keeps."""
    found: dict[bytes, tuple[object, ...]] = {}
    inodes: dict[int, bytes] = {}
    start = os.fsencode(root)
    for folder, folders, files in os.walk(start):
        for name in [*sorted(folders), *sorted(files)]:
            path = os.path.join(folder, name)
            what = os.lstat(path)
            relative = path[len(start) :]
            content: object = None
            if stat.S_ISREG(what.st_mode):
                with open(path, "rb") as file:
                    content = hash(file.read())
            elif stat.S_ISLNK(what.st_mode):
                content = os.readlink(path)
            same = inodes.setdefault(what.st_ino, relative) if not stat.S_ISDIR(what.st_mode) else b""
            same = min(same, relative)
            owner = (what.st_uid, what.st_gid)
            found[relative] = (what.st_mode, *owner, int(what.st_mtime), what.st_rdev, content, what.st_nlink)
    return found


def said_by_gnu(archive: bytes, folder: Path) -> dict[bytes, tuple[object, ...]]:
    folder.mkdir()
    argv = ["tar", "-x", "-p", "--same-owner", "-C", str(folder)]
    done = subprocess.run(argv, input=archive, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return facts(folder)


@pytest.mark.parametrize("seed", range(3))
def test_a_tree_is_packed_as_gnu_tar_reads_it(run: Run, tmp_path: Path, seed: int) -> None:
    tree = tmp_path / "root/tree"
    tree.mkdir()
    grow(tree, seed)
    archive = pack(run, "/tree", "other")
    assert said_by_gnu(archive, tmp_path / "gnu") == {
        b"/other" + path: what for path, what in {b"": facts(tree.parent)[b"/tree"], **facts(tree)}.items()
    }
    assert len(archive) < 6 * MIB, "holes are not packed"
    assert (tmp_path / "gnu/other/holes").stat().st_blocks < 4 * MIB // 512
    assert set(names(archive)) >= {"other", "other/empty", f"other/{LONG}/{'n' * 250}"}


@pytest.mark.parametrize("seed", range(3))
def test_what_is_packed_is_unpacked(run: Run, tmp_path: Path, seed: int) -> None:
    tree, there = tmp_path / "root/tree", tmp_path / "root/to"
    tree.mkdir()
    there.mkdir()
    grow(tree, seed)
    unpack(run, pack(run, "/tree", "."))
    assert facts(there) == facts(tree)
    assert (there / "holes").stat().st_blocks <= (tree / "holes").stat().st_blocks + 16


@pytest.mark.parametrize(
    "how",
    [
        ["--format=v7"],
        ["--format=ustar"],
        ["--format=gnu"],
        ["--format=oldgnu", "--sparse"],
        ["--format=gnu", "--sparse"],
        ["--format=posix"],
        *(["--format=posix", "--sparse", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0")),
    ],
    ids=" ".join,
)
def test_what_gnu_tar_writes_is_unpacked(run: Run, tmp_path: Path, how: list[str]) -> None:
    tree, there = tmp_path / "tree", tmp_path / "root/to"
    tree.mkdir()
    there.mkdir()
    grow(tree, 7)
    if "v7" in how[0] or "ustar" in how[0]:  # which cannot say it
        for name in ("far", "pipe", "null", "disk"):
            (tree / name).unlink()
        for path in tree.iterdir():
            if path.is_file():
                os.chown(path, 1, 2)
                os.utime(path, (1, 1))
        subprocess.run(["rm", "-rf", tree / LONG.partition("/")[0]], check=True)
    done = subprocess.run(["tar", "-c", *how, "-C", tree, "."], capture_output=True, timeout=60, check=True)
    unpack(run, done.stdout)
    assert facts(there) == facts(tree)


def test_attributes_are_kept_and_no_others(run: Run, tmp_path: Path) -> None:
    tree, there = tmp_path / "root/tree", tmp_path / "root/to"
    for each in (tree, there):
        each.mkdir()
    (tree / "file").write_bytes(b"x")
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    os.setxattr(tree / "file", "security.capability", capability)
    os.setxattr(tree / "file", "user.note", b"a\0b\nc=d")
    os.setxattr(tree / "file", "trusted.secret", b"x")
    unpack(run, pack(run, "/tree", "."))
    assert {name: os.getxattr(there / "file", name) for name in os.listxattr(there / "file")} == {
        "security.capability": capability,
        "user.note": b"a\0b\nc=d",
    }


def test_all_may_belong_to_one(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text("someone:x:41:42::/:/bin/sh\n")
    (root / "to").mkdir()
    with tarfile.open(fileobj=(made := io.BytesIO()), mode="w") as archive:
        archive.add(SOURCES / "tar.h", "tar.h")
    unpack(run, made.getvalue(), owner="someone")
    assert ((there := (root / "to/tar.h").stat()).st_uid, there.st_gid) == (41, 42)
    done = run("hyper-unpack", "/to", "0", "nobody-knows", given=made.getvalue())
    assert done.returncode and b"nobody-knows" in done.stderr


def entry(
    name: str,
    kind: bytes = tarfile.REGTYPE,
    data: bytes = b"",
    link: str = "",
    more: dict[str, str] | None = None,
) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.pax_headers = kind, link, len(data), more or {}
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)


@pytest.mark.parametrize("name", ["../out", "a/../../out", "..", "/../out"])
def test_no_path_leads_up(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "root/to").mkdir()
    assert '".."' in refused(run, entry(name, data=b"x"))
    assert not (tmp_path / "root/out").exists()


def test_links_lead_where_they_lead_in_the_container(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "to").mkdir()
    (root / "usr/lib").mkdir(parents=True)
    (root / "to/lib").symlink_to("/usr/lib")
    unpack(run, entry("lib/new", data=b"x"))
    assert (root / "usr/lib/new").read_bytes() == b"x"
    (tmp_path / "outside").mkdir()
    (root / "to/up").symlink_to("../../../../outside")
    assert run("hyper-unpack", "/to", "0", "-", given=entry("up/new", data=b"x")).returncode == errno.ENOENT
    (root / "outside").mkdir()
    unpack(run, entry("up/new", data=b"x"))
    assert (root / "outside/new").exists()
    assert not list((tmp_path / "outside").iterdir())


def test_a_link_is_replaced_and_not_written_through(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "to").mkdir()
    (root / "precious").write_bytes(b"precious")
    (root / "to/a").symlink_to("/precious")
    unpack(run, entry("a", data=b"x") + entry("b", tarfile.SYMTYPE, link="/precious") + entry("b", data=b"y"))
    assert (root / "precious").read_bytes() == b"precious"
    assert (root / "to/a").read_bytes() == b"x" and (root / "to/b").read_bytes() == b"y"


def test_what_takes_the_place_of_what(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "to/full/of").mkdir(parents=True)
    (root / "to/file").write_bytes(b"old")
    directory, file = entry("file", tarfile.DIRTYPE), entry("full", data=b"x")
    assert "cannot overwrite a non-directory" in refused(run, directory)
    assert "cannot overwrite a directory" in refused(run, file)
    assert (root / "to/file").read_bytes() == b"old" and (root / "to/full/of").is_dir()
    unpack(run, directory + file, replace=True)
    assert (root / "to/file").is_dir() and (root / "to/full").read_bytes() == b"x"


def test_hard_links_are_of_the_archive(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "to").mkdir()
    (root / "shadow").write_bytes(b"secret")
    unpack(run, entry("d/a", data=b"x") + entry("b", tarfile.LNKTYPE, link="./d/a"))
    assert (root / "to/b").stat().st_ino == (root / "to/d/a").stat().st_ino
    assert "outside of the archive" in refused(run, entry("c", tarfile.LNKTYPE, link="../shadow"))
    assert not (root / "to/c").exists()


WHOLE = entry("a", data=b"x" * 2000) + bytes(1024)
NONE = {
    "no archive": (b"x" * 512, "no tar archive"),
    "cut in a header": (WHOLE[:300], "ends in the middle"),
    "cut in a file": (WHOLE[:1000], "ends in the middle"),
    "a changed header": (WHOLE[:5] + b"z" + WHOLE[6:], "checksum"),
    "a type of nobody": (entry("a", b"Q"), "type that is not known"),
    "records that are none": (entry("p", tarfile.XHDTYPE, b"99 path=a\n"), "pax records"),
    "a record of words": (entry("p", tarfile.XHDTYPE, b"13 size=wide\n"), "no number"),
    "records without an end": (entry("p", tarfile.XHDTYPE, b"x" * 2_000_000), "too long"),
    "a path with a zero": (entry("p", tarfile.XHDTYPE, b"12 path=a\0b\n"), "zero in it"),
    "a map that goes back": (
        entry("s", data=bytes(1024), more={"GNU.sparse.map": "512,512,0,512", "GNU.sparse.size": "4096"}),
        "follow one another",
    ),
    "a map of more": (
        entry("s", data=bytes(10), more={"GNU.sparse.map": "0,4096", "GNU.sparse.size": "4096"}),
        "more than there is",
    ),
    "a map beyond the file": (
        entry("s", data=bytes(1024), more={"GNU.sparse.map": "0,1024", "GNU.sparse.size": "10"}),
        "follow one another",
    ),
}


@pytest.mark.parametrize("what", NONE)
def test_what_is_no_archive_is_refused(run: Run, tmp_path: Path, what: str) -> None:
    (tmp_path / "root/to").mkdir()
    archive, words = NONE[what]
    assert words in refused(run, archive)


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_archive_neither_crashes_nor_leads_out(run: Run, tmp_path: Path, seed: int) -> None:
    chosen, root = random.Random(seed), tmp_path / "root"
    (root / "to").mkdir()
    whole = bytearray(
        entry("d", tarfile.DIRTYPE)
        + entry("d/a", data=b"x" * 700, more={"path": "d/" + "n" * 150})
        + entry("s", data=bytes(1024), more={"GNU.sparse.map": "0,512,4096,512", "GNU.sparse.size": "8192"})
        + entry("l", tarfile.SYMTYPE, link="d")
        + entry("h", tarfile.LNKTYPE, link="s")
        + bytes(1024)
    )
    for _ in range(chosen.choice([1, 3, 30])):
        at = chosen.randrange(len(whole))
        whole[at] = chosen.randrange(256)
        head = at // 512 * 512  # with a checksum that holds, or nothing is looked at
        block = whole[head : head + 512]
        block[148:156] = b" " * 8
        whole[head + 148 : head + 156] = b"%06o\0 " % sum(block)
    done = run("hyper-unpack", "/to", "0", "-", given=bytes(whole))
    assert 0 <= done.returncode < 125, done.stderr
    assert b"Sanitizer" not in done.stderr and b"runtime error" not in done.stderr
    assert set(os.listdir(root)) == {"to"}


def test_facts_of_a_path(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("usr/lib")
    (root / "deep").symlink_to("../lib/../lib/./absent/../x")
    (root / "loop").symlink_to("loop")
    (root / "file").write_bytes(b"12345")
    os.utime(root / "file", (1, 77))
    assert run("hyper-stat", "/file").stdout == b"100644 5 77\n"
    assert run("hyper-stat", "/lib").stdout.partition(b"\n")[2] == b"/usr/lib"
    assert run("hyper-stat", "/deep").stdout.partition(b"\n")[2] == b"/usr/lib/x"
    assert run("hyper-stat", "/lib/").stdout.startswith(b"40755 ")
    assert run("hyper-stat", "/loop").stdout.partition(b"\n")[2] == b""
    assert run("hyper-stat", "/absent").returncode == errno.ENOENT
    assert run("hyper-stat", "/file/x").returncode == errno.ENOTDIR


def test_one_thing_is_packed_by_its_name(run: Run, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "d").mkdir()
    (root / "d/file").write_bytes(b"x")
    (root / "link").symlink_to("d/file")
    (root / "to-d").symlink_to("d")
    assert names(pack(run, "/d/file", "file")) == ["file"]
    assert names(pack(run, "/d/.", ".")) == [".", "./file"]
    assert names(pack(run, "/", ".")) == [".", "./d", "./d/file", "./link", "./to-d"]
    with tarfile.open(fileobj=io.BytesIO(pack(run, "/link", "link"))) as archive:
        assert archive.getmember("link").linkname == "d/file"
    with tarfile.open(fileobj=io.BytesIO(pack(run, "/link", "link", follow=True))) as archive:
        assert archive.getmember("link").isreg()
    assert names(pack(run, "/to-d/", "to-d")) == ["to-d", "to-d/file"]
    assert run("hyper-pack", "/absent", "absent", "0").returncode == errno.ENOENT
