"""Named volumes: disks and directories that outlive the containers which mount them.

Made of sdk/aio/volumes.py by tools/make_sync.py; change it there.
"""

# ruff: noqa: A002, RUF100, E501
from __future__ import annotations

import builtins

from hypercontainer.contract.answers import VolumeInfo
from hypercontainer.contract.calls import VolumesPruned
from hypercontainer.sdk.aio import volumes as aio
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
    ) -> VolumeInfo:
        """Makes an empty volume; it grows up to ``size``.  Without a name it gets an ID, and ``prune`` takes it.
        ``kind``: "disk", which one VM writes to, or "shared", a directory that several do; None: as hyperd is
        configured.

        Example::

            made = hyper.volumes.create("data", size="64m")
            assert made.name == "data"
            hyper.volumes.remove("data")
        """
        return self._portal.call(self._async.create(name, size=size, labels=labels, kind=kind))

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

    def prune(self, *, all: bool = False, filters: Filters | None = None) -> VolumesPruned:  # noqa: A002
        """Removes those that no pod uses: that nobody has named, with ``all`` the others too.  Filters: label, label!.

        Example::

            hyper.volumes.create("unused")
            assert "unused" in hyper.volumes.prune(all=True).removed
        """
        return self._portal.call(self._async.prune(all=all, filters=filters))
