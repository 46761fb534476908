from __future__ import annotations

import contextlib
import gzip
import lzma
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.errors import Unavailable
from hypercontainer.kernel import elf, modules
from hypercontainer.kernel.modules import Module, load_order


def module_file(depends: str, *, extra: bytes = b"") -> bytes:
    """A minimal relocatable ELF file with a .modinfo section."""
    info = f"license=GPL\0depends={depends}\0name=x\0".encode()
    names = b"\0.modinfo\0.shstrtab\0"
    table_at = 64 + len(info) + len(names)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 1, 62, 1, 0, 0, table_at, 0, 64, 0, 0, 64, 3, 2
    )
    sections = (
        bytes(64)
        + struct.pack("<IIQQQQIIQQ", 1, 1, 0, 0, 64, len(info), 0, 0, 1, 0)
        + struct.pack("<IIQQQQIIQQ", 10, 3, 0, 0, 64 + len(info), len(names), 0, 0, 1, 0)
    )
    return header + info + names + sections + extra


def tree(*edges: str) -> dict[str, Module]:
    """``"a: b c"`` is a module a that depends on b and c."""
    found = {}
    for edge in edges:
        name, _, depends = edge.partition(":")
        found[name] = Module(name, b"", tuple(depends.split()))
    return found


def order(known: dict[str, Module], *roots: str, builtin: tuple[str, ...] = ()) -> list[str]:
    return [module.name for module in load_order(roots, frozenset(builtin), known.__getitem__)]


def test_dependencies_come_first_and_once() -> None:
    known = tree("net: virtio failover", "failover", "virtio: ring", "ring", "blk: virtio ring")
    assert order(known, "net", "blk") == ["ring", "virtio", "failover", "net", "blk"]


def test_what_is_built_in_is_skipped_with_its_dependencies() -> None:
    assert order(tree("a: b c", "c"), "a", "b", builtin=("b",)) == ["c", "a"]


def test_a_cycle_is_named() -> None:
    with pytest.raises(ValueError, match="a -> b -> a"):
        order(tree("a: b", "b: a"), "a")


@given(st.lists(st.sets(st.integers(0, 9)), min_size=10, max_size=10))
def test_every_module_follows_what_it_depends_on(depends: list[set[int]]) -> None:
    known = tree(
        *(
            f"m{number}: {' '.join(f'm{d}' for d in some if d < number)}"
            for number, some in enumerate(depends)
        )
    )
    result = order(known, *known)
    assert sorted(result) == sorted(known)
    for name, module in known.items():
        assert all(result.index(other) < result.index(name) for other in module.depends)


@pytest.mark.parametrize(
    ("name", "compress"),
    [("virtio-rng.ko", bytes), ("virtio-rng.ko.xz", lzma.compress), ("virtio-rng.ko.gz", gzip.compress)],
)
def test_a_module_is_read_however_it_is_compressed(tmp_path: Path, name: str, compress: type[bytes]) -> None:
    content = module_file("crc16,virtio-ring")
    (tmp_path / name).write_bytes(compress(content))
    assert modules.read(tmp_path / name) == Module("virtio_rng", content, ("crc16", "virtio_ring"))


def test_a_zstd_module_is_read(tmp_path: Path) -> None:
    from backports import zstd

    (tmp_path / "a.ko.zst").write_bytes(zstd.compress(module_file("")))
    assert modules.read(tmp_path / "a.ko.zst") == Module("a", module_file(""), ())


def test_the_signature_is_taken_off(tmp_path: Path) -> None:
    plain = module_file("")
    signature = b"S" * 300
    tail = signature + bytes(8) + len(signature).to_bytes(4, "big") + b"~Module signature appended~\n"
    (tmp_path / "a.ko").write_bytes(plain + tail)
    assert modules.read(tmp_path / "a.ko").data == plain


@pytest.mark.parametrize(
    "content", [b"", b"\x7fELF", b"no module", module_file("x")[:200], b"\x7fELF" + bytes(60)]
)
def test_a_broken_module_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.ko").write_bytes(content)
    with pytest.raises(ValueError):
        modules.read(tmp_path / "a.ko")


@pytest.mark.parametrize("name", ["a.ko.xz", "a.ko.gz", "a.ko.zst", "a.ko.lz4"])
def test_a_broken_compression_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not compressed at all")
    with pytest.raises(ValueError, match="cannot be decompressed"):
        modules.read(tmp_path / name)


@given(st.binary(max_size=300), st.integers(0, 63))
def test_damaged_elf_never_does_worse_than_value_error(noise: bytes, at: int) -> None:
    data = bytearray(module_file("a"))
    data[at : at + len(noise)] = noise
    for reader in (lambda d: elf.section(d, b".modinfo"), lambda d: list(elf.notes(d))):
        with contextlib.suppress(ValueError):
            reader(bytes(data))


def library(root: Path, files: dict[str, str], builtin: tuple[str, ...]) -> Path:
    for name, depends in files.items():
        path = root / "kernel" / "some" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(module_file(depends))
    (root / "modules.builtin").write_text("".join(f"kernel/{name}.ko\n" for name in builtin))
    return root


def test_select_takes_what_there_is(tmp_path: Path) -> None:
    required = {f"{name}.ko": "" for name in modules.REQUIRED if name not in ("ext4", "virtio_pci")}
    files = required | {"virtio_pci.ko": "virtio", "virtio.ko": "", "virtio-rng.ko": "", "unwanted.ko": ""}
    chosen = [
        module.name for module in modules.select(library(tmp_path, files, ("fs/ext4",)), ("virtio_pci",))
    ]
    assert chosen[:2] == ["virtio", "virtio_pci"]
    assert chosen[-1] == "virtio_rng"
    assert "ext4" not in chosen
    assert "unwanted" not in chosen


def test_select_names_a_required_module_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="has no module virtio_pci"):
        modules.select(library(tmp_path, {"overlay.ko": ""}, ()), ("virtio_pci",))
