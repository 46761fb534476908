"""The header of a qcow2 file.  Source: docs/interop/qcow2.txt of QEMU."""

from __future__ import annotations

import struct

from hypercontainer.contract.disk_formats import QCOW2
from hypercontainer.errors import InvalidArgument, NotSupported
from hypercontainer.volume.sizes import check_size

# The fields that versions 2 and 3 share; version 3 goes on with three sets of feature bits, refcount order, length.
_HEAD = struct.Struct(">IIQIIQIIQQIIQ")
_MORE = struct.Struct(">QQQII")
HEADER_BYTES = _HEAD.size + _MORE.size
# Incompatible: dirty (its refcounts are rebuilt), corrupt, an external data file, a compression type, wide L2 entries.
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_KNOWN = _DIRTY | _COMPRESSION | _EXTENDED_L2
_CLUSTER_BITS = range(9, 22)
_MAX_L1_BYTES = 32 << 20  # as QEMU has it
_MAX_REFCOUNT_ORDER = 6
_MAX_SNAPSHOTS = 65_536


def qcow2_size(name: str, head: bytes, file_bytes: int) -> int:
    """The size of the disk in a qcow2 file that begins like ``head`` (``HEADER_BYTES`` of it are enough)."""
    if len(head) < _HEAD.size or file_bytes < _HEAD.size:
        raise InvalidArgument(f"disk {name}: too short for a qcow2 file")
    fields: tuple[int, ...] = _HEAD.unpack_from(head)
    _, version, backing, _, cluster_bits, size, crypt, l1_entries, l1_at, _, _, snapshots, _ = fields
    if not head.startswith(QCOW2):
        raise InvalidArgument(f"disk {name}: not a qcow2 file", hint="is its format raw?")
    if version not in (2, 3):
        raise NotSupported(f"disk {name}: qcow2 version {version}: 2 or 3")
    if backing:
        hint = f"make it whole: qemu-img convert -O qcow2 {name} NEW"
        raise NotSupported(
            f"disk {name}: has a backing file, and another file is not opened for it", hint=hint
        )
    if crypt:
        raise NotSupported(f"disk {name}: is encrypted")
    if version == 3:
        _check_features(name, head, cluster_bits)
    _check_sizes(name, cluster_bits, size, l1_entries, l1_at, snapshots)
    return size


def _check_features(name: str, head: bytes, cluster_bits: int) -> None:
    if len(head) < HEADER_BYTES:
        raise InvalidArgument(f"disk {name}: too short for a qcow2 file of version 3")
    incompatible, _, _, refcount_order, length = _MORE.unpack_from(head, _HEAD.size)
    if incompatible & _DATA_FILE:
        raise NotSupported(f"disk {name}: keeps its data in another file, which is not opened for it")
    if incompatible & _CORRUPT:
        raise InvalidArgument(f"disk {name}: is marked as corrupt", hint="qemu-img check -r all")
    if unknown := incompatible & ~_KNOWN:
        raise NotSupported(f"disk {name}: needs features that are not known here: {unknown:#x}")
    if refcount_order > _MAX_REFCOUNT_ORDER:
        raise InvalidArgument(f"disk {name}: refcount order {refcount_order}: at most {_MAX_REFCOUNT_ORDER}")
    if not HEADER_BYTES <= length <= 1 << min(cluster_bits, _CLUSTER_BITS.stop):
        raise InvalidArgument(f"disk {name}: a header of {length} bytes")


def _check_sizes(
    name: str, cluster_bits: int, size: int, l1_entries: int, l1_at: int, snapshots: int
) -> None:
    if cluster_bits not in _CLUSTER_BITS:
        raise InvalidArgument(f"disk {name}: clusters of 2^{cluster_bits} bytes: 2^9 to 2^21")
    check_size(name, size)
    if l1_entries * 8 > _MAX_L1_BYTES or l1_at % (1 << cluster_bits):
        raise InvalidArgument(f"disk {name}: its table of {l1_entries} entries at {l1_at} cannot be")
    if snapshots > _MAX_SNAPSHOTS:
        raise InvalidArgument(f"disk {name}: {snapshots} snapshots: at most {_MAX_SNAPSHOTS}")
