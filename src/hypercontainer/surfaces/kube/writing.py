"""From pods and containers as they are to what the manifest's writer is given."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from hypercontainer import kube
from hypercontainer.contract.spec import ContainerSpec, LogConfig, PodSpec, alone
from hypercontainer.engine.engine import Engine
from hypercontainer.engine.pod.views import whole
from hypercontainer.errors import InvalidArgument, NotFound
from hypercontainer.semantics import defaults, docker


class Writer:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._directory = engine.directory
        self._volumes = engine.volumes

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


def _of_one(spec: ContainerSpec) -> PodSpec:
    return msgspec.structs.replace(
        alone(spec),
        containers=(msgspec.structs.replace(spec, volumes=()),),
        labels=spec.labels,
        volumes=spec.volumes,
    )
