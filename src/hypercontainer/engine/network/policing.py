"""The policies of the pods that run: what the kernel has of them, and where names have led each pod.

Addresses that an answer leads to are let through before the pod hears of it, for as long as the answer says and at
least `LEAST_S`: many clients ask once and connect a little later.  A connection that is open goes on when the name has
run out.  What the kernel has outlives hyperd; what names led to runs out meanwhile, or is asked for again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from hypercontainer.contract.policies import PolicySpec
from hypercontainer.engine.network.audit import Audit, Denied
from hypercontainer.engine.network.egress import Ruled
from hypercontainer.engine.network.policies import Policies
from hypercontainer.engine.network.worker import Worker
from hypercontainer.engine.state import PodRecord
from hypercontainer.errors import HyperError
from hypercontainer.network.dns import records
from hypercontainer.network.egress import wire as egress
from hypercontainer.network.parts import (
    CONNECTIONS,
    Address,
    Fabric,
    Flow,
    Guard,
    Lead,
    Naming,
    Network,
    Place,
)
from hypercontainer.network.policy import deciding
from hypercontainer.network.policy.compiling import Compiled

LEAST_S, MOST_S = 30.0, 3600.0
# Addresses of a pod that are known, the last ones; names of each; addresses of one answer.
LED_MAX, NAMES_MAX, ANSWER_MAX = 2048, 16, 64
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6"}
RECEIVE_BYTES = 1 << 17

log = logging.getLogger(__name__)


@dataclass
class _Held:
    """A pod, by its policy.  ``led``: addresses with the names that led there, and until when each counts."""

    record: PodRecord
    compiled: Compiled
    led: OrderedDict[Address, dict[str, float]] = field(default_factory=OrderedDict)


class Policing:
    """``Watch`` of names.  ``plugged``: the places of all pods, of which the guards change here; ``own``: their
    subnets."""

    def __init__(
        self,
        policies: Policies,
        audit: Audit,
        worker: Worker,
        plugged: dict[str, tuple[Place, ...]],
        own: Callable[[], Sequence[Network]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policies, self.audit = policies, audit
        self._worker, self._plugged, self._own, self._now = worker, plugged, own, now
        self._held: dict[str, _Held] = {}
        self.secures: Callable[[str], bool] = lambda pod: False  # set by who has the proxy, and
        self.changed: Callable[[PodRecord], Awaitable[None]] = _nobody
        self._there: set[int] = set()  # policies that the kernel has
        self._naming: Naming | None = None
        self._log: socket.socket | None = None

    # ------------------------------------------------------------------------------------- the fabric

    def compiled(self) -> list[Compiled]:
        """What a fabric that begins is to have."""
        found = {held.compiled.number: held.compiled for held in self._held.values()}
        self._there = set(found)
        return list(found.values())

    async def opened(self, fabric: Fabric) -> None:
        self._let_go()
        self._naming = await self._worker.do(fabric.naming)
        self._log = await self._worker.do(fabric.denials)
        asyncio.get_running_loop().add_reader(self._log, self._hear, self._log)
        for pod, held in self._held.items():
            self._lead_again(pod, held)

    def close(self) -> None:
        self._let_go()
        self.audit.flush()

    def _let_go(self) -> None:
        if self._naming is not None:
            self._naming.close()
            self._naming = None
        if self._log is not None:
            asyncio.get_running_loop().remove_reader(self._log)
            self._log.close()
            self._log = None

    # ------------------------------------------------------------------------------------- pods

    def admit(self, pod: PodRecord) -> None:
        """It is about to have places, or has some."""
        if (compiled := self.policies.admit(pod)) is not None:
            self._held[pod.id] = _Held(pod, compiled)

    async def known(self, fabric: Fabric, pod: str) -> None:
        """The kernel has its policy; before the kernel has the pod."""
        held = self._held.get(pod)
        if held is not None and held.compiled.number not in self._there:
            await self._worker.do(partial(fabric.guard, (), (), None, held.compiled))
            self._there.add(held.compiled.number)

    def guard(self, pod: str) -> Guard:
        held = self._held.get(pod)
        return self._guard(pod, None if held is None else held.compiled)

    def _guard(self, pod: str, compiled: Compiled | None) -> Guard:
        return replace(Guard() if compiled is None else _guard(compiled), secured=self.secures(pod))

    def ruled(self, pod: PodRecord) -> Ruled | None:
        """What its policy says of HTTP to the proxy."""
        if (compiled := self.policies.admit(pod)) is None:
            return None
        rules = deciding.proxied(compiled.meaning, secured=self.secures(pod.id))
        wish = pod.spec.network_policy
        return None if rules is None else Ruled(wish if isinstance(wish, str) else "of its own", rules)

    def refused(self, denied: egress.Denied) -> None:
        """By the proxy."""
        said = f"{denied.method} {denied.url}"[:255]
        self.audit.note(Denied(denied.pod, "", 0, "http", said, denied.reason))

    def dismiss(self, pod: str) -> Callable[[Fabric], None] | None:
        """It is gone; what the fabric is to do once its places are."""
        held, own = self._held.pop(pod, None), self.policies.dismiss(pod)
        if held is None:
            return None
        leads = list(self._leads(pod, held))
        unused = own if own is not None and own.number in self._there else None
        if unused is not None:
            self._there.discard(unused.number)
        return partial(_forgotten, leads, unused)

    async def remove(self, name: str) -> None:
        """One that no pod has."""
        await self._withdraw(self.policies.remove(name))

    async def _withdraw(self, unused: Compiled) -> None:
        if unused.number in self._there:
            self._there.discard(unused.number)
            fabric = await self._worker.ready()
            await self._worker.do(partial(fabric.guard, (), (), unused, None))

    async def change(self, spec: PolicySpec) -> None:
        """The pods that have this policy have it otherwise from now on, all at once; what was let through and is not
        any more is cut.  NotFound, InvalidArgument; where the kernel refuses it, all is as it was."""
        was, made = self.policies.get(spec.name), self.policies.checked(spec.policy)
        former = self.policies.change(spec, made)
        held = {pod: each for pod, each in self._held.items() if each.record.spec.network_policy == spec.name}
        if not held:
            await self._withdraw(former)
            return
        try:
            await self._switch(held, former, made)
        except BaseException:
            self.policies.change(was, former)
            raise
        same = former.meaning.requests == made.meaning.requests
        fabric = await self._worker.ready()
        for pod, each in held.items():
            await self.changed(each.record)
            addresses = [address for place in self._plugged.get(pod, ()) for address in place.addresses]
            count = await self._worker.do(partial(fabric.cut, addresses, partial(_stays, each, same)))
            log.info("pod %s: %d connections were cut by its policy", pod[:12], count)

    async def _switch(self, held: dict[str, _Held], former: Compiled, made: Compiled) -> None:
        fabric = await self._worker.ready()
        before = {pod: self._plugged[pod] for pod in held if pod in self._plugged}
        after = {
            pod: tuple(replace(place, guard=self._guard(pod, made)) for place in places)
            for pod, places in before.items()
        }
        for pod, each in held.items():
            each.compiled = made
            self._lead_again(pod, each)  # it counts with the policy, which is not there yet
        self._plugged |= after
        without = former if former.number in self._there else None
        old, new = ([place for those in each.values() for place in those] for each in (before, after))
        try:
            await self._worker.do(partial(fabric.guard, old, new, without, made))
        except BaseException:
            for each in held.values():
                each.compiled = former
            self._plugged |= {pod: places for pod, places in before.items() if pod in self._plugged}
            raise
        self._there = (self._there - {former.number}) | {made.number}
        # Who ended meanwhile has places again by this.
        for pod in after.keys() - self._plugged.keys():
            for place in after[pod]:
                await self._worker.do(partial(fabric.unplug, place))

    # ------------------------------------------------------------------------------------- names

    def may_ask(self, pod: str, name: str) -> bool:
        held = self._held.get(pod)
        if held is None or deciding.may_ask(held.compiled.meaning, name):
            return True
        self.audit.note(Denied(pod, "", 53, "dns", name[:255], "no rule speaks of the name"))
        return False

    def learns(self, pod: str, answer: bytes) -> None:
        held = self._held.get(pod)
        if held is None or not held.compiled.meaning.restricted:
            return
        fresh: dict[float, list[Lead]] = {}  # by how long they count
        for name, text, ttl in records.addresses(answer)[:ANSWER_MAX]:
            address = ipaddress.ip_address(text)
            gates, why = held.compiled.gates_of(name, address, self._own())
            if gates and (lifetime_s := self._counts(held, name, address, ttl)):
                fresh.setdefault(lifetime_s, []).extend(self._by(pod, gates, address))
            elif why and not gates:
                self.audit.note(Denied(pod, str(address), 0, "dns", name, why))
        for lifetime_s, leads in fresh.items():
            self._tell(leads, lifetime_s)
        while len(held.led) > LED_MAX:
            self._forget(pod, held, *held.led.popitem(last=False))

    def _counts(self, held: _Held, name: str, address: Address, ttl_s: int) -> float:
        """How long the kernel is to be told that it does; 0: it knows."""
        until, least = self._now() + min(max(ttl_s, LEAST_S), MOST_S), max(ttl_s, LEAST_S / 2)
        known = held.led.setdefault(address, {})
        held.led.move_to_end(address)
        if known.get(name, 0) >= self._now() + min(least, MOST_S):
            return 0  # it counts long enough, and to say so again would cost each question
        known[name] = until
        if len(known) > NAMES_MAX:
            del known[next(iter(known))]
        return until - self._now()

    def _forget(self, pod: str, held: _Held, address: Address, names: dict[str, float]) -> None:
        leads = [
            lead
            for name in names
            for lead in self._by(pod, held.compiled.gates_of(name, address, self._own())[0], address)
        ]
        if self._naming is not None:
            try:
                self._naming.forget(leads)
            except (HyperError, OSError) as error:
                log.warning("%s", error)

    def _lead_again(self, pod: str, held: _Held) -> None:
        """By another policy, as long as it was."""
        for address, names in held.led.items():
            for name, until in names.items():
                gates, _ = held.compiled.gates_of(name, address, self._own())
                if gates and until > self._now():
                    self._tell(self._by(pod, gates, address), until - self._now())

    def _tell(self, leads: Sequence[Lead], lifetime_s: float) -> None:
        if self._naming is None or not leads:
            return
        try:
            self._naming.lead(leads, lifetime_s)
        except (HyperError, OSError) as error:
            log.warning("%s", error)

    def _by(self, pod: str, gates: Iterable[int], target: Address) -> list[Lead]:
        sources = [
            ipaddress.ip_address(text) for place in self._plugged.get(pod, ()) for text in place.addresses
        ]
        return [Lead(gate, own, target) for own in sources if own.version == target.version for gate in gates]

    def _leads(self, pod: str, held: _Held) -> Iterable[Lead]:
        for address, names in held.led.items():
            for name, until in names.items():
                if until > self._now():
                    gates, _ = held.compiled.gates_of(name, address, self._own())
                    yield from self._by(pod, gates, address)

    # ------------------------------------------------------------------------------------- what is said of it

    def names_of(self, pod: str, address: Address) -> list[str]:
        """That have led the pod to it, and still do."""
        held = self._held.get(pod)
        names = held.led.get(address, {}) if held is not None else {}
        return [name for name, until in names.items() if until > self._now()]

    def addresses_of(self, pod: str, name: str) -> list[Address]:
        """To which the name has led the pod, and still does."""
        held = self._held.get(pod)
        if held is None:
            return []
        return [address for address, names in held.led.items() if names.get(name, 0) > self._now()]

    def _hear(self, sock: socket.socket) -> None:
        """A datagram of what was denied."""
        from hypercontainer.network import nflog  # the fabric has loaded what it needs

        try:
            data = sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError as error:  # there was more than there is room for
            log.debug("what was denied: %s", error)
            return
        whose = {
            address: pod
            for pod, places in self._plugged.items()
            for place in places
            for address in place.addresses
        }
        for told in nflog.told(data):
            if (pod := whose.get(str(told.source), "")) == "":
                continue
            held = self._held.get(pod)
            names = ",".join(sorted(held.led.get(told.target, {}))) if held is not None else ""
            protocol = PROTOCOLS.get(told.protocol, str(told.protocol))
            self.audit.note(
                Denied(pod, str(told.target), told.port, protocol, names[:255], _WHY.get(told.why, told.why))
            )


_WHY = {"policy": "no rule allows it", "connections": "it has as many connections as it may have"}


async def _nobody(pod: PodRecord) -> None:
    pass


def _guard(compiled: Compiled) -> Guard:
    meaning = compiled.meaning
    return Guard(
        compiled.number if meaning.restricted else 0,
        meaning.proxied,
        meaning.connections or CONNECTIONS,
        meaning.out_rate,
        meaning.in_rate,
    )


def _stays(held: _Held, same_requests: bool, flow: Flow) -> bool:
    """Whether its policy still allows it; by any name that has ever led there."""
    if flow.proxied:
        return same_requests
    names = held.led.get(flow.target, {})
    return deciding.decide(held.compiled.meaning, flow.protocol, flow.port, flow.target, names).allowed


def _forgotten(leads: Sequence[Lead], unused: Compiled | None, fabric: Fabric) -> None:
    naming = fabric.naming()
    try:
        naming.forget(leads)
    finally:
        naming.close()
    if unused is not None:
        fabric.guard((), (), unused, None)
