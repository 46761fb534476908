"""Kubernetes' objects become pods, volumes and services of an engine."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from hypercontainer import kube
from hypercontainer.contract.answers import Played
from hypercontainer.contract.spec import ContainerSpec, LogConfig, PodSpec, PortMapping, alone
from hypercontainer.contract.volumes import NamedVolume
from hypercontainer.engine.creation import POD_OVERHEAD_BYTES, Asker
from hypercontainer.engine.engine import Engine
from hypercontainer.engine.interface import Credentials, ProgressSink
from hypercontainer.engine.network.services import LOOPBACK, selects
from hypercontainer.engine.network.user import GATEWAY
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.pod.views import whole
from hypercontainer.engine.state import ServiceEnd, ServiceRecord
from hypercontainer.errors import Conflict, HyperError, InvalidArgument, NotFound, Remedy
from hypercontainer.image.reference import parse
from hypercontainer.semantics import defaults, docker
from hypercontainer.surfaces.kube.wording import in_manifest

CLUSTER_DOMAIN = "svc.cluster.local"
NAMESPACE = "default"
KEPT = ("ConfigMap", "Secret")

log = logging.getLogger(__name__)


class Manifests:
    """As text: YAML or JSON, several documents in one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._directory = engine.directory
        self._pods = engine.pods
        self._volumes = engine.volumes
        self._services = engine.services
        self._state = engine.state

    def _find(self, name: str | None) -> Pod | None:
        return next((pod for pod in self._directory.named_pods() if pod.record.name == name), None)

    # ------------------------------------------------------------------------------------- play

    async def play(
        self,
        text: str,
        *,
        replace: bool = False,
        start: bool = True,
        credentials: Credentials | None = None,
        progress: ProgressSink | None = None,
        asked_by: int | None = None,
    ) -> list[Played]:
        objects, warnings = await asyncio.to_thread(kube.read, text)
        plans = await asyncio.to_thread(kube.pods, objects, known=self._kept())
        kube.crons(objects)  # checked, like all the rest, before anything is made
        claims = kube.claims(objects)
        services = [_service(plan, plans) for plan in kube.services(objects)]
        specs = [_with_services(plan, services) for plan in plans]
        await self._check_claims(specs, claims)
        kept = [self._unchanged(spec, replace=replace) for spec in specs]
        played = [*await self._make_claims(claims), *self._keep(objects), *_crons(objects)]
        for record in services:
            before = self._services.get(record.name)
            await self._services.put(record)
            action = "created" if before is None else "unchanged" if before == record else "replaced"
            played.append(Played(kind="Service", name=record.name, action=action))
        for plan, spec, unchanged in zip(plans, specs, kept, strict=True):
            action = "unchanged"
            if not unchanged:
                action = await self._create(plan, spec, credentials, progress, asked_by)
            played.append(_told(plan, action, [] if unchanged else plan.warnings))
        if start:
            await self._start(spec.name or "" for spec in specs)
        if warnings:
            played.append(Played(kind="Manifest", name="", action="kept", warnings=tuple(warnings)))
        return _by_owner(played)

    async def _start(self, names: Iterable[str]) -> None:
        """All at once, as one pod's init containers may wait for another pod.  What has succeeded is left alone."""
        pods = [await self._pods.held(name) for name in names]
        starts = [pod.start() for pod in pods if not pod.succeeded()]
        for result in await asyncio.gather(*starts, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    def _unchanged(self, spec: PodSpec, *, replace: bool) -> bool:
        """Whether the pod is there just so.  Conflict where it is there otherwise, and shall not be replaced."""
        found = self._find(spec.name)
        if found is None:
            return False
        if found.record.spec == spec:
            return True
        if not replace:
            raise Conflict(
                f"there is a pod {spec.name} already, and it is another",
                remedies=(Remedy("manifests.play", aim="puts this in its place", options={"replace": True}),),
            )
        return False

    async def _create(
        self,
        plan: kube.PodPlan,
        spec: PodSpec,
        credentials: Credentials | None,
        progress: ProgressSink | None,
        asked_by: int | None,
    ) -> str:
        action, found = "created", self._find(spec.name)
        if found is not None:
            await self._take_down(found)
            action = "replaced"
        creation = self._engine.creation
        try:
            for member in spec.containers:
                secret = _secret(plan, member)
                await creation.fetch(member, Asker(asked_by, secret or credentials, progress))
            there = tuple(msgspec.structs.replace(member, pull="missing") for member in spec.containers)
            ready = msgspec.structs.replace(spec, containers=there)
            made = await creation.pod(ready, Asker(asked_by, progress=progress))
        except InvalidArgument as error:
            raise in_manifest(error, "/".join(plan.owner)) from None
        # As it was asked for, to be compared with the next time.
        self._directory.get_pod(made.id).change_spec(spec)
        return action

    async def _take_down(self, pod: Pod) -> None:
        await pod.recovered.wait()
        await pod.stop()
        await pod.remove(force=True)

    async def _check_claims(self, specs: Sequence[PodSpec], claims: Sequence[NamedVolume]) -> None:
        """A claim that is not in the manifest has to be there."""
        known = {info.name for info in await self._volumes.find()} | {claim.name for claim in claims}
        for spec in specs:
            for volume in spec.volumes:
                source = volume.source
                if isinstance(source, NamedVolume) and source.size_bytes is None and source.name not in known:
                    raise NotFound(
                        f"pod {spec.name}: there is no claim {source.name}",
                        hint="put its PersistentVolumeClaim into the manifest, or make the volume",
                        remedies=(Remedy("volumes.create", source.name),),
                    )

    async def _make_claims(self, claims: Sequence[NamedVolume]) -> list[Played]:
        played = []
        known = {info.name for info in await self._volumes.find()}
        for claim in claims:
            if claim.name not in known:
                await self._volumes.create(claim.name, size_bytes=claim.size_bytes)
            action = "unchanged" if claim.name in known else "created"
            played.append(Played(kind="PersistentVolumeClaim", name=claim.name, action=action))
        return played

    def _kept(self) -> kube.Objects:
        """The ConfigMaps and Secrets of earlier manifests, but for what cannot be read as one."""
        documents = [body.decode() for body in self._state.objects()]
        try:
            return _read_all(documents)
        except HyperError:
            return _read_all([document for document in documents if _can_be_read(document)])

    def _keep(self, objects: kube.Objects) -> list[Played]:
        """Its ConfigMaps and Secrets, for pods that come later."""
        kept = {(one.kind, one.name): one.document for one in self._kept()}
        played = []
        for one in objects:
            if one.kind in KEPT:
                before = kept.get((one.kind, one.name))
                self._state.put_object(one.kind, one.name, msgspec.json.encode(one.document))
                action = (
                    "created" if before is None else "unchanged" if before == one.document else "replaced"
                )
                played.append(Played(kind=one.kind, name=one.name, action=action, warnings=one.warnings))
        return played

    # ------------------------------------------------------------------------------------- down

    async def down(self, text: str, *, volumes: bool = False) -> list[Played]:
        objects, _ = await asyncio.to_thread(kube.read, text)
        plans = await asyncio.to_thread(kube.pods, objects, known=self._kept())
        played = []
        for plan in plans:
            if (pod := self._find(plan.spec.name)) is not None:
                await self._take_down(pod)
                played.append(_told(plan, "removed", ()))
        for one in objects:
            if one.kind == "Service" and await self._services.remove(one.name):
                played.append(Played(kind=one.kind, name=one.name, action="removed"))
            if one.kind in KEPT and self._state.remove_object(one.kind, one.name):
                played.append(Played(kind=one.kind, name=one.name, action="removed"))
            if one.kind == "PersistentVolumeClaim":
                played.append(await self._claim_down(one.name, volumes=volumes))
        return _by_owner(played)

    async def _claim_down(self, name: str, *, volumes: bool) -> Played:
        if not volumes:
            return Played(kind="PersistentVolumeClaim", name=name, action="kept")
        await self._volumes.remove(name, force=True)
        return Played(kind="PersistentVolumeClaim", name=name, action="removed")

    # ------------------------------------------------------------------------------------- generate

    async def generate(self, refs: Sequence[str]) -> str:
        pods = [self._described(ref) for ref in refs]
        sizes = {info.name: info.size_bytes for info in await self._volumes.find()}
        new = self._volumes.default_bytes
        return await asyncio.to_thread(kube.generate, pods, volume_sizes=sizes, new_volume_bytes=new)

    def _described(self, ref: str) -> tuple[PodSpec, kube.Names]:
        try:
            pod = self._directory.get_pod(ref)
        except NotFound:
            record = self._directory.get(ref).record
            if record.spec.pod is not None:
                raise InvalidArgument(
                    f"container {ref} is one of pod {record.spec.pod}", hint="name the pod"
                ) from None
            return self._as_asked(_of_one(record.spec)), kube.Names(record.name, (record.name,))
        members = pod.records()
        spec = whole(pod.record, members)
        if spec != pod.record.spec:  # a manifest does not know what came later
            spec = msgspec.structs.replace(spec, manifest="")
        return self._as_asked(spec), kube.Names(pod.record.name, tuple(record.name for record in members))

    def _as_asked(self, spec: PodSpec) -> PodSpec:
        """Without what the configuration has put in, and what a client says that has fetched the image itself."""
        usual = defaults.applied(ContainerSpec(image=""), self._engine.config).log
        members = tuple(
            msgspec.structs.replace(
                member,
                log=LogConfig() if member.log == usual else member.log,
                pull="missing" if member.pull == "never" else member.pull,
                stop_signal=member.stop_signal and docker.signal_name(member.stop_signal),
            )
            for member in spec.containers
        )
        return msgspec.structs.replace(spec, containers=members)


def _read_all(documents: Sequence[str]) -> kube.Objects:
    return kube.read("\n---\n".join(documents))[0] if documents else kube.Objects()


def _can_be_read(document: str) -> bool:
    try:
        kube.read(document)
    except HyperError as error:
        log.error("what is kept of an earlier manifest is damaged, and left out: %s", error)
        return False
    return True


def _of_one(spec: ContainerSpec) -> PodSpec:
    return msgspec.structs.replace(
        alone(spec),
        containers=(msgspec.structs.replace(spec, volumes=()),),
        labels=spec.labels,
        volumes=spec.volumes,
    )


# ------------------------------------------------------------------------------------- services


def _service(plan: kube.ServicePlan, pods: Sequence[kube.PodPlan]) -> ServiceRecord:
    ends = []
    selected = [pod for pod in pods if plan.selects(pod.spec.labels)]
    for port in plan.ports:
        if port.protocol != "tcp":
            raise InvalidArgument(
                f"Service/{plan.name}: port {port.port}/{port.protocol}: only tcp is carried to pods",
                hint="publish it by hostPort",
            )
        targets = [plan.target(port, pod) for pod in selected]
        known = [target for target in targets if target is not None]
        if not known and isinstance(port.target, str):
            raise InvalidArgument(
                f"Service/{plan.name}: no pod of this manifest has a port called {port.target}",
                hint="name a port by its number, or play the pods in the same manifest",
            )
        target = known[0] if known else int(port.target)
        ends.append(ServiceEnd(port.port, target, port.node_port))
    return ServiceRecord(name=plan.name, selector=plan.selector, ends=tuple(ends))


def _with_services(plan: kube.PodPlan, services: Sequence[ServiceRecord]) -> PodSpec:
    """The pod with the services' names in its hosts file, and with ports for those that are for it."""
    spec = plan.spec
    ports = list(spec.ports)
    for service in services:
        if selects(service, spec.labels):
            ports += [PortMapping(end.container_port, 0, LOOPBACK) for end in service.ends]
    hosts = [f"{name}:{GATEWAY}" for service in services for name in _names(service.name)]
    wanted = plan.memory_request_bytes
    memory = spec.memory_bytes or (wanted + POD_OVERHEAD_BYTES if wanted else None)
    limits = sum(member.memory_bytes or 0 for member in spec.containers)
    if spec.memory_bytes is None and limits + POD_OVERHEAD_BYTES >= (memory or 0):
        memory = None  # the engine makes room for the limits
    return msgspec.structs.replace(
        spec,
        ports=tuple(dict.fromkeys(ports)),
        extra_hosts=(*spec.extra_hosts, *hosts),
        memory_bytes=memory,
    )


def _names(service: str) -> tuple[str, ...]:
    in_namespace = f"{service}.{NAMESPACE}"
    return service, in_namespace, f"{in_namespace}.svc", f"{in_namespace}.{CLUSTER_DOMAIN}"


# ------------------------------------------------------------------------------------- what is told


@dataclass(frozen=True)
class _Secret:
    """``interface.Credentials``, from an imagePullSecret."""

    username: str
    password: str
    identity_token: str
    registry_token: str = ""


def _secret(plan: kube.PodPlan, member: ContainerSpec) -> _Secret | None:
    """The credentials for the registry of the member's image."""
    registry = parse(member.image).registry
    for secret in plan.pull_secrets:
        if secret.registry == registry:
            return _Secret(secret.username, secret.password, secret.identity_token)
    return None


def _crons(objects: kube.Objects) -> list[Played]:
    """What nothing acts on yet."""
    played = []
    for one in objects:
        if one.kind == "CronJob":
            notice = f"CronJob/{one.name}: schedules are not kept; play its jobTemplate as a Job"
            played.append(Played(kind=one.kind, name=one.name, action="kept", warnings=(notice,)))
    return played


def _told(plan: kube.PodPlan, action: str, warnings: Sequence[str]) -> Played:
    kind, name = plan.owner
    return Played(kind=kind, name=name, action=action, pods=(plan.spec.name or "",), warnings=tuple(warnings))


def _by_owner(played: Sequence[Played]) -> list[Played]:
    """One line for each object, with all of its pods."""
    merged: dict[tuple[str, str], Played] = {}
    for one in played:
        former = merged.get((one.kind, one.name))
        if former is not None:
            one = msgspec.structs.replace(
                former,
                pods=(*former.pods, *one.pods),
                warnings=tuple(dict.fromkeys((*former.warnings, *one.warnings))),
            )
        merged[one.kind, one.name] = one
    return list(merged.values())
