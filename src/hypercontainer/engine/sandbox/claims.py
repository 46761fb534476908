"""Who has which disk that outlives its VM: one VM alone that writes to it, or any number that read it.

A VM's claims stand in its pod's record, for as long as there is that VM; so an earlier hyperd's count too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from hypercontainer.contract.volumes import DiskImage, NamedVolume, Volume
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox import storage
from hypercontainer.engine.sandbox.contents import Contents
from hypercontainer.engine.state import PodRecord
from hypercontainer.errors import Conflict, Remedy
from hypercontainer.volume.store import VolumeStore


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
            return f"volume {name}"
        case DiskImage(path=path):
            return f"disk {path}"
    return ""


class Claims:
    """``others`` gives, for a pod's ID, what all other VMs have claimed; whoever has the pods sets it."""

    def __init__(self, store: VolumeStore) -> None:
        self._store = store
        self.others: Callable[[str], Iterable[tuple[Mapping[str, bool], Callable[[str], Holder]]]] = (
            lambda _pod: ()
        )
        self._still: dict[str, bool] = {}

    @contextmanager
    def still(self, volume: str, *, replaced: bool) -> Iterator[None]:
        """Within, no VM begins to write to a volume of hyperd's, which is copied; or to read it, as it is ``replaced``.
        Conflict where one has it."""
        disk = f"volume {volume}"
        self.check("", {disk: not replaced})
        self._still[disk] = not replaced
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

    def check(self, pod: str, wanted: Mapping[str, bool]) -> None:
        """Conflict, which names who has it, where the VM of ``pod`` may not have one of them."""
        if not wanted:
            return
        for disk, read_only in wanted.items():
            if disk in self._still and not (read_only and self._still[disk]):
                doing = "copied" if self._still[disk] else "restored"
                raise Conflict(f"{disk} is being {doing}", hint="try again in a moment")
        for theirs, holder in self.others(pod):
            for disk, read_only in wanted.items():
                if disk in theirs and not (read_only and theirs[disk]):
                    raise _refusal(disk, holder(disk), reads=theirs[disk])


class Claim:
    """What the VM of one pod has claimed, which stands in ``record``."""

    def __init__(self, record: Kept[PodRecord], all_claims: Claims) -> None:
        self._record = record
        self._all = all_claims

    def of_new(self, contents: Contents) -> dict[str, bool]:
        """What a VM that is to be made has of its contents, to be written down before anybody else is asked."""
        wanted = self._all.of(contents)
        self._all.check(self._record.value.id, wanted)
        return wanted

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


def _refusal(disk: str, holder: Holder, *, reads: bool) -> Conflict:
    what = "reads" if reads else "writes to"
    rule = "whoever writes to it has it alone" if reads else "nobody else has it meanwhile"
    return Conflict(
        f"{disk} is in use by {holder.words}, which {what} it: {rule}",
        hint="end that one, put both into one pod, or let both only read it",
        remedies=holder.remedies,
    )
