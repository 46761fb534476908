"""What this driver has made in vSphere, written down before it is made.

So nothing is left there of a hyperd that was killed in between, and nobody else's is taken for ours.
"""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import msgspec

from hypercontainer.hypervisor.run_dir import read_record

# After which a request that vSphere was sent has come to something, or never will.
LATE_S = 3600.0


class Entry(msgspec.Struct, frozen=True):
    """A VM's: the directory that it has here, the images that it reads, and whether it was there, so that it is gone
    when it is not."""

    run_dir: str
    images: tuple[str, ...] = ()
    started: bool = False


class Journal:
    def __init__(self, folder: Path) -> None:
        """``folder``: made when it is needed."""
        self._folder = folder
        self._owner = ""

    @property
    def owner(self) -> str:
        """Who made it: of this folder alone, and for good."""
        if not self._owner:
            self._folder.mkdir(parents=True, exist_ok=True)
            path = self._folder / "owner"
            if not path.exists():
                _write(path, str(uuid.uuid4()).encode())
            self._owner = str(uuid.UUID(path.read_text()))
        return self._owner

    def vm_uuid(self) -> str:
        return str(uuid.uuid4())

    def image_uuid(self, key: str) -> str:
        return str(uuid.uuid5(uuid.UUID(self.owner), key))

    # ------------------------------------------------------------------------------------- VMs

    def write(self, name: str, entry: Entry) -> None:
        """Of the VM with this UUID."""
        _write(self._made("vms") / name, msgspec.json.encode(entry))

    def end(self, name: str, *, unsure: bool = False) -> None:
        """``unsure``: it was not found, or could not be removed.  One that was never seen whole is looked for again: it
        may be on its way."""
        if unsure and not dict(self.vms()).get(name, Entry("", started=True)).started:
            return
        path = self._made("vms") / name
        for each in (path, _unfinished(path)):
            each.unlink(missing_ok=True)

    def vms(self) -> Iterator[tuple[str, Entry]]:
        for path in sorted(self._made("vms").glob("[!.]*")):
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                yield path.name, msgspec.json.decode(path.read_bytes(), type=Entry)

    def nobodys(self) -> list[str]:
        """VMs whose directory here is gone, or was never finished: UUIDs."""
        return [name for name, entry in self.vms() if read_record(Path(entry.run_dir)) is None]

    def is_late(self, name: str) -> bool:
        with contextlib.suppress(OSError):
            return time.time() - (self._made("vms") / name).stat().st_mtime > LATE_S
        return True

    # ------------------------------------------------------------------------------------- images

    def use_image(self, key: str) -> None:
        (self._made("images") / key).touch()

    def forget_image(self, key: str) -> None:
        (self._made("images") / key).unlink(missing_ok=True)

    def unused(self) -> list[str]:
        """Images that no VM has, the last used first."""
        used = {key for _, entry in self.vms() for key in entry.images}
        paths = [path for path in self._made("images").iterdir() if path.name not in used]
        return [path.name for path in sorted(paths, key=_touched, reverse=True)]

    @property
    def spool(self) -> Path:
        """For streams on their way, which have no names."""
        return self._folder

    def _made(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def _touched(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _write(path: Path, data: bytes) -> None:
    new = _unfinished(path)
    new.write_bytes(data)
    new.replace(path)


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")
