"""A VM that stands still, since the host has no room for what it writes: who asks is told so, and nobody is ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fake_world import World
from stories import Tell, member, pod, states


async def told(w: World) -> list[str]:
    found = w.engine.system.events(until="0s", since="1h", filters={"type": ["container"]})
    return [event.action async for event in found if event.action.startswith("disk_")]


async def views(w: World) -> tuple[Any, Any]:
    (summary,) = [c for c in await w.engine.containers.find(all=True) if c.name == "a"]
    return summary, (await w.engine.containers.inspect("a")).vm


def test_a_full_disk_is_told_and_gone_through(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"), member("b"))
        await w.engine.pods.start("p")
        (spec,) = w.driver.launched
        machine = w.driver.machine(spec.id)
        machine.stall(True)
        summary, vm = await views(w)
        assert summary.status.endswith("(Disk full)")
        assert summary.state == "running"
        assert vm.disk_full
        assert (await w.engine.pods.inspect("p")).status.endswith("(Disk full)")
        machine.stall(False)
        summary, vm = await views(w)
        assert "full" not in summary.status
        assert not vm.disk_full
        assert await told(w) == ["disk_full"] * 2 + ["disk_room"] * 2
        assert await states(w) == {"a": "running", "b": "running"}

    tell(story)


def test_room_that_comes_while_no_hyperd_looks_is_seen_by_the_next(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"))
        await w.engine.pods.start("p")
        (spec,) = w.driver.launched
        machine = w.driver.machine(spec.id)
        machine.stall(True)
        await w.engine.close()
        machine.stalled = False
        await w.open()
        summary, vm = await views(w)
        assert "full" not in summary.status
        assert not vm.disk_full
        assert await told(w) == ["disk_room"]

    tell(story)


def test_whether_guests_wait_is_configured(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"))
        for wish in ("pause", "error"):
            await w.engine.close()
            w.config = replace(w.config, machine=replace(w.config.machine, disk_full=wish))
            await w.open()
            await w.engine.pods.start("p")
            await w.engine.pods.stop("p")
        assert [spec.waits_for_room for spec in w.driver.launched] == [True, False]

    tell(story)


def test_what_stands_still_can_be_ended(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"))
        await w.engine.pods.start("p")
        (spec,) = w.driver.launched
        w.driver.machine(spec.id).stall(True)
        await w.engine.pods.remove("p", force=True)
        assert await w.engine.containers.find(all=True) == []

    tell(story)
