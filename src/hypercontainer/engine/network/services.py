"""Services: a name, an address and ports in front of pods, which stay while the pods come and go.

Each has an address of its own, in a subnet that all services of this hyperd share; nftables leads what is sent there to
one of the pods that have the service's labels, are in its network and are ready.  While there is none, connections are
refused.  No byte comes through hyperd.  A port of the host (``node_port``) leads to the service's own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from msgspec.structs import replace

from hypercontainer.contract.answers import ServiceInfo
from hypercontainer.contract.networks import PodService, Subnet
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.network import ports as own_ports
from hypercontainer.engine.network.publishing import Publishing
from hypercontainer.engine.network.wishes import SPECIAL
from hypercontainer.engine.network.worker import Worker
from hypercontainer.engine.state import Attachment, PodRecord, ServiceRecord, StateStore
from hypercontainer.errors import HyperError, Unavailable
from hypercontainer.network import addresses
from hypercontainer.network.parts import Fabric, Served

TRIES = 8  # to have a subnet that nobody else takes meanwhile
DOMAIN = "svc.cluster.local"
NAMESPACE = "default"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Endpoint:
    """A pod, as services see it.  ``name``: as its own part of a service's name."""

    name: str
    labels: Mapping[str, str]
    ready: bool
    attachments: tuple[Attachment, ...]
    services: tuple[PodService, ...] = ()  # of its own

    def address(self, network: str) -> str:
        return next((each.host4 for each in self.attachments if each.network == network), "")


class Services:
    """Owner of the services' addresses.  ``look`` is to be called when ``endpoints``, which are all pods as they are,
    have changed; ``changed`` is called when names lead elsewhere; ``default`` names the network of pods."""

    def __init__(
        self,
        state: StateStore,
        worker: Worker,
        default: Callable[[], Awaitable[str]],
        changed: Callable[[], None],
    ) -> None:
        self._state, self._worker, self._default, self._changed = state, worker, default, changed
        self.endpoints: Callable[[], Iterable[Endpoint]] = lambda: ()  # set by who knows the pods, and
        self.owned: Callable[[], bool] = lambda: False  # whether one has services of its own
        self._records: dict[str, ServiceRecord] = {}
        self._seen: list[Endpoint] = []
        self.served: tuple[Served, ...] = ()
        self.ports = Publishing(worker, self._place)
        self._looking: asyncio.Handle | None = None

    # ------------------------------------------------------------------------------------- its life

    def found(self, running: Iterable[PodRecord]) -> None:
        """What there is since an earlier hyperd: until it is known better, ``running`` pods are ready."""
        self._records = {record.name: record for record in self._state.services()}
        self._seen = [
            Endpoint(pod.name, pod.spec.labels, True, pod.attachments, pod.spec.services) for pod in running
        ]
        self.served = tuple(_served(self._records.values(), self._seen))
        for record in self._records.values():
            self.ports.found(record.name, self._place(record.name), _node_ports(record))

    def take_back(self, fabric: Fabric) -> None:
        for record in self._records.values():
            self.ports.take_back(record.name, _node_ports(record), fabric)

    @property
    def subnet(self) -> Subnet | None:
        """In which all have their addresses; None while there are none."""
        known = next((record.address for record in self._records.values() if record.address), "")
        return _subnet_of(known) if known else None

    # ------------------------------------------------------------------------------------- services

    def get(self, name: str) -> ServiceRecord | None:
        return self._records.get(name)

    async def network(self) -> str:
        """In which pods are that name none.  Unavailable where that is one of each pod's own."""
        name = await self._default()
        if name in SPECIAL:
            raise Unavailable(
                f"a Service is in front of pods of one network, and here pods have the network {name!r}",
                hint=self._worker.why or "`[network] default` in hyperd's configuration says so",
            )
        return name

    def told(self, network: str) -> tuple[ServiceInfo, ...]:
        """Those in a network."""
        return tuple(
            ServiceInfo(
                name=record.name,
                address=record.address,
                ports=tuple(f"{end.port}/{end.protocol}" for end in record.ends),
                pods={pod.name: pod.address(network) for pod in self._behind(record) if pod.ready},
            )
            for record in self._records.values()
            if record.network == network
        )

    def of(self, network: str) -> list[str]:
        return [f"service {record.name}" for record in self._records.values() if record.network == network]

    async def put(self, record: ServiceRecord) -> None:
        """Makes it, in place of one of its name, whose address it has.  Conflict, which names the port, where one of
        the host is taken."""
        former = self._records.get(record.name)
        made = replace(record, address="" if record.headless else await self._address(former))
        had, has = () if former is None else _node_ports(former), _node_ports(made)
        added = [port for port in has if port not in had]
        self._records[made.name] = made
        try:
            own_ports.choose(added)  # which is taken is said before anything is changed
            await self.ports.publish(made.name, added)
        except BaseException:
            del self._records[made.name]
            if former is not None:
                self._records[made.name] = former
            raise
        await self.ports.withdraw(made.name, [port for port in had if port not in has])
        self._state.put_service(made)
        self._look()

    async def remove(self, name: str) -> bool:
        """Whether there was one."""
        record = self._records.get(name)
        if record is not None:
            await self.ports.withdraw(name, _node_ports(record))
        subnet = self.subnet
        self._records.pop(name, None)
        self._state.remove_service(name)
        self._look()
        if subnet is not None and self.subnet is None:
            fabric = await self._worker.ready()
            await self._worker.do(partial(fabric.lead, subnet, gone=True))
        return record is not None

    async def _address(self, former: ServiceRecord | None) -> str:
        if former is not None and former.address:
            return former.address
        subnet = self.subnet or await self._new_subnet()
        return addresses.free(subnet, {record.address for record in self._records.values()})

    async def _new_subnet(self) -> Subnet:
        fabric = await self._worker.ready()
        for tries in range(TRIES, -1, -1):
            taken = await self._worker.do(fabric.taken)
            subnet = Subnet(str(addresses.chosen(addresses.SERVICE_POOL, taken)))
            try:
                await self._worker.do(partial(fabric.lead, subnet))
                break
            except Unavailable:  # another hyperd was faster
                if not tries:
                    raise
        return subnet

    def _place(self, name: str) -> tuple[Attachment, ...]:
        """Where ports of the host lead to."""
        record = self._records.get(name)
        return (Attachment(network="", address=f"{record.address}/32"),) if record and record.address else ()

    # ------------------------------------------------------------------------------------- who stands behind them

    def look(self) -> None:
        """Soon, once for all that has changed by then."""
        if self._looking is None and (self._records or self.owned()):
            self._looking = asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._looking = None
        former, before = self.served, self._seen
        self._seen = list(self.endpoints())
        self.served = tuple(_served(self._records.values(), self._seen))
        if self._seen != before:
            self._changed()
        gone = _addresses(before) - _addresses(self._seen)
        if self.served != former and self._worker.made is not None:
            self._worker.release(partial(self._serve, former, self.served, gone))

    def _serve(self, former: Sequence[Served], wanted: Sequence[Served], gone: set[str]) -> None:
        fabric = self._worker.made
        if fabric is not None and fabric.is_open:
            try:
                fabric.serve(former, wanted)
                fabric.leave(former, gone)
            except (HyperError, OSError) as error:
                log.error("services: %s", error)

    def names(self) -> Iterable[tuple[str, str, tuple[str, ...]]]:
        """(name, network, addresses): of services, and of each of their pods."""
        for record in self._records.values():
            behind = self._behind(record)
            ready = tuple(pod.address(record.network) for pod in behind if pod.ready)
            for name in _names(record.name):
                yield name, record.network, (record.address,) if record.address else ready
                for pod in behind:
                    yield f"{pod.name}.{name}", record.network, (pod.address(record.network),)

    def _behind(self, record: ServiceRecord) -> list[Endpoint]:
        """Whether they are ready or not."""
        return [pod for pod in self._seen if selects(record, pod.labels) and pod.address(record.network)]

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None


def selects(record: ServiceRecord, labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in record.selector.items())


def _served(records: Iterable[ServiceRecord], pods: Sequence[Endpoint]) -> Iterable[Served]:
    for record in records:
        ready = [pod for pod in pods if pod.ready and selects(record, pod.labels)]
        hosts = sorted(filter(None, (pod.address(record.network) for pod in ready)))
        for end in record.ends if record.address else ():
            behind = tuple((host, end.container_port) for host in hosts)
            yield Served(end.protocol, record.address, end.port, behind, sticky=record.sticky)
    for pod in pods:
        for own in pod.services if pod.attachments else ():
            behind = tuple((peer.ip, peer.port) for peer in own.peers)
            yield Served(own.protocol, own.ip, own.port, behind, client=pod.attachments[0].host4)


def _addresses(pods: Iterable[Endpoint]) -> set[str]:
    return {each.host4 for pod in pods for each in pod.attachments}


def _subnet_of(address: str) -> Subnet:
    prefix = addresses.SERVICE_POOL[1]
    return Subnet(str(ipaddress.ip_network(f"{address}/{prefix}", strict=False)))


def _node_ports(record: ServiceRecord) -> tuple[PortMapping, ...]:
    return tuple(
        PortMapping(end.port, end.node_port, protocol=end.protocol) for end in record.ends if end.node_port
    )


def _names(service: str) -> tuple[str, ...]:
    in_namespace = f"{service}.{NAMESPACE}"
    return service, in_namespace, f"{in_namespace}.svc", f"{in_namespace}.{DOMAIN}"
