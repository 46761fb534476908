"""What outlives the manifest that it came in: ConfigMaps and Secrets, for pods that come later; CronJobs, for their
times; Jobs that are to go some time after their end.

A CronJob is kept as Kubernetes keeps it: when it was first made, and its last time, stand in the object itself.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from hypercontainer import kube
from hypercontainer.engine import times
from hypercontainer.engine.state import StateStore
from hypercontainer.errors import HyperError

DATA = ("ConfigMap", "Secret")
ASKED_BY = "hyper.invalid/asked-by"  # an annotation: the user with whose rights a CronJob's pods are made

Document = dict[str, Any]

log = logging.getLogger(__name__)


class Kept:
    def __init__(self, state: StateStore) -> None:
        self._state = state

    def known(self) -> kube.Objects:
        """What pods refer to."""
        bodies = [body for kind in DATA for body in self._state.objects(kind)]
        try:
            return kube.kept(bodies)
        except HyperError:
            return kube.kept(body for body in bodies if _can_be_read(body))

    def documents(self, kind: str) -> list[Document]:
        """But for what cannot be read as one."""
        return [msgspec.json.decode(body) for body in self._state.objects(kind) if _can_be_read(body)]

    def get(self, kind: str, name: str) -> Document | None:
        found = [body for body in self._state.objects(kind, name) if _can_be_read(body)]
        return msgspec.json.decode(found[0]) if found else None

    def put(self, document: Document) -> None:
        name = document["metadata"]["name"]
        self._state.put_object(document["kind"], name, msgspec.json.encode(document))

    def remove(self, kind: str, name: str) -> bool:
        """Whether there was one."""
        return self._state.remove_object(kind, name)

    # ------------------------------------------------------------------------------------- CronJobs

    def put_cron_job(self, document: Document, now: float, asked_by: int | None) -> None:
        """Its times count from ``now`` on, or where there was one with the same schedule from its last one on."""
        former = self.get("CronJob", document["metadata"]["name"])
        made = as_asked(document)
        if former is not None and _schedule(former) == _schedule(made):
            made["metadata"]["creationTimestamp"] = former["metadata"]["creationTimestamp"]
            made["status"] = former.get("status") or {}
        else:
            made["metadata"]["creationTimestamp"] = times.from_ns(int(now * 1e9))
        if asked_by is not None:
            annotations = made["metadata"].get("annotations") or {}
            made["metadata"]["annotations"] = {**annotations, ASKED_BY: str(asked_by)}
        self.put(made)

    def note_time(self, name: str, at: float) -> bool:
        """That the time ``at`` of a CronJob has had its Job.  False: there is no such CronJob any more."""
        document = self.get("CronJob", name)
        if document is None:
            return False
        document["status"] = {
            **(document.get("status") or {}),
            "lastScheduleTime": times.from_ns(int(at * 1e9)),
        }
        self.put(document)
        return True


def _can_be_read(body: bytes) -> bool:
    try:
        document = msgspec.json.decode(body, type=dict[str, Any])
        kube.kept([msgspec.json.encode(as_asked(document))])
    except (HyperError, msgspec.MsgspecError, KeyError, TypeError) as error:
        log.error("what is kept of an earlier manifest is damaged, and left out: %s", error)
        return False
    return True


def as_asked(document: Document) -> Document:
    """Of any object: a copy without what is noted here."""
    metadata = {**document["metadata"]}
    made = {**document, "metadata": metadata}
    if document["kind"] != "CronJob":
        return made
    made.pop("status", None)
    metadata.pop("creationTimestamp", None)
    if annotations := metadata.pop("annotations", None):
        others = {key: value for key, value in annotations.items() if key != ASKED_BY}
        if others:
            metadata["annotations"] = others
    return made


def seconds(text: str | None) -> float | None:
    return None if text is None else times.to_ns(text) / 1e9


def _schedule(document: Document) -> tuple[Any, Any]:
    return document["spec"]["schedule"], document["spec"].get("timeZone")
