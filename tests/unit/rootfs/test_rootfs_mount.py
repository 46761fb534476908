"""The kernel's view of the images: mounted, they are what tar unpacks; and erofs-utils find nothing to complain of."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import layer_tar as lt
from hypercontainer.rootfs import RootDisk

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="mounting needs root and loop devices"
)


def flat(disk: RootDisk, folder: Path) -> Path:
    """The disk as one file, as the VM sees it."""
    path = folder / "disk.img"
    with path.open("wb") as target:
        for extent in disk.extents:
            with extent.path.open("rb") as source:
                shutil.copyfileobj(source, target)
    return path


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    point = folder / "mnt"
    point.mkdir()
    subprocess.run(["mount", "-t", "erofs", "-o", "ro,loop", image, point], check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", point], check=True)


def kernel_view(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything that stat, readlink, read and the xattr calls say, by path."""
    seen: dict[str, tuple[object, ...]] = {}
    inodes: dict[int, str] = {}
    for folder, directories, files in os.walk(root):
        for name in [".", *directories, *files]:
            path = os.path.normpath(os.path.join(folder, name))
            status = os.lstat(path)
            content: object = None
            if stat.S_ISREG(status.st_mode):
                content = Path(path).read_bytes()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif not stat.S_ISDIR(status.st_mode):
                content = status.st_rdev
            xattrs = {
                key: os.getxattr(path, key, follow_symlinks=False)
                for key in os.listxattr(path, follow_symlinks=False)
            }
            key = os.path.relpath(path, root)
            first = (
                inodes.setdefault(status.st_ino, key) if status.st_nlink > 1 and content is not None else ""
            )
            seen[key] = (
                status.st_mode,
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                status.st_nlink,
                content,
                xattrs,
                first,
            )
    return seen


def unpacked(layer: bytes, folder: Path) -> Path:
    folder.mkdir()
    options = ["--numeric-owner", "--xattrs", "--xattrs-include=*", "-p"]
    subprocess.run(["tar", "-C", folder, *options, "-x"], input=layer, check=True)
    return folder


def benign_layer() -> bytes:
    """A bit of everything that tar can unpack, with an entry for every directory."""
    capability = bytes.fromhex("0100000200200000000000000000000000000000")
    pax = {b"SCHILY.xattr.security.capability": capability, b"SCHILY.xattr.user.long": b"v" * 3000}
    acl = bytes.fromhex(
        "0200000001000600ffffffff02000400e803000004000400ffffffff10000400ffffffff20000400ffffffff"
    )
    many = [
        lt.entry(b"many/%04d-%s" % (number, b"n" * (number % 190)), data=b"%d" % number)
        for number in range(700)
    ]
    sparse = {
        b"GNU.sparse.name": b"sparse",
        b"GNU.sparse.size": b"41943040",
        b"GNU.sparse.numblocks": b"3",
        b"GNU.sparse.map": b"5000,6144,33554432,156,41943040,0",
    }
    return lt.tar(
        lt.directory(b"./", 0o755),
        *(lt.entry(b"size-%d" % size, data=b"s" * size) for size in (0, 1, 4095, 4096, 4097, 300_000)),
        lt.entry(b"setuid", mode=0o4755, uid=1000, gid=4242424242, pax={b"mtime": b"1.000000009"}),
        lt.entry(b"sparse", data=b"sparse" * 1050, pax=sparse),
        lt.directory(b"d", 0o3770),
        lt.entry(b"d/xattrs", data=b"1", pax=pax),
        lt.entry(b"d/acl", pax={b"SCHILY.xattr.system.posix_acl_access": acl}),
        lt.entry(b"d/null", lt.CHAR, device=(1, 3)),
        lt.entry(b"d/disk", lt.BLOCK, device=(259, 70000)),
        lt.entry(b"d/fifo", lt.FIFO),
        lt.entry(b"d/link", lt.SYMLINK, target=b"../size-1"),
        lt.entry(b"d/long", lt.SYMLINK, target=b"t/" * 2047),
        lt.entry(b"d/hard", lt.LINK, target=b"size-4096"),
        lt.directory(b"many"),
        *many,
        lt.entry(b"\xff\xfe", data=b"not utf-8"),
        lt.entry(b"old", mtime=77),
    )


@needs_root
def test_a_mounted_layer_is_what_tar_unpacks(tmp_path: Path) -> None:
    layer = benign_layer()
    disk = lt.root_disk(tmp_path / "store", layer)
    assert len(disk.extents) == 1
    with mounted(disk.extents[0].path, tmp_path) as point:
        expected, found = kernel_view(unpacked(layer, tmp_path / "tar")), kernel_view(point)
    # Directories have their own mtime in tar's tree only where it unpacked nothing into them later.
    assert {path: view for path, view in expected.items() if path != "."} == {
        path: view for path, view in found.items() if path != "."
    }


@needs_root
def test_large_attributes_and_names_of_every_length(tmp_path: Path) -> None:
    pax = {b"SCHILY.xattr.trusted.%d" % number: b"%d" % number * 20_000 for number in range(4)}
    lengths = range(1, 256)
    layer = lt.tar(
        lt.directory(b"./"),
        *(lt.entry(b"l" * length, lt.SYMLINK, target=b"t" * 16 * length, pax=pax) for length in lengths),
    )
    with mounted(lt.root_disk(tmp_path / "store", layer).extents[0].path, tmp_path) as point:
        for length in lengths:
            path = point / ("l" * length)
            assert os.readlink(path) == "t" * 16 * length
            for number in range(4):
                assert (
                    os.getxattr(path, f"trusted.{number}", follow_symlinks=False) == b"%d" % number * 20_000
                )


@contextmanager
def overlay(layers: list[Path], folder: Path) -> Iterator[Path]:
    """The layers' images (the lowest first) mounted over one another."""
    with ExitStack() as stack:
        points = []
        for number, layer in enumerate(layers):
            (folder / f"layer{number}").mkdir()
            points.append(stack.enter_context(mounted(layer, folder / f"layer{number}")))
        point = folder / "overlay"
        point.mkdir()
        lower = "lowerdir=" + ":".join(str(path) for path in reversed(points))
        subprocess.run(["mount", "-t", "overlay", "-o", lower, "overlay", point], check=True)
        try:
            yield point
        finally:
            subprocess.run(["umount", point], check=True)


@needs_root
def test_merged_layers_are_what_overlayfs_makes_of_them(tmp_path: Path) -> None:
    upper = lt.tar(
        *(lt.directory(b"./"), lt.directory(b"d", 0o700), lt.entry(b"d/.wh.fifo")),
        *(lt.entry(b"d/new", data=b"n" * 9000), lt.entry(b".wh.old"), lt.directory(b"many")),
        *(lt.entry(b"many/.wh..wh..opq"), lt.entry(b"many/only"), lt.directory(b"size-1")),
        *(lt.entry(b"size-1/f"), lt.entry(b"size-4096", data=b"broken link")),
    )
    disk = lt.root_disk(tmp_path / "store", benign_layer(), upper)
    with mounted(flat(disk, tmp_path), tmp_path) as point:
        found = kernel_view(point)
    with overlay([extent.path for extent in disk.extents[1:]], tmp_path) as point:
        expected = kernel_view(point)
    assert sorted(found) == sorted(expected)
    for path in found:
        *attributes, links, content, xattrs, _ = found[path]
        *expected_attributes, expected_links, expected_content, expected_xattrs, _ = expected[path]
        assert (path, attributes, content, xattrs) == (
            path,
            expected_attributes,
            expected_content,
            expected_xattrs,
        )
        # overlayfs says one link of merged directories, and of a lower file what it had below.
        assert links == expected_links or expected_links == 1 or path == "d/hard"


@pytest.mark.skipif(shutil.which("fsck.erofs") is None, reason="erofs-utils is not installed")
def test_fsck_finds_nothing(tmp_path: Path) -> None:
    layers = [benign_layer(), lt.tar(lt.entry(b"d/.wh.fifo"), lt.entry(b"d/more", data=b"m" * 10_000))]
    disk = lt.root_disk(tmp_path / "store", *layers)
    for image in (flat(disk, tmp_path), disk.extents[1].path, disk.extents[2].path):
        done = subprocess.run(["fsck.erofs", image], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
