"""Services: a stable name and ports in front of pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import names
from hypercontainer.kube.objects import Object, Objects
from hypercontainer.kube.pod import PodPlan

if TYPE_CHECKING:
    from lightkube.models import core_v1


@dataclass(frozen=True)
class ServicePort:
    """``target``: a port of the pods, or the name that they call it by.  ``node_port`` 0: none is asked for."""

    name: str
    port: int
    target: int | str
    protocol: str
    node_port: int = 0


@dataclass(frozen=True)
class ServicePlan:
    """``type``: ClusterIP, NodePort or LoadBalancer.  ``headless``: only the name of each pod.  ``sticky``: a client
    comes to the same pod again."""

    name: str
    type: str
    ports: tuple[ServicePort, ...]
    selector: dict[str, str]
    headless: bool = False
    sticky: bool = False

    def selects(self, labels: Mapping[str, str]) -> bool:
        return bool(self.selector) and all(labels.get(key) == value for key, value in self.selector.items())

    def target(self, port: ServicePort, pod: PodPlan) -> int | None:
        """The pod's port behind this one; None where it has none of this name."""
        if isinstance(port.target, int):
            return port.target
        return pod.ports.get((port.target, port.protocol))


def services(objects: Objects) -> list[ServicePlan]:
    return [_service(one) for one in objects if one.kind == "Service"]


def _service(one: Object) -> ServicePlan:
    spec: core_v1.ServiceSpec = one.model.spec
    where = f"{one.subject}: spec"
    kind = spec.type or "ClusterIP"
    if kind == "ExternalName":
        raise InvalidArgument(
            f"{where}.type: ExternalName is not supported", hint="use hostAliases of the pods"
        )
    headless = spec.clusterIP == "None"
    if headless and kind != "ClusterIP":
        raise InvalidArgument(f"{where}.clusterIP: None goes with type ClusterIP only")
    if spec.clusterIP not in (None, "", "None"):
        raise InvalidArgument(
            f"{where}.clusterIP: an address cannot be chosen", hint="leave it out, or say None"
        )
    selector = names.labels(spec.selector, f"{where}.selector")
    if not selector:
        raise InvalidArgument(f"{where}.selector: is missing", hint="the labels of the pods that it is for")
    if not spec.ports and not headless:
        raise InvalidArgument(f"{where}.ports: is missing")
    given = list(spec.ports or ())
    ports = tuple(_port(one, kind, len(given), f"{where}.ports[{index}]") for index, one in enumerate(given))
    for what, keys in (
        ("name", [port.name for port in ports]),
        ("port", [(port.port, port.protocol) for port in ports]),
        ("nodePort", [(port.node_port, port.protocol) for port in ports if port.node_port]),
    ):
        if len(set(keys)) < len(keys):
            raise InvalidArgument(f"{where}.ports: the same {what} twice")
    return ServicePlan(one.name, kind, ports, selector, headless, spec.sessionAffinity == "ClientIP")


def _port(given: core_v1.ServicePort, kind: str, count: int, where: str) -> ServicePort:
    protocol = given.protocol or "TCP"
    if protocol not in ("TCP", "UDP"):
        raise InvalidArgument(f"{where}.protocol: {protocol[:60]} is not supported", hint="TCP or UDP")
    if count > 1 and not given.name:
        raise InvalidArgument(f"{where}.name: missing, as there are several ports")
    if given.name:
        names.label(given.name, f"{where}.name")
    names.port(given.port, f"{where}.port")
    target = given.targetPort or given.port
    if isinstance(target, str) and target.isascii() and target.isdigit() and len(target) <= 5:
        target = int(target)
    if isinstance(target, str):
        names.port_name(target, f"{where}.targetPort")
    else:
        names.port(target, f"{where}.targetPort")
    if given.nodePort:
        names.port(given.nodePort, f"{where}.nodePort")
        if kind == "ClusterIP":
            raise InvalidArgument(f"{where}.nodePort: goes with type NodePort or LoadBalancer")
    return ServicePort(given.name or "", given.port, target, protocol.lower(), given.nodePort or 0)
