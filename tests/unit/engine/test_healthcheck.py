"""Docker's health checks: when one is asked, what its answers make of a container's health, and where that is seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from fake_process import FakeProcess
from fake_world import World
from hypercontainer.contract.answers import Health, HealthResult
from hypercontainer.contract.probes import Exec, Healthcheck, Probe
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.engine.health.healthcheck import Plan, judged, plan, shown, watch_health
from hypercontainer.errors import AgentError, Conflict, InvalidArgument
from hypercontainer.image.model import ImageConfig
from hypercontainer.semantics import docker, shape
from hypercontainer.semantics import health as semantics
from stories import Tell, member, pod
from virtual_clock import VirtualClock

S = 1_000_000_000
MS = 1_000_000
CHECK = Healthcheck(("CMD", "check"), interval_ns=5 * MS)


# ------------------------------------------------------------------------------------- the plan


@pytest.mark.parametrize(
    ("check", "shell", "command"),
    [
        (None, (), None),
        (Healthcheck(), (), None),
        (Healthcheck(("NONE",)), (), None),
        (Healthcheck(("CMD",)), (), None),
        (Healthcheck(("WHAT", "x")), (), None),
        (Healthcheck(("CMD", "curl", "-f", "localhost")), (), ("curl", "-f", "localhost")),
        (Healthcheck(("CMD-SHELL", "curl x || exit 1")), (), ("/bin/sh", "-c", "curl x || exit 1")),
        (Healthcheck(("CMD-SHELL", "curl x")), ("/bin/bash", "-ec"), ("/bin/bash", "-ec", "curl x")),
    ],
)
def test_what_is_asked(
    check: Healthcheck | None, shell: tuple[str, ...], command: tuple[str, ...] | None
) -> None:
    found = plan(check, shell)
    assert (found and found.command) == command


def test_what_is_not_said_is_dockers() -> None:
    assert plan(Healthcheck(("CMD", "x"))) == Plan(("x",), 30.0, 30.0, 0.0, 5.0, 3)
    said = Healthcheck(("CMD", "x"), 500 * MS, 2 * S, 60 * S, S, 7)
    assert plan(said) == Plan(("x",), 0.5, 2.0, 60.0, 1.0, 7)


IMAGES = Healthcheck(("CMD", "image"), interval_ns=S, timeout_ns=2 * S, retries=4)


@pytest.mark.parametrize(
    ("wish", "images", "effective"),
    [
        (None, None, None),
        (None, IMAGES, IMAGES),
        (Healthcheck(("NONE",)), IMAGES, Healthcheck(("NONE",), S, 2 * S, retries=4)),
        (Healthcheck(retries=9), IMAGES, Healthcheck(("CMD", "image"), S, 2 * S, retries=9)),
        (
            Healthcheck(("CMD-SHELL", "own"), start_period_ns=S),
            IMAGES,
            Healthcheck(("CMD-SHELL", "own"), S, 2 * S, S, retries=4),
        ),
        (Healthcheck(("CMD", "own")), None, Healthcheck(("CMD", "own"))),
        # A stranger's numbers that cannot be are none.
        (None, Healthcheck(("CMD", "x"), -5, 1, 2**70, -1, -3), Healthcheck(("CMD", "x"))),
    ],
)
def test_what_it_does_not_say_is_its_images(
    wish: Healthcheck | None, images: Healthcheck | None, effective: Healthcheck | None
) -> None:
    assert semantics.effective(wish, images) == effective


@pytest.mark.parametrize(
    "wish",
    [
        Healthcheck(("CMD",)),
        Healthcheck(("CMD", "a\0b")),
        Healthcheck(("EXEC", "x")),
        Healthcheck(("NONE", "x")),
        Healthcheck(interval_ns=999_999),
        Healthcheck(timeout_ns=-1),
        Healthcheck(start_period_ns=2**63),
        Healthcheck(retries=-1),
    ],
)
def test_what_cannot_be_is_refused(wish: Healthcheck) -> None:
    with pytest.raises(InvalidArgument, match=r"^healthcheck: "):
        semantics.effective(wish, IMAGES)


def test_an_image_whose_check_nobody_understands_runs_with_a_warning() -> None:
    image = ImageConfig(cmd=("x",), healthcheck=Healthcheck(("WHAT",)))
    made, warnings = docker.effective(ContainerSpec("image"), image, "0" * 64)
    assert warnings == ("the image's health check is not understood, so there is none",)
    assert plan(made.healthcheck) is None


# ------------------------------------------------------------------------------------- what answers count for

PLAN = Plan(("x",), interval_s=10, timeout_s=3, start_period_s=60, start_interval_s=2, retries=3)


def result(status: int, output: str = "") -> HealthResult:
    return HealthResult(started="", ended="", exit_status=status, output=output)


def after(statuses: list[int], *, age_s: float = 100.0) -> list[tuple[str, int]]:
    health, told = Health(), []
    for status in statuses:
        health = judged(health, result(status), PLAN, age_s=age_s)
        told.append((health.status, health.failing_streak))
    return told


def test_failures_in_a_row_make_it_unhealthy_and_one_success_healthy() -> None:
    assert after([1, 0, 2, -1, 1, 1, 0]) == [
        ("starting", 1),
        ("healthy", 0),
        ("healthy", 1),
        ("healthy", 2),
        ("unhealthy", 3),
        ("unhealthy", 4),
        ("healthy", 0),
    ]


def test_while_it_starts_failures_count_for_nothing_once_it_was_healthy_they_do() -> None:
    assert after([1] * 5, age_s=59.0) == [("starting", 0)] * 5
    assert after([0, 1, 1, 1], age_s=59.0)[-1] == ("unhealthy", 3)
    assert after([1] * 3, age_s=60.0)[-1] == ("unhealthy", 3)


def test_the_last_five_answers_are_kept() -> None:
    health = Health()
    for status in range(8):
        health = judged(health, result(status), PLAN, age_s=0.0)
    assert [each.exit_status for each in health.log] == [3, 4, 5, 6, 7]


def test_output_is_text_and_bounded() -> None:
    assert shown(b"fine\n") == "fine\n"
    assert shown(b"x" * 4096) == "x" * 4096
    assert shown(b"x" * 4097) == "x" * 4096 + "..."
    assert len(shown(b"\xff" * 4096).encode()) <= 4096


# ------------------------------------------------------------------------------------- when it is asked

Script = Callable[[VirtualClock, list[tuple[float, int]]], Awaitable[None]]


def asked(plan: Plan, answers: Callable[[float], int | None], seconds: float, **known: Any) -> list[float]:
    """The times at which a container was asked, whose answers each take a second."""
    times: list[float] = []

    async def main() -> None:
        clock = VirtualClock()

        async def ask(asked: Plan) -> HealthResult | None:
            times.append(clock.now())
            await clock.sleep(1)
            status = answers(times[-1])
            if status == 255:
                raise AgentError("out of reach")
            return None if status is None else result(status)

        health = known.pop("health", Health())
        task = asyncio.create_task(watch_health(plan, health, ask, lambda health: None, clock=clock, **known))
        await clock.advance(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    return times


LATER = Plan(("x",), interval_s=10, timeout_s=3, start_period_s=0, start_interval_s=2, retries=3)


def test_one_follows_the_end_of_the_one_before() -> None:
    assert asked(LATER, lambda at: 0, 45) == [10, 21, 32, 43]


def test_while_it_starts_it_is_asked_more_often() -> None:
    assert asked(PLAN, lambda at: int(at < 7), 35) == [2, 5, 8, 19, 30]
    assert [at for at in asked(PLAN, lambda at: 1, 90) if at > 58] == [59, 70, 81]


def test_the_next_hyperd_goes_on_with_what_the_last_one_knew() -> None:
    assert asked(PLAN, lambda at: 1, 30, running_for_s=100.0) == [10, 21]
    assert asked(PLAN, lambda at: 1, 7, running_for_s=55.0) == [2, 5]
    assert asked(PLAN, lambda at: 0, 30, running_for_s=5.0, health=Health(status="healthy")) == [10, 21]


def test_a_guest_that_is_out_of_reach_counts_neither_way() -> None:
    assert asked(LATER, lambda at: 255 if at < 15 else None, 35) == [10, 21, 32]


# ------------------------------------------------------------------------------------- a container's


class Checks:
    """The programs "check", whose exit statuses a test gives, and "hang"."""

    def __init__(self, w: World) -> None:
        self.statuses: asyncio.Queue[int] = asyncio.Queue()
        self.hangs = asyncio.Event()
        self.killed = asyncio.Event()
        w.driver.programs = {"check": self._check, "hang": self._hang}

    async def _check(self, process: FakeProcess) -> int:
        status = await self.statuses.get()
        await process.write(f"says {status}\n".encode())
        return status

    async def _hang(self, process: FakeProcess) -> int:
        self.hangs.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.killed.set()
        return 0


def spec(w: World, name: str, check: Healthcheck | None = CHECK, **more: Any) -> ContainerSpec:
    return member(name, healthcheck=check, **{**w.spec_defaults, **more})


async def health_of(w: World, name: str = "a") -> Health | None:
    health: Health | None = (await w.engine.containers.inspect(name)).health
    return health


async def next_status(events: Any) -> str:
    action: str = (await anext(events)).action
    return action


def test_a_container_becomes_healthy_and_unhealthy_where_everybody_sees_it(tell: Tell) -> None:
    async def story(w: World) -> None:
        checks, containers = Checks(w), w.engine.containers
        await containers.create(spec(w, "a"))
        await containers.create(spec(w, "b", None))
        assert await health_of(w) is None
        events = w.engine.system.events(since="1h", until="", filters={"event": ["health_status"]})
        for name in "ab":
            await containers.start(name)
        assert await health_of(w) == Health()
        (shown,) = await containers.find(filters={"health": ["starting"]})
        assert shown.status.endswith("(health: starting)")
        checks.statuses.put_nowait(0)
        assert await next_status(events) == "health_status: healthy"
        (shown,) = await containers.find(filters={"health": ["healthy"]})
        assert shown.status.endswith("(healthy)")
        for status in (3, 4, 5):
            checks.statuses.put_nowait(status)
        assert await next_status(events) == "health_status: unhealthy"
        health = await health_of(w)
        assert health is not None
        assert (health.status, health.failing_streak) == ("unhealthy", 3)
        assert [(r.exit_status, r.output) for r in health.log] == [(n, f"says {n}\n") for n in (0, 3, 4, 5)]
        assert health.log[0].started <= health.log[0].ended <= health.log[1].started
        assert [c.name for c in await containers.find(filters={"health": ["none"]})] == ["b"]
        assert (await containers.find(filters={"health": ["none"]}))[0].status.startswith("Up ")
        with pytest.raises(InvalidArgument, match="filter health: 'well'"):
            await containers.find(filters={"health": ["well"]})

    tell(story)


def test_it_is_shown_as_docker_inspect_shows_it(tell: Tell) -> None:
    async def story(w: World) -> None:
        checks = Checks(w)
        events = w.engine.system.events(since="1h", until="", filters={"event": ["health_status"]})
        await w.engine.containers.create(spec(w, "a", Healthcheck(("CMD", "check"), 5 * MS, retries=2)))
        created = shape.container(msgspec.to_builtins(await w.engine.containers.inspect("a")))
        assert "Health" not in created["State"]
        assert created["Config"]["Healthcheck"] == {
            "Test": ("CMD", "check"),
            "Interval": 5 * MS,
            "Retries": 2,
        }
        await w.engine.containers.start("a")
        checks.statuses.put_nowait(0)
        assert await next_status(events) == "health_status: healthy"
        running = shape.container(msgspec.to_builtins(await w.engine.containers.inspect("a")))
        health = running["State"]["Health"]
        (answer,) = health.pop("Log")
        assert health == {"Status": "healthy", "FailingStreak": 0}
        assert answer.keys() == {"Start", "End", "ExitCode", "Output"}
        assert (answer["ExitCode"], answer["Output"]) == (0, "says 0\n")

    tell(story)


def test_checks_are_execs_that_one_hears_of(tell: Tell) -> None:
    async def story(w: World) -> None:
        checks = Checks(w)
        events = w.engine.system.events(since="1h", until="", filters={"event": ["exec_start", "exec_die"]})
        await w.engine.containers.create(spec(w, "a"))
        await w.engine.containers.start("a")
        checks.statuses.put_nowait(7)
        begun, died = await anext(events), await anext(events)
        assert begun.action.startswith("exec_start") and died.action.startswith("exec_die")
        assert begun.attributes["execID"] == died.attributes["execID"]

    tell(story)


def test_one_that_hangs_is_killed_at_its_time(tell: Tell) -> None:
    async def story(w: World) -> None:
        checks = Checks(w)
        check = Healthcheck(("CMD", "hang"), interval_ns=MS, timeout_ns=20 * MS, retries=1)
        events = w.engine.system.events(since="1h", until="", filters={"event": ["health_status"]})
        await w.engine.containers.create(spec(w, "a", check))
        await w.engine.containers.start("a")
        assert await next_status(events) == "health_status: unhealthy"
        await checks.killed.wait()
        health = await health_of(w)
        assert health is not None
        assert (health.log[0].exit_status, health.log[0].output) == (
            -1,
            "Health check exceeded timeout (0.02s)",
        )

    tell(story)


def test_one_that_cannot_be_executed_is_a_failure(tell: Tell) -> None:
    async def story(w: World) -> None:
        check = Healthcheck(("CMD", "nothing"), interval_ns=MS, retries=1)
        events = w.engine.system.events(since="1h", until="", filters={"event": ["health_status"]})
        await w.engine.containers.create(spec(w, "a", check))
        await w.engine.containers.start("a")
        assert await next_status(events) == "health_status: unhealthy"
        health = await health_of(w)
        assert health is not None
        assert (health.log[0].exit_status, "nothing" in health.log[0].output) == (-1, True)

    tell(story)


def test_a_paused_container_is_not_asked_and_its_frozen_check_says_nothing(tell: Tell) -> None:
    async def story(w: World) -> None:
        checks = Checks(w)
        check = Healthcheck(("CMD", "hang"), interval_ns=MS, timeout_ns=30 * MS, retries=1)
        await w.engine.containers.create(spec(w, "a", check))
        await w.engine.containers.start("a")
        await checks.hangs.wait()
        await w.engine.containers.pause("a")
        await checks.killed.wait()
        checks.hangs.clear()
        assert await health_of(w) == Health()
        assert (await w.engine.containers.find())[0].status.endswith("(Paused)")
        await w.engine.containers.unpause("a")
        await checks.hangs.wait()

    tell(story)


def test_one_that_has_ended_is_unhealthy_and_its_next_run_starts_anew(tell: Tell) -> None:
    async def story(w: World) -> None:
        checks = Checks(w)
        events = w.engine.system.events(since="1h", until="", filters={"event": ["health_status"]})
        await w.engine.containers.create(spec(w, "a"))
        await w.engine.containers.start("a")
        checks.statuses.put_nowait(0)
        assert await next_status(events) == "health_status: healthy"
        await w.engine.containers.stop("a")
        ended = await health_of(w)
        assert ended is not None and ended.status == "unhealthy"
        await w.engine.containers.start("a")
        anew = await health_of(w)
        assert anew is not None
        assert (anew.status, anew.failing_streak, len(anew.log)) == ("starting", 0, 1)

    tell(story)


def test_the_next_hyperd_knows_it_and_asks_on(tell: Tell) -> None:
    async def story(w: World) -> None:
        checks = Checks(w)
        events = w.engine.system.events(since="1h", until="", filters={"event": ["health_status"]})
        await w.engine.containers.create(spec(w, "a"))
        await w.engine.containers.start("a")
        checks.statuses.put_nowait(0)
        assert await next_status(events) == "health_status: healthy"
        await w.engine.close()
        await w.open()
        await w.engine.containers.held("a")
        known = await health_of(w)
        assert known is not None and known.status == "healthy"
        events = w.engine.system.events(since="1h", until="", filters={"event": ["health_status"]})
        for _ in range(4):
            checks.statuses.put_nowait(1)
        assert await next_status(events) == "health_status: unhealthy"

    tell(story)


def test_whoever_waits_for_its_health(tell: Tell) -> None:
    async def story(w: World) -> None:
        checks, containers = Checks(w), w.engine.containers
        await containers.create(spec(w, "a"))
        await containers.create(spec(w, "b", None))
        await containers.create(spec(w, "c"))
        for name in "abc":
            await containers.start(name)
        with pytest.raises(Conflict, match="container b has no health check"):
            await containers.wait("b", "healthy")
        waiting = asyncio.create_task(containers.wait("c", "healthy"))
        await asyncio.sleep(0)
        await containers.stop("c")
        with pytest.raises(Conflict, match="container c is not running"):
            await waiting
        waiting = asyncio.create_task(containers.wait("a", "healthy"))
        checks.statuses.put_nowait(0)
        assert (await waiting).exit_status == 0

    tell(story)


# ------------------------------------------------------------------------------------- Kubernetes' probes


def test_probes_are_the_health_of_a_container_without_a_check(tell: Tell) -> None:
    async def story(w: World) -> None:
        checks = Checks(w)
        probe = Probe(Exec(("check",)), period_s=1, failure_threshold=1)
        events = w.engine.system.events(since="1h", until="", filters={"event": ["health_status"]})
        await pod(w, member("a", readiness=probe), member("b"))
        await w.engine.pods.start("p")
        assert (await health_of(w), await health_of(w, "b")) == (Health(), None)
        checks.statuses.put_nowait(0)
        assert await next_status(events) == "health_status: healthy"
        checks.statuses.put_nowait(1)
        assert await next_status(events) == "health_status: unhealthy"
        assert await health_of(w) == Health(status="unhealthy")

    tell(story)


def test_a_manifests_containers_are_not_asked_what_their_images_want(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a", healthcheck=CHECK), manifest="{}", name="p")
        found = (await w.engine.containers.inspect("a")).config.healthcheck
        assert found == Healthcheck(("NONE",))

    tell(story)
