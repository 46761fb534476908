"""Root disks: a layer's tar becomes a read-only disk image once, an image's layers become one disk, and each
container has a writable disk of its own.

Nothing of a layer is ever unpacked on the host, and none of its paths is opened there.
"""

from .hashes import Verity
from .limits import LayerLimits
from .reader import Extent, RootReader
from .store import LayerImage, LayerStore, RootDisk, chain_id
from .writable import MAX_ROOM_BYTES, create_disk_with_room, create_writable_disk

__all__ = [
    "MAX_ROOM_BYTES",
    "Extent",
    "LayerImage",
    "LayerLimits",
    "LayerStore",
    "RootDisk",
    "RootReader",
    "Verity",
    "chain_id",
    "create_disk_with_room",
    "create_writable_disk",
]
