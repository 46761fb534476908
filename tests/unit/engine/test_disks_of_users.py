"""What is said where a guest cannot mount a disk that somebody has of their own."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from hypercontainer.contract.volumes import DiskImage, NamedVolume, NetworkDisk, Source, Volume
from hypercontainer.engine.sandbox.contents import Brought
from hypercontainer.engine.sandbox.storage import added
from hypercontainer.errors import GuestError
from hypercontainer.semantics.mounts import guest_name
from hypercontainer.volume.store import VolumeStore

SAID = "volume add (volume d): mount of ext4 on /run/pod/d: invalid argument"


async def told(source: Source, place: Path, number: int = errno.EINVAL) -> GuestError:
    volume = Volume("d", source)
    adding: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    store = VolumeStore(place / "volumes", lambda path, size_bytes: None)
    waiting = added([Brought(volume, None)], guest_name("d"), {}, store, adding)
    adding.set_exception(GuestError(SAID, errno=number, operation="volume add"))
    with pytest.raises(GuestError) as caught:
        await waiting
    return caught.value


@pytest.mark.parametrize(
    ("source", "called"),
    [
        (DiskImage("/srv/a.vmdk", "vmdk"), "/srv/a.vmdk"),
        (NetworkDisk("iscsi://host/iqn.2026-11.host:a/1"), "iscsi://host:3260/iqn.2026-11.host:a/1"),
    ],
)
def test_the_disk_is_named_and_what_makes_a_file_system(source: Source, called: str, tmp_path: Path) -> None:
    error = asyncio.run(told(source, tmp_path))
    assert error.message == f"disk {called}: its ext4 cannot be mounted: invalid argument"
    assert error.hint is not None
    assert "mkfs.ext4" in error.hint
    assert (error.errno, error.operation) == (errno.EINVAL, "volume add")


def test_of_volumes_that_are_hyperds_own_the_guests_words_stay(tmp_path: Path) -> None:
    assert asyncio.run(told(NamedVolume("d"), tmp_path)).message == SAID


def test_one_that_was_left_in_use_cannot_only_be_read(tmp_path: Path) -> None:
    error = asyncio.run(told(NetworkDisk("rbd://ceph/disks/one@before"), tmp_path, errno.EROFS))
    assert (
        error.message == "disk rbd://ceph/disks/one@before: its ext4 cannot be mounted: read-only file system"
    )
    assert error.hint is not None
    assert "journal" in error.hint
