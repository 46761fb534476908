"""The engine's memory on disk: pods and containers, in one SQLite file.

A record is a frozen struct, stored as JSON beside the columns that must be unique.  Every change is one
transaction in the write-ahead log, so that after ``kill -9`` the file holds the last complete change.  The calls
take well under a millisecond and are made on the event loop's thread.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from hypercontainer.errors import Conflict, Unavailable
from hypercontainer.types.answers import Effective
from hypercontainer.types.spec import ContainerSpec, PortMapping
from hypercontainer.types.states import State

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pods (id TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS containers (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, pod TEXT NOT NULL REFERENCES pods(id), body BLOB NOT NULL
) STRICT;
"""


class PodRecord(Struct, frozen=True, kw_only=True):
    """One VM's wishes and facts.  ``vm`` is the driver's record of the running one, None while there is none."""

    id: str
    memory_mib: int
    cpus: float
    mac: str
    network: str  # "user" or "none"
    ports: tuple[PortMapping, ...] = ()  # as asked; host_port 0 is chosen at every start
    published: tuple[PortMapping, ...] = ()  # as they are while the VM runs
    kernel: str | None = None
    initrd: str | None = None
    kernel_args: tuple[str, ...] = ()
    accelerator: str | None = None
    uid: int | None = None
    vm: dict[str, Any] | None = None
    vm_kernel: str = ""
    vm_kernel_args: tuple[str, ...] = ()
    vm_accelerator: str = ""


class ContainerRecord(Struct, frozen=True, kw_only=True):
    """``run`` counts the starts: a container's log tells the runs apart by it."""

    id: str
    name: str
    pod: str
    spec: ContainerSpec
    image: str  # as the user named it
    image_id: str
    diff_ids: tuple[str, ...]
    effective: Effective
    created: str
    started: str = ""
    finished: str = ""
    state: State = State.CREATED
    exit_status: int = 0
    error: str = ""
    oom_killed: bool = False
    restart_count: int = 0
    stopped_by_user: bool = False
    run: int = 0
    labels: dict[str, str] = field(default_factory=dict)


class StateStore:
    """Owner of the file.  Raises Unavailable, naming the file, where it cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._encode = msgspec.json.Encoder().encode
        self._pod = msgspec.json.Decoder(PodRecord)
        self._container = msgspec.json.Decoder(ContainerRecord)
        try:
            self._db = sqlite3.connect(path, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("PRAGMA foreign_keys=ON")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA_VERSION:
                raise Unavailable(f"{path} was written by a newer hyperd", hint="use that version")
            self._db.executescript(_SCHEMA)
            self._db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def pods(self) -> list[PodRecord]:
        return [self._pod.decode(body) for (body,) in self._run("SELECT body FROM pods")]

    def containers(self) -> list[ContainerRecord]:
        return [self._container.decode(body) for (body,) in self._run("SELECT body FROM containers")]

    def add(self, pod: PodRecord, container: ContainerRecord) -> None:
        """Both or neither.  Conflict where the name is taken."""
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.execute("INSERT INTO pods VALUES (?, ?)", (pod.id, self._encode(pod)))
                self._db.execute(
                    "INSERT INTO containers VALUES (?, ?, ?, ?)",
                    (container.id, container.name, container.pod, self._encode(container)),
                )
        except sqlite3.IntegrityError as error:
            raise Conflict(
                f"the name {container.name} is taken",
                hint="remove or rename that container, or choose another name",
            ) from error
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def put_pod(self, pod: PodRecord) -> None:
        self._run("UPDATE pods SET body = ? WHERE id = ?", (self._encode(pod), pod.id))

    def put_container(self, container: ContainerRecord) -> None:
        try:
            self._db.execute(
                "UPDATE containers SET name = ?, body = ? WHERE id = ?",
                (container.name, self._encode(container), container.id),
            )
        except sqlite3.IntegrityError as error:
            raise Conflict(f"the name {container.name} is taken") from error
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def remove(self, container: ContainerRecord) -> None:
        """The container, and its pod if that was its last."""
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.execute("DELETE FROM containers WHERE id = ?", (container.id,))
                self._db.execute(
                    "DELETE FROM pods WHERE id = ? AND NOT EXISTS (SELECT 1 FROM containers WHERE pod = pods.id)",
                    (container.pod,),
                )
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def close(self) -> None:
        self._db.close()

    def _run(self, statement: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: sqlite3.Error) -> Unavailable:
        return Unavailable(
            f"the state in {self._path}: {error}", hint="is the disk full, or the file damaged?"
        )
