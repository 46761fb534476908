"""Pods of manifests: whose they are, how they are made, started and taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from hypercontainer import kube
from hypercontainer.contract.spec import PodSpec
from hypercontainer.contract.volumes import ImageVolume, Volume
from hypercontainer.engine.creation import Asker
from hypercontainer.engine.engine import Engine
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.errors import Conflict, InvalidArgument, Remedy
from hypercontainer.image.reference import parse
from hypercontainer.surfaces.kube.services import asked
from hypercontainer.surfaces.kube.wording import in_manifest


@dataclass(frozen=True)
class Wish:
    """A pod as a manifest has it.  ``action``: created, replaced or unchanged."""

    plan: kube.PodPlan
    spec: PodSpec
    action: str

    @property
    def name(self) -> str:
        return self.spec.name or ""


class Pods:
    def __init__(self, engine: Engine) -> None:
        self._directory = engine.directory
        self._creation = engine.creation
        self._pods = engine.pods

    def find(self, name: str) -> Pod | None:
        return next((pod for pod in self._directory.named_pods() if pod.record.name == name), None)

    def of(self, owner: str) -> list[Pod]:
        """``owner``: as "Deployment/web"."""
        return [pod for pod in self._directory.named_pods() if pod.record.spec.owner == owner]

    def wish(self, plan: kube.PodPlan, *, replace: bool) -> Wish:
        """Conflict where there is another pod of its name, and it shall not be replaced."""
        spec = msgspec.structs.replace(asked(plan), owner="/".join(plan.owner))
        found = self.find(spec.name or "")
        if found is None:
            return Wish(plan, spec, "created")
        if replace:
            return Wish(plan, spec, "replaced")
        if msgspec.structs.replace(found.record.spec, owner=spec.owner) == spec:
            return Wish(plan, spec, "unchanged")
        raise Conflict(
            f"there is a pod {spec.name} already, and it is another",
            remedies=(Remedy("manifests.play", aim="puts this in its place", options={"replace": True}),),
        )

    async def make(self, wishes: Sequence[Wish], gone: Sequence[Pod], asker: Asker) -> None:
        """Images come first; then ``gone`` and what is replaced goes, so that little is away for long."""
        new = [wish for wish in wishes if wish.action != "unchanged"]
        for wish in new:
            for member in wish.spec.containers:
                theirs = _with_secret(asker, wish.plan, member.image)
                await _worded(wish, self._creation.fetch(member, theirs))
            for source in (volume.source for volume in wish.spec.volumes):
                if isinstance(source, ImageVolume):
                    theirs = _with_secret(asker, wish.plan, source.reference)
                    await _worded(wish, self._creation.fetch_volume(source, theirs))
        former = [pod for wish in new if (pod := self.find(wish.name)) is not None]
        await self.take_down([*gone, *former])
        for wish in new:
            await _worded(wish, self._create(wish.spec, asker))
        for wish in wishes:
            found = self.find(wish.name)
            if found is not None and found.record.spec != wish.spec:  # an earlier release's has no owner
                found.change_spec(wish.spec)

    async def _create(self, spec: PodSpec, asker: Asker) -> None:
        there = tuple(msgspec.structs.replace(member, pull="missing") for member in spec.containers)
        volumes = tuple(map(_fetched, spec.volumes))
        ready = msgspec.structs.replace(spec, containers=there, volumes=volumes)
        made = await self._creation.pod(ready, Asker(asker.uid, progress=asker.progress))
        # As it was asked for, to be compared with the next time.
        self._directory.get_pod(made.id).change_spec(spec)

    async def take_down(self, pods: Iterable[Pod]) -> None:
        """All at once, each with the time that it has to end."""
        await _all(self._take_down(pod) for pod in pods)

    async def _take_down(self, pod: Pod) -> None:
        await pod.recovered.wait()
        await pod.stop()
        await pod.remove(force=True)

    async def start(self, names: Iterable[str]) -> None:
        """All at once, as one pod's init containers may wait for another pod.  What has succeeded is left alone."""
        pods = [await self._pods.held(name) for name in names]
        await _all(pod.start() for pod in pods if not pod.succeeded())


async def _all(work: Iterable[Awaitable[None]]) -> None:
    """Raises the first failure, when everything has come to an end."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result


async def _worded(wish: Wish, work: Awaitable[object]) -> None:
    try:
        await work
    except InvalidArgument as error:
        raise in_manifest(error, "/".join(wish.plan.owner)) from None


@dataclass(frozen=True)
class _Secret:
    """``interface.Credentials``, from an imagePullSecret."""

    username: str
    password: str
    identity_token: str
    registry_token: str = ""


def _with_secret(asker: Asker, plan: kube.PodPlan, reference: str) -> Asker:
    """With the credentials for the registry of ``reference``, where the manifest has them."""
    registry = parse(reference).registry
    for secret in plan.pull_secrets:
        if secret.registry == registry:
            found = _Secret(secret.username, secret.password, secret.identity_token)
            return Asker(asker.uid, found, asker.progress)
    return asker


def _fetched(volume: Volume) -> Volume:
    """What is fetched already is not asked for again."""
    if not isinstance(volume.source, ImageVolume):
        return volume
    return msgspec.structs.replace(volume, source=ImageVolume(volume.source.reference))
