"""A CD that boots a guest, read by a library that knows nothing of us; it boots in tests/vm/test_other_hardware.py."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import pycdlib
import pytest

from hypercontainer.errors import InvalidArgument, Unavailable
from hypercontainer.hypervisor import boot_iso
from hypercontainer.hypervisor.boot_iso import SECTOR, Loader


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, Path]:
    sizes = {"kernel": 3 * SECTOR + 1, "initrd": 5 * SECTOR, "program": 3001, "module": 100}
    for name, size in sizes.items():
        (tmp_path / name).write_bytes(os.urandom(size))
    return {name: tmp_path / name for name in sizes}


def make(out: Path, parts: dict[str, Path], *arguments: str) -> Path:
    loader = Loader(parts["program"], parts["module"])
    boot_iso.write(out, parts["kernel"], parts["initrd"], arguments, loader)
    return out


def test_others_can_read_it(parts: dict[str, Path], tmp_path: Path) -> None:
    image = make(tmp_path / "cd.iso", parts, "console=ttyS0", "quiet")
    disc = pycdlib.PyCdlib()
    disc.open(str(image))

    def read(name: str) -> bytes:
        into = io.BytesIO()
        disc.get_file_from_iso_fp(into, iso_path=f"/{name};1")
        return into.getvalue()

    try:
        assert read("KERNEL.") == parts["kernel"].read_bytes()
        assert read("INITRD.") == parts["initrd"].read_bytes()
        assert read("LDLINUX.C32") == parts["module"].read_bytes()
        assert b"APPEND console=ttyS0 quiet\n" in read("ISOLINUX.CFG")
        program, original = read("ISOLINUX.BIN"), parts["program"].read_bytes()
        assert program[:8] + program[64:] == original[:8] + original[64:]
        volume, own, length, checksum = struct.unpack_from("<4I", program, 8)
        assert (volume, length) == (16, len(original))
        padded = original[64:] + bytes(-len(original) % 4)
        assert checksum == sum(struct.unpack(f"<{len(padded) // 4}I", padded)) % (1 << 32)
        assert disc.eltorito_boot_catalog is not None
        assert disc.eltorito_boot_catalog.initial_entry.get_rba() == own
        assert image.read_bytes()[own * SECTOR :][: len(program)] == program
    finally:
        disc.close()
    assert image.stat().st_size % SECTOR == 0


def test_the_same_bytes_from_the_same_files(parts: dict[str, Path], tmp_path: Path) -> None:
    one = make(tmp_path / "one.iso", parts, "quiet").read_bytes()
    os.utime(parts["kernel"], (1, 1))
    assert make(tmp_path / "two.iso", parts, "quiet").read_bytes() == one
    assert make(tmp_path / "three.iso", parts, "loud").read_bytes() != one


def test_what_does_not_go_on_it(parts: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "cd.iso"
    for line, why in (("a\nLABEL b", "printed"), ("ä", "printed"), ("x" * 2048, "more than 2047")):
        with pytest.raises(InvalidArgument, match=why):
            make(out, parts, line)
    parts["initrd"].write_bytes(b"")
    with pytest.raises(InvalidArgument, match="0 bytes"):
        make(out, parts)
    assert not out.exists()
    parts["initrd"].write_bytes(b"x")
    make(out, parts)
    with pytest.raises(FileExistsError):
        make(out, parts)


def test_without_a_boot_loader_it_is_said_where_it_is(parts: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="boot loader") as caught:
        boot_iso.write(tmp_path / "cd", parts["kernel"], parts["initrd"], (), Loader(tmp_path / "no"))
    assert "isolinux" in str(caught.value.hint)


def test_a_loader_takes_what_is_beside_an_elf_file(tmp_path: Path) -> None:
    kernel, beside = tmp_path / "vmlinux", tmp_path / "bzImage"
    kernel.write_bytes(b"MZ")
    assert boot_iso.for_loaders(kernel) == kernel
    kernel.write_bytes(b"\x7fELF")
    with pytest.raises(InvalidArgument, match="a boot loader takes a bzImage"):
        boot_iso.for_loaders(kernel)
    beside.touch()
    assert boot_iso.for_loaders(kernel) == beside
