"""Policies of pods that run: what a fabric that is made up has of them, names, changes, what is denied."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

import dns_words
import frames_of_pods as f
from fake_fabric import FakeFabric
from hypercontainer.contract.answers import Denial
from hypercontainer.contract.networks import Join, Subnet
from hypercontainer.contract.policies import EgressRule, NetworkPolicy, PolicyLimits, PolicySpec
from hypercontainer.contract.spec import PodSpec
from hypercontainer.engine.network.audit import Audit, Denied
from hypercontainer.engine.network.policies import Policies, check_joins
from hypercontainer.engine.network.policing import LEAST_S, Policing
from hypercontainer.engine.network.worker import Maker, Worker
from hypercontainer.engine.state import PodRecord, StateStore
from hypercontainer.errors import Conflict, InvalidArgument, NotFound, NotSupported, Unavailable
from hypercontainer.network.parts import CONNECTIONS, Bridge, Flow, Guard, Lead, Place
from hypercontainer.network.sets import attribute

BRIDGE = Bridge("aa" * 32, (Subnet("10.1.0.0/24", "10.1.0.1"),), 1500)
WEB, DB = "a1" * 32, "b2" * 32
PUBLIC = "20.0.0.1"
NAMED = NetworkPolicy((EgressRule(("*.example.com",), ports=(443,)),))


@dataclass
class Scene:
    fabric: FakeFabric
    state: StateStore
    worker: Worker
    policing: Policing
    plugged: dict[str, tuple[Place, ...]]
    told: list[Denial] = field(default_factory=list)
    now: float = 1000.0

    @property
    def policies(self) -> Policies:
        return self.policing.policies

    @staticmethod
    def record(wish: str | NetworkPolicy | None, pod: str = WEB) -> PodRecord:
        spec = PodSpec(network_policy=wish)
        return PodRecord(id=pod, spec=spec, memory_mib=32, cpus=1, mac="02:00:00:00:00:02")

    async def run(self, pod: str, number: int, wish: str | NetworkPolicy | None) -> Place:
        """As the networks do it."""
        self.policing.admit(self.record(wish, pod))
        place = Place(
            f"t-{number}", BRIDGE, "02:00:00:00:00:02", (f"10.1.0.{number}",), self.policing.guard(pod)
        )
        self.plugged[pod] = (place,)
        fabric = await self.worker.ready()
        await self.policing.known(fabric, pod)
        await self.worker.do(partial(fabric.plug, self.plugged[pod][0]))
        return place

    def answers(self, pod: str, name: str, *records: str) -> None:
        asked = dns_words.Asked(dns_words.question(name), "udp", 1)
        self.policing.learns(pod, asked.answer(*records))

    def led(self, pod: str) -> set[str]:
        own = {ipaddress.ip_address(text) for place in self.plugged[pod] for text in place.addresses}
        return {str(lead.target) for lead in self.fabric.leads if lead.pod in own}

    def denials(self) -> list[tuple[str, str, int]]:
        """(address, name, how often) of what is written down."""
        self.policing.audit.flush()
        return [(line.address, line.name, line.count) for line in self.policing.audit.kept()]


@contextlib.asynccontextmanager
async def scene(tmp: Path) -> AsyncIterator[Scene]:
    fabric, state = FakeFabric(tmp / "networks"), StateStore(tmp / "state.db")
    plugged: dict[str, tuple[Place, ...]] = {}
    told: list[Denial] = []
    audit = Audit(tmp, lambda pod: {WEB: "web", DB: "db"}.get(pod, ""), told.append)

    async def fill(_: object) -> None:
        places = [place for those in plugged.values() for place in those]
        fabric.open([BRIDGE], places, (), None, (), made.policing.compiled())
        await made.policing.opened(fabric)

    worker = Worker(Maker(fabric.folder, lambda: fabric), "", fill)
    own = [ipaddress.ip_network("10.1.0.0/24")]
    policing = Policing(Policies(state), audit, worker, plugged, lambda: own, lambda: made.now)
    made = Scene(fabric, state, worker, policing, plugged, told)
    policing.policies.open()
    try:
        yield made
    finally:
        policing.close()
        await worker.close(used=False)
        state.close()


def play(tmp: Path, story: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        async with scene(tmp) as it:
            await story(it)

    asyncio.run(main())


def test_a_pod_is_guarded_by_its_policy_and_no_other(tmp_path: Path) -> None:
    async def story(it: Scene) -> None:
        it.policies.add(PolicySpec("named", NAMED))
        web = await it.run(WEB, 2, "named")
        db = await it.run(DB, 3, NetworkPolicy(limits=PolicyLimits("8Mbit", "16Mbit", 7)))
        free = await it.run("c3" * 32, 4, None)
        assert set(it.fabric.policies) >= {web.guard.policy} and web.guard.policy
        assert db.guard == Guard(0, False, 7, 1_000_000, 2_000_000)
        assert free.guard == Guard(connections=CONNECTIONS)

    play(tmp_path, story)


def test_of_a_policy_that_is_not_there_nothing_is_allowed(tmp_path: Path) -> None:
    async def story(it: Scene) -> None:
        place = await it.run(WEB, 2, "gone")
        assert place.guard.policy
        assert not any(it.fabric.policies[place.guard.policy].elements.values())
        assert not it.policing.may_ask(WEB, "example.com")

    play(tmp_path, story)


def test_where_a_name_leads_is_told_once_and_for_its_lifetime(tmp_path: Path) -> None:
    async def story(it: Scene) -> None:
        await it.run(WEB, 2, NAMED)
        await it.run(DB, 3, None)
        it.answers(WEB, "api.example.com", f"5 A {PUBLIC}", "300 A 20.0.0.2")
        it.answers(DB, "api.example.com", "300 A 20.0.0.3")
        it.answers(WEB, "other.org", "300 A 20.0.0.4")
        assert it.led(WEB) == {PUBLIC, "20.0.0.2"} and it.led(DB) == set()
        assert {str(lead.target): s for lead, s in it.fabric.leads.items()} == {
            PUBLIC: LEAST_S,
            "20.0.0.2": 300,
        }
        assert it.policing.names_of(WEB, ipaddress.ip_address(PUBLIC)) == ["api.example.com"]
        it.fabric.leads.clear()
        it.answers(WEB, "api.example.com", f"5 A {PUBLIC}")
        assert it.led(WEB) == set()  # it has it still
        it.now += LEAST_S - 1
        it.answers(WEB, "api.example.com", f"5 A {PUBLIC}")
        assert it.led(WEB) == {PUBLIC}
        it.now += LEAST_S + 1
        assert it.policing.names_of(WEB, ipaddress.ip_address(PUBLIC)) == []

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("A", "10.9.0.1"),
        ("A", "127.0.0.1"),
        ("A", "169.254.169.254"),
        ("A", "169.254.1.1"),
        ("A", "100.64.0.1"),
        ("A", "224.0.0.1"),
        ("A", "0.0.0.0"),
        ("A", "10.1.0.3"),
        ("AAAA", "::1"),
        ("AAAA", "fe80::1"),
        ("AAAA", "fd00::1"),
        ("AAAA", "::ffff:10.9.0.1"),
        ("AAAA", "64:ff9b::a9fe:a9fe"),
        ("AAAA", "2002:a00:1::1"),
    ],
)
def test_a_name_leads_to_the_internet_and_nowhere_else(tmp_path: Path, kind: str, address: str) -> None:
    async def story(it: Scene) -> None:
        await it.run(WEB, 2, NAMED)
        it.answers(WEB, "rebound.example.com", f"60 {kind} {address}")
        assert it.led(WEB) == set()
        assert it.denials() == [(str(ipaddress.ip_address(address)), "rebound.example.com", 1)]

    play(tmp_path, story)


def test_of_one_pod_no_more_is_known_than_is_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypercontainer.engine.network.policing.LED_MAX", 8)

    async def story(it: Scene) -> None:
        await it.run(WEB, 2, NAMED)
        for number in range(20):
            it.answers(WEB, f"n{number}.example.com", f"300 A 20.0.0.{number}")
        assert it.led(WEB) == {f"20.0.0.{number}" for number in range(12, 20)}
        it.answers(WEB, "all.example.com", *(f"300 A 20.1.0.{number}" for number in range(200)))
        assert len(it.led(WEB)) == 8
        for number in range(40):
            it.answers(WEB, f"n{number}.example.com", f"300 A {PUBLIC}")
        assert len(it.policing.names_of(WEB, ipaddress.ip_address(PUBLIC))) == 16

    play(tmp_path, story)


def test_only_names_that_some_rule_speaks_of_are_asked_for(tmp_path: Path) -> None:
    async def story(it: Scene) -> None:
        await it.run(WEB, 2, NetworkPolicy((*NAMED.egress, EgressRule(http=("api.github.com",)))))  # type: ignore[misc]
        await it.run(DB, 3, NetworkPolicy((EgressRule(("0.0.0.0/0",)),)))
        for name in ("a.example.com", "b.a.example.com", "api.github.com"):
            assert it.policing.may_ask(WEB, name)
        for name in ("example.com", "secret.attacker.net", "example.com.attacker.net", "xexample.com", ""):
            assert not it.policing.may_ask(WEB, name)
            assert it.policing.may_ask(DB, name)
        assert not it.policing.may_ask(WEB, "secret.attacker.net")
        assert ("", "secret.attacker.net", 2) in it.denials()

    play(tmp_path, story)


def test_a_change_is_all_pods_at_once_and_keeps_what_names_led_to(tmp_path: Path) -> None:
    async def story(it: Scene) -> None:
        it.policies.add(PolicySpec("named", NAMED))
        former = (await it.run(WEB, 2, "named")).guard.policy
        await it.run(DB, 3, "named")
        it.answers(WEB, "api.example.com", f"300 A {PUBLIC}")
        own, to = (ipaddress.ip_address(text) for text in ("10.1.0.2", PUBLIC))
        it.fabric.flows = [Flow(own, to, 6, 443, False), Flow(own, to, 6, 80, False)]
        wider = NetworkPolicy((EgressRule(("*.example.com",), ports=(80,)), EgressRule(("30.0.0.0/8",))))
        it.fabric.leads.clear()
        await it.policing.change(PolicySpec("named", wider))
        made = it.policies.admit(it.record("named"))
        assert made is not None
        assert {place.guard.policy for place in it.fabric.places.values()} == {made.number} != {former}
        assert set(it.fabric.policies) == {made.number}
        assert {place.guard.policy for those in it.plugged.values() for place in those} == {made.number}
        gates, _ = made.gates_of("api.example.com", to, ())
        assert it.fabric.leads == {Lead(gate, own, to): 300 for gate in gates}
        assert [flow.port for flow in it.fabric.flows] == [80]
        assert it.policies.get("named").policy == wider

    play(tmp_path, story)


def test_of_a_pod_that_is_gone_nothing_is_left(tmp_path: Path) -> None:
    async def story(it: Scene) -> None:
        await it.run(WEB, 2, NAMED)
        it.answers(WEB, "api.example.com", f"300 A {PUBLIC}")
        after = it.policing.dismiss(WEB)
        assert after is not None
        it.fabric.unplug(it.plugged.pop(WEB)[0])
        after(it.fabric)
        assert not it.fabric.leads and not it.fabric.policies
        assert it.policing.dismiss(WEB) is None
        it.answers(WEB, "api.example.com", f"300 A {PUBLIC}")
        assert not it.fabric.leads

    play(tmp_path, story)


def test_a_change_that_the_kernel_refuses_changes_nothing(tmp_path: Path) -> None:
    async def story(it: Scene) -> None:
        it.policies.add(PolicySpec("named", NAMED))
        place = await it.run(WEB, 2, "named")
        guard, it.fabric.guard = it.fabric.guard, _refused  # type: ignore[method-assign,assignment]
        with pytest.raises(Unavailable):
            await it.policing.change(PolicySpec("named", NetworkPolicy(egress=())))
        assert it.policies.get("named").policy == NAMED and it.plugged[WEB] == (place,)
        it.fabric.guard = guard  # type: ignore[method-assign]
        await it.policing.change(PolicySpec("named", NetworkPolicy(egress=())))
        assert it.policies.get("named").policy == NetworkPolicy(egress=())
        assert set(it.fabric.policies) == {it.plugged[WEB][0].guard.policy}

    play(tmp_path, story)


def _refused(*given: object) -> None:
    raise Unavailable("no memory")


def test_a_policy_that_nobody_has_any_more_leaves_the_kernel(tmp_path: Path) -> None:
    async def story(it: Scene) -> None:
        for changed in (True, False):
            it.policies.add(PolicySpec("named", NAMED))
            await it.run(WEB, 2, "named")
            assert it.policing.dismiss(WEB) is not None
            it.fabric.unplug(it.plugged.pop(WEB)[0])
            assert it.fabric.policies  # whoever is next has it at once
            if changed:
                await it.policing.change(PolicySpec("named", NetworkPolicy(egress=())))
                assert not it.fabric.policies
            await it.policing.remove("named")
            assert not it.fabric.policies

    play(tmp_path, story)


def test_a_fabric_that_is_new_is_told_all_of_it(tmp_path: Path) -> None:
    async def story(it: Scene) -> None:
        place = await it.run(WEB, 2, NAMED)
        it.answers(WEB, "api.example.com", f"300 A {PUBLIC}")
        it.fabric.leads.clear()
        it.fabric.is_open = False  # its keeper was killed
        await it.worker.ready()
        assert it.led(WEB) == {PUBLIC} and set(it.fabric.policies) == {place.guard.policy}

    play(tmp_path, story)


def test_the_next_hyperd_has_the_policies(tmp_path: Path) -> None:
    async def story(it: Scene) -> None:
        it.policies.add(PolicySpec("named", NAMED))
        with pytest.raises(Conflict):
            it.policies.add(PolicySpec("named", NAMED))

    async def next_story(it: Scene) -> None:
        assert it.policies.all() == [PolicySpec("named", NAMED)]
        it.policies.check("named")
        with pytest.raises(NotFound):
            it.policies.check("other")
        with pytest.raises(InvalidArgument):
            it.policies.check(NetworkPolicy())
        it.policies.remove("named")
        assert it.policies.all() == []

    play(tmp_path, story)
    play(tmp_path, next_story)


def test_a_policy_is_kept_in_hyperds_own_networks_alone() -> None:
    for own in ("bridge", "shop", "none"):
        check_joins("some", [Join(own)])
    for other in ("user", "cni:mesh"):
        check_joins(None, [Join(other)])
        for wish in ("some", NAMED):
            with pytest.raises(NotSupported, match=other):
                check_joins(wish, [Join("shop"), Join(other)])


def told(why: str, packet: bytes) -> bytes:
    """As the kernel tells of it (linux/netfilter/nfnetlink_log.h)."""
    body = struct.pack(">BBH", 2, 0, 7) + attribute(10, why.encode() + b"\0") + attribute(9, packet)
    return struct.pack("=IHHII", 16 + len(body), 4 << 8, 0, 0, 0) + body


def test_what_the_kernel_denies_is_written_down_with_its_count(tmp_path: Path) -> None:
    async def story(it: Scene) -> None:
        await it.run(WEB, 2, NAMED)
        it.answers(WEB, "api.example.com", f"300 A {PUBLIC}")
        packet = f.syn(("10.1.0.2", 4000), (PUBLIC, 22))
        it.fabric.tells[-1].send(
            told("policy", packet) * 3 + told("policy", b"") + told("x", f.echo("9.9.9.9", PUBLIC))
        )
        it.fabric.tells[-1].send(b"\1\2\3")
        follower = it.policing.audit.follow(WEB, on=True)
        line = await anext(follower)
        assert (line.pod_name, line.address, line.port, line.protocol, line.name, line.count) == (
            ("web", PUBLIC, 22, "tcp", "api.example.com", 3)
        )
        assert line.reason == "no rule allows it" and it.told == [line]
        await follower.aclose()  # type: ignore[attr-defined]
        assert [each async for each in it.policing.audit.follow(DB)] == []

    play(tmp_path, story)


def test_what_is_written_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypercontainer.engine.network.audit.FILE_BYTES", 4000)

    async def story(it: Scene) -> None:
        await it.run(WEB, 2, NAMED)
        for begin in range(0, 3000, 1000):
            for number in range(begin, begin + 1000):
                it.policing.may_ask(WEB, f"{number}.attacker.net")
            it.policing.audit.flush()
        lines = list(it.policing.audit.kept())
        assert lines[-1].reason == "more was denied than is written" and lines[-1].count == 1000 - 256
        assert len(lines) == 257  # each time there was more than a file is to have
        assert {path.name for path in tmp_path.glob("denied*")} == {"denied.1.jsonl"}

    play(tmp_path, story)


def test_a_socket_that_fails_does_not_end_it(tmp_path: Path) -> None:
    async def story(it: Scene) -> None:
        await it.run(WEB, 2, NAMED)
        it.fabric.tells[-1].send(told("policy", f.syn(("10.1.0.2", 1), (PUBLIC, 1)))[:20])
        await asyncio.sleep(0)
        assert isinstance(it.policing._log, socket.socket)
        assert it.denials() == []

    play(tmp_path, story)


def test_who_asks_hears_of_what_was_denied_a_moment_ago_and_of_pods_that_are_gone(tmp_path: Path) -> None:
    async def story() -> None:
        called = {WEB: "web"}
        audit = Audit(tmp_path, lambda pod: called.get(pod, ""), lambda line: None)
        audit.note(Denied(WEB, "192.0.2.1", 80, "tcp", "", "no rule allows it"))
        del called[WEB]
        assert [line.pod_name async for line in audit.follow()] == ["web"]
        audit.flush()

    asyncio.run(story())
