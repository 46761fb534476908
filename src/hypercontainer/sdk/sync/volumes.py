"""Named volumes: disks and directories that outlive the containers which mount them.

Made of sdk/aio/volumes.py by tools/make_sync.py; change it there.
"""

# ruff: noqa: A002, RUF100, E501
from __future__ import annotations

import builtins
import os
from typing import BinaryIO

from hypercontainer.contract.answers import PathFacts, VolumeInfo
from hypercontainer.contract.volume_calls import VolumesPruned
from hypercontainer.contract.volumes import NfsShare, SnapshotInfo
from hypercontainer.sdk.aio import volumes as aio
from hypercontainer.sdk.aio.archives import Archive
from hypercontainer.sdk.aio.calls import Filters
from hypercontainer.sdk.options import Pairs, Size
from hypercontainer.sdk.portal import Facade


class Volumes(Facade[aio.AsyncVolumes]):
    """All named volumes."""

    def create(
        self,
        name: str | None = None,
        *,
        size: Size | None = None,
        labels: Pairs | None = None,
        kind: str | None = None,
        nfs: NfsShare | None = None,
    ) -> VolumeInfo:
        """Makes an empty volume; it grows up to ``size``.  Without a name it gets an ID, and ``prune`` takes it.
        ``kind``: "disk", which one VM writes to, or "shared", a directory that several do; None: as hyperd is
        configured.  ``nfs``: it is this directory of a server, in place of both.

        Example::

            made = hyper.volumes.create("data", size="64m")
            assert made.name == "data"
            hyper.volumes.remove("data")
        """
        return self._portal.call(self._async.create(name, size=size, labels=labels, kind=kind, nfs=nfs))

    def convert(self, name: str, *, kind: str, size: Size | None = None) -> VolumeInfo:
        """Makes it one of the other kind, with what is in it; ``size``: of a disk.  Conflict where a VM has it.

        Example::

            hyper.volumes.create("common", size="64m")
            assert hyper.volumes.convert("common", kind="shared").kind == "shared"
            hyper.volumes.remove("common")
        """
        return self._portal.call(self._async.convert(name, kind=kind, size=size))

    def list(self, *, filters: Filters | None = None) -> builtins.list[VolumeInfo]:
        """The volumes that there are.  Filters: as of ``hyper volume ls``.

        Example::

            for volume in hyper.volumes.list():
                print(volume.name, volume.used_bytes, volume.pods)
        """
        return self._portal.call(self._async.list(filters=filters))

    def inspect(self, name: str) -> VolumeInfo:
        """One volume; NotFound where there is none of this name.

        Example::

            hyper.volumes.create("looked-at")
            assert hyper.volumes.inspect("looked-at").pods == ()
            hyper.volumes.remove("looked-at")
        """
        return self._portal.call(self._async.inspect(name))

    def remove(self, name: str, *, force: bool = False) -> None:
        """Removes it and what is on it; Conflict where a pod uses it.

        Example::

            hyper.volumes.create("gone")
            hyper.volumes.remove("gone")
        """
        self._portal.call(self._async.remove(name, force=force))

    def resize(self, name: str, size: Size) -> VolumeInfo:
        """Makes it larger: at once, also where it is in use.  InvalidArgument for less than it has.

        Example::

            hyper.volumes.create("small", size="64m")
            assert hyper.volumes.resize("small", "128m").size_bytes == 128 << 20
            hyper.volumes.remove("small")
        """
        return self._portal.call(self._async.resize(name, size))

    def stat_path(self, name: str, path: str) -> PathFacts:
        """What is at a path of a volume, whether or not it is in use; of a link also where it leads to.  NotFound where
        nothing is there.

        Example::

            hyper.volumes.create("looked-into")
            assert hyper.volumes.stat_path("looked-into", "/").mode & 0o777 == 0o755
            hyper.volumes.remove("looked-into")
        """
        return self._portal.call(self._async.stat_path(name, path))

    def pack(
        self, name: str, path: str, out: str | os.PathLike[str] | BinaryIO, *, follow: bool = False
    ) -> PathFacts:
        """Writes a file or a directory of a volume with all that is in it into a tar, as ``Container.pack`` does.

        Example::

            hyper.volumes.create("packed")
            hyper.volumes.pack("packed", "/.", "packed.tar")
            hyper.volumes.remove("packed")
        """
        return self._portal.call(self._async.pack(name, path, out, follow=follow))

    def unpack(self, name: str, path: str, archive: Archive, *, replace: bool = False) -> None:
        """Lays a tar into a directory of a volume, as ``Container.unpack`` does.

        Example::

            hyper.volumes.create("filled")
            hyper.volumes.pack("filled", "/.", "filled.tar")
            hyper.volumes.unpack("filled", "/", "filled.tar")
            hyper.volumes.remove("filled")
        """
        self._portal.call(self._async.unpack(name, path, archive, replace=replace))

    def snapshot(self, name: str, snapshot: str | None = None) -> SnapshotInfo:
        """Keeps what a volume is now, also while it is in use; without a name it gets one by the time.

        Example::

            hyper.volumes.create("kept")
            hyper.volumes.snapshot("kept", "before")
            hyper.volumes.restore("kept", "before")
            hyper.volumes.remove("kept")
        """
        return self._portal.call(self._async.snapshot(name, snapshot))

    def snapshots(self, name: str) -> builtins.list[SnapshotInfo]:
        """Of a volume, the oldest first.

        Example::

            hyper.volumes.create("seen")
            assert hyper.volumes.snapshots("seen") == []
            hyper.volumes.remove("seen")
        """
        return self._portal.call(self._async.snapshots(name))

    def remove_snapshot(self, name: str, snapshot: str) -> None:
        """NotFound where there is none of this name.

        Example::

            hyper.volumes.create("bare")
            made = hyper.volumes.snapshot("bare")
            hyper.volumes.remove_snapshot("bare", made.name)
            hyper.volumes.remove("bare")
        """
        self._portal.call(self._async.remove_snapshot(name, snapshot))

    def restore(self, name: str, snapshot: str) -> VolumeInfo:
        """Makes a volume again what it was at a snapshot; Conflict while it is in use.

        Example::

            hyper.volumes.create("returned")
            hyper.volumes.snapshot("returned", "then")
            hyper.volumes.restore("returned", "then")
            hyper.volumes.remove("returned")
        """
        return self._portal.call(self._async.restore(name, snapshot))

    def clone(
        self, name: str, target: str, *, snapshot: str | None = None, labels: Pairs | None = None
    ) -> VolumeInfo:
        """A new volume of what another is now, also while that is in use, or was at a snapshot.

        Example::

            hyper.volumes.create("first")
            assert hyper.volumes.clone("first", "second").name == "second"
            hyper.volumes.prune(all=True)
        """
        return self._portal.call(self._async.clone(name, target, snapshot=snapshot, labels=labels))

    def prune(self, *, all: bool = False, filters: Filters | None = None) -> VolumesPruned:  # noqa: A002
        """Removes those that no pod uses: that nobody has named, with ``all`` the others too.  Filters: label, label!.

        Example::

            hyper.volumes.create("unused")
            assert "unused" in hyper.volumes.prune(all=True).removed
        """
        return self._portal.call(self._async.prune(all=all, filters=filters))
