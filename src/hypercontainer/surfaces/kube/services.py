"""Services, and what of them the pods see: their names, and ports of the host's that lead to the pods."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from hypercontainer import kube
from hypercontainer.contract.spec import PodSpec, PortMapping
from hypercontainer.engine.creation import POD_OVERHEAD_BYTES
from hypercontainer.engine.network.services import LOOPBACK, selects
from hypercontainer.engine.network.user import GATEWAY
from hypercontainer.engine.state import ServiceEnd, ServiceRecord
from hypercontainer.errors import InvalidArgument

CLUSTER_DOMAIN = "svc.cluster.local"
NAMESPACE = "default"


def service_record(plan: kube.ServicePlan, pods: Sequence[kube.PodPlan]) -> ServiceRecord:
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


def with_services(plan: kube.PodPlan, services: Sequence[ServiceRecord]) -> PodSpec:
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
