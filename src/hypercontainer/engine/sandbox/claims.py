"""Who has which disk that outlives its VM: one VM alone that writes to it, or any number that read it.

A volume that is shared any number may write to; who has it is known all the same.

A VM's claims stand in its pod's record, for as long as there is that VM; so an earlier hyperd's count too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from hypercontainer.contract.volumes import DiskImage, NamedVolume, NetworkDisk, Volume
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox import storage
from hypercontainer.engine.sandbox.contents import Contents
from hypercontainer.engine.state import PodRecord
from hypercontainer.errors import Conflict, Remedy
from hypercontainer.volume import network
from hypercontainer.volume.shared import NFS_KIND, SHARED_KIND
from hypercontainer.volume.store import VolumeStore

VOLUME = "volume"  # begins what a volume is called here


@dataclass(frozen=True)
class Holder:
    """A VM: of a pod, or ("") of the one of ``containers``; those are the names of the ones that have the disk.
    ``other`` says what it is, if it is none of these."""

    pod: str
    containers: tuple[str, ...]
    other: str = ""

    @property
    def words(self) -> str:
        if self.other:
            return self.other
        named = f"container {self.containers[0]}" if self.containers else ""
        if not self.pod:
            return named
        return f"{named} of pod {self.pod}" if named else f"pod {self.pod}"

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        if self.pod:
            return (Remedy("pods.stop", self.pod),)
        return tuple(Remedy("containers.stop", name) for name in self.containers)


def disk_name(volume: Volume) -> str:
    """ "" of what is no disk that outlives its VM."""
    match volume.source:
        case NamedVolume(name=name):
            return f"{VOLUME} {name}"
        case DiskImage(path=path):
            return f"disk {path}"
        case NetworkDisk() as source:
            return f"disk {network.where(source).words}"
    return ""


@dataclass(frozen=True)
class _Still:
    replaced: bool
    doing: str
    but: str | None


class Settle(Protocol):
    async def __call__(self, pod: str, contents: Contents, *, bare: bool) -> None: ...


async def _settled(pod: str, contents: Contents, *, bare: bool) -> None:
    return None


class Claims:
    """``others`` gives, for a pod's ID, what all other VMs have claimed; ``settle`` is awaited before a VM is brought
    up for a pod, and makes of its volumes what they are to be.  Whoever has the pods sets both.
    """

    def __init__(self, store: VolumeStore) -> None:
        self._store = store
        self.others: Callable[[str], Iterable[tuple[Mapping[str, bool], Callable[[str], Holder]]]] = (
            lambda _pod: ()
        )
        self.settle: Settle = _settled
        self._still: dict[str, _Still] = {}

    @contextmanager
    def still(
        self, volume: str, *, replaced: bool, doing: str = "copied", but: str | None = None
    ) -> Iterator[None]:
        """Within, no VM begins to write to a volume of hyperd's, which is copied; or to read it, as it is ``replaced``.
        Conflict where one has it.  ``doing`` says what is done; the VM of the pod ``but`` does it."""
        disk = f"{VOLUME} {volume}"
        self.check("", {disk: not replaced}, alone=replaced)
        self._still[disk] = _Still(replaced, doing, but)
        try:
            yield
        finally:
            del self._still[disk]

    def of(self, contents: Contents) -> dict[str, bool]:
        """The disks among its volumes: whether it only reads them."""
        found: dict[str, bool] = {}
        for volume in (brought.volume for brought in contents.volumes.values()):
            if name := disk_name(volume):
                found[name] = found.get(name, True) and storage.only_read(volume, self._store)
        return found

    def check(self, pod: str, wanted: Mapping[str, bool], *, alone: bool = False) -> None:
        """Conflict, which names who has it, where the VM of ``pod`` may not have one of them; ``alone``: nor may have
        one that is shared while others have it."""
        if not wanted:
            return
        for disk, read_only in wanted.items():
            still = self._still.get(disk)
            if still and pod != still.but and (still.replaced or not read_only):
                raise Conflict(f"{disk} is being {still.doing}", hint="try again in a moment")
        for theirs, holder in self.others(pod):
            for disk, read_only in wanted.items():
                if disk in theirs and (alone or not ((read_only and theirs[disk]) or self._is_shared(disk))):
                    raise _refusal(disk, holder(disk), reads=theirs[disk], alone=alone)

    def _is_shared(self, disk: str) -> bool:
        kind, _, name = disk.partition(" ")
        return kind == VOLUME and self._store.kind(name) in (SHARED_KIND, NFS_KIND)


class Claim:
    """What the VM of one pod has claimed, which stands in ``record``."""

    def __init__(self, record: Kept[PodRecord], all_claims: Claims) -> None:
        self._record = record
        self._all = all_claims

    def take(self, contents: Contents) -> None:
        """What a VM that is to be made has of its contents.  From now on nobody makes anything else of that."""
        wanted = self._all.of(contents)
        self._all.check(self._record.value.id, wanted)
        if wanted != self._record.value.claimed:
            self._record.change(claimed=wanted)

    def extend(self, contents: Contents) -> None:
        """By what has come to a VM that runs.  Conflict also where it reads what is to be written."""
        pod, present = self._record.value, self._record.value.claimed
        more = {}
        for disk, read_only in self._all.of(contents).items():
            if not read_only and present.get(disk):
                raise Conflict(
                    f"{disk}: the VM of pod {pod.name}, which runs, has it for reading only",
                    hint="when the pod is started again, it may be written to",
                    remedies=(Remedy("pods.restart", pod.name),),
                )
            if disk not in present:
                more[disk] = read_only
        if more:
            self._all.check(pod.id, more)
            self._record.change(claimed=present | more)

    def reduce(self, contents: Contents) -> None:
        """To what is left of the contents."""
        left, present = self._all.of(contents), self._record.value.claimed
        if not present.keys() <= left.keys():
            self._record.change(claimed={disk: how for disk, how in present.items() if disk in left})

    def drop(self) -> None:
        """There is no VM."""
        if self._record.value.claimed:
            self._record.change(claimed={})


def _refusal(disk: str, holder: Holder, *, reads: bool, alone: bool) -> Conflict:
    """``alone``: whatever who has it does with it."""
    if alone:
        return Conflict(f"{disk} is in use by {holder.words}", hint="end that one", remedies=holder.remedies)
    what = "reads" if reads else "writes to"
    rule = "whoever writes to it has it alone" if reads else "nobody else has it meanwhile"
    kind, _, name = disk.partition(" ")
    shareable = (Remedy("volumes.convert", name, aim="so that both may write to it"),)
    return Conflict(
        f"{disk} is in use by {holder.words}, which {what} it: {rule}",
        hint="end that one, put both into one pod, or let both only read it",
        remedies=(*holder.remedies, *(shareable if kind == VOLUME else ())),
    )
