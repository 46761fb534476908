"""Services of manifests, as the engine has them; and what a pod asks for that its manifest leaves open."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hypercontainer import kube
from hypercontainer.contract.spec import PodSpec
from hypercontainer.engine.creation import POD_OVERHEAD_BYTES
from hypercontainer.engine.state import ServiceEnd, ServiceRecord
from hypercontainer.errors import InvalidArgument


def service_record(plan: kube.ServicePlan, pods: Sequence[kube.PodPlan], network: str) -> ServiceRecord:
    """``network``: that of pods."""
    ends = []
    selected = [pod for pod in pods if plan.selects(pod.spec.labels)]
    for port in plan.ports:
        targets = [plan.target(port, pod) for pod in selected]
        known = [target for target in targets if target is not None]
        if not known and isinstance(port.target, str):
            raise InvalidArgument(
                f"Service/{plan.name}: no pod of this manifest has a port called {port.target}",
                hint="name a port by its number, or play the pods in the same manifest",
            )
        target = known[0] if known else int(port.target)
        ends.append(ServiceEnd(port.port, target, port.node_port, port.protocol))
    return ServiceRecord(
        name=plan.name,
        selector=plan.selector,
        ends=tuple(ends),
        network=network,
        headless=plan.headless,
        sticky=plan.sticky,
    )


def comparable(record: ServiceRecord | None) -> ServiceRecord | None:
    """Without what is not the manifest's."""
    return record and msgspec.structs.replace(record, address="", network="")


def asked(plan: kube.PodPlan) -> PodSpec:
    """The pod, with room for what its containers request."""
    spec, wanted = plan.spec, plan.memory_request_bytes
    memory = spec.memory_bytes or (wanted + POD_OVERHEAD_BYTES if wanted else None)
    limits = sum(member.memory_bytes or 0 for member in spec.containers)
    if spec.memory_bytes is None and limits + POD_OVERHEAD_BYTES >= (memory or 0):
        memory = None  # the engine makes room for the limits
    return msgspec.structs.replace(spec, memory_bytes=memory)
