"""What was made by somebody and is nobody's now is moved aside, never removed: a missing record deletes nothing.

    ROOT/set-aside/containers/ID, pods/ID    a container's or a pod's files that no record names
    ROOT/set-aside/records/TABLE-KEY.json    a record that cannot be read, or not without another one; of a long key the
                                             beginnings and a hash; with a number behind it where there is one already

All of it is looked at again whenever hyperd starts: files go back to where their record wants them, a record that can
be read now is taken in.  Only a directory with the mark of a creation that was under way is removed, or an empty one.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

from hypercontainer.contract.policies import PolicySpec
from hypercontainer.engine import files
from hypercontainer.engine.places import Places
from hypercontainer.engine.state import (
    DECODING,
    KEYS,
    ContainerRecord,
    NetworkRecord,
    PodRecord,
    Row,
    ServiceRecord,
    StateStore,
)
from hypercontainer.errors import Conflict, HyperError, Unavailable
from hypercontainer.hypervisor.driver import VMRecord
from hypercontainer.linux import disk

FOLDERS = ("containers", "pods")
MARK = "unfinished"  # in a directory that is being filled for what has no record yet
RECORD_BYTES_MAX = 64 << 20
PART_MAX = 100  # characters of a part of a key that are in the name of a record's file
_NUMBER = re.compile(r"(?<=\.json)\.[0-9]+$")
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # what names a directory of ours

UNREADABLE = (*DECODING, HyperError, ValueError)

log = logging.getLogger(__name__)


class Aside:
    """``vms``: those that run and that no record knows, of which there are files; they are left alone."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.vms: list[VMRecord] = []

    # ------------------------------------------------------------------------------------- at a start

    def check_begin(self) -> None:
        """Unavailable where the records are to be begun anew beside what they should name."""
        kept = {kind: len(list(self._whole(kind))) for kind in FOLDERS}
        if not any(kept.values()):
            return
        root = self._places.root
        raise Unavailable(
            f"{root / 'state.db'} is missing or empty, but there are {_counted(kept)} in {root}",
            hint="put the file back from a copy, and start again; docs/recovery.md says how to begin without it and to "
            "keep the disks",
        )

    def records(self, state: StateStore) -> None:
        """Takes in those that can be read again, and puts aside those that cannot."""
        with self._failing("set records aside"):
            there, waiting = state.rows(), dict(self._kept_rows())
            known = {(row.table, row.key) for row in there}
            candidates = _latest(row for row in waiting if (row.table, row.key) not in known)
            damaged = _damaged([*there, *candidates])
            for row in there:
                if row in damaged:
                    log.error("%s: %s; it is set aside", _what(row), damaged[row])
                    self._write(row)
            state.drop(row for row in there if row in damaged)
            groups: dict[str, list[Row]] = {}
            for row in candidates:
                if row not in damaged:
                    groups.setdefault(_group(row), []).append(row)
            for rows in groups.values():
                try:
                    state.restore(rows)
                except Conflict as error:
                    log.error("%s cannot come back: %s", ", ".join(map(_what, rows)), error)
                    continue
                for row in rows:
                    log.warning("%s is taken back", _what(row))
                    waiting[row].unlink(missing_ok=True)

    def folders(self, known: Mapping[str, Collection[str]]) -> None:
        """``known``: by kind, whose records there are.  Blocks."""
        with self._failing("set directories aside"):
            for kind in FOLDERS:
                for name in known[kind]:
                    self._bring_back(kind, name)
                for path in self._paths(kind):
                    if path.name in known[kind]:
                        finished(path)
                    elif _unfinished(path):
                        files.remove_tree(path)
                    else:
                        log.error("no record names %s; it is set aside", path)
                        self._move(kind, path)

    def has_part_of(self, vm: str) -> bool:
        """Whether files of the pod whose VM has this name were set aside."""
        names = {path.name for kind in FOLDERS for path in self._entries(kind)}
        return any(name.startswith(vm) for name in names) or any(
            row.table == "pods" and row.key[0].startswith(vm) for row, _ in self._kept_rows()
        )

    def uids(self) -> set[int]:
        """Of the processes of ``vms``."""
        found = set()
        for vm in self.vms:
            with contextlib.suppress(OSError):  # and where it is no process of this machine's
                found.add(Path(f"/proc/{vm.pid}").stat().st_uid)
        return found

    # ------------------------------------------------------------------------------------- told

    def found(self) -> list[str]:
        """What there is, in words."""
        counts = {kind: len(self._entries(kind)) for kind in (*FOLDERS, "records")}
        there = [f"{_counted(counts)} in {self._places.aside}"] if any(counts.values()) else []
        return there + [f"VM {vm.name} runs, {vm.where}, and no record knows it" for vm in self.vms]

    def check_clear(self) -> None:
        """Conflict where something is aside, whose volumes, images and layers would be taken for unused."""
        if found := self.found():
            raise Conflict(
                f"what is used cannot be told from what is not while something is set aside: {'; '.join(found)}",
                hint="bring it back or remove it, as docs/recovery.md says, and start hyperd again",
            )

    # ------------------------------------------------------------------------------------- inside

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise disk.unavailable(f"cannot {what}", self._places.aside, error) from error

    def _paths(self, kind: str) -> list[Path]:
        place = self._places.root / kind
        return sorted(place.iterdir()) if place.is_dir() else []

    def _whole(self, kind: str) -> Iterator[Path]:
        return (path for path in self._paths(kind) if not _unfinished(path))

    def _entries(self, kind: str) -> list[Path]:
        place = self._places.aside / kind
        return sorted(place.iterdir()) if place.is_dir() else []

    def _move(self, kind: str, path: Path) -> None:
        place = self._places.aside / kind
        files.make_private(place)
        target, number = place / path.name, 0
        while os.path.lexists(target):
            number += 1
            target = place / f"{path.name}.{number}"
        path.rename(target)

    def _bring_back(self, kind: str, name: str) -> None:
        source, target = self._places.aside / kind / name, self._places.root / kind / name
        if source.is_dir() and not target.exists():
            source.rename(target)
            log.warning("%s is back from %s", target, source)
        elif kind == "containers":  # one that was empty
            files.make_private(target)

    def _write(self, row: Row) -> None:
        """On disk when this returns: the row is dropped after it."""
        place = self._places.aside / "records"
        files.make_private(place)
        first, number = place / _file_names(row)[0], 0
        path = first
        while os.path.lexists(path) and not _holds(path, row.body):  # it was not dropped the last time
            number += 1
            path = place / f"{first.name}.{number}"
        if not os.path.lexists(path):
            _write(path, row.body)
        for each in (path, place, place.parent, place.parent.parent):
            disk.flush(each)

    def _kept_rows(self) -> Iterator[tuple[Row, Path]]:
        """Those records that say which they are; the last written last."""
        for path in sorted(self._entries("records"), key=lambda path: path.lstat().st_mtime_ns):
            table = path.name.partition("-")[0]
            if table not in KEYS or not path.is_file() or path.stat().st_size > RECORD_BYTES_MAX:
                continue
            body = path.read_bytes()
            with contextlib.suppress(*DECODING):
                row = Row(table, _key(table, body), body)
                if _NUMBER.sub("", path.name) in _file_names(row):
                    yield row, path


def begin(path: Path) -> None:
    """Makes a directory for what has no record yet.  Blocks."""
    files.make_private(path)
    try:
        (path / MARK).touch(0o600)
    except OSError as error:
        raise disk.unavailable("cannot make a file", path, error) from error


def finished(path: Path) -> None:
    """It has a record now."""
    with contextlib.suppress(OSError):  # at the next start then
        (path / MARK).unlink(missing_ok=True)


def _unfinished(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return (path / MARK).exists() or not any(path.iterdir())
    return False


def _counted(counts: dict[str, int]) -> str:
    words = [
        f"{count} {kind if count > 1 else kind.removesuffix('s')}" for kind, count in counts.items() if count
    ]
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _file_names(row: Row) -> tuple[str, str]:
    """Of its file, and the one that it had in earlier releases, which only cut long keys."""
    parts = [quote(part, safe="") for part in (row.table, *row.key)]
    cut = "-".join(part[:PART_MAX] for part in parts)
    if all(len(part) <= PART_MAX for part in parts):
        return f"{cut}.json", f"{cut}.json"
    return f"{cut}-{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:24]}.json", f"{cut}.json"


def _holds(path: Path, body: bytes) -> bool:
    return path.is_file() and path.stat().st_size == len(body) and path.read_bytes() == body


def _write(path: Path, body: bytes) -> None:
    """Whole or not at all."""
    with path.open("xb") as file:
        try:
            file.write(body)
            file.flush()
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def _latest(rows: Iterable[Row]) -> list[Row]:
    """Of those with one key the last that can be read, or one of them."""
    found: dict[tuple[str, tuple[str, ...]], Row] = {}
    for row in rows:
        if (row.table, row.key) not in found or _readable(row):
            found[row.table, row.key] = row
    return list(found.values())


def _group(row: Row) -> str:
    """What comes back together: a pod with its containers."""
    if row.table == "containers":
        return f"pods {msgspec.json.decode(row.body, type=ContainerRecord).pod}"
    return f"{row.table} {' '.join(row.key)}"


def _what(row: Row) -> str:
    return f"record {' '.join(row.key)} of {row.table}"


class _Metadata(msgspec.Struct):
    name: str


class _Object(msgspec.Struct):
    kind: str
    metadata: _Metadata


_TYPES: dict[str, Any] = {
    "pods": PodRecord,
    "containers": ContainerRecord,
    "services": ServiceRecord,
    "networks": NetworkRecord,
    "policies": PolicySpec,
    "objects": _Object,
}


class _Named(msgspec.Struct):
    id: str = ""
    name: str = ""


def _key(table: str, body: bytes) -> tuple[str, ...]:
    """By what it says itself."""
    if table == "objects":
        found = msgspec.json.decode(body, type=_Object)
        return found.kind, found.metadata.name
    named = msgspec.json.decode(body, type=_Named)
    return (named.name if table in ("services", "policies") else named.id,)


def _damaged(rows: Iterable[Row]) -> dict[Row, str]:
    """Those that cannot be read, or not used without another one, and why."""
    wrong: dict[Row, str] = {}
    sound: dict[str, dict[str, tuple[Row, Any]]] = {table: {} for table in KEYS}
    for row in rows:
        try:
            sound[row.table]["/".join(row.key)] = row, _decoded(row)
        except UNREADABLE as error:
            wrong[row] = str(error)
    pods, containers = sound["pods"], sound["containers"]
    for row, container in list(containers.values()):
        if container.pod not in pods:
            wrong[row] = f"there is no good record of its pod {container.pod}"
            del containers[container.id]
    used = {container.pod for _, container in containers.values()}
    for row, pod in pods.values():
        if pod.alone and pod.id not in used:
            wrong[row] = "there is no good record of its container"
    return wrong


def _readable(row: Row) -> bool:
    with contextlib.suppress(*UNREADABLE):
        _decoded(row)
        return True
    return False


def _decoded(row: Row) -> Any:
    record = msgspec.json.decode(row.body, type=_TYPES[row.table])
    if _key(row.table, row.body) != row.key:
        raise ValueError("it is another's")
    if row.table in FOLDERS and not _SAFE.fullmatch(record.id):
        raise ValueError("its ID is none")
    if isinstance(record, PodRecord) and record.vm is not None:
        VMRecord.from_json(record.vm)
    return record
