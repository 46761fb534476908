"""What the fake driver looks at, and takes, of its host: files of disks, and ports."""

from __future__ import annotations

import socket
import stat

from hypercontainer.contract.spec import PortMapping
from hypercontainer.hypervisor.spec import DiskSpec, ShareSpec


def check_files(disk: DiskSpec) -> None:
    """Raises ``OSError`` for a disk whose files are missing, none or too short."""
    for path, size in disk.extents:
        if path.is_dir() or (path.stat().st_size < size and disk.format == "raw"):
            raise OSError(f"disk {disk.serial}: {path} has fewer than {size} bytes")


def check_share(share: ShareSpec) -> None:
    """Raises ``OSError`` for a share of what is neither a directory nor a regular file."""
    mode = share.path.stat().st_mode
    if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
        raise OSError(f"share {share.tag}: {share.path} is neither a directory nor a regular file")


def bound(port: PortMapping) -> socket.socket:
    """The host's end of a forward, taken for real, so that a port can be taken already."""
    kind = socket.SOCK_STREAM if port.protocol == "tcp" else socket.SOCK_DGRAM
    taken = socket.socket(socket.AF_INET, kind)
    try:
        taken.bind((port.host_ip, port.host_port))
        if port.protocol == "tcp":
            taken.listen()
    except OSError as error:
        taken.close()
        raise OSError(error.errno, f"port {port.host_port}: {error.strerror}") from error
    return taken
