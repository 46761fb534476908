from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from hypercontainer.hypervisor.qemu import probe_guest


def test_the_bytes_are_what_the_text_beside_them_assembles_to(tmp_path: Path) -> None:
    assert shutil.which("as"), "binutils belong to the development tools of this project"
    source = [text for _, text in probe_guest.CODE]  # in one piece, for "." to be what it is in the image
    length = sum(len(bytes.fromhex(code)) for code, _ in probe_guest.CODE)
    (tmp_path / "probe.s").write_text("\n".join(source) + "\n")
    subprocess.run(["as", "-o", tmp_path / "probe.o", tmp_path / "probe.s"], check=True)
    copy = ["objcopy", "-O", "binary", "-j", ".text", "probe.o", "probe.bin"]
    subprocess.run(copy, check=True, cwd=tmp_path)
    assembled = (tmp_path / "probe.bin").read_bytes()
    assert probe_guest.rom()[: len(assembled)] == assembled
    assert len(assembled) == length


@pytest.mark.vm
def test_it_gets_through_under_emulation(tmp_path: Path) -> None:
    image = tmp_path / "rom"
    image.write_bytes(probe_guest.rom())
    argv = [
        "qemu-system-x86_64",
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-m",
        "16",
        "-nodefaults",
        "-display",
        "none",
    ]
    argv += ["-no-reboot", "-bios", str(image), "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
    assert subprocess.run(argv, timeout=20).returncode == probe_guest.EXIT_STATUS


@pytest.mark.vm
@pytest.mark.parametrize("broken", [0x1000, 0x5800 + 0x20 * 16, 0x5018, 0x5028])
def test_it_does_not_get_through_when_a_table_is_broken(tmp_path: Path, broken: int) -> None:
    """Page tables, interrupt gate, code segment, task state: what it stands on is what it tests."""
    rom = bytearray(probe_guest.rom())
    rom[broken : broken + 8] = bytes(8)
    image = tmp_path / "rom"
    image.write_bytes(rom)
    argv = [
        "qemu-system-x86_64",
        "-accel",
        "tcg",
        "-cpu",
        "max",
        "-m",
        "16",
        "-nodefaults",
        "-display",
        "none",
    ]
    argv += ["-no-reboot", "-bios", str(image), "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
    assert subprocess.run(argv, timeout=20).returncode != probe_guest.EXIT_STATUS
