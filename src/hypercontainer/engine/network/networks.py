"""Networks of hyperd's: their records, the pods in them, and the fabric that they are made of.

The one owner of all three.  A pod's addresses are its own from the moment that its VM is planned until that is gone;
what the fabric has of it comes a little later and goes a little later, in the order of the calls, which one thread
makes.  Where hyperd can make no networks here, it is known why.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from hypercontainer.agent.operations import Interface
from hypercontainer.contract.networks import DEFAULT, NONE, USER, Join, NetworkSpec, PodService, Subnet
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine import names, times
from hypercontainer.engine.network import wishes
from hypercontainer.engine.network.audit import Audit
from hypercontainer.engine.network.bridged import Bridged, interface, new_tap, released
from hypercontainer.engine.network.cni import CniNetwork, is_cni
from hypercontainer.engine.network.cni_pods import CniPods
from hypercontainer.engine.network.egress import Around, Egress
from hypercontainer.engine.network.existing import Elsewhere, is_existing
from hypercontainer.engine.network.names import Known, Names
from hypercontainer.engine.network.network import (
    Network,
    NoNetwork,
    Places,
    check_mac,
    interface_name,
    new_mac,
    next_place,
)
from hypercontainer.engine.network.policies import Policies
from hypercontainer.engine.network.policing import Policing
from hypercontainer.engine.network.publishing import Publishing
from hypercontainer.engine.network.services import Services
from hypercontainer.engine.network.user import UserNetwork
from hypercontainer.engine.network.wishes import SPECIAL
from hypercontainer.engine.network.worker import Maker, Worker
from hypercontainer.engine.state import Attachment, NetworkRecord, PodRecord, StateStore
from hypercontainer.errors import Conflict, HyperError, NameTaken, NotFound, Unavailable
from hypercontainer.hypervisor.driver import Driver
from hypercontainer.hypervisor.spec import NICS, Tap
from hypercontainer.network.dns.server import Server
from hypercontainer.network.dns.upstream import Upstream
from hypercontainer.network.parts import Bridge, Fabric, Place
from hypercontainer.semantics.links import links

AUTO = "auto"
TRIES = 8  # to have a subnet that nobody else takes meanwhile

log = logging.getLogger(__name__)


class Networks:
    """``maker`` None: hyperd makes none here, because of ``why``.  ``default``: the configuration's.  ``pods``: the
    records of all; ``cni``: whose all pods in networks of CNI are; ``secrets``: the folder for what the egress proxy
    puts in."""

    def __init__(
        self,
        state: StateStore,
        cni: CniPods,
        maker: Maker | None,
        default: str,
        pods: Callable[[], Iterable[PodRecord]],
        why: str,
        audit: Audit,
        secrets: Path,
    ) -> None:
        self._state, self._pods, self._default, self.cni = state, pods, default, cni
        self._worker = Worker(maker, why, self._open)
        self._records: dict[str, NetworkRecord] = {}
        self._creating = asyncio.Lock()
        self._attached: dict[str, tuple[Attachment, ...]] = {}
        self._plugged: dict[str, tuple[Place, ...]] = {}
        self.ports = Publishing(self._worker, self.attached)
        self._starting: set[str] = set()
        self.elsewhere = Elsewhere()
        self.known: Callable[[str], Known] = lambda pod: Known()  # set by who knows the containers
        self.policing = Policing(Policies(state), audit, self._worker, self._plugged, self._own_subnets)
        self.names = Names(
            lambda: self._attached,
            lambda pod: self.known(pod),
            self._internal,
            lambda: self.services.names(),
            self.policing,
        )
        self.services = Services(state, self._worker, self.default_name, self.names.changed)
        self._mtu = 0
        self.host = ""  # as pods call it
        upstream = Upstream()
        self._server = Server(upstream)
        self._served: socket.socket | None = None
        around = Around(self.attached, lambda pod: self.known(pod).servers, lambda: self.host)
        self.egress = Egress(secrets, self._worker, upstream, around)
        self.egress.ruled, self.egress.denied = self.policing.ruled, self.policing.refused
        self.policing.secures, self.policing.changed = self.egress.secures, self.egress.changed

    # ------------------------------------------------------------------------------------- its life

    async def open(self) -> None:
        """Takes back what an earlier hyperd has left; the records of all can be read."""
        self._records = {record.id: record for record in self._state.networks()}
        living = [pod for pod in self._pods() if pod.vm is not None]
        await self.cni.open([pod.id for pod in living])
        self.elsewhere.found(living)
        self.policing.policies.open()
        running = [
            pod for pod in living if any(each.tap for each in pod.attachments) and not is_cni(pod.networks)
        ]
        self.egress.secrets.open({pod.id for pod in self._pods()})
        for pod in running:
            self.egress.found(pod)
            self._attached[pod.id] = pod.attachments
            self.policing.admit(pod)
            self._plugged[pod.id] = self._places(pod.id, pod.attachments)
            self.ports.opens(pod.id, pod.spec.host_loopback)
            self.ports.found(pod.id, pod.attachments, pod.published)
        self.services.found(running)
        if running or self.services.subnet is not None:
            try:
                fabric = await self._worker.ready()
            except HyperError as error:
                log.error("the networks cannot be taken back: %s", error)
                return
            for pod in running:
                self.ports.take_back(pod.id, pod.published, fabric)
            self.services.take_back(fabric)

    async def close(self) -> None:
        """Lets go of them; where no pod is in one, nothing is left."""
        await self.egress.close()
        await self._server.close()
        await self.services.close()
        await self.cni.settled()
        self.policing.close()
        await self._worker.close(used=bool(self._attached))

    async def _open(self, fabric: Fabric) -> None:
        bridges = [self._bridge(record) for record in self._records.values()]
        places = [place for those in self._plugged.values() for place in those]
        ports, services = [*self.ports, *self.services.ports], self.services
        policies = self.policing.compiled()
        make = partial(fabric.open, bridges, places, ports, services.subnet, services.served, policies)
        if not await self._worker.do(make) and self._plugged:
            lost = ", ".join(pod[:12] for pod in self._plugged)
            log.error(
                "the networks' keeper was killed: until they are restarted these reach nobody: %s", lost
            )
        self._mtu = await self._worker.do(fabric.mtu)
        self.host = await self._worker.do(fabric.host)
        await self.policing.opened(fabric)
        self._serve(*await self._worker.do(fabric.listeners))
        await self.egress.opened(fabric)

    def _serve(self, udp: socket.socket, tcp: socket.socket) -> None:
        """Names, in place of what is served no more."""
        if self._served is not None:
            self._server.stop(self._served)
        self._server.serve(udp, tcp, self.names)
        self._served = udp

    @property
    def problem(self) -> str:
        """Why there are none here; "" where there are."""
        return self._worker.why

    @property
    def control(self) -> Path:
        assert self._worker.made is not None
        return self._worker.made.namespace.control

    # ------------------------------------------------------------------------------------- networks

    def records(self) -> list[NetworkRecord]:
        return sorted(self._records.values(), key=lambda record: record.created)

    def get(self, ref: str) -> NetworkRecord:
        by_name = {record.name: identifier for identifier, record in self._records.items()}
        return self._records[names.resolve(ref, by_name, self._records, kind="network")]

    async def get_or_default(self, ref: str) -> NetworkRecord:
        """The default network is made when it is first asked for."""
        if ref == DEFAULT and not any(record.name == DEFAULT for record in self._records.values()):
            with contextlib.suppress(Conflict):  # somebody else's is as good
                return await self.create(NetworkSpec(DEFAULT))
        return self.get(ref)

    async def create(self, spec: NetworkSpec) -> NetworkRecord:
        """NameTaken where there is one of this name, Conflict where its subnets are taken."""
        wishes.check(spec)
        async with self._creating:
            return await self._create(spec)

    async def _create(self, spec: NetworkSpec) -> NetworkRecord:
        if any(record.name == spec.name for record in self._records.values()):
            hint = "choose another name" if spec.name == DEFAULT else "remove it, or choose another name"
            raise NameTaken(f"there is a network {spec.name} already", hint=hint)
        fabric = await self._worker.ready()
        for tries in range(TRIES, -1, -1):
            chosen = await self._worker.do(partial(self._subnets, fabric, spec))
            made = replace(spec, subnets=chosen, ipv6=wishes.has6(chosen), mtu=spec.mtu or self._mtu)
            record = NetworkRecord(id=names.new_id(), spec=made, created=times.now())
            try:
                await self._worker.do(partial(fabric.make, self._bridge(record)))
                break
            except Unavailable:
                # Another hyperd may have taken the same subnet just now; the next choice is another one.
                if not tries or spec.subnets:
                    raise
        try:
            self._state.put_network(record)
        except BaseException:
            await self._worker.do(partial(fabric.remove, self._bridge(record)))
            raise
        self._records[record.id] = record
        return record

    def _subnets(self, fabric: Fabric, spec: NetworkSpec) -> tuple[Subnet, ...]:
        return wishes.subnets(spec, [*fabric.taken(), *self._own_subnets()])

    def _own_subnets(self) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
        specs = [record.spec for record in list(self._records.values())]
        return [ipaddress.ip_network(each.subnet) for spec in specs for each in spec.subnets]

    async def remove(self, record: NetworkRecord, users: Sequence[str]) -> None:
        """Conflict where it has ``users``, which are named, and for the default one."""
        if record.name == DEFAULT:
            raise Conflict(f"{DEFAULT} is the network of pods that name none, and stays")
        if used := [*users, *self.services.of(record.name)]:
            raise Conflict(
                f"network {record.name} is used by {', '.join(used)}",
                hint="remove these first, or disconnect them",
            )
        await self._forget(record)

    async def _forget(self, record: NetworkRecord) -> None:
        self._state.remove_network(record.id)
        self._records.pop(record.id, None)
        if (fabric := self._worker.made) is not None and fabric.is_open:
            await self._worker.do(partial(fabric.remove, self._bridge(record)))

    async def _reached(self, join: Join) -> NetworkRecord:
        """The network, with a way to it.  The default one is made anew where somebody else has taken its subnet."""
        fabric, record = await self._worker.ready(), await self.get_or_default(join.name)
        try:
            await self._worker.do(partial(fabric.reach, self._bridge(record)))
            return record
        except Unavailable as error:
            if record.name != DEFAULT or self._taken(record):
                subnets = ", ".join(each.subnet for each in record.spec.subnets)
                hint = "end what has it there, or make the network anew with another subnet"
                raise Conflict(
                    f"network {record.name}: somebody else has {subnets} here", hint=hint
                ) from error
        await self._forget(record)
        return await self.get_or_default(DEFAULT)

    def _internal(self, identifier: str) -> bool:
        return identifier in self._records and self._records[identifier].spec.internal

    def _bridge(self, record: NetworkRecord) -> Bridge:
        assert record.spec.mtu is not None
        return Bridge(record.id, record.spec.subnets, record.spec.mtu, record.spec.internal)

    # ------------------------------------------------------------------------------------- what a pod wishes

    async def checked(
        self, joins: Sequence[Join], nics: Collection[str] = NICS, *, later: bool = False
    ) -> tuple[Join, ...]:
        """A new pod's networks: the default where it names none, as VMs with these ``nics`` can have it, which are
        there (``later``: or will be when it starts); of static addresses, ones that nobody wishes."""
        if not joins:
            return (Join(wishes.possible(await self.default_name(), nics)),)
        if is_cni(joins):
            return await self.cni.checked(joins)
        wishes.check_alone(joins)
        return tuple([await self.checked_join(join, later=later) for join in joins])

    async def checked_join(self, join: Join, *, later: bool = False) -> Join:
        links(join.links)
        if is_cni([join]):
            return await self.cni.checked_join(join)
        check_mac(join.mac_address or None)
        if join.name in SPECIAL:
            return join
        wishes.check_aliases(join.aliases)
        try:
            record = await self.get_or_default(join.name)
        except NotFound:
            if later:
                return join
            raise
        for version, text in ((4, join.ip), (6, join.ip6)):
            if text:
                self._check_static(record, version, text)
        return replace(join, name=record.name)

    def check_services(self, services: Sequence[PodService], joins: Sequence[Join]) -> None:
        """Of a pod's own."""
        own = [] if not services or joins[0].name in SPECIAL or is_cni(joins) else joins
        subnets = [subnet for join in own for subnet in self.get(join.name).spec.subnets]
        wishes.check_services(services, subnets)

    async def default_name(self) -> str:
        """Of the network that pods are in which name none."""
        if self._default != AUTO:
            return self._default
        if not self._worker.makes:
            return USER
        try:
            await self._worker.ready()
            await self.get_or_default(DEFAULT)
        except HyperError as error:
            self._worker.why = error.message
            log.warning("a pod has a network of its own: %s", error)
            return USER
        self._worker.why = ""
        return DEFAULT

    def _check_static(self, record: NetworkRecord, version: int, text: str) -> None:
        joins = [join for pod in self._pods() for join in pod.networks if join.name == record.name]
        wished = {join.ip6 if version == 6 else join.ip for join in joins}
        wishes.check_static(record.spec, version, text, self._taken(record) | wished)

    # ------------------------------------------------------------------------------------- a pod's places

    def attached(self, pod: str) -> tuple[Attachment, ...]:
        return self._attached.get(pod, ())

    def authority(self, pod: str) -> str:
        return self.egress.authority(pod)

    def found(self, pod: PodRecord) -> Network:
        """Of a pod that runs."""
        if not pod.networks or pod.networks[0].name == NONE:
            return NoNetwork()
        if pod.networks[0].name == USER:
            return UserNetwork(pod.mac)
        if is_existing(pod):
            return self.elsewhere.of(pod)
        bridged = Bridged(self, self.ports, pod.id, self._mtu)
        return CniNetwork(self.cni, pod.id, bridged, self._mtu) if is_cni(pod.networks) else bridged

    async def settled(self) -> None:
        """What was released by now is free: addresses, and ports of the host."""
        await self._worker.settled()
        await self.cni.settled()

    async def allot(self, pod: PodRecord, published: Sequence[PortMapping], driver: Driver) -> Network:
        """Of a pod that is to run by ``driver``: its addresses are chosen, and its own until ``release``; the ports
        that are to be ``published`` are chosen already."""
        if is_existing(pod):
            self.elsewhere.allot(pod, await driver.lan())
        if is_cni(pod.networks):
            await self._worker.ready()  # where VMs that are nobody's have their devices
            await self.cni.allot(pod, published)
        elif pod.networks and pod.networks[0].name not in SPECIAL:
            await self._worker.settled()
            self.ports.opens(pod.id, pod.spec.host_loopback)
            self.policing.admit(pod)
            reached = [(await self._reached(join), join) for join in pod.networks]
            made: list[Attachment] = []
            ranked = sorted(reached, key=lambda each: wishes.rank(each[0].spec, each[1].priority))
            for place, (record, join) in enumerate(ranked):
                mac = join.mac_address or (pod.mac if place == 0 else new_mac())
                made.append(self._attachment(join, record, mac, interface_name(place)))
                self._attached[pod.id] = tuple(made)
            self.names.changed()
            await self.egress.begin(pod)
        return self.found(pod)

    def _attachment(self, join: Join, record: NetworkRecord, mac: str, interface: str) -> Attachment:
        if record.id not in self._records:
            raise NotFound(f"network {record.name} has just been removed")
        self._check_mac(record, mac)
        plain = Attachment(
            network=record.name,
            network_id=record.id,
            mac_address=mac,
            aliases=join.aliases,
            tap=new_tap(),
            mtu=record.spec.mtu or 0,
            interface=interface,
            priority=join.priority,
        )
        return wishes.placed(plain, record.spec.subnets, join, self._taken(record))

    def _check_mac(self, record: NetworkRecord, mac: str) -> None:
        theirs = (each.mac_address.lower() for each in self._there(record))
        if mac.lower() in (self._bridge(record).mac, *theirs):
            raise Conflict(
                f"{mac} is another's MAC address in network {record.name}", hint="choose another, or none"
            )

    def _taken(self, record: NetworkRecord) -> set[str]:
        """Addresses that pods have there."""
        return {address for each in self._there(record) for address in each.hosts}

    def _there(self, record: NetworkRecord) -> list[Attachment]:
        return [each for those in self._attached.values() for each in those if each.network_id == record.id]

    async def plug(self, pod: str, taps: Sequence[str]) -> None:
        """A VM of the pod is there, with these tap devices."""
        held = tuple(replace(each, tap=tap) for each, tap in zip(self._attached[pod], taps, strict=False))
        self._attached[pod] = held
        fabric, places = await self._worker.ready(), self._places(pod, held)
        self._plugged[pod] = places
        await self.policing.known(fabric, pod)
        for number in range(len(places)):  # another policy may come meanwhile
            await self._worker.do(partial(fabric.plug, self._plugged[pod][number]))

    def places(self, joins: Sequence[Join]) -> Places:
        """Of a pod with these networks, none of which is the only one."""
        return self.cni if is_cni(joins) else self

    def tap(self, pod: str, attachment: Attachment) -> Tap:
        """See ``Places``, as of all that follow."""
        return Tap(self.control, attachment.tap)

    def told(self, pod: str, new: str) -> tuple[Interface, ...]:
        held = self.attached(pod)
        return tuple(
            interface(each, way_out=each is held[0]) for each in held if each is held[0] or each.tap == new
        )

    async def connect(self, pod: PodRecord, join: Join, place: int) -> Attachment:
        held = self._attached.get(pod.id, ())
        record = await self._reached(join)
        name = interface_name(next_place([each.interface for each in held], place))
        made = self._attachment(join, record, join.mac_address or new_mac(), name)
        more = sorted(
            (*held, made), key=lambda each: wishes.rank(self._records[each.network_id].spec, each.priority)
        )
        self._attached[pod.id] = tuple(more)
        self.names.changed()
        return made

    async def plug_in(self, pod: str, attachment: Attachment, ports: Sequence[PortMapping]) -> None:
        fabric, (place,) = await self._worker.ready(), self._places(pod, [attachment])
        self._plugged[pod] = (*self._plugged.get(pod, ()), place)
        await self.egress.tell(pod)
        await self._worker.do(partial(fabric.plug, place))
        await self.ports.lead_anew(pod, ports)

    async def disconnect(self, pod: str, attachment: Attachment, ports: Sequence[PortMapping]) -> None:
        self._attached[pod] = tuple(
            each for each in self._attached.get(pod, ()) if each.tap != attachment.tap
        )
        self.names.changed()
        gone = [each for each in self._plugged.get(pod, ()) if each.tap == attachment.tap]
        self._plugged[pod] = tuple(each for each in self._plugged.get(pod, ()) if each not in gone)
        fabric = await self._worker.ready()
        await self.egress.tell(pod)
        await self.ports.lead_anew(pod, ports)
        await self._worker.do(partial(released, fabric, gone))

    def _places(self, pod: str, attachments: Iterable[Attachment]) -> tuple[Place, ...]:
        made, guard = [], self.policing.guard(pod)
        for each in attachments:
            bridge = self._bridge(self._records[each.network_id])
            made.append(Place(each.tap, bridge, each.mac_address, each.hosts, guard))
        return tuple(made)

    @contextlib.contextmanager
    def starting(self, pod: str, runs: Callable[[], bool]) -> Iterator[None]:
        """Around a start: of VMs that come to nothing within, the next has the same addresses; they are free where
        none ``runs`` afterwards."""
        self._starting.add(pod)
        try:
            yield
        finally:
            self._starting.discard(pod)
            if not runs():
                self.release(pod)

    def release(self, pod: str) -> None:
        """Its VM is gone, and so are its places."""
        after = None
        if pod not in self._starting:
            self._attached.pop(pod, None)
            self.ports.forget(pod)
            self.cni.release(pod)
            self.elsewhere.release(pod)
            self.egress.release(pod)
            after = self.policing.dismiss(pod)
        places, (ports, kept) = self._plugged.pop(pod, ()), self.ports.pop(pod)
        self.names.changed()
        if (fabric := self._worker.made) is not None and (places or ports or kept):
            self._worker.release(partial(released, fabric, places, ports, kept, after))
