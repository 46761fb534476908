"""Chooses the modules a packaged kernel's guest loads, and their order.

A package carries no ``modules.dep`` (depmod writes it at installation), so the dependencies are read where
depmod reads them: in each module's ``.modinfo`` section.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from backports import zstd

from hypercontainer.errors import Unavailable
from hypercontainer.kernel import elf

# What a guest cannot do without, then what it may use; what is built into the kernel is skipped.  A module
# that another asks for by a crypto name (ext4 and erofs need "crc32c") is no dependency that .modinfo knows.
REQUIRED = (
    "virtio_console",
    "virtio_blk",
    "virtio_net",
    "overlay",
    "crc32c_generic",
    "ext4",
    "erofs",
)
OPTIONAL = (
    "crc32c_intel",
    "virtio_rng",
    "virtio_balloon",
    "virtio_scsi",
    "sd_mod",
    "squashfs",
    "loop",
    "fuse",
    "virtiofs",
    "9p",
    "9pnet_virtio",
    "binfmt_misc",
    "af_packet",
    "ipv6",
)

_MAX_MODULE_BYTES = 64 << 20
_SIGNATURE_MARK = b"~Module signature appended~\n"


@dataclass(frozen=True)
class Module:
    name: str
    data: bytes
    depends: tuple[str, ...]


def canonical(name: str) -> str:
    """The name as the kernel knows it: a file ``virtio-rng.ko.xz`` holds the module ``virtio_rng``."""
    return name.split(".ko")[0].replace("-", "_")


def _unxz(data: bytes) -> bytes:
    return lzma.LZMADecompressor().decompress(data, _MAX_MODULE_BYTES)


def _gunzip(data: bytes) -> bytes:
    return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(data, _MAX_MODULE_BYTES)


def _unzstd(data: bytes) -> bytes:
    return zstd.ZstdDecompressor().decompress(data, _MAX_MODULE_BYTES)


_DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {".xz": _unxz, ".gz": _gunzip, ".zst": _unzstd}


def read(path: Path) -> Module:
    """The module in ``path``, decompressed; raises ValueError where it is broken."""
    data = path.read_bytes()
    if path.suffix != ".ko":
        try:
            data = _DECOMPRESS[path.suffix](data)
        except (KeyError, lzma.LZMAError, zlib.error, zstd.ZstdError) as error:
            raise ValueError(f"{path.name} cannot be decompressed: {error}") from error
    if len(data) >= _MAX_MODULE_BYTES:
        raise ValueError(f"{path.name} is larger than {_MAX_MODULE_BYTES >> 20} MiB")
    depends: tuple[str, ...] = ()
    for line in elf.section(data, b".modinfo").split(b"\0"):
        key, _, value = line.partition(b"=")
        if key == b"depends" and value:
            depends = tuple(canonical(name) for name in value.decode("ascii").split(","))
    return Module(canonical(path.name), _unsigned(data), depends)


def _unsigned(data: bytes) -> bytes:
    """Without its signature, which a kernel that does not insist on one would verify at a price all the same.

    include/linux/module_signature.h: signature, 12 bytes that end in its length (big endian), the mark.
    """
    if not data.endswith(_SIGNATURE_MARK):
        return data
    end = len(data) - len(_SIGNATURE_MARK) - 12
    length = int.from_bytes(data[end + 8 : end + 12], "big")
    return data[: end - length] if 0 < length < end else data


def load_order(roots: Iterable[str], builtin: frozenset[str], find: Callable[[str], Module]) -> list[Module]:
    """``roots`` and all they depend on, each once, dependencies first; ``find`` is asked once per module.

    A root that ``find`` does not know raises what ``find`` raises.
    """
    ordered: dict[str, Module] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ValueError(f"modules depend on each other: {' -> '.join((*path, name))}")
        if name in ordered or name in builtin:
            return
        module = find(name)
        for dependency in module.depends:
            visit(dependency, (*path, name))
        ordered[name] = module

    for root in roots:
        visit(root, ())
    return list(ordered.values())


def select(directory: Path, own: Iterable[str]) -> list[Module]:
    """The modules a guest needs out of ``directory`` (``/lib/modules/VERSION``), in load order; ``own``: those of its
    architecture alone."""
    files = {canonical(path.name): path for path in (directory / "kernel").rglob("*.ko*")}
    builtin = frozenset(
        canonical(Path(line).name) for line in (directory / "modules.builtin").read_text().splitlines()
    )

    def find(name: str) -> Module:
        if name not in files:
            raise Unavailable(f"kernel {directory.name} has no module {name}")
        return read(files[name])

    optional = (name for name in OPTIONAL if name in files)
    return load_order([*own, *REQUIRED, *optional], builtin, find)
