"""What a container has changed, read from overlayfs's own directory: beside the tree that it shows."""

from __future__ import annotations

import ctypes
import io
import os
import random
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from soak import rounds

MERGED, UPPER, LOWER = "merged", "writable/upper", "lower"
SEEDS = rounds(short=25, soak=300)
OPTIONS = "index=off,metacopy=off,redirect_dir=off"

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """With a tmpfs of its own, on which overlayfs may have what it writes; "lower" is to be filled."""
    _mount("tmpfs", tmp_path, "tmpfs", "mode=0755")
    for name in (MERGED, UPPER, "writable/work", LOWER):
        (tmp_path / name).mkdir(parents=True)
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-R", tmp_path], check=True, timeout=60)


@pytest.fixture
def run(program: Path, place: Path) -> Run:
    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        given = [name, UPPER, LOWER] if not arguments else [name, *arguments]
        argv = [str(program), str(place), *given]
        done = subprocess.run(argv, capture_output=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"packing\n")
        return done

    return run


def _mount(source: str, target: Path, kind: str, options: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(source.encode(), os.fsencode(target), kind.encode(), 0, options.encode()):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(target))


def begin(place: Path) -> Path:
    """The container's root; what it writes is kept apart from now on."""
    where = f"lowerdir={place / LOWER},upperdir={place / UPPER},workdir={place / 'writable/work'}"
    shutil.copystat(place / LOWER, place / UPPER)
    _mount("overlay", place / MERGED, "overlay", f"{where},{OPTIONS}")
    return place / MERGED


def layer(run: Run) -> bytes:
    return run("hyper-layer").stdout


def changes(run: Run) -> list[str]:
    lines = run("hyper-changes").stdout.decode(errors="surrogateescape").split("\0")
    assert lines.pop() == ""
    return lines


def names(archive: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return [entry.name + ("/" if entry.isdir() else "") for entry in opened]


def write(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def applied(lower: Path, archive: bytes, onto: Path) -> None:
    """The layer over the image, by the rules of the OCI image specification ("Applying Changesets")."""
    shutil.copytree(lower, onto, symlinks=True, dirs_exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        entries = list(opened)
        for entry in entries:
            parent, _, name = entry.name.rpartition("/")
            if name == ".wh..wh..opq":
                kept = {each.name for each in entries}
                for path in sorted((onto / parent).rglob("*"), reverse=True):
                    if str(path.relative_to(onto)) not in kept:
                        remove(path)
            elif name.startswith(".wh."):
                remove(onto / parent / name[4:])
        for entry in entries:
            path = onto / entry.name
            if "/.wh." in f"/{entry.name}":
                continue
            if os.path.lexists(path) and not (entry.isdir() and path.is_dir() and not path.is_symlink()):
                remove(path)
            opened.extract(entry, onto, filter="fully_trusted", numeric_owner=True)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        what: object = b""
        if path.is_symlink():
            what = str(path.readlink())
        elif stat.S_ISREG(info.st_mode):
            what = path.read_bytes()
        links = info.st_nlink if stat.S_ISREG(info.st_mode) else 0
        mode = 0 if path.is_symlink() else info.st_mode
        found[str(path.relative_to(root))] = (mode, info.st_uid, info.st_gid, info.st_rdev, links, what)
    return found


# ---------------------------------------------------------------------------------------------- by hand


def test_nothing(place: Path, run: Run) -> None:
    write(place / LOWER, {"etc/passwd": "root"})
    begin(place)
    assert changes(run) == []
    assert layer(run) == bytes(1024)


def test_added_changed_and_deleted(place: Path, run: Run) -> None:
    write(place / LOWER, {"etc/passwd": "root", "etc/shadow": "no", "bin/sh": "elf", "usr/share/doc": "text"})
    root = begin(place)
    (root / "etc/passwd").write_text("root\nuser")
    (root / "etc/shadow").unlink()
    write(root, {"opt/new": "1"})
    shutil.rmtree(root / "usr")
    assert changes(run) == ["C/etc", "C/etc/passwd", "D/etc/shadow", "A/opt", "A/opt/new", "D/usr"]
    assert names(layer(run)) == ["etc/", "etc/passwd", "etc/.wh.shadow", "opt/", "opt/new", ".wh.usr"]


def test_what_was_only_linked_is_no_change(place: Path, run: Run) -> None:
    write(place / LOWER, {"data/one": "1"})
    root = begin(place)
    (root / "data/two").hardlink_to(root / "data/one")
    assert changes(run) == ["C/data", "A/data/two"]
    assert names(layer(run)) == ["data/", "data/one", "data/two"]


def test_a_directory_that_was_emptied_and_made_again(place: Path, run: Run) -> None:
    write(place / LOWER, {"data/old/deep": "1", "data/kept": "1", "other": "1"})
    root = begin(place)
    shutil.rmtree(root / "data")
    write(root, {"data/kept": "2", "data/new": "3"})
    assert changes(run) == ["C/data", "C/data/kept", "A/data/new", "D/data/old"]
    assert names(layer(run)) == ["data/", "data/.wh..wh..opq", "data/kept", "data/new"]


def test_a_file_becomes_a_directory_and_the_reverse(place: Path, run: Run) -> None:
    write(place / LOWER, {"file": "1", "directory/inside": "1"})
    root = begin(place)
    (root / "file").unlink()
    write(root, {"file/inside": "2"})
    shutil.rmtree(root / "directory")
    (root / "directory").write_text("2")
    assert changes(run) == ["C/directory", "C/file", "A/file/inside"]
    applied(place / LOWER, layer(run), place / "applied")
    assert tree(place / "applied") == tree(root)


def test_what_mounts_lie_on_is_no_change(place: Path, run: Run) -> None:
    write(place / LOWER, {"bin/sh": "elf"})
    root = begin(place)
    for name in ("dev", "proc", "sys", "etc"):
        (root / name).mkdir()
    for name in ("hosts", "hostname", "resolv.conf"):
        (root / "etc" / name).touch()
    (root / "etc/mtab").symlink_to("/proc/mounts")
    assert changes(run) == []
    assert layer(run) == bytes(1024)
    (root / "etc/own").write_text("1")
    assert changes(run) == ["A/etc", "A/etc/own"]
    assert names(layer(run)) == ["etc/", "etc/own"]


def test_what_an_image_has_of_these_is_as_everything(place: Path, run: Run) -> None:
    write(place / LOWER, {"etc/hosts": "127.0.0.1", "proc/self": "?"})
    root = begin(place)
    (root / "etc/hosts").unlink()
    (root / "proc").chmod(0o700)
    assert changes(run) == ["C/etc", "D/etc/hosts", "C/proc"]


def test_the_mode_of_the_root(place: Path, run: Run) -> None:
    root = begin(place)
    root.chmod(0o700)
    assert names(layer(run)) == ["./"]


def test_links_holes_and_attributes(place: Path, run: Run) -> None:
    write(place / LOWER, {"linked": "1"})
    root = begin(place)
    (root / "one").write_text("same")
    (root / "two").hardlink_to(root / "one")
    with (root / "holes").open("wb") as file:
        file.seek(64 << 20)
        file.write(b"end")
    os.setxattr(root / "one", "trusted.mark", b"1")
    os.setxattr(
        root / "one", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000")
    )
    archive = layer(run)
    assert len(archive) < 100_000
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        entries = {entry.name: entry for entry in opened}
    assert entries["two"].linkname == "one"
    assert entries["holes"].size == (64 << 20) + 3
    marks = {key for key in entries["one"].pax_headers if key.startswith("SCHILY.xattr.")}
    assert marks == {"SCHILY.xattr.trusted.mark", "SCHILY.xattr.security.capability"}


def test_names_that_say_something_else_in_a_layer(program: Path, place: Path) -> None:
    root = begin(place)
    (root / "etc").mkdir()
    (root / "etc/.wh.passwd").touch()
    done = subprocess.run([program, place, "hyper-layer", UPPER, LOWER], capture_output=True, timeout=60)
    assert done.returncode == 22
    assert b"/etc/.wh.passwd: in a layer of an image such a name would say" in done.stderr


def test_all_of_a_root(place: Path, run: Run) -> None:
    write(place / LOWER, {"etc/passwd": "root"})
    begin(place)
    assert "merged/etc/passwd" in names(run("hyper-export", "").stdout)


# ---------------------------------------------------------------------------------------------- by chance


def grow(root: Path, chosen: random.Random, parts: int) -> None:
    for _ in range(parts):
        name = (
            "/".join(f"d{chosen.randrange(4)}" for _ in range(chosen.randrange(3)))
            + f"/f{chosen.randrange(9)}"
        )
        path = root / name.lstrip("/")
        if any(parent.is_file() or parent.is_symlink() for parent in path.parents) or path.is_dir():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(path) and chosen.random() < 0.5:
            path.unlink()
        if path.is_symlink() or not path.exists():
            with_link = chosen.random() < 0.2
            path.unlink(missing_ok=True)
            path.symlink_to("f1") if with_link else path.write_bytes(chosen.randbytes(9))
        elif chosen.random() < 0.5:
            path.write_bytes(chosen.randbytes(9))
        else:
            path.chmod(chosen.choice([0o600, 0o4755, 0o644]))


def disturb(root: Path, chosen: random.Random) -> None:
    """Of what is there: removed, replaced, moved, linked, given away."""
    paths = [path for path in sorted(root.rglob("*")) if chosen.random() < 0.25]
    for path in paths:
        if not os.path.lexists(path):
            continue
        match chosen.randrange(6):
            case 0:
                remove(path)
            case 1:
                remove(path)
                path.mkdir()
                (path / "f8").write_bytes(b"again")
            case 2:
                os.chown(path, chosen.randrange(2000), 7, follow_symlinks=False)
            case 3 if path.is_file() and not path.is_symlink():
                path.rename(path.with_name("f7")) if not (path.with_name("f7")).is_dir() else None
            case 4 if (
                path.is_file() and not path.is_symlink() and not os.path.lexists(path.with_name("hard"))
            ):
                path.with_name("hard").hardlink_to(path)
            case 5 if path.is_dir() and not path.is_symlink():
                (path / "made").mkdir(exist_ok=True)


def apart(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return one[:4] + one[5:] != other[:4] + other[5:]


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_layer_over_the_image_is_what_the_container_saw(place: Path, run: Run, seed: int) -> None:
    chosen = random.Random(seed)
    grow(place / LOWER, chosen, 40)
    before = tree(place / LOWER)
    root = begin(place)
    for _ in range(2):
        disturb(root, chosen)
        grow(root, chosen, 15)
    applied(place / LOWER, layer(run), place / "applied")
    after = tree(root)
    assert tree(place / "applied") == after
    told = {line[1:].lstrip("/"): line[0] for line in changes(run)}
    assert {path for path in after if path not in before} == {p for p, kind in told.items() if kind == "A"}
    gone = {path for path in before if path not in after}
    deleted = {path for path, kind in told.items() if kind == "D"}
    assert deleted <= gone
    assert all(
        any(str(above) in deleted or told.get(str(above)) == "C" for above in [Path(p), *Path(p).parents])
        for p in gone
    )
    # How many names a file has is no change of it.
    changed = {path for path in after if path in before and apart(after[path], before[path])}
    assert changed <= {path for path, kind in told.items() if kind == "C"}
