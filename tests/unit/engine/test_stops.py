"""Ends that somebody asked for: what they make of restart policies, of exit statuses, of pods; and who learns when."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from fake_process import FakeProcess
from fake_world import World
from hypercontainer.agent.operations import ProcessSignal
from hypercontainer.contract.answers import Exit
from hypercontainer.contract.spec import ContainerSpec, ExecSpec, RestartPolicy
from hypercontainer.engine.container.restart import Backoff
from hypercontainer.engine.health.order import PodRun
from hypercontainer.engine.sandbox.live import Live
from hypercontainer.errors import Conflict, HyperError
from stories import Tell, member, pod, states
from virtual_clock import settle

ALWAYS = RestartPolicy("always")
HUP, INT, QUIT, TERM = 1, 2, 3, 15


def alone(w: World, name: str, *command: str, **more: Any) -> ContainerSpec:
    return member(name, *command, **{**w.spec_defaults, **more})


async def _end_at_any(process: FakeProcess) -> int:
    process.catches = frozenset({HUP, INT, QUIT, TERM})
    await process.write(b"ready\n")
    await process.signals.get()
    return 0


def _signals(w: World) -> list[tuple[int, bool]]:
    guests = w.driver.guests.values()
    return [
        (r.signal, r.patient) for guest in guests for _, r in guest.requests if isinstance(r, ProcessSignal)
    ]


async def _died(w: World) -> None:
    events = w.engine.system.events(since="1h", until="", filters={"event": ["die"]})
    await anext(events)


@pytest.fixture
def never_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restarts are waited for without end."""
    monkeypatch.setattr(Backoff, "next_delay_s", lambda self, record: 10.0**6)


@pytest.mark.parametrize(
    ("signal", "stop_signal", "state"),
    [
        ("TERM", None, "exited"),
        ("HUP", None, "exited"),  # nobody has said which signal is for that, so it is any
        ("INT", "INT", "exited"),
        ("TERM", "INT", "restarting"),
        ("HUP", "TERM", "restarting"),
        ("KILL", "INT", "exited"),
    ],
)
@pytest.mark.parametrize("how", ["kill", "forwarded"])
def test_a_signal_that_is_to_end_it_ends_its_restart_policy(
    tell: Tell, never_again: None, signal: str, stop_signal: str | None, state: str, how: str
) -> None:
    async def story(w: World) -> None:
        w.driver.programs = {"any": _end_at_any}
        await w.engine.containers.create(alone(w, "a", "any", restart=ALWAYS, stop_signal=stop_signal))
        attachment = await w.engine.containers.attach("a")
        await w.engine.containers.start("a")
        assert await attachment.read(1) == b"ready\n"
        if how == "kill":
            await w.engine.containers.kill("a", signal)
        else:
            await attachment.signal(signal)
        await _died(w)
        assert await states(w) == {"a": state}

    tell(story)


def test_a_stop_is_patient_with_a_program_that_has_just_begun_and_a_kill_is_not(tell: Tell) -> None:
    async def story(w: World) -> None:
        w.driver.programs = {"any": _end_at_any}
        for name in ("a", "b"):
            await w.engine.containers.create(alone(w, name, "any"))
            await w.engine.containers.start(name)
        await w.engine.containers.kill("a", "TERM")
        await w.engine.containers.stop("b", signal="INT")
        assert sorted(_signals(w)) == [(INT, True), (TERM, False)]

    tell(story)


@pytest.mark.parametrize("verb", ["kill", "stop", "remove"])
@pytest.mark.parametrize("in_pod", [False, True])
def test_one_that_waits_for_its_restart_is_ended(
    tell: Tell, never_again: None, verb: str, in_pod: bool
) -> None:
    async def story(w: World) -> None:
        policy = RestartPolicy("unless-stopped")
        if in_pod:
            await pod(w, member("a", "exit", "4", restart=policy))
            await w.engine.pods.start("p")
        else:
            await w.engine.containers.create(alone(w, "a", "exit", "4", restart=policy))
            await w.engine.containers.start("a")
        await _died(w)
        assert [shown.state for shown in await w.engine.containers.find()] == ["restarting"]
        if in_pod:
            assert (await w.engine.pods.inspect("p")).status.endswith("(restarting: a)")
        service, name = (w.engine.pods, "p") if in_pod else (w.engine.containers, "a")
        if verb == "remove":
            await service.remove(name, force=True)
            assert await states(w) == {}
            return
        await getattr(service, verb)(name)
        shown = await w.engine.containers.inspect("a")
        assert (shown.state, shown.exit_status, shown.error) == ("exited", 4, "")
        assert list((w.config.run / "pods").iterdir()) == []
        await w.engine.close()
        await w.open()
        await w.engine.containers.held("a")
        assert await states(w) == {"a": "exited"}  # nor does the next hyperd start it

    tell(story)


def test_another_signal_is_no_end_of_one_that_waits(tell: Tell, never_again: None) -> None:
    async def story(w: World) -> None:
        spec = alone(w, "a", "exit", "4", restart=ALWAYS, stop_signal="INT")
        await w.engine.containers.create(spec)
        await w.engine.containers.start("a")
        await _died(w)
        with pytest.raises(Conflict, match="a is not running"):
            await w.engine.containers.kill("a", "HUP")
        assert await states(w) == {"a": "restarting"}

    tell(story)


def test_a_restart_that_is_given_up_leaves_the_end_before_it(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backoff, "next_delay_s", lambda self, record: 0.0)

    async def story(w: World) -> None:
        launch, launching = w.driver.launch, asyncio.Event()

        async def second(spec: Any) -> Any:
            launching.set()
            await asyncio.Event().wait()

        async def first(spec: Any) -> Any:
            w.driver.launch = second  # type: ignore[method-assign]
            return await launch(spec)

        w.driver.launch = first  # type: ignore[method-assign]
        await w.engine.containers.create(alone(w, "a", "exit", "4", restart=ALWAYS, template=False))
        await w.engine.containers.start("a")
        await launching.wait()
        await w.engine.containers.stop("a")
        shown = await w.engine.containers.inspect("a")
        assert (shown.state, shown.exit_status, shown.error) == ("exited", 4, "")

    tell(story)


def test_one_that_is_removed_under_its_clients_was_killed(tell: Tell) -> None:
    async def story(w: World) -> None:
        spec = alone(w, "a", "sleep")
        attachment = await w.engine.containers.run(spec, created=lambda _: None)
        exec_id = await w.engine.containers.exec_create("a", ExecSpec(("sleep",)))
        within = await w.engine.execs.start(exec_id)
        await w.engine.containers.remove("a", force=True)
        for client in (attachment, within):
            ended = await client.exit()
            assert (ended.exit_status, ended.error) == (137, "")

    tell(story)


def test_an_exec_in_one_that_is_stopped_was_killed(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.containers.create(alone(w, "a", "trap"))
        await w.engine.containers.start("a")
        within = await w.engine.execs.start(await w.engine.containers.exec_create("a", ExecSpec(("sleep",))))
        await w.engine.containers.stop("a")
        assert await within.exit() == Exit(137)

    tell(story)


@pytest.mark.parametrize("auto_remove", [False, True])
def test_whoever_follows_its_log_learns_of_the_end_when_it_has_ended(
    tell: Tell, monkeypatch: pytest.MonkeyPatch, auto_remove: bool
) -> None:
    ending, go, end = asyncio.Event(), asyncio.Event(), Live.end

    async def slow(self: Live, *, orderly: bool) -> Any:
        ending.set()
        await go.wait()
        return await end(self, orderly=orderly)

    async def story(w: World) -> None:
        async def follow() -> dict[str, str]:
            assert [data async for _, data in w.engine.containers.logs("a", follow=True)] == [b"hello\n"]
            return await states(w)

        async def heard() -> dict[str, str]:
            await _died(w)
            return await states(w)

        monkeypatch.setattr(Live, "end", slow)
        await w.engine.containers.create(alone(w, "a", "echo", "hello", auto_remove=auto_remove))
        await w.engine.containers.start("a")
        followed = asyncio.create_task(follow())
        told = asyncio.create_task(heard())
        await ending.wait()
        await settle()
        go.set()
        assert await followed == ({} if auto_remove else {"a": "exited"})
        assert (await told).get("a") != "running"
        if not auto_remove:
            await w.engine.containers.remove("a")

    tell(story)


@pytest.mark.parametrize("how", ["logs", "wait"])
def test_whoever_follows_a_pod_learns_of_its_end_when_it_has_ended(
    tell: Tell, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    let_go = PodRun._let_go

    async def slow(self: PodRun) -> None:
        await settle()
        await let_go(self)

    monkeypatch.setattr(PodRun, "_let_go", slow)

    async def story(w: World) -> None:
        await pod(w, member("a", "echo", "hello"))
        await w.engine.pods.start("p")
        if how == "logs":
            assert [line.data async for line in w.engine.pods.logs("p", follow=True)] == [b"hello\n"]
        else:
            assert (await w.engine.pods.wait("p")).exit_status == 0
        assert (await w.engine.pods.inspect("p")).state == "succeeded"

    tell(story)


def test_whoever_follows_a_pod_that_begins_sees_what_comes_later(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("first", "trap", role="init"), member("a", "echo", "hello"))
        start = asyncio.create_task(w.engine.pods.start("p"))
        seen = []
        async for line in w.engine.pods.logs("p", follow=True):
            seen.append((line.container, line.data))
            if line.data == b"ready\n":
                first = await w.engine.containers.held("first")
                await first._run.signal(TERM)  # as if it ended by itself
        await start
        assert ("a", b"hello\n") in seen
        assert (await w.engine.pods.inspect("p")).state == "succeeded"

    tell(story)


@pytest.mark.parametrize(
    ("of_pod", "of_members", "patience_s"), [(None, [None, None], 10), (None, [3, 40], 40), (30, [50], 30)]
)
def test_a_pod_has_the_patience_of_its_containers_unless_it_says_so(
    tell: Tell, of_pod: int | None, of_members: list[int | None], patience_s: int
) -> None:
    async def story(w: World) -> None:
        members = [member(f"c{i}", stop_timeout_s=own) for i, own in enumerate(of_members)]
        await pod(w, *members, stop_timeout_s=of_pod)
        assert (await w.engine.real.pods.held("p")).runs.grace_s == patience_s

    tell(story)


@pytest.mark.parametrize(
    ("others", "state"), [((), "stopped"), (("true",), "stopped"), (("false",), "failed")]
)
def test_a_pod_that_a_user_stops_has_not_failed(tell: Tell, others: tuple[str, ...], state: str) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a", "sleep"), *(member(name, name) for name in others))
        await w.engine.pods.start("p")
        for name in others:
            await w.engine.containers.wait(name)
        await w.engine.pods.stop("p")
        shown = await w.engine.pods.inspect("p")
        assert [c.exit_status for c in shown.containers if c.name == "a"] == [143]
        assert (shown.state, bool(shown.reason)) == (state, state == "failed")
        assert not (await w.engine.real.pods.held("p")).succeeded()

    tell(story)


def test_a_pod_that_a_user_stops_in_its_prelude_has_not_failed(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("first", "sleep", role="init"), member("a"))
        start = asyncio.create_task(w.engine.pods.start("p"))
        events = w.engine.system.events(
            since="1h", until="", filters={"event": ["start"], "type": ["container"]}
        )
        await anext(events)
        await w.engine.pods.stop("p")
        with pytest.raises(Conflict, match="it was stopped"):
            await start
        shown = await w.engine.pods.inspect("p")
        assert (shown.state, shown.reason) == ("stopped", "")

    tell(story)


def test_a_signal_that_comes_too_late_stops_no_later_run(tell: Tell, never_again: None) -> None:
    async def story(w: World) -> None:
        await w.engine.containers.create(alone(w, "a", "exit", "4", restart=ALWAYS))
        attachment = await w.engine.containers.attach("a")
        await w.engine.containers.start("a")
        await attachment.exit()
        with contextlib.suppress(HyperError):
            await attachment.signal("TERM")
        container = await w.engine.containers.held("a")
        assert not container.record.stopped_by_user

    tell(story)
