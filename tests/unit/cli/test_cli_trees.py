"""Trees of this machine as archives and back, beside GNU tar; and archives of a container that means ill."""

from __future__ import annotations

import contextlib
import io
import os
import random
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypercontainer.cli.trees import unpacked
from hypercontainer.client.packing import packed
from hypercontainer.errors import HyperError
from hypercontainer.linux.resolving import open_resolved

LONG = "/".join(["a-directory-with-a-rather-long-name"] * 9)


def same(path: str) -> str:
    return path


def lay(archive: bytes, place: Path) -> int:
    return unpacked(io.BytesIO(archive), str(place), same)


def entry(name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(data)
    return info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % 512)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "place"
    made.mkdir()
    return made


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    chosen, made = random.Random(1), tmp_path / "tree"
    (made / LONG).mkdir(parents=True)
    for number, size in enumerate((0, 1, 511, 512, 513, 1_500_000)):
        (made / f"file-{number}").write_bytes(chosen.randbytes(size))
    (made / LONG / ("n" * 250)).write_bytes(b"long")
    for name, size, data in (("holes", 64 << 20, 5000), ("nothing", 1 << 20, 0)):
        with (made / name).open("wb") as file:
            file.truncate(size)
            file.seek(size // 2)
            file.write(b"x" * data)
    (made / b"\xff\xfe \n".decode(errors="surrogateescape")).write_bytes(b"no utf-8")
    (made / "again").hardlink_to(made / "file-3")
    (made / "link").symlink_to("file-1")
    (made / "far").symlink_to("x" * 300)
    os.mkfifo(made / "pipe")
    (made / "file-1").chmod(0o4755)
    for each in (made / "file-2", made / LONG, made):
        os.utime(each, (1, 1_600_000_000))
    return made


def facts(root: Path) -> Iterator[tuple[object, ...]]:
    for path in sorted(root.rglob("*"), key=os.fsencode):
        what = path.lstat()
        content: object = None
        if stat.S_ISREG(what.st_mode):
            content = path.read_bytes()
        elif path.is_symlink():
            content = os.readlink(path)
        yield os.fsencode(path.relative_to(root)), what.st_mode, int(what.st_mtime), what.st_nlink, content


def test_a_tree_goes_there_and_back(tree: Path, place: Path) -> None:
    pieces = list(packed(str(tree), ".", follow=False))
    assert all(pieces), "an empty piece would end the body"
    assert sum(map(len, pieces)) < 2 << 20, "holes are not sent"
    lay(b"".join(pieces), place)
    assert list(facts(place)) == list(facts(tree))
    assert (place / "holes").stat().st_blocks <= (tree / "holes").stat().st_blocks + 16


def test_gnu_tar_reads_it(tree: Path, place: Path) -> None:
    archive = b"".join(packed(str(tree), "name", follow=False))
    done = subprocess.run(["tar", "-x", "-p", "-C", place], input=archive, capture_output=True, check=True)
    assert done.stderr.replace(b"tar: Ignoring unknown extended header keyword 'hdrcharset'\n", b"") == b""
    assert list(facts(place / "name")) == list(facts(tree))


@pytest.mark.parametrize(
    "how", [["--format=gnu"], ["--format=posix"], ["--format=posix", "-S"], ["-S"]], ids=" ".join
)
def test_what_gnu_tar_writes_is_laid(tree: Path, place: Path, how: list[str]) -> None:
    done = subprocess.run(["tar", "-c", *how, "-C", tree, "."], capture_output=True, check=True)
    lay(done.stdout, place)
    assert list(facts(place)) == list(facts(tree))
    if "-S" in how:
        assert (place / "holes").stat().st_blocks <= (tree / "holes").stat().st_blocks + 16


def test_a_link_is_followed_at_the_top_alone(tmp_path: Path, place: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    lay(b"".join(packed(str(tmp_path / "link"), "one", follow=False)), place)
    lay(b"".join(packed(str(tmp_path / "link"), "two", follow=True)), place)
    assert (place / "one").is_symlink() and not (place / "two").is_symlink()


def test_names_are_changed_of_links_too(place: Path) -> None:
    archive = entry("old/a", data=b"x") + entry("old/b", tarfile.LNKTYPE, link="old/a")
    unpacked(io.BytesIO(archive), str(place), lambda path: "new" + path.removeprefix("old"))
    assert (place / "new/a").stat().st_ino == (place / "new/b").stat().st_ino


HOSTILE = {
    "up": entry("../out", data=b"x"),
    "up behind a directory": entry("a/../../out", data=b"x"),
    "through a link up": entry("l", tarfile.SYMTYPE, link="..") + entry("l/out", data=b"x"),
    "through an absolute link": entry("l", tarfile.SYMTYPE, link="/OUTSIDE") + entry("l/out", data=b"x"),
    "through links in steps": entry("a", tarfile.SYMTYPE, link=".")
    + entry("a/b", tarfile.SYMTYPE, link="../..")
    + entry("a/b/out", data=b"x"),
    "a directory through a link": entry("l", tarfile.SYMTYPE, link="..") + entry("l/out/", tarfile.DIRTYPE),
    "a hard link to outside": entry("h", tarfile.LNKTYPE, link="../precious"),
    "a hard link through a link": entry("l", tarfile.SYMTYPE, link="..")
    + entry("h", tarfile.LNKTYPE, link="l/precious"),
    "a link's mode": entry("l", tarfile.SYMTYPE, link="../precious") + entry("l", tarfile.DIRTYPE),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_nothing_is_laid_outside(tmp_path: Path, place: Path, what: str) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    before = list(facts(tmp_path))
    archive = HOSTILE[what].replace(b"/OUTSIDE", os.fsencode(tmp_path)[:8])
    with pytest.raises((HyperError, OSError)):
        lay(archive, place)
    after = [each for each in facts(tmp_path) if not bytes(str(each[0]), "utf-8").startswith(b"b'place")]
    assert after == [each for each in before if not bytes(str(each[0]), "utf-8").startswith(b"b'place")]


def test_an_absolute_path_is_below_the_place_too(place: Path) -> None:
    lay(entry("/etc/passwd", data=b"x"), place)
    assert (place / "etc/passwd").read_bytes() == b"x"


def test_a_file_is_replaced_and_not_written_through(tmp_path: Path, place: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (place / "a").symlink_to("../precious")
    lay(
        entry("a", data=b"x") + entry("b", tarfile.SYMTYPE, link="../precious") + entry("b", data=b"y"), place
    )
    assert (tmp_path / "precious").read_bytes() == b"precious"
    assert (place / "a").read_bytes() == b"x" and (place / "b").read_bytes() == b"y"


def test_own_links_are_followed_within(place: Path) -> None:
    (place / "real").mkdir()
    (place / "link").symlink_to("real")
    lay(entry("link/a", data=b"x"), place)
    assert (place / "real/a").read_bytes() == b"x"


def test_what_takes_no_others_place(place: Path) -> None:
    (place / "full/of").mkdir(parents=True)
    (place / "file").write_bytes(b"old")
    for archive, words in (
        (entry("full", data=b"x"), "cannot overwrite directory"),
        (entry("file", tarfile.DIRTYPE), "cannot overwrite non-directory"),
    ):
        with pytest.raises(HyperError, match=words):
            lay(archive, place)
    assert (place / "file").read_bytes() == b"old" and (place / "full/of").is_dir()


@pytest.mark.parametrize(
    "archive", [b"x" * 512, entry("a", data=b"x" * 3000)[:1200], entry("a", data=b"x")[:200]]
)
def test_what_is_no_archive_is_refused(place: Path, archive: bytes) -> None:
    with pytest.raises(HyperError):
        lay(archive, place)


@pytest.mark.parametrize("seed", range(30))
def test_a_damaged_archive_stays_within(tmp_path: Path, place: Path, seed: int) -> None:
    chosen = random.Random(seed)
    whole = bytearray(
        entry("d", tarfile.DIRTYPE)
        + entry("d/a", data=b"x" * 700)
        + entry("l", tarfile.SYMTYPE, link="d")
        + entry("h", tarfile.LNKTYPE, link="d/a")
        + bytes(1024)
    )
    for _ in range(chosen.choice([1, 3, 20])):
        at = chosen.randrange(len(whole))
        whole[at] = chosen.randrange(256)
        head = at // 512 * 512
        block = whole[head : head + 512]
        block[148:156] = b" " * 8
        whole[head + 148 : head + 156] = b"%06o\0 " % sum(block)
    with contextlib.suppress(HyperError, OSError):
        lay(bytes(whole), place)
    assert os.listdir(tmp_path) == ["place"]


def test_a_directory_is_looked_for_once_for_all_that_comes_into_it(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def counted(directory: int, path: str, *rest: int) -> int:
        asked.append(path)
        return open_resolved(directory, path, *rest)

    monkeypatch.setattr("hypercontainer.cli.trees.open_resolved", counted)
    names = [f"{folder}/{number}" for folder in ("a", "b") for number in range(50)]
    folders = [entry(folder, tarfile.DIRTYPE) for folder in ("a", "b")]
    before = len(os.listdir("/proc/self/fd"))
    lay(b"".join([*folders, *(entry(name, data=b"x") for name in names)]), place)
    assert asked == [".", "a", "b", "b", "a"]  # the last two for their times
    assert sum(len(files) for _, _, files in os.walk(place)) == 100
    assert len(os.listdir("/proc/self/fd")) == before


def test_where_a_path_leads_is_asked_anew_when_a_link_in_it_has_become_another(place: Path) -> None:
    for name in ("one", "two"):
        (place / name).mkdir()
    (place / "one" / "link").symlink_to(".")  # so this is where one/link leads
    other = entry("one/link/link", tarfile.SYMTYPE, link="../two")
    lay(entry("one/link/before", data=b"x") + other + entry("one/link/after", data=b"y"), place)
    assert sorted(os.listdir(place / "one")) == ["before", "link"]
    assert os.listdir(place / "two") == ["after"]
