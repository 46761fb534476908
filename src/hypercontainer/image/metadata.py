"""The record of images: one SQLite file beside the blobs.

    image       config and manifest bytes, by the config's digest (the image ID)
    layer       an image's layers, in order: what is in ``blobs``
    tag         canonical reference -> image
    repo_digest repository@digest -> image, as it was pulled or pushed
    verified    what signatures of an image were found to be as asked, by what was asked
    tagged      image -> when a reference last came to lead to it
    coming      image -> the reference by which its layers come while it is used already; and why they will not

Invariant: an image is here whole, with blobs for all its layers, or it is in ``coming``, or not at all; each change
is one transaction.  The write-ahead log survives a killed process at any point.
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from msgspec import structs

from hypercontainer.errors import ImageError, Unavailable
from hypercontainer.image.documents import ImageDocument, Manifest, parse_config, parse_manifest
from hypercontainer.image.model import Image, ImageConfig, Layer, Verified
from hypercontainer.image.platforms import Platform
from hypercontainer.linux import disk
from hypercontainer.linux.reserve import Reserve

SCHEMA_VERSION = 2
# Later than the schema, and of no matter to a release that does not know them.
_COMING = """
CREATE TABLE IF NOT EXISTS coming (
    image_id TEXT PRIMARY KEY REFERENCES image(id) ON DELETE CASCADE, reference TEXT NOT NULL,
    fault TEXT NOT NULL DEFAULT '') WITHOUT ROWID
"""
_TAGGED = """
CREATE TABLE IF NOT EXISTS tagged (
    image_id TEXT PRIMARY KEY REFERENCES image(id) ON DELETE CASCADE, at TEXT NOT NULL) WITHOUT ROWID
"""
_SCHEMA = """
CREATE TABLE image (
    id TEXT PRIMARY KEY, config BLOB NOT NULL,
    manifest BLOB NOT NULL, manifest_digest TEXT NOT NULL, manifest_type TEXT NOT NULL,
    generated INTEGER NOT NULL, sequence INTEGER NOT NULL);
CREATE TABLE layer (
    image_id TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE, position INTEGER NOT NULL,
    digest TEXT NOT NULL, diff_id TEXT NOT NULL, media_type TEXT NOT NULL, size INTEGER NOT NULL,
    compression TEXT NOT NULL, PRIMARY KEY (image_id, position)) WITHOUT ROWID;
CREATE INDEX layer_digest ON layer(digest);
CREATE TABLE tag (
    reference TEXT PRIMARY KEY, image_id TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE) WITHOUT ROWID;
CREATE TABLE repo_digest (
    name TEXT NOT NULL, digest TEXT NOT NULL, image_id TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE,
    PRIMARY KEY (name, digest)) WITHOUT ROWID;
"""
_VERIFIED = """
CREATE TABLE verified (
    image_id TEXT NOT NULL REFERENCES image(id) ON DELETE CASCADE, requirement TEXT NOT NULL,
    digest TEXT NOT NULL, signer TEXT NOT NULL, PRIMARY KEY (image_id, requirement)) WITHOUT ROWID;
"""
# What each version has added, the first that of an empty file.
_STEPS = (_SCHEMA, _VERIFIED)


@dataclass(frozen=True)
class Record:
    """What is registered for one image.  ``generated``: the manifest was made here, nobody knows its digest."""

    id: str
    config: bytes
    manifest: bytes
    manifest_digest: str
    manifest_type: str
    layers: tuple[Layer, ...]
    generated: bool = False

    @property
    def artifact_type(self) -> str:
        """ "" of a container image."""
        return self._parsed.artifact_type if self._parsed else ""

    @property
    def config_digest(self) -> str:
        return self._parsed.config.digest if self._parsed else self.id

    @property
    def created(self) -> str:
        """Of an artifact; RFC 3339 or ""."""
        return self._parsed.created if self._parsed else ""

    @cached_property
    def _parsed(self) -> Manifest | None:
        """None of one that was stored when more was taken."""
        try:
            found = parse_manifest(self.manifest, self.manifest_type, f"image {self.id}")
        except ImageError:
            return None
        return found if isinstance(found, Manifest) else None


class Metadata:
    """The database; thread safe.  Several processes may have it open.  ``begun``: it was made just now."""

    def __init__(self, path: Path) -> None:
        self.begun = False
        self._lock = threading.RLock()
        self._path = path
        self._reserve = Reserve(path.with_suffix(".reserve"))
        with self._explained(), self._alone():
            self._reserve.spend(self._open)
        self._reserve.keep()

    def _open(self) -> None:
        self._db = sqlite3.connect(self._path, timeout=30, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise Unavailable(f"image store {self._path} was made by a newer version", hint="upgrade hyper")
        if version < SCHEMA_VERSION:
            self._migrate()
        self._db.execute(_COMING)
        self._db.execute(_TAGGED)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise disk.of_database(f"the image store's record {self._path}", error) from error

    def _migrate(self) -> None:
        with self._change():
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            self.begun = version == 0  # still, now that nobody else writes
            for step in _STEPS[version:]:
                for statement in step.split(";"):
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def close(self) -> None:
        with self._lock, self._alone():
            self._db.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds back other processes that open or close the file.

        SQLite's own wait does not cover the change to the write-ahead log, which the first to open makes and the
        last to close takes back: whoever meets it there is told at once that the database is locked.
        """
        with self._path.with_suffix(".lock").open("a") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # some errors have ended it
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, query: str, *arguments: object) -> list[tuple[str, ...]]:
        with self._lock:
            return self._db.execute(query, arguments).fetchall()

    def register(
        self,
        record: Record,
        tags: Iterable[str] = (),
        digests: Iterable[tuple[str, str]] = (),
        verified: Verified | None = None,
        *,
        coming: str = "",
    ) -> None:
        """Add or replace an image, point ``tags`` and ``digests`` (name, digest) at it.  ``coming``: the reference by
        which its layers, which are not here, come."""
        with self._explained(), self._change():
            self._db.execute(
                "INSERT INTO image VALUES (?, ?, ?, ?, ?, ?, (SELECT coalesce(max(sequence), 0) + 1 FROM image)) "
                "ON CONFLICT (id) DO UPDATE SET manifest = excluded.manifest, "
                "manifest_digest = excluded.manifest_digest, manifest_type = excluded.manifest_type, "
                "generated = excluded.generated",
                (
                    record.id,
                    record.config,
                    record.manifest,
                    record.manifest_digest,
                    record.manifest_type,
                    record.generated,
                ),
            )
            self._db.execute("DELETE FROM layer WHERE image_id = ?", (record.id,))
            self._db.executemany(
                "INSERT INTO layer VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    (record.id, i, x.digest, x.diff_id, x.media_type, x.size_bytes, x.compression)
                    for i, x in enumerate(record.layers)
                ],
            )
            self._db.execute("DELETE FROM coming WHERE image_id = ?", (record.id,))
            if coming:
                self._db.execute("INSERT INTO coming VALUES (?, ?, '')", (record.id, coming))
            self._point(record.id, tags, digests)
            if verified is not None:
                self._db.execute(
                    "INSERT OR REPLACE INTO verified VALUES (?, ?, ?, ?)",
                    (record.id, verified.requirement, verified.digest, verified.signer),
                )

    def is_verified(self, image_id: str, requirement: str) -> bool:
        """Whether a signature of the image was found to be as ``requirement`` asks."""
        query = "SELECT signer FROM verified WHERE image_id = ? AND requirement = ?"
        return self._one(query, image_id, requirement) is not None

    def spoil(self, image_id: str, why: str) -> None:
        """What has come of an image that is coming is not what it should be."""
        with self._explained(), self._change():
            self._db.execute("UPDATE coming SET fault = ? WHERE image_id = ?", (why, image_id))

    def coming(self) -> dict[str, tuple[str, str]]:
        """Of each image that is still coming: by which reference, and what is wrong with it, or ""."""
        rows = self._rows("SELECT image_id, reference, fault FROM coming")
        return {image_id: (reference, fault) for image_id, reference, fault in rows}

    def point(self, image_id: str, tags: Iterable[str] = (), digests: Iterable[tuple[str, str]] = ()) -> None:
        """Let references lead to an image that is here."""
        with self._explained(), self._change():
            self._point(image_id, tags, digests)

    def _point(self, image_id: str, tags: Iterable[str], digests: Iterable[tuple[str, str]]) -> None:
        rows = [(tag, image_id) for tag in tags if self.by_tag(tag) != image_id]
        self._db.executemany("INSERT OR REPLACE INTO tag VALUES (?, ?)", rows)
        if rows:
            self._db.execute(
                "INSERT OR REPLACE INTO tagged VALUES (?, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))", (image_id,)
            )
        self._db.executemany(
            "INSERT OR REPLACE INTO repo_digest VALUES (?, ?, ?)",
            [(name, digest, image_id) for name, digest in digests],
        )

    def forget(
        self, tags: Sequence[str] = (), digests: Sequence[tuple[str, str]] = (), image: str = ""
    ) -> None:
        """Drop references, and the image ``image`` with all that leads to it, in one transaction."""

        def forget() -> None:
            with self._change():
                self._db.executemany("DELETE FROM tag WHERE reference = ?", [(tag,) for tag in tags])
                self._db.executemany("DELETE FROM repo_digest WHERE name = ? AND digest = ?", digests)
                if image:
                    self._db.execute("DELETE FROM image WHERE id = ?", (image,))

        with self._explained():
            self._reserve.spend(forget)

    def record(self, image_id: str) -> Record | None:
        with self._lock:
            row = self._db.execute(
                "SELECT config, manifest, manifest_digest, manifest_type, generated FROM image WHERE id = ?",
                (image_id,),
            ).fetchone()
            if row is None:
                return None
            config, manifest, digest, kind, generated = row
            return Record(image_id, config, manifest, digest, kind, self._layers(image_id), bool(generated))

    def image(self, image_id: str) -> Image | None:
        """The image as callers see it; None if it is not here."""
        with self._lock:
            record = self.record(image_id)
            if record is None:
                return None
            tags = self._rows("SELECT reference FROM tag WHERE image_id = ? ORDER BY reference", image_id)
            digests = self._rows(
                "SELECT name, digest FROM repo_digest WHERE image_id = ? ORDER BY name, digest", image_id
            )
            tagged = self._one("SELECT at FROM tagged WHERE image_id = ?", image_id)
            coming = self._rows("SELECT fault FROM coming WHERE image_id = ?", image_id)
        document, fault = _document(record)
        fault = fault or (coming[0][0] if coming else "")
        return Image(
            id=image_id,
            references=tuple(reference for (reference,) in tags),
            repo_digests=tuple(f"{name}@{digest}" for name, digest in digests),
            config=document.config,
            layers=record.layers,
            created=document.created,
            size_bytes=sum({layer.digest: layer.size_bytes for layer in record.layers}.values()),
            manifest_digest=record.manifest_digest,
            manifest_media_type=record.manifest_type,
            manifest_bytes=len(record.manifest),
            architecture=document.platform.architecture,
            os=document.platform.os,
            variant=document.platform.variant,
            author=document.author,
            artifact_type=record.artifact_type,
            fault=fault,
            coming=bool(coming),
            tagged=tagged or "",
        )

    def _layers(self, image_id: str) -> tuple[Layer, ...]:
        rows = self._db.execute(
            "SELECT digest, diff_id, media_type, size, compression FROM layer WHERE image_id = ? ORDER BY position",
            (image_id,),
        )
        return tuple(Layer(*row) for row in rows)

    def ids(self) -> list[str]:
        """All image IDs, the latest arrival first."""
        return [image_id for (image_id,) in self._rows("SELECT id FROM image ORDER BY sequence DESC")]

    def ids_with_prefix(self, prefix: str) -> list[str]:
        """IDs that begin with ``prefix`` (hexadecimal digits, of any algorithm); at most two."""
        pattern = f"%:{prefix}%"
        return [i for (i,) in self._rows("SELECT id FROM image WHERE id LIKE ? LIMIT 2", pattern)]

    def by_tag(self, reference: str) -> str | None:
        return self._one("SELECT image_id FROM tag WHERE reference = ?", reference)

    def tags_of(self, name: str) -> list[tuple[str, str]]:
        """(canonical tag, image ID) of every tag of a repository, in order."""
        rows = self._rows("SELECT reference, image_id FROM tag ORDER BY reference")
        return [(reference, image_id) for reference, image_id in rows if reference.rpartition(":")[0] == name]

    def by_digest(self, name: str, digest: str) -> str | None:
        """The image of ``name@digest``: as pulled or pushed, or its own manifest under one of its names."""
        return self._one(
            "SELECT image_id FROM repo_digest WHERE name = ? AND digest = ?", name, digest
        ) or self._one(
            "SELECT image.id FROM image JOIN repo_digest ON image_id = image.id "
            "WHERE manifest_digest = ? AND name = ?",
            digest,
            name,
        )

    def names_with_layer(self, digest: str) -> list[str]:
        """Repositories that are known to hold the layer: where a push may mount it from."""
        return [
            name
            for (name,) in self._rows(
                "SELECT DISTINCT name FROM repo_digest JOIN layer USING (image_id) WHERE layer.digest = ?",
                digest,
            )
        ]

    def names(self) -> dict[str, str]:
        """Every tag and every ``name@digest``, and the ID of the image that it leads to."""
        tags = self._rows("SELECT reference, image_id FROM tag")
        return dict(tags + self._rows("SELECT name || '@' || digest, image_id FROM repo_digest"))  # type: ignore[arg-type]

    def layer_digests(self) -> set[str]:
        """Every blob that an image needs."""
        return {digest for (digest,) in self._rows("SELECT DISTINCT digest FROM layer")}

    def _one(self, query: str, *arguments: object) -> str | None:
        rows = self._rows(query, *arguments)
        return rows[0][0] if rows else None


def _document(record: Record) -> tuple[ImageDocument, str]:
    """And what is wrong with it."""
    bare = ImageDocument(config=ImageConfig(raw=record.config))
    if record.artifact_type:  # its config is nobody's business here
        return structs.replace(bare, platform=Platform("", ""), created=record.created), ""
    try:
        return parse_config(record.config, f"image {record.id}"), ""
    except ImageError as error:
        return bare, error.message


def smaller(new: Record, old: Record) -> bool:
    """Whether ``new`` has compressed what is plain in ``old``."""
    plain = [sum(layer.compression == "none" for layer in record.layers) for record in (new, old)]
    return plain[0] < plain[1]
