"""Pods that are paused, on fake VMs: who is ended, starts, comes back or asks meanwhile; pauses that fail."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from typing import Any

import pytest

import fake_agent
from fake_world import World
from hypercontainer.agent.frames import FrameReader
from hypercontainer.agent.session import Agent
from hypercontainer.contract.answers import Exit
from hypercontainer.contract.spec import ContainerSpec, ExecSpec, RestartPolicy
from hypercontainer.contract.volumes import NamedVolume, Volume, VolumeMount
from hypercontainer.engine.container import run
from hypercontainer.engine.sandbox.live import Live
from hypercontainer.errors import AgentTimeout, Conflict, HypervisorError, NotFound
from stories import Tell, member, pod, states


def stands_still(w: World) -> bool:
    (spec,) = w.driver.launched
    return w.driver.machine(spec.id).paused


def test_a_paused_pod_costs_no_cpu_and_goes_on(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"), member("b"))
        await w.engine.pods.start("p")
        await w.engine.pods.pause("p")
        assert stands_still(w)
        assert (await w.engine.pods.inspect("p")).state == "paused"
        assert await states(w) == {"a": "paused", "b": "paused"}
        for refused in (
            w.engine.pods.pause("p"),
            w.engine.any_pods.exec_create("p", ExecSpec(("true",))),
            w.engine.containers.exec_create("a", ExecSpec(("true",))),
            w.engine.containers.start("a"),
            w.engine.containers.unpause("a"),
        ):
            with pytest.raises(Conflict) as caught:
                await refused
            assert not caught.value.remedies or caught.value.remedies[0].call == "pods.unpause"
        await w.engine.pods.unpause("p")
        assert not stands_still(w)
        assert await states(w) == {"a": "running", "b": "running"}
        (guest,) = w.driver.guests.values()
        assert guest.frozen == set()
        assert guest.time_ns is not None
        assert abs(time.time_ns() - guest.time_ns) < 10**10  # its clock stood still meanwhile
        with pytest.raises(Conflict, match="pod p is not paused"):
            await w.engine.pods.unpause("p")

    tell(story)


def test_one_of_a_paused_pod_is_ended_and_the_others_stay_paused(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"), member("b"), member("c"), member("d"))
        await w.engine.pods.start("p")
        await w.engine.pods.pause("p")
        await w.engine.containers.stop("a")
        await w.engine.containers.kill("b")
        await w.engine.containers.remove("c", force=True)
        assert (await w.engine.containers.stats("d")).name == "d"
        assert await states(w) == {"a": "exited", "b": "exited", "d": "paused"}
        assert stands_still(w)
        (guest,) = w.driver.guests.values()
        assert len(guest.frozen) == 1
        await w.engine.pods.unpause("p")
        assert (await states(w))["d"] == "running"

    tell(story)


def test_a_paused_pod_is_stopped_and_removed_as_any_other(tell: Tell) -> None:
    async def story(w: World) -> None:
        for end in (w.engine.pods.stop, functools.partial(w.engine.pods.remove, force=True)):
            await pod(w, member("a"), member("b"))
            await w.engine.pods.start("p")
            await w.engine.pods.pause("p")
            await end("p")
            assert list((w.config.run / "pods").iterdir()) == []
            with contextlib.suppress(NotFound):
                await w.engine.pods.start("p")
                assert (await w.engine.pods.inspect("p")).state == "running"
                await w.engine.pods.remove("p", force=True)

    tell(story)


def test_a_paused_pod_outlives_hyperd(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"), member("b"))
        await w.engine.pods.start("p")
        await w.engine.pods.pause("p")
        await w.engine.close()
        await w.open()
        assert (await w.engine.pods.inspect("p")).state == "paused"
        assert stands_still(w)
        await w.engine.pods.unpause("p")
        assert await states(w) == {"a": "running", "b": "running"}

    tell(story)


async def live(w: World) -> Live:
    found: Live | None = (await w.engine.pods.held("p")).sandbox.live
    assert found is not None
    return found


async def started(w: World, *members: ContainerSpec) -> None:
    await pod(w, *members)
    await w.engine.pods.start("p")


async def until(w: World, name: str, state: str) -> None:
    container = await w.engine.containers.held(name)
    while container.record.state.value != state:
        await container._change()


@pytest.mark.parametrize("role", ["main", "init"])
def test_who_comes_back_waits_until_the_pod_goes_on(tell: Tell, role: str) -> None:
    async def story(w: World) -> None:
        side = member("side", role="sidecar")
        crashing = member("one", "exit", "3", role=role, restart=RestartPolicy("always"))
        await pod(w, side, crashing, member("main"))
        start = asyncio.create_task(w.engine.pods.start("p"))
        await until(w, "one", "restarting")
        await w.engine.pods.pause("p")
        count = (await w.engine.containers.inspect("one")).restart_count
        await asyncio.sleep(0.5)  # the policy's delay has passed
        assert (await states(w))["side"] == "paused"
        assert (await states(w))["one"] == "restarting"
        assert (await w.engine.containers.inspect("one")).restart_count == count
        assert (await w.engine.pods.inspect("p")).state == "paused"
        assert stands_still(w)
        await w.engine.pods.unpause("p")
        await until(w, "one", "starting")
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)

    tell(story)


def test_a_pause_waits_for_a_start_that_is_under_way(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(w: World) -> None:
        await started(w, member("a"))
        await w.engine.containers.create(member("b", pod="p"))
        go, real = asyncio.Event(), Agent.start_process

        def late(self: Agent, *words: Any, **more: Any) -> asyncio.Future[int]:
            answered = real(self, *words, **more)

            async def answer() -> int:
                await go.wait()
                return await answered

            return asyncio.ensure_future(answer())

        monkeypatch.setattr(Agent, "start_process", late)
        start = asyncio.create_task(w.engine.containers.start("b"))
        await until(w, "b", "starting")
        pause = asyncio.create_task(w.engine.pods.pause("p"))
        await asyncio.sleep(0.05)
        assert not pause.done()
        with pytest.raises(Conflict, match="pod p is paused"):
            await w.engine.containers.restart("a")
        go.set()
        await asyncio.gather(start, pause)
        assert await states(w) == {"a": "paused", "b": "paused"}

    tell(story)


def test_a_paused_pod_starts_nothing_and_loses_nothing(tell: Tell) -> None:
    async def story(w: World) -> None:
        await started(w, member("a"), member("b"))
        await w.engine.pods.pause("p")
        for refused in (w.engine.containers.restart("a"), w.engine.pods.start("p")):
            with pytest.raises(Conflict, match="pod p is paused"):
                await refused
        assert await states(w) == {"a": "paused", "b": "paused"}

    tell(story)


def test_one_whose_containers_have_all_ended_is_unpaused(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"), member("b", "exit", "3", restart=RestartPolicy("always", 0, "kubernetes")))
        start = asyncio.create_task(w.engine.pods.start("p"))
        await until(w, "b", "restarting")
        await w.engine.pods.pause("p")
        await w.engine.containers.stop("a")
        assert (await w.engine.pods.inspect("p")).state == "paused"
        await w.engine.pods.unpause("p")
        await w.engine.containers.start("a")
        assert (await states(w))["a"] == "running"
        await asyncio.gather(start, return_exceptions=True)

    tell(story)


def test_what_a_removed_one_had_is_not_there_for_the_next(tell: Tell) -> None:
    def with_data(name: str, volume: str) -> ContainerSpec:
        data = Volume("data", NamedVolume(volume))
        return member(name, pod="p", volumes=(data,), mounts=(VolumeMount("data", "/data"),))

    async def story(w: World) -> None:
        for name in ("one", "two"):
            await w.engine.volumes.create(name, size_bytes=1 << 26)
        await pod(w, member("x"))
        await w.engine.containers.create(with_data("c1", "one"))
        await w.engine.pods.start("p")
        await w.engine.containers.start("c1")
        await w.engine.pods.pause("p")
        await w.engine.containers.remove("c1", force=True)
        assert stands_still(w)
        await w.engine.pods.unpause("p")
        await w.engine.containers.create(with_data("c2", "two"))
        await w.engine.containers.start("c2")
        (spec,) = w.driver.launched
        disks = w.driver.machine(spec.id).disks.values()
        assert [disk.extents[0][0].parent.name for disk in disks if disk.serial.startswith("v-")] == ["two"]

    tell(story)


def test_who_is_ended_may_still_say_its_last(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guest tells of the end some time after it has answered, and nothing while it stands still."""

    async def story(w: World) -> None:
        await started(w, member("a"), member("b"))
        await w.engine.pods.pause("p")
        tell_end, tasks = fake_agent.FakeGuest.process_exited, []

        def later(self: Any, process: Any) -> None:
            async def soon() -> None:
                await asyncio.sleep(0.02)
                await w.driver.machine(w.driver.launched[0].id).going.wait()
                tell_end(self, process)

            tasks.append(asyncio.create_task(soon()))

        monkeypatch.setattr(fake_agent.FakeGuest, "process_exited", later)
        await w.engine.containers.remove("a", force=True)
        assert await states(w) == {"b": "paused"}
        assert stands_still(w)
        monkeypatch.undo()
        await asyncio.gather(*tasks)

    tell(story)


def test_whoever_leaves_while_the_vm_wakes_does_not_keep_it_awake(tell: Tell) -> None:
    async def story(w: World) -> None:
        await started(w, member("a"), member("b"))
        await w.engine.pods.pause("p")
        vm, woken = (await live(w)).vm, asyncio.Event()
        resume = vm.resume

        async def slow() -> None:
            await resume()
            woken.set()
            await asyncio.sleep(30)

        vm.resume = slow  # type: ignore[method-assign]
        stats = asyncio.create_task(w.engine.containers.stats("a"))
        await woken.wait()
        stats.cancel()
        await asyncio.gather(stats, return_exceptions=True)
        vm.resume = resume  # type: ignore[method-assign]
        assert stands_still(w)
        await w.engine.pods.unpause("p")
        assert not stands_still(w)
        await w.engine.pods.pause("p")
        assert stands_still(w)

    tell(story)


@pytest.mark.parametrize("stopped", [True, False])
def test_a_pause_that_fails_is_none(tell: Tell, stopped: bool) -> None:
    async def story(w: World) -> None:
        await started(w, member("a"), member("b"))
        vm = (await live(w)).vm
        pause = vm.pause

        async def failing() -> None:
            if stopped:
                await pause()
            raise HypervisorError("QEMU did not answer stop in time")

        vm.pause = failing  # type: ignore[method-assign]
        with pytest.raises(HypervisorError, match="did not answer"):
            await w.engine.pods.pause("p")
        assert not stands_still(w)
        assert await states(w) == {"a": "running", "b": "running"}
        assert (await w.engine.pods.inspect("p")).state == "running"
        vm.pause = pause  # type: ignore[method-assign]
        await w.engine.containers.restart("a")
        await w.engine.pods.pause("p")
        assert stands_still(w)

    tell(story)


def test_a_vm_that_cannot_be_woken_is_ended_all_the_same(tell: Tell) -> None:
    async def story(w: World) -> None:
        await started(w, member("a"), member("b"))
        await w.engine.pods.pause("p")

        async def failing() -> None:
            raise HypervisorError("QEMU did not answer cont in time")

        (await live(w)).vm.resume = failing  # type: ignore[method-assign]
        pod = await w.engine.pods.held("p")
        await pod.sandbox.end(orderly=True)
        assert pod.sandbox.live is None
        await until(w, "a", "exited")
        await until(w, "b", "exited")
        await w.engine.pods.wait("p")
        assert not pod.record.paused
        await w.engine.pods.start("p")
        assert (await w.engine.pods.inspect("p")).state == "running"

    tell(story)


def test_silence_of_a_guest_that_stands_still_breaks_nothing(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it in the middle of a frame."""

    async def story(w: World) -> None:
        await started(w, member("a"))
        channel = (await live(w)).agent._channel
        monkeypatch.setattr(FrameReader, "in_frame", True)
        assert channel.stuck(0.0)
        await w.engine.pods.pause("p")
        assert not channel.stuck(0.0)
        await w.engine.pods.unpause("p")
        assert channel.stuck(0.0)
        assert not channel.stuck(30.0)  # it is heard anew

    tell(story)


def test_resizes_of_a_paused_terminal_hold_up_nobody(tell: Tell) -> None:
    async def story(w: World) -> None:
        await started(w, member("a", tty=True), member("b"))
        attachment = await w.engine.containers.attach("a")
        await w.engine.pods.pause("p")
        for rows in range(1, 100):
            await attachment.resize(rows, 80)
        await w.engine.pods.unpause("p")
        container = await w.engine.containers.held("a")
        await container.resize(7, 8)
        await attachment.close()

    tell(story)


async def waiting_for_its_turn(w: World, monkeypatch: pytest.MonkeyPatch, **more: Any) -> asyncio.Task[Any]:
    """A pod whose main container is to start while it is paused."""
    await pod(w, member("side", role="sidecar"), member("first", role="init"), member("main"), **more)
    start = asyncio.create_task(w.engine.pods.start("p"))
    await until(w, "first", "running")
    await w.engine.pods.pause("p")
    monkeypatch.setattr(run, "outcome", lambda ended: Exit(0))
    await w.engine.containers.stop("first")
    await asyncio.sleep(0.05)
    assert await states(w) == {"side": "paused", "first": "exited", "main": "created"}
    return start


def test_a_pod_is_removed_whose_container_waits_for_its_turn(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: World) -> None:
        start = await waiting_for_its_turn(w, monkeypatch)
        async with asyncio.timeout(5):
            await w.engine.pods.remove("p", force=True)
        assert await states(w) == {}
        await asyncio.gather(start, return_exceptions=True)

    tell(story)


def test_a_deadline_ends_a_pod_whose_container_waits_for_its_turn(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: World) -> None:
        start = await waiting_for_its_turn(w, monkeypatch, deadline_s=1)
        async with asyncio.timeout(5):
            await w.engine.pods.wait("p")
        assert (await states(w))["main"] == "created"
        await asyncio.gather(start, return_exceptions=True)

    tell(story)


def test_a_vm_that_is_begun_anew_while_a_pause_waits_is_paused_all_the_same(tell: Tell) -> None:
    async def story(w: World) -> None:
        await started(w, member("a"), member("b"))
        await w.engine.containers.stop("b")
        restart = asyncio.create_task(w.engine.containers.restart("a"))
        while (await live(w)).untouched or not (await w.engine.pods.held("p")).sandbox._gate._inside:
            await asyncio.sleep(0)
        pause = asyncio.create_task(w.engine.pods.pause("p"))
        await asyncio.gather(restart, pause)
        assert len(w.driver.launched) == 2
        with pytest.raises(Conflict, match="pod p is paused"):
            await w.engine.containers.start("b")
        await w.engine.pods.unpause("p")
        await w.engine.containers.start("b")
        assert await states(w) == {"a": "running", "b": "running"}

    tell(story)


def test_of_two_pauses_the_one_that_is_left_does_not_undo_the_other(tell: Tell) -> None:
    async def story(w: World) -> None:
        await started(w, member("a"), member("b"))
        await w.engine.containers.stop("b")
        async with (await w.engine.pods.held("p")).sandbox.busy:
            first = asyncio.create_task(w.engine.pods.pause("p"))
            await asyncio.sleep(0)
            second = asyncio.create_task(w.engine.pods.pause("p"))
            await asyncio.sleep(0.05)
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)
        await first
        with pytest.raises(Conflict, match="pod p is paused"):
            await w.engine.containers.start("b")

    tell(story)


@pytest.mark.parametrize("how", ["fails", "is left"])
def test_a_pause_that_breaks_off_leaves_nobody_frozen(tell: Tell, how: str) -> None:
    async def story(w: World) -> None:
        await started(w, member("a"), member("b"))
        agent, first = (await live(w)).agent, (await w.engine.containers.held("a")).id
        freeze, asked = agent.freeze, asyncio.Event()

        def slow(container: str, frozen: bool, **more: Any) -> Any:
            answer = freeze(container, frozen, **more)

            async def later() -> None:
                await answer
                asked.set()
                if how == "fails" and container == first:
                    raise AgentTimeout("the guest did not answer")
                await asyncio.sleep(0.05)

            return later() if frozen else answer

        agent.freeze = slow  # type: ignore[method-assign]
        pause = asyncio.create_task(w.engine.pods.pause("p"))
        await asked.wait()
        if how == "is left":
            pause.cancel()
        assert isinstance((await asyncio.gather(pause, return_exceptions=True))[0], BaseException)
        assert await states(w) == {"a": "running", "b": "running"}
        await agent.stats(first)  # everything before has been done
        (guest,) = w.driver.guests.values()
        assert guest.frozen == set()
        assert not stands_still(w)

    tell(story)
