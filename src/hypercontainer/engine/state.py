"""The engine's memory on disk: pods and containers, in one SQLite file.

A record is a frozen struct, stored as JSON (`bodies`) beside the columns that must be unique.  Every change is one
transaction in the write-ahead log, so that after ``kill -9`` the file holds the last complete change.  The calls
take well under a millisecond and are made on the event loop's thread.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Struct, field

from hypercontainer.contract.answers import Effective, Endpoint, Health
from hypercontainer.contract.networks import USER, Join, NetworkSpec
from hypercontainer.contract.policies import PolicySpec
from hypercontainer.contract.spec import ContainerSpec, PodSpec, PortMapping, alone
from hypercontainer.contract.states import State
from hypercontainer.engine import names
from hypercontainer.engine.bodies import packed, unpacked
from hypercontainer.errors import Conflict, Unavailable
from hypercontainer.linux import disk
from hypercontainer.linux.architectures import AMD64
from hypercontainer.linux.reserve import Reserve

SCHEMA_VERSION = 7
CHECKPOINT_PAGES = 64

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS pods (id TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS containers (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, pod TEXT NOT NULL REFERENCES pods(id), body BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS services (name TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS networks (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS policies (name TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS objects (
    kind TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY (kind, name)
) STRICT;
"""


class ImagePart(Struct, frozen=True):
    """Where a VM has an image: a disk, or a part of it (``length_bytes`` 0: all).  ``root_hash``: by which its guest
    checks the first ``data_bytes`` of that, "" where it does not."""

    chain_id: str
    serial: str
    filesystem: str
    offset_bytes: int = 0
    length_bytes: int = 0
    data_bytes: int = 0
    root_hash: str = ""


class MountedImage(Struct, frozen=True):
    """What a volume's reference led to when the volume was asked for."""

    image_id: str
    diff_ids: tuple[str, ...]


class NetworkRecord(Struct, frozen=True, kw_only=True):
    """``spec`` with all that was chosen: its subnets and its MTU."""

    id: str
    spec: NetworkSpec
    created: str

    @property
    def name(self) -> str:
        return self.spec.name


class Attachment(Endpoint, frozen=True, kw_only=True):
    """A pod in a network, as it is while its VM runs: by the ``interface`` of the guest, and by the device ``tap``, ""
    of "user".  ``lan``, ``resolvers``: of "hypervisor", what it is called there and its name servers."""

    interface: str = "eth0"
    tap: str = ""
    mtu: int = 0
    priority: int = 0
    lan: str = ""
    resolvers: tuple[str, ...] = ()

    @property
    def host4(self) -> str:
        """Its IPv4 address without the length of the prefix, "" where it has none."""
        return self.address.partition("/")[0]

    @property
    def host6(self) -> str:
        return self.address6.partition("/")[0]

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(text for text in (self.host4, self.host6) if text)


class PodRecord(Struct, frozen=True, kw_only=True):
    """One VM's wishes and facts.  ``vm`` is the driver's record of the running one, None while there is none.

    ``name`` is "" where the pod was made for one container, whose ID it has and with which it goes; ``spec`` is as it
    was asked for.  ``wanted``: it was started, and since then neither stopped nor has it come to its end.  ``failure``
    tells why that was a bad one.  ``since``: for each container how often it had been started before the pod was, the
    last time.  ``paused``: its VM is to stand still.  ``disk_full``: it does, for want of room.
    """

    id: str
    spec: PodSpec
    name: str = ""
    created: str = ""
    wanted: bool = False
    stopping: bool = False
    failure: str = ""
    started: str = ""
    since: dict[str, int] = field(default_factory=dict)
    images: tuple[ImagePart, ...] = ()  # in the VM that runs
    volume_images: dict[str, MountedImage] = field(default_factory=dict)  # of ``spec``, by the volumes' names
    mounted: dict[str, str] = field(
        default_factory=dict
    )  # volumes in it: the guest's name, the disk's serial
    # Disks that outlive it and that its VM has ("volume data", "disk /path"): whether for reading only.
    claimed: dict[str, bool] = field(default_factory=dict)
    stale: tuple[str, ...] = ()  # directories of its disk whose containers were removed
    memory_mib: int
    cpus: float
    mac: str
    networks: tuple[Join, ...] = ()  # as they are wished now; one is "user" or "none" only alone
    attachments: tuple[Attachment, ...] = ()  # while its VM runs, the one with the way out first
    ports: tuple[PortMapping, ...] = ()  # as asked; host_port 0 is chosen at every start
    published: tuple[PortMapping, ...] = ()  # as they are while the VM runs
    kernel: str | None = None
    initrd: str | None = None
    kernel_args: tuple[str, ...] = ()
    hypervisor: str | None = None
    accelerator: str | None = None
    architecture: str = AMD64  # of its VM's processor
    uid: int | None = None
    asked_by: int | None = None  # the user whose rights count for files of the host; None: hyperd's own
    vm: dict[str, Any] | None = None
    vm_kernel: str = ""
    vm_kernel_args: tuple[str, ...] = ()
    vm_accelerator: str = ""
    paused: bool = False
    disk_full: bool = False
    coupled: bool = False  # it goes with its last container, though it has a name

    @property
    def alone(self) -> bool:
        """It is there for one container, and goes with it."""
        return not self.name

    @property
    def hostname(self) -> str:
        return self.spec.hostname or names.host_name(self.name, self.id)


# What a pod's record says while there is no VM.
GONE: dict[str, Any] = {
    "vm": None,
    "published": (),
    "attachments": (),
    "images": (),
    "mounted": {},
    "claimed": {},
    "paused": False,
    "disk_full": False,
}


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
    over: bool = False  # its run has ended as it says here, whatever is still to be done after that
    restart_count: int = 0
    stopped_by_user: bool = False
    run: int = 0
    begun: bool = False  # in its present or last run its startup probe passed, its post_start hook was done
    asked_by: int | None = None  # as a pod's
    volume_images: dict[str, MountedImage] = field(default_factory=dict)  # as a pod's
    place: int = 0  # among those that were created with it
    message: str = ""  # what the program left at its end (``termination_message_path``)
    fills: tuple[str, ...] = ()  # new volumes that its first start fills, though it only reads them
    labels: dict[str, str] = field(default_factory=dict)
    health: Health | None = None  # in its present or last run; None: nobody asks for it
    aliases: tuple[str, ...] = ()  # names of its pod in all networks, for its sake
    asked: dict[str, Any] = field(default_factory=dict)  # what a surface keeps with it, to show it again


class ServiceEnd(Struct, frozen=True):
    """One port of a service: of its own address ``port``, of the host's ``node_port`` (0: none), and of the pods
    ``container_port``."""

    port: int
    container_port: int
    node_port: int = 0
    protocol: str = "tcp"


class ServiceRecord(Struct, frozen=True, kw_only=True):
    """A stable place in front of pods of ``network``; ``selector``: labels of these.  ``address`` "": none, its name
    leads to the pods themselves (headless).  ``sticky``: who has come to one of them comes there again."""

    name: str
    selector: dict[str, str]
    ends: tuple[ServiceEnd, ...]
    network: str = ""
    address: str = ""
    headless: bool = False
    sticky: bool = False


class Row(NamedTuple):
    """A record as it lies in the file: its table, what it is found by there, its JSON."""

    table: str
    key: tuple[str, ...]
    body: bytes


KEYS = {
    "pods": ("id",),
    "containers": ("id",),
    "services": ("name",),
    "networks": ("id",),
    "policies": ("name",),
    "objects": ("kind", "name"),
}
DECODING = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # what JSON that is none of ours raises


class StateStore:
    """Owner of the file.  Raises Unavailable, naming the file, where it cannot be read or written.

    ``begin`` is called before a file is begun anew, and raises where that must not be.  On a full disk changes are
    written with the room of a `Reserve`: containers end, and can be removed.
    """

    def __init__(self, path: Path, *, begin: Callable[[], None] = lambda: None) -> None:
        self._path = path
        self._begin = begin
        self.changed: Callable[[], None] = lambda: None  # called when a pod or a container has
        self._reserve = Reserve(path.with_suffix(".reserve"))
        self._encode = _encoder()
        self._pod = msgspec.json.Decoder(PodRecord)
        self._container = msgspec.json.Decoder(ContainerRecord)
        self._service = msgspec.json.Decoder(ServiceRecord)
        self._network = msgspec.json.Decoder(NetworkRecord)
        self._policy = msgspec.json.Decoder(PolicySpec)
        self._do(self._open)
        self._reserve.keep()

    def pods(self) -> list[PodRecord]:
        return [self._pod.decode(body) for body in self._do(self._bodies, "pods")]

    def containers(self) -> list[ContainerRecord]:
        return [self._container.decode(body) for body in self._do(self._bodies, "containers")]

    def add(self, pod: PodRecord | None, containers: Sequence[ContainerRecord]) -> None:
        """All or none; ``pod`` None: they are added to one that is there.  Conflict where a name is taken."""
        statements: list[tuple[str, tuple[Any, ...]]] = []
        if pod is not None:
            statements.append(("INSERT INTO pods VALUES (?, ?)", (pod.id, self._encode(pod))))
        for each in containers:
            values = (each.id, each.name, each.pod, self._encode(each))
            statements.append(("INSERT INTO containers VALUES (?, ?, ?, ?)", values))
        self._do(self._change, *statements)

    def put_pod(self, pod: PodRecord) -> None:
        self._do(self._change, ("UPDATE pods SET body = ? WHERE id = ?", (self._encode(pod), pod.id)))
        self.changed()

    def put_container(self, container: ContainerRecord) -> None:
        """Conflict where its name is taken."""
        body = self._encode(container)
        update = "UPDATE containers SET name = ?, body = ? WHERE id = ?"
        self._do(self._change, (update, (container.name, body, container.id)))
        self.changed()

    def remove(self, container: ContainerRecord, *, with_pod: bool) -> None:
        statements = [("DELETE FROM containers WHERE id = ?", (container.id,))]
        if with_pod:
            statements.append(("DELETE FROM pods WHERE id = ?", (container.pod,)))
        self._do(self._change, *statements)
        self._reserve.keep()

    def remove_pod(self, pod: PodRecord) -> None:
        """One that has no containers any more."""
        self._do(self._change, ("DELETE FROM pods WHERE id = ?", (pod.id,)))
        self._reserve.keep()

    def services(self) -> list[ServiceRecord]:
        return [self._service.decode(body) for body in self._do(self._bodies, "services")]

    def put_service(self, service: ServiceRecord) -> None:
        values = (service.name, self._encode(service))
        self._do(self._change, ("INSERT OR REPLACE INTO services VALUES (?, ?)", values))

    def remove_service(self, name: str) -> None:
        self._do(self._change, ("DELETE FROM services WHERE name = ?", (name,)))

    def networks(self) -> list[NetworkRecord]:
        return [self._network.decode(body) for body in self._do(self._bodies, "networks")]

    def put_network(self, network: NetworkRecord) -> None:
        values = (network.id, network.name, self._encode(network))
        self._do(self._change, ("INSERT OR REPLACE INTO networks VALUES (?, ?, ?)", values))

    def remove_network(self, identifier: str) -> None:
        self._do(self._change, ("DELETE FROM networks WHERE id = ?", (identifier,)))

    def policies(self) -> list[PolicySpec]:
        return [self._policy.decode(body) for body in self._do(self._bodies, "policies")]

    def put_policy(self, policy: PolicySpec) -> None:
        values = (policy.name, self._encode(policy))
        self._do(self._change, ("INSERT OR REPLACE INTO policies VALUES (?, ?)", values))

    def remove_policy(self, name: str) -> None:
        self._do(self._change, ("DELETE FROM policies WHERE name = ?", (name,)))

    def objects(self, kind: str, name: str = "") -> list[bytes]:
        """Kubernetes' objects that a surface keeps here, and what else has their form (kind, metadata), each as the
        JSON that it was kept as; ``name``: only this."""
        return [unpacked(body) for (body,) in self._do(self._objects, kind, name)]

    def put_object(self, kind: str, name: str, body: bytes) -> None:
        self._do(
            self._change, ("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", (kind, name, packed(body)))
        )

    def remove_object(self, kind: str, name: str) -> bool:
        """Whether there was one."""
        found = self._do(self._exists, kind, name)
        self._do(self._change, ("DELETE FROM objects WHERE kind = ? AND name = ?", (kind, name)))
        return found

    def rows(self) -> list[Row]:
        """All records, whether or not they can be read."""
        found = []
        for table, columns in KEYS.items():
            query = f"SELECT {', '.join(columns)}, body FROM {table}"  # noqa: S608 - literals
            found += [Row(table, tuple(key), unpacked(body)) for *key, body in self._do(self._all, query)]
        return found

    def drop(self, rows: Iterable[Row]) -> None:
        """Without a look at them, all or none."""
        by_table = sorted(rows, key=lambda row: row.table)  # containers before their pods
        statements = []
        for row in by_table:
            where = " AND ".join(f"{column} = ?" for column in KEYS[row.table])
            statements.append((f"DELETE FROM {row.table} WHERE {where}", row.key))  # noqa: S608 - literals
        self._do(self._change, *statements)

    def restore(self, rows: Iterable[Row]) -> None:
        """Puts such back as can be read, all or none; Conflict where a name is taken meanwhile."""
        statements: list[tuple[str, tuple[Any, ...]]] = []
        for row in sorted(rows, key=lambda row: row.table, reverse=True):
            values: tuple[Any, ...] = row.key
            if row.table == "containers":
                record = self._container.decode(row.body)
                values = (record.id, record.name, record.pod)
            if row.table == "networks":
                values = (*row.key, self._network.decode(row.body).name)
            marks = ", ".join("?" * (len(values) + 1))
            insert = f"INSERT INTO {row.table} VALUES ({marks})"  # noqa: S608 - literals
            statements.append((insert, (*values, packed(row.body))))
        self._do(self._change, *statements)

    def close(self) -> None:
        self._db.close()

    def _all(self, query: str) -> list[tuple[Any, ...]]:
        return self._db.execute(query).fetchall()

    def _do(self, operation: Callable[..., T], *arguments: Any) -> T:
        try:
            return self._reserve.spend(partial(operation, *arguments))
        except sqlite3.IntegrityError as error:
            raise Conflict(
                "the name of the container is taken",
                hint="remove or rename the other one, or choose another name",
            ) from error
        except sqlite3.Error as error:
            raise _explained(f"the state in {self._path}", error) from error

    def _open(self) -> None:
        self._db = db = sqlite3.connect(self._path, isolation_level=None)
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:
            try:
                self._begin()
            except BaseException:
                db.close()
                raise
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=NORMAL")
        db.execute("PRAGMA foreign_keys=ON")
        # A log that is soon used again from its beginning needs no new room on a full disk.
        db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise Unavailable(f"{self._path} was written by a newer hyperd", hint="use that version")
        if version < SCHEMA_VERSION:
            db.executescript(_SCHEMA)
            with db:
                db.execute("BEGIN IMMEDIATE")
                _name_networks(db)
                _specify_lone_pods(db)
                db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")

    def _bodies(self, table: str) -> list[bytes]:
        found = self._db.execute(f"SELECT body FROM {table}")  # noqa: S608 - one of these literals
        return [unpacked(body) for (body,) in found]

    def _objects(self, kind: str, name: str) -> list[tuple[bytes]]:
        query = "SELECT body FROM objects WHERE kind = ? AND (name = ? OR ? = '') ORDER BY name"
        return self._db.execute(query, (kind, name, name)).fetchall()

    def _exists(self, kind: str, name: str) -> bool:
        query = "SELECT 1 FROM objects WHERE kind = ? AND name = ?"
        return self._db.execute(query, (kind, name)).fetchone() is not None

    def _change(self, *statements: tuple[str, tuple[Any, ...]]) -> None:
        """All or none."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            for statement, values in statements:
                self._db.execute(statement, values)


def _encoder() -> Callable[[Any], bytes]:
    encode = msgspec.json.Encoder().encode
    return lambda record: packed(encode(record))


def _explained(what: str, error: sqlite3.Error) -> Unavailable:
    if getattr(error, "sqlite_errorcode", None) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        hint = "the file is damaged: put a copy of it back; docs/recovery.md says how to begin without it and to keep "
        return Unavailable(f"{what}: {error}", hint=f"{hint}the containers' disks")
    return disk.of_database(what, error)


def _specify_lone_pods(db: sqlite3.Connection) -> None:
    """Up to version 3 the pod of one container had no specification of its own.  What cannot be read stays as it is."""
    rows = db.execute(
        "SELECT pods.id, pods.body, containers.body FROM pods LEFT JOIN containers ON containers.pod = pods.id"
    )
    for identifier, body, member in rows.fetchall():
        with suppress(*DECODING):
            pod = msgspec.json.decode(body, type=dict[str, Any])
            if pod.get("spec") is None:
                spec = alone(msgspec.json.decode(member, type=ContainerRecord).spec) if member else PodSpec()
                pod["spec"] = msgspec.to_builtins(spec)
                db.execute("UPDATE pods SET body = ? WHERE id = ?", (msgspec.json.encode(pod), identifier))


def _name_networks(db: sqlite3.Connection) -> None:
    """Up to version 4 a pod had one of "user" and "none"; "user" was what it had where nothing was said.  What cannot
    be read stays as it is."""
    for table in ("pods", "containers"):
        rows = db.execute(f"SELECT id, body FROM {table}").fetchall()  # noqa: S608 - literals
        for identifier, body in rows:
            with suppress(*DECODING):
                record = msgspec.json.decode(body, type=dict[str, Any])
                spec = record.get("spec") or {}
                held = [each for each in (record, spec, *spec.get("containers", ())) if "network" in each]
                for each in held:
                    name = each.pop("network")
                    said = each is record or name != USER
                    each["networks"] = [{"name": name}] if said else []
                if record.get("vm") and record.get("networks") == [{"name": USER}]:
                    place = {"network": USER, "address": "10.0.2.15/24", "gateway": "10.0.2.2"}
                    record["attachments"] = [{**place, "mac_address": record["mac"]}]
                if held:
                    update = f"UPDATE {table} SET body = ? WHERE id = ?"  # noqa: S608 - literals
                    db.execute(update, (msgspec.json.encode(record), identifier))
