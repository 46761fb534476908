"""The order of a pod's start and end: every small pod in every state, random lives, and the loop that obeys."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.engine.health.order import (
    BEGUN,
    ENDED,
    INIT,
    KILL_S,
    MAIN,
    SIDECAR,
    Finished,
    Phase,
    PodRun,
    Standing,
    Start,
    Step,
    Stop,
    Wait,
    plan_next,
)
from hypercontainer.errors import Conflict, HyperError, NotFound
from virtual_clock import VirtualClock, settle

W, S, R, X, OK, GONE, BAD = Phase
RUNS = {*BEGUN, Phase.STOPPING}
NEXT = {S: [R, OK, GONE, BAD], R: [OK, GONE, BAD], X: [OK, GONE, BAD]}
SHAPES = [shape for size in range(4) for shape in itertools.product((INIT, SIDECAR, MAIN), repeat=size)]


def pod(*members: tuple[str, Phase]) -> list[Standing]:
    return [Standing(f"{role}{at}", role, phase) for at, (role, phase) in enumerate(members)]


def check(step: Step, members: Sequence[Standing]) -> None:
    """What no step may ever do."""
    by_name = {member.name: member for member in members}
    mains = [member for member in members if member.role == MAIN]
    match step:
        case Start(names=names):
            assert names
            for name in names:
                assert by_name[name].phase is W
                front = members if by_name[name].role == MAIN else members[: members.index(by_name[name])]
                assert all(one.phase is OK for one in front if one.role == INIT)
                assert all(one.phase is R or one.phase in ENDED for one in front if one.role == SIDECAR)
        case Stop(names=names):
            assert names
            for name in names:
                assert by_name[name].phase in BEGUN
                if by_name[name].role == SIDECAR:
                    assert not any(one.phase in RUNS for one in mains)
                    behind = members[members.index(by_name[name]) + 1 :]
                    assert not any(one.phase in RUNS for one in behind if one.role == SIDECAR)
        case Finished():
            assert not any(one.phase in RUNS for one in members)


@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("stopping", [False, True])
def test_every_small_pod_in_every_state(stopping: bool, lasting: bool) -> None:
    for shape in SHAPES:
        for phases in itertools.product(Phase, repeat=len(shape)):
            members = pod(*zip(shape, phases, strict=True))
            step = plan_next(members, stopping=stopping, lasting=lasting)
            check(step, members)
            if stopping:
                assert not isinstance(step, Start)
            if step == Wait():  # for somebody who can still do something, or to be added to
                assert any(phase in RUNS for phase in phases) or lasting


@pytest.mark.parametrize(
    ("members", "step"),
    [
        (pod(), Finished()),
        (pod((MAIN, W), (INIT, W), (SIDECAR, W)), Start(("init1",))),
        (pod((INIT, R), (MAIN, W)), Wait()),
        (pod((INIT, OK), (INIT, W), (MAIN, W)), Start(("init1",))),
        (pod((SIDECAR, S), (INIT, W), (MAIN, W)), Wait()),
        (pod((SIDECAR, R), (INIT, W), (MAIN, W)), Start(("init1",))),
        (pod((SIDECAR, R), (INIT, OK), (MAIN, W), (MAIN, W)), Start(("main2", "main3"))),
        (pod((MAIN, R), (MAIN, W)), Start(("main1",))),
        (pod((MAIN, R), (MAIN, BAD)), Wait()),
        (pod((SIDECAR, R), (SIDECAR, R), (MAIN, OK)), Stop(("sidecar1",))),
        (pod((SIDECAR, R), (SIDECAR, X), (MAIN, OK)), Wait()),
        (pod((SIDECAR, S), (SIDECAR, BAD), (MAIN, OK)), Stop(("sidecar0",))),
        (pod((SIDECAR, BAD), (MAIN, OK), (MAIN, OK)), Finished()),
        (pod((MAIN, OK), (MAIN, BAD), (MAIN, BAD)), Finished("main1")),
        (pod((SIDECAR, R), (INIT, BAD), (MAIN, W)), Stop(("sidecar0",))),
        (pod((INIT, BAD), (MAIN, W)), Finished("init0")),
        (pod((SIDECAR, BAD), (MAIN, W)), Finished("sidecar0")),
        (pod((SIDECAR, BAD), (MAIN, R)), Wait()),
        (pod((MAIN, GONE), (MAIN, R)), Wait()),
        (pod((MAIN, OK), (MAIN, GONE)), Finished()),
        (pod((INIT, GONE), (MAIN, W)), Finished()),
        (pod((SIDECAR, R), (INIT, GONE), (MAIN, W)), Stop(("sidecar0",))),
    ],
)
def test_steps(members: list[Standing], step: Step) -> None:
    assert plan_next(members) == step


def test_steps_of_a_stop() -> None:
    assert plan_next(pod((SIDECAR, R), (MAIN, R), (MAIN, S)), stopping=True) == Stop(("main1", "main2"))
    assert plan_next(pod((SIDECAR, R), (MAIN, X), (MAIN, OK)), stopping=True) == Wait()
    assert plan_next(pod((SIDECAR, R), (INIT, R), (MAIN, W)), stopping=True) == Stop(("init1",))
    assert plan_next(pod((SIDECAR, R), (INIT, OK), (MAIN, W)), stopping=True) == Stop(("sidecar0",))
    assert plan_next(pod((INIT, OK), (MAIN, W)), stopping=True) == Finished()


def test_a_lasting_pod_stays() -> None:
    assert plan_next(pod(), lasting=True) == plan_next(pod((MAIN, OK)), lasting=True) == Wait()
    assert plan_next(pod(), lasting=True, stopping=True) == Finished()


@given(st.lists(st.sampled_from((INIT, SIDECAR, MAIN)), max_size=6), st.data())
def test_every_life_ends(shape: list[str], data: st.DataObject) -> None:
    """Random ends, at random moments, with a stop somewhere: no rule is broken, and in the end nothing runs.

    The plan is asked anew at every step and remembers nothing, as a hyperd that was killed there would ask.
    """
    members = pod(*((role, W) for role in shape))
    stopping = False
    for _ in range(8 * len(shape) + 2):  # of which every one starts, stops or moves some member on
        step = plan_next(members, stopping=stopping)
        check(step, members)
        if isinstance(step, Finished):
            return
        if isinstance(step, Start | Stop):
            phase = S if isinstance(step, Start) else X
            members = [Standing(m.name, m.role, phase if m.name in step.names else m.phase) for m in members]
        assert any(m.phase in RUNS and (m.role, m.phase) != (SIDECAR, R) for m in members), "waits for nobody"
        at = data.draw(st.sampled_from([at for at, member in enumerate(members) if member.phase in RUNS]))
        one = members[at]
        next_phase = data.draw(st.sampled_from(NEXT[one.phase]))
        members[at] = Standing(one.name, one.role, next_phase)
        stopping = stopping or data.draw(st.integers(0, 9)) == 0
    pytest.fail(f"{members} never finishes")


class Fake:
    """A member that does what a test says."""

    def __init__(self, world: World, name: str, role: str, phase: Phase = Phase.WAITING) -> None:
        self.world, self.name, self.role, self.phase = world, name, role, phase
        self.starts_as = Phase.STARTED
        self.fails: HyperError | None = None
        self.takes_s = 0.0
        self.stop_error: HyperError | None = None

    async def start(self) -> None:
        self.world.told.append(f"start {self.name}")
        if self.fails:
            raise self.fails
        self.phase = self.starts_as

    async def stop(self, grace_s: float) -> None:
        self.world.told.append(f"stop {self.name} {grace_s:g}")
        if self.stop_error:
            raise self.stop_error
        await self.world.clock.sleep(self.takes_s)
        self.phase = Phase.FAILED

    async def kill(self) -> None:
        self.world.told.append(f"kill {self.name}")
        self.phase = Phase.FAILED


class World:
    def __init__(self, *members: tuple[str, str], lasting: bool = False, grace_s: float = 30) -> None:
        self.clock = VirtualClock()
        self.told: list[str] = []
        self.members = {name: Fake(self, name, role) for name, role in members}
        self._options = lasting, grace_s

    async def begin(self) -> None:
        lasting, grace_s = self._options
        self.run = PodRun(self.members.values(), lasting=lasting, grace_s=grace_s, clock=self.clock)
        self.task = asyncio.create_task(self.run.run())
        await settle()

    async def set(self, name: str, phase: Phase) -> None:
        self.members[name].phase = phase
        self.run.poke()
        await settle()

    def since(self) -> list[str]:
        told, self.told = self.told, []
        return told


FULL = (("a", SIDECAR), ("b", INIT), ("c", SIDECAR), ("d", MAIN), ("e", MAIN))


def test_a_whole_life() -> None:
    async def main() -> None:
        world = World(*FULL)
        for fake in world.members.values():
            fake.starts_as = Phase.STARTING
        await world.begin()
        began = asyncio.create_task(world.run.begun())
        assert world.since() == ["start a"]
        await world.set("a", R)
        assert world.since() == ["start b"]
        await world.set("b", R)
        assert world.since() == []
        await world.set("b", OK)
        assert world.since() == ["start c"] and not began.done()
        await world.set("c", R)
        assert world.since() == ["start d", "start e"]
        await asyncio.wait_for(began, 5)
        await world.set("e", OK)
        assert world.since() == []
        world.members["c"].takes_s = 10
        await world.set("d", OK)
        assert world.since() == ["stop c 30"]
        await world.clock.advance(10)
        assert world.since() == ["stop a 20"]  # of the same thirty seconds
        assert await world.task == await world.run.finished() == Finished()

    asyncio.run(main())


def test_stop_has_one_time_for_all() -> None:
    async def main() -> None:
        world = World(*FULL)
        for name, phase in zip("abcde", (R, OK, R, R, R), strict=True):
            world.members[name].phase = phase
        await world.begin()  # as another hyperd left it
        await world.run.begun()
        world.members["d"].takes_s, world.members["e"].takes_s, world.members["c"].takes_s = 3, 6, 5
        stop = asyncio.create_task(world.run.stop(10))
        await settle()
        assert world.since() == ["stop d 10", "stop e 10"]
        await world.clock.advance(5)
        assert world.since() == []
        await world.clock.advance(1)
        assert world.since() == ["stop c 4"]
        await world.clock.advance(5)
        assert world.since() == ["stop a 0"]
        assert await stop == Finished("d")

    asyncio.run(main())


def test_what_does_not_stop_is_killed() -> None:
    async def main() -> None:
        world = World(("d", MAIN), ("e", MAIN))
        await world.begin()
        world.since()
        world.members["d"].takes_s = 1e9
        world.members["e"].stop_error = NotFound("nothing")
        stop = asyncio.create_task(world.run.stop(5))
        await settle()
        assert world.since() == ["stop d 5", "stop e 5", "kill e"]
        await world.clock.advance(5 + KILL_S)
        assert world.since() == ["kill d"]
        assert await stop == Finished("d")

    asyncio.run(main())


def test_a_second_stop_without_patience_kills() -> None:
    async def main() -> None:
        world = World(("d", MAIN))
        await world.begin()
        world.members["d"].takes_s = 1
        first = asyncio.create_task(world.run.stop(60))
        await settle()
        second = asyncio.create_task(world.run.stop(0))
        await world.clock.advance(1)
        assert world.since() == ["start d", "stop d 60", "kill d"]
        assert await first == await second == Finished("d")

    asyncio.run(main())


def test_a_failed_init_ends_the_pod() -> None:
    async def main() -> None:
        world = World(("a", SIDECAR), ("b", INIT), ("d", MAIN))
        await world.begin()
        await world.set("b", BAD)
        assert world.since() == ["start a", "start b", "stop a 30"]
        assert await world.task == Finished("b")
        with pytest.raises(Conflict, match="container b failed"):
            await world.run.begun()

    asyncio.run(main())


def test_what_cannot_start_counts_as_failed_once() -> None:
    async def main() -> None:
        world = World(("b", INIT), ("d", MAIN))
        world.members["b"].fails = NotFound("no such program")
        await world.begin()
        assert await world.task == Finished("b")
        assert world.since() == ["start b"]
        with pytest.raises(NotFound, match="no such program"):
            await world.run.begun()

    asyncio.run(main())


def test_one_main_that_cannot_start_leaves_the_others() -> None:
    async def main() -> None:
        world = World(("d", MAIN), ("e", MAIN))
        world.members["d"].fails = NotFound("no such program")
        await world.begin()
        with pytest.raises(NotFound):
            await world.run.begun()
        assert not world.task.done()
        await world.set("e", OK)
        assert await world.task == Finished("d")

    asyncio.run(main())


def test_add_and_discard() -> None:
    async def main() -> None:
        world = World(lasting=True)
        await world.begin()
        await world.run.begun()
        late = Fake(world, "late", MAIN)
        world.run.add(late)
        await settle()
        assert world.since() == ["start late"] and late.phase is R
        late.phase = OK
        world.run.discard("late")
        await settle()
        assert not world.task.done()
        assert await world.run.stop(1) == Finished()

    asyncio.run(main())


def test_a_main_started_again_keeps_the_sidecars_time_whole() -> None:
    async def main() -> None:
        world = World(("a", SIDECAR), ("c", SIDECAR), ("d", MAIN))
        world.members["c"].takes_s = 10
        await world.begin()
        await world.set("d", OK)
        await world.set("d", R)
        await world.clock.advance(100)
        assert world.since()[3:] == ["stop c 30"]
        await world.set("d", OK)
        assert world.since() == ["stop a 30"]
        await world.task

    asyncio.run(main())


def test_cancelled_it_leaves_the_members() -> None:
    async def main() -> None:
        world = World(("d", MAIN))
        await world.begin()
        world.since()
        world.task.cancel()
        await asyncio.gather(world.task, return_exceptions=True)
        assert world.since() == [] and world.members["d"].phase is R
        with pytest.raises(HyperError, match="lets go"):
            await world.run.finished()

    asyncio.run(main())


def test_a_member_may_be_renamed() -> None:
    async def main() -> None:
        world = World(("a", SIDECAR), ("d", MAIN))
        await world.begin()
        world.members["d"].takes_s = 5
        stop = asyncio.create_task(world.run.stop(60))
        await settle()
        world.members["d"].name = "new"
        await world.clock.advance(5)
        assert world.since()[2:] == ["stop d 60", "stop a 55"]
        assert await stop == Finished("new")

    asyncio.run(main())


def test_a_later_stop_only_shortens_the_time() -> None:
    async def main() -> None:
        world = World(("a", SIDECAR), ("c", SIDECAR), ("d", MAIN))
        await world.begin()
        world.members["d"].takes_s = world.members["c"].takes_s = 1
        stops = [asyncio.create_task(world.run.stop(grace_s)) for grace_s in (60, 10, 90)]
        await world.clock.advance(2)
        assert world.since()[3:] == ["stop d 10", "stop c 9", "stop a 8"]
        assert {await stop for stop in stops} == {Finished("d")}

    asyncio.run(main())


def test_a_start_that_does_nothing_counts_as_failed() -> None:
    async def main() -> None:
        world = World(("d", MAIN))
        world.members["d"].starts_as = Phase.WAITING
        await world.begin()
        with pytest.raises(Conflict, match="did not start"):
            await world.run.begun()
        assert await world.task == Finished("d")
        assert world.since() == ["start d"]

    asyncio.run(main())
