"""Containers whose end or start is under way when more is asked of them; pods that are not taken back yet."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fake_driver import FakeDriver
from fake_world import IMAGE, World
from free_port import free_port
from hypercontainer.contract.networks import Join
from hypercontainer.contract.spec import ContainerSpec, ExecSpec, PortMapping, RestartPolicy
from hypercontainer.contract.states import State
from hypercontainer.contract.volumes import HostPath, Volume
from hypercontainer.engine import directory
from hypercontainer.engine.container.run import Run
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox.live import Live
from hypercontainer.engine.sandbox.machine import plan_hardware
from hypercontainer.engine.sandbox.sandbox import Sandbox
from hypercontainer.errors import AgentError, Conflict, HypervisorError
from hypercontainer.hypervisor.driver import Capabilities
from stories import Tell, member, pod, states

MANIFEST = f"""
apiVersion: v1
kind: Pod
metadata: {{name: p}}
spec:
  initContainers:
  - {{name: first, image: "{IMAGE}", command: [exit, "0"]}}
  containers:
  - {{name: main, image: "{IMAGE}", command: [cat], stdin: true}}
"""


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """A VM is ending in good order; it may come to its end."""
    begun, go, end = asyncio.Event(), asyncio.Event(), Live.end

    async def slow(self: Live, *, orderly: bool) -> Any:
        if orderly:
            begun.set()
            killed = asyncio.ensure_future(self.ended())
            await asyncio.wait(
                [killed, asyncio.ensure_future(go.wait())], return_when=asyncio.FIRST_COMPLETED
            )
        return await end(self, orderly=orderly)

    monkeypatch.setattr(Live, "end", slow)
    return begun, go


def alone(w: World, name: str, **more: Any) -> ContainerSpec:
    return member(name, **{**w.spec_defaults, **more})


def test_one_that_is_ending_is_removed_by_force(
    tell: Tell, ending: tuple[asyncio.Event, asyncio.Event]
) -> None:
    begun, _ = ending

    async def story(w: World) -> None:
        await w.engine.containers.create(alone(w, "a"))
        await w.engine.containers.start("a")
        await w.engine.containers.kill("a", "TERM")
        await begun.wait()
        assert await states(w) == {"a": "running"}
        await w.engine.containers.remove("a", force=True)
        assert await states(w) == {}

    tell(story)


def test_one_that_is_ending_is_stopped_and_does_not_come_back(
    tell: Tell, ending: tuple[asyncio.Event, asyncio.Event]
) -> None:
    begun, go = ending

    async def story(w: World) -> None:
        await w.engine.containers.create(alone(w, "a", restart=RestartPolicy("always")))
        await w.engine.containers.start("a")
        container = await w.engine.containers.held("a")
        await container._run.signal(15)  # its program ends by itself, as far as hyperd knows
        await begun.wait()
        stop = asyncio.create_task(w.engine.containers.stop("a"))
        await asyncio.sleep(0)
        go.set()
        await stop
        assert await states(w) == {"a": "exited"}
        assert container.record.stopped_by_user

    tell(story)


def test_one_that_is_ending_is_started_again(tell: Tell, ending: tuple[asyncio.Event, asyncio.Event]) -> None:
    begun, go = ending

    async def story(w: World) -> None:
        await w.engine.containers.create(alone(w, "a"))
        await w.engine.containers.start("a")
        await w.engine.containers.kill("a", "TERM")
        await begun.wait()
        start = asyncio.create_task(w.engine.containers.start("a"))
        await asyncio.sleep(0)
        go.set()
        await start
        assert await states(w) == {"a": "running"}
        assert (await w.engine.containers.held("a")).record.run == 2

    tell(story)


def test_a_start_that_is_being_given_up_is_no_running_container(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.containers.create(alone(w, "a"))
        launching, go = asyncio.Event(), asyncio.Event()

        async def slow(spec: Any) -> Any:
            launching.set()
            try:
                await asyncio.sleep(30)
            finally:
                await go.wait()

        w.driver.launch = slow  # type: ignore[method-assign]
        start = asyncio.create_task(w.engine.containers.start("a"))
        await launching.wait()
        start.cancel()
        await asyncio.sleep(0.01)
        with pytest.raises(Conflict, match="container a is not running"):
            await w.engine.containers.kill("a")
        container = await w.engine.containers.held("a")
        assert not container.ready
        await container.close()
        go.set()
        await asyncio.gather(start, return_exceptions=True)
        assert await states(w) == {"a": "created"}

    tell(story)


def test_a_start_whose_record_cannot_be_written_is_none(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(w: World) -> None:
        await w.engine.containers.create(alone(w, "a"))
        change = Kept.change

        def full(self: Kept[Any], **changes: Any) -> None:
            if changes.get("state") is State.RUNNING:
                raise HypervisorError("no space left")
            change(self, **changes)

        monkeypatch.setattr(Kept, "change", full)
        with pytest.raises(HypervisorError, match="no space"):
            await w.engine.containers.start("a")
        assert await states(w) == {"a": "created"}
        assert list((w.config.run / "pods").iterdir()) == []
        monkeypatch.undo()

    tell(story)


def test_an_exec_that_comes_too_late_is_a_conflict(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"))
        await w.engine.pods.start("p")
        within = await w.engine.containers.exec_create("a", ExecSpec(("true",)))
        beside = await w.engine.any_pods.exec_create("p", ExecSpec(("true",)))
        await w.engine.pods.stop("p")
        for prepared, refusal in (
            (within, "container a is not running"),
            (beside, "VM of pod p does not run"),
        ):
            with pytest.raises(Conflict, match=refusal):
                await w.engine.execs.start(prepared)

    tell(story)


def test_who_adds_a_container_needs_rights_for_what_it_brings_only(tell: Tell) -> None:
    async def story(w: World) -> None:
        secret = w.tmp / "secret"
        secret.mkdir(mode=0o700)
        volume = Volume("v", HostPath(str(secret)))
        await pod(w, member("a"), volumes=(volume,))
        secret.rmdir()  # by now it is not even there
        await w.engine.containers.create(member("b", pod="p"))
        assert set(await states(w)) == {"a", "b"}

    tell(story)


def test_a_container_whose_vm_dies_while_it_is_taken_back_is_written_off(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: World) -> None:
        await w.engine.containers.create(alone(w, "a"))
        await w.engine.containers.start("a")
        await w.engine.close()

        def lost(self: Run, *words: Any) -> None:
            raise AgentError("the guest's channel has closed")

        with monkeypatch.context() as patch:
            patch.setattr(Run, "take_back", lost)
            await w.open()
            await w.engine.containers.held("a")
        assert await states(w) == {"a": "exited"}
        await w.engine.containers.remove("a")

    tell(story)


def test_a_pod_that_cannot_be_taken_back_holds_up_nobody(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"))
        await w.engine.pods.start("p")
        await w.engine.pods.pause("p")
        await w.engine.close()

        async def failing(self: Live) -> None:
            raise HypervisorError("QEMU has gone just now")

        with monkeypatch.context() as patch:
            patch.setattr(Live, "pause", failing)
            await w.open()
        async with asyncio.timeout(5):
            await w.engine.pods.held("p")
        await w.engine.pods.remove("p", force=True)

    tell(story)


def test_a_manifest_waits_for_pods_that_are_not_taken_back_yet(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def runs(w: World) -> dict[str, int]:
        containers = w.engine.real.directory.containers.values()
        return {container.record.name: container.record.run for container in containers}

    async def story(w: World) -> None:
        await w.engine.manifests.play(MANIFEST)
        before, launched = runs(w), len(w.driver.launched)
        await w.engine.close()
        go, adopted = asyncio.Event(), Sandbox.adopted

        async def slow(self: Sandbox) -> Any:
            await go.wait()
            return await adopted(self)

        monkeypatch.setattr(Sandbox, "adopted", slow)
        monkeypatch.setattr(directory, "RECOVERY_PATIENCE_S", 0.01)
        await w.open()
        play = asyncio.create_task(w.engine.manifests.play(MANIFEST))
        await asyncio.wait([play], timeout=0.2)
        assert not play.done()
        go.set()
        await play
        assert runs(w) == before
        assert len(w.driver.launched) == launched

    tell(story)


def test_a_vm_has_the_memory_that_its_machine_can_have(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked for, or the next that there is; and that is what is told of it."""
    before = FakeDriver.capabilities

    async def in_steps(driver: FakeDriver) -> Capabilities:
        return replace(await before(driver), memory_step_mib=256)

    monkeypatch.setattr(FakeDriver, "capabilities", in_steps)

    async def story(w: World) -> None:
        await w.engine.containers.create(alone(w, "a", memory_bytes=300 << 20))
        container = await w.engine.containers.held("a")
        sandbox = container.sandbox
        hardware, facts = await plan_hardware(
            sandbox.record.value, container._ties.contents(), sandbox._supplies
        )
        assert (hardware.spec.memory_mib, facts["memory_mib"]) == (512, 512)

    tell(story)


def test_ports_of_a_vm_without_network_do_not_cost_its_clones(tell: Tell, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        wish = alone(w, "a", networks=(Join("none"),), ports=(PortMapping(80, host_port=free_port()),))
        await w.engine.containers.create(wish)
        container = await w.engine.containers.held("a")
        sandbox = container.sandbox
        hardware, _ = await plan_hardware(sandbox.record.value, container._ties.contents(), sandbox._supplies)
        assert hardware.published == ()

    tell(story)
