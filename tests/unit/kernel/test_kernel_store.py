from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

import hypercontainer
from hypercontainer.errors import InvalidArgument, NotFound, Unavailable
from hypercontainer.kernel import KernelStore, cache_dir, hyperstart_path


def bzimage(version: str = "6.1.0-test (hyper@hyper) #1") -> bytes:
    data = bytearray(4096)
    data[0x1FE:0x200] = b"\x55\xaa"
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<HxxxxxxH", data, 0x206, 0x20F, 0x400)
    data[0x600 : 0x600 + len(version)] = version.encode()
    return bytes(data)


def vmlinux(*, note: bytes = b"Xen\0", kind: int = 18) -> bytes:
    """An ELF file with one note segment, and the banner the kernel prints."""
    notes = (
        struct.pack("<III", 4, 4, 6) + b"Xen\0" + b"LINX" + struct.pack("<III", 4, 4, kind) + note + bytes(4)
    )
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, 0, 64, 0, 0, 64, 56, 1, 64, 0, 0
    )
    program = struct.pack("<IIQQQQQQ", 4, 4, 120, 0, 0, len(notes), len(notes), 4)
    return header + program + notes + b"\0Linux version 6.1.99-hyper (hyper@hyper) #1\n" + bytes(600)


def install(cache: Path, name: str, *, source: str, age_s: int = 0, version: str = "6.1") -> Path:
    directory = cache / "kernel" / name
    directory.mkdir(parents=True)
    (directory / "vmlinux").write_bytes(vmlinux())
    os.utime(directory / "vmlinux", (1_000_000 - age_s,) * 2)
    record = {"version": version, "source": source, "kernel": "vmlinux", "pvh": True, "digest": "sha256:0"}
    (directory / "kernel.json").write_text(json.dumps(record | {"build_seconds": 1.5}))
    return directory


def test_an_empty_cache_says_how_to_get_a_kernel(tmp_path: Path) -> None:
    store = KernelStore(tmp_path / "absent")
    assert store.list() == []
    with pytest.raises(Unavailable, match="make kernel") as caught:
        store.default()
    assert [remedy.call for remedy in caught.value.remedies] == ["kernels.fetch"]


def test_own_kernels_come_first_and_the_current_one_before_all(tmp_path: Path) -> None:
    install(tmp_path, "debian-6.1.9-1", source="debian", version="new debian")
    install(tmp_path, "debian-6.1.1-1", source="debian", version="old debian", age_s=50)
    install(tmp_path, "aaaa", source="own", version="newest own")
    install(tmp_path, "bbbb", source="own", version="current own", age_s=90)
    install(tmp_path, "cccc", source="own", version="older own", age_s=60)
    (tmp_path / "kernel/current").symlink_to("bbbb")
    assert [kernel.version for kernel in KernelStore(tmp_path).list()] == [
        "current own",
        "newest own",
        "older own",
        "new debian",
        "old debian",
    ]
    assert KernelStore(tmp_path).default().version == "current own"


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: (d / "kernel.json").write_text("{"),
        lambda d: (d / "kernel.json").unlink(),
        lambda d: (d / "kernel.json").write_text('{"version": 6}'),
        lambda d: (d / "kernel.json").write_text(
            (d / "kernel.json").read_text().replace('"vmlinux"', '"../other/vmlinux"')
        ),
        lambda d: (d / "vmlinux").unlink(),
        lambda d: d.rename(d.with_name(".build-x")),
    ],
)
def test_what_is_incomplete_is_no_kernel(tmp_path: Path, damage: object) -> None:
    install(tmp_path, "other", source="debian", version="whole")
    assert callable(damage)
    damage(install(tmp_path, "own", source="own"))
    assert [kernel.version for kernel in KernelStore(tmp_path).list()] == ["whole"]


def test_the_leanest_that_has_the_devices(tmp_path: Path) -> None:
    def own(name: str, *devices: str, **more: str) -> None:
        file = install(tmp_path, name, source="own", version=name) / "kernel.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"devices": devices} | more))

    store = KernelStore(tmp_path)
    own("lean", "virtio")
    with pytest.raises(Unavailable, match=r"drivers for xen") as caught:
        store.having("xen")
    assert "FLAVOUR=wide" in str(caught.value.hint)
    own("newer-wide", "virtio", "xen")
    own("wide", "virtio", "xen")
    for link, name in (("current", "lean"), ("current-wide", "wide")):
        (tmp_path / "kernel" / link).symlink_to(name)
    assert store.default().version == "lean"
    assert store.having("virtio").version == "lean"
    assert store.having("xen").version == "wide"
    (tmp_path / "kernel/current").unlink()
    assert store.default().version == "wide"
    own("torn", "virtio", bzimage="bzImage")
    assert "torn" not in [kernel.version for kernel in store.list()], "its bzImage is missing"
    user = tmp_path / "vmlinux"
    user.write_bytes(vmlinux())
    assert store.user(user).has("xen")


def test_a_users_bzimage_and_vmlinux(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz").write_bytes(bzimage())
    (tmp_path / "vmlinux").write_bytes(vmlinux())
    store = KernelStore(tmp_path)
    compressed, plain = store.user(tmp_path / "vmlinuz"), store.user(tmp_path / "vmlinux")
    assert (compressed.version, compressed.pvh, compressed.source) == ("6.1.0-test", False, "user")
    assert (plain.version, plain.pvh, plain.modules) == ("6.1.99-hyper", True, ())
    assert compressed.digest != plain.digest
    (tmp_path / "vmlinuz").write_bytes(bzimage("6.2"))
    assert store.user(tmp_path / "vmlinuz").digest != compressed.digest


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "0 bytes"),
        (b"#!/bin/sh\n" + bytes(5000), "neither a bzImage nor an ELF file"),
        (vmlinux(note=b"Zen\0"), "without a PVH entry point"),
        (vmlinux(kind=17), "without a PVH entry point"),
        (b"\x7fELF\x01\x01" + bytes(5000), "not a 64-bit"),
        (vmlinux()[:64] + b"\xff" * 600, "outside the file|without a PVH"),
        (bzimage()[:0x206] + b"\x01\x02" + bzimage()[0x208:], "2.01 is older"),
    ],
)
def test_what_is_no_kernel_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InvalidArgument, match=complaint):
        KernelStore(tmp_path).user(tmp_path / "file")


def test_a_bzimage_may_not_tell_its_version(tmp_path: Path) -> None:
    for at in (0, 0xFFF0):
        data = bytearray(bzimage())
        struct.pack_into("<H", data, 0x20E, at)
        (tmp_path / "vmlinuz").write_bytes(data)
        assert KernelStore(tmp_path).user(tmp_path / "vmlinuz").version == ""


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="absent"):
        KernelStore(tmp_path).user(tmp_path / "absent")
    with pytest.raises(InvalidArgument, match="Is a directory"):
        KernelStore(tmp_path).user(tmp_path)


def package_uml(directory: Path, version: str) -> Path:
    directory.mkdir(parents=True)
    (directory / "linux").write_bytes(b"\x7fELF")
    record = {
        "version": version,
        "source": "own",
        "kernel": "linux",
        "pvh": False,
        "program": True,
        "digest": "",
    }
    (directory / "kernel.json").write_text(json.dumps(record))
    return directory / "linux"


def test_the_program_of_the_package_is_found_where_none_was_built(tmp_path: Path) -> None:
    packaged = package_uml(tmp_path / "package/uml", "7.1")
    store = KernelStore(tmp_path / "cache", tmp_path / "package/uml")
    assert store.program().path == packaged
    assert os.access(packaged, os.X_OK), "a program that may not be run is mended"
    package_uml(tmp_path / "cache/uml/aaaa", "7.2")
    assert store.program().version == "7.2"
    assert [kernel.version for kernel in store.list()] == ["7.2", "7.1"]
    assert store.find("own-7.1").path == packaged


def test_without_a_program_it_is_said_where_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no User Mode Linux") as caught:
        KernelStore(tmp_path / "cache", tmp_path / "absent").program()
    assert "wheel" in str(caught.value.hint)


def test_the_cache_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HYPER_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache/hyper"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir() == tmp_path / ".cache/hyper"
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_dir() == Path("/xdg/hyper")
    monkeypatch.setenv("HYPER_CACHE", "/cache")
    assert cache_dir() == Path("/cache")
    monkeypatch.setenv("HYPER_CACHE", "cache")
    with pytest.raises(InvalidArgument, match="HYPER_CACHE=cache"):
        cache_dir()


def test_a_missing_hyperstart_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "hypercontainer"
    monkeypatch.setattr(hypercontainer, "__file__", str(package / "__init__.py"))
    with pytest.raises(Unavailable, match="make guest"):
        hyperstart_path()
    (package / "_guest").mkdir(parents=True)
    (package / "_guest/hyperstart").write_bytes(b"")
    assert hyperstart_path() == package / "_guest/hyperstart"
