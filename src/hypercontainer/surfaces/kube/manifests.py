"""Kubernetes' objects become pods, volumes and services of an engine: what a manifest would change, and the change."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hypercontainer import kube
from hypercontainer.contract.answers import CronJob, Played
from hypercontainer.contract.volumes import NamedVolume
from hypercontainer.engine.creation import Asker
from hypercontainer.engine.engine import Engine
from hypercontainer.engine.interface import Credentials, ProgressSink
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.state import ServiceRecord
from hypercontainer.engine.wall import WALL, Wall
from hypercontainer.errors import NotFound, Remedy
from hypercontainer.surfaces.kube.cronjobs import CronJobs, ended
from hypercontainer.surfaces.kube.kept import DATA, Kept, as_asked
from hypercontainer.surfaces.kube.pods import Pods, Wish
from hypercontainer.surfaces.kube.services import comparable, service_record
from hypercontainer.surfaces.kube.writing import Writer

OF_PODS = ("Pod", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job")


@dataclass(frozen=True)
class _Change:
    """What a manifest comes to, seen against what is there.  ``actions``: of the objects that are no pods' owners."""

    objects: kube.Objects
    wishes: Sequence[Wish]
    surplus: Sequence[Pod]
    services: Sequence[ServiceRecord]
    claims: Sequence[NamedVolume]
    actions: Mapping[tuple[str, str], str]


class Manifests:
    """As text: YAML or JSON, several documents in one.  ``open`` it first; CronJobs run until it is closed."""

    def __init__(self, engine: Engine, *, wall: Wall = WALL) -> None:
        self._volumes = engine.volumes
        self._services = engine.services
        self._wall = wall
        self._kept = Kept(engine.state)
        self._pods = Pods(engine)
        self._writer = Writer(engine)
        self._crons = CronJobs(engine, self._kept, self._pods, wall)

    def open(self) -> None:
        self._crons.open()

    async def close(self) -> None:
        await self._crons.close()

    async def generate(self, refs: Sequence[str]) -> str:
        return await self._writer.generate(refs)

    async def cron_jobs(self) -> list[CronJob]:
        return self._crons.listed()

    async def run_cron_job(self, name: str) -> str:
        """Now, whatever its schedule says: the name of the Job."""
        return await self._crons.run_now(name)

    # ------------------------------------------------------------------------------------- play

    async def play(
        self,
        text: str,
        *,
        replace: bool = False,
        start: bool = True,
        dry_run: bool = False,
        skip_unsupported: bool = False,
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
    ) -> list[Played]:
        objects, _ = await asyncio.to_thread(kube.read, text, skip_unsupported=skip_unsupported)
        change = await self._change(objects, replace=replace)
        told = _told(change)
        if dry_run:
            return told
        for claim in change.claims:
            if change.actions["PersistentVolumeClaim", claim.name] == "created":
                kind = claim.type or None
                await self._volumes.create(claim.name, size_bytes=claim.size_bytes, kind=kind)
        with self._crons.playing([one.name for one in objects if one.kind == "Job"]):
            self._keep(objects, asked_by)
            self._crons.open()  # a CronJob has its times, whatever becomes of the pods
            for record in change.services:
                await self._services.put(record)
            await self._pods.make(change.wishes, change.surplus, Asker(asked_by, credentials, progress))
            if start:
                await self._pods.start(wish.name for wish in change.wishes)
        return told

    async def _change(self, objects: kube.Objects, *, replace: bool) -> _Change:
        """Everything is checked before anything is made."""
        plans = await asyncio.to_thread(kube.pods, objects, known=self._kept.known())
        kube.crons(objects)
        claims = kube.claims(objects)
        services = [
            service_record(plan, plans, await self._services.network()) for plan in kube.services(objects)
        ]
        wishes = [self._pods.wish(plan, replace=replace) for plan in plans]
        volumes = {info.name for info in await self._volumes.find()}
        _check_claims(wishes, volumes | {claim.name for claim in claims})
        former: dict[tuple[str, str], object] = {
            **{("PersistentVolumeClaim", name): None for name in volumes},
            **{("Service", record.name): comparable(self._services.get(record.name)) for record in services},
        }
        wanted: dict[tuple[str, str], object] = {
            **{("PersistentVolumeClaim", claim.name): None for claim in claims},
            **{("Service", record.name): comparable(record) for record in services},
        }
        for one in objects:
            if one.kind in (*DATA, "CronJob"):
                document = self._kept.get(one.kind, one.name)
                former[one.kind, one.name] = document and as_asked(document)
                wanted[one.kind, one.name] = as_asked(one.document)
        actions = {key: _action(key, former, value, replace=replace) for key, value in wanted.items()}
        return _Change(objects, wishes, self._surplus(objects, wishes), services, claims, actions)

    def _surplus(self, objects: kube.Objects, wishes: Sequence[Wish]) -> list[Pod]:
        """Pods that the objects had and have no more, as of fewer replicas.  What a Job has done stays."""
        names = {wish.name for wish in wishes}
        return [
            pod
            for one in objects
            if one.kind in OF_PODS
            for pod in self._pods.of(f"{one.kind}/{one.name}")
            if pod.record.name not in names and not (one.kind == "Job" and ended(pod))
        ]

    def _keep(self, objects: kube.Objects, asked_by: int | None) -> None:
        jobs = {job.name: job for job in kube.jobs(objects, known=self._kept.known())}
        for one in objects:
            if one.kind in DATA:
                self._kept.put(one.document)
            elif one.kind == "CronJob":
                self._kept.put_cron_job(one.document, self._wall.now(), asked_by)
            elif one.kind == "Job" and jobs[one.name].ttl_s is not None:
                self._kept.put(one.document)
            elif one.kind == "Job":
                self._kept.remove(one.kind, one.name)

    # ------------------------------------------------------------------------------------- down

    async def down(self, text: str, *, volumes: bool = False, dry_run: bool = False) -> list[Played]:
        objects, _ = await asyncio.to_thread(kube.read, text, skip_unsupported=True)
        pods = {(one.kind, one.name): self._pods_of(one) for one in objects}
        there = {info.name for info in await self._volumes.find()}
        claims = {
            (one.kind, one.name): [name for name in _claims_of(one, pods) if name in there] for one in objects
        }
        told = []
        for one in objects:
            key = (one.kind, one.name)
            if one.kind == "PersistentVolumeClaim" and claims[key]:
                told.append(Played(kind=one.kind, name=one.name, action="removed" if volumes else "kept"))
            elif pods[key] or self._is_there(one):
                names = tuple(pod.record.name for pod in pods[key])
                told.append(Played(kind=one.kind, name=one.name, action="removed", pods=names))
        if not dry_run:
            await self._take_down(objects, [pod for found in pods.values() for pod in found])
            for name in [name for found in claims.values() for name in found] if volumes else ():
                await self._volumes.remove(name, force=True)
        return [*told, *_skipped(objects)]

    def _pods_of(self, one: kube.Object) -> list[Pod]:
        """By their names, and what else was made for it."""
        named = [pod for name in kube.pod_names(one) if (pod := self._pods.find(name)) is not None]
        owned = self._pods.of(f"{one.kind}/{one.name}")
        return list({pod.id: pod for pod in (*named, *owned)}.values())

    def _is_there(self, one: kube.Object) -> bool:
        if one.kind == "Service":
            return self._services.get(one.name) is not None
        return one.kind in (*DATA, "CronJob") and self._kept.get(one.kind, one.name) is not None

    async def _take_down(self, objects: kube.Objects, pods: Sequence[Pod]) -> None:
        for one in objects:
            if one.kind in ("CronJob", "Job"):  # first, so that no new pods come
                self._kept.remove(one.kind, one.name)
        await self._pods.take_down(pods)
        for one in objects:
            if one.kind == "Service":
                await self._services.remove(one.name)
            elif one.kind in DATA:
                self._kept.remove(one.kind, one.name)


def _check_claims(wishes: Sequence[Wish], known: set[str]) -> None:
    """A claim that is not in the manifest has to be there."""
    for wish in wishes:
        for volume in wish.spec.volumes:
            source = volume.source
            if isinstance(source, NamedVolume) and source.size_bytes is None and source.name not in known:
                raise NotFound(
                    f"pod {wish.name}: there is no claim {source.name}",
                    hint="put its PersistentVolumeClaim into the manifest, or make the volume",
                    remedies=(Remedy("volumes.create", source.name),),
                )


def _claims_of(one: kube.Object, pods: Mapping[tuple[str, str], Sequence[Pod]]) -> list[str]:
    if one.kind == "PersistentVolumeClaim":
        return [one.name]
    names = [*kube.pod_names(one), *(pod.record.name for pod in pods[one.kind, one.name])]
    return kube.claim_names(one, dict.fromkeys(names))


# ------------------------------------------------------------------------------------- what is told


def _action(
    key: tuple[str, str], former: Mapping[tuple[str, str], object], wanted: object, *, replace: bool
) -> str:
    if key[0] == "PersistentVolumeClaim":  # whose data stay, whatever is replaced
        return "unchanged" if key in former else "created"
    before = former.get(key)
    if before is None:
        return "created"
    return "unchanged" if before == wanted and not replace else "replaced"


def _told(change: _Change) -> list[Played]:
    """One for each object, in the manifest's order."""
    return [*(_told_of(one, change) for one in change.objects), *_skipped(change.objects)]


def _told_of(one: kube.Object, change: _Change) -> Played:
    if one.kind not in OF_PODS:
        action = change.actions[one.kind, one.name]
        return Played(kind=one.kind, name=one.name, action=action, warnings=one.warnings)
    wishes = [wish for wish in change.wishes if wish.plan.owner == (one.kind, one.name)]
    owner = f"{one.kind}/{one.name}"
    removed = tuple(pod.record.name for pod in change.surplus if pod.record.spec.owner == owner)
    actions = {wish.action for wish in wishes}
    action = "changed" if removed or len(actions) > 1 else actions.pop() if actions else "unchanged"
    warnings = [warning for wish in wishes if wish.action != "unchanged" for warning in wish.plan.warnings]
    return Played(
        kind=one.kind,
        name=one.name,
        action=action,
        pods=tuple(wish.name for wish in wishes),
        removed=removed,
        warnings=tuple(dict.fromkeys((*one.warnings, *warnings))),
    )


def _skipped(objects: kube.Objects) -> list[Played]:
    return [
        Played(
            kind=kind,
            name=name,
            action="skipped",
            warnings=(f"{kind}/{name}: kind {kind} is not supported; it is passed over",),
        )
        for kind, name in objects.skipped
    ]
