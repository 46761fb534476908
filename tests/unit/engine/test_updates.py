"""A container that is asked for in other words than it was created by, on fake VMs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fake_world import World
from hypercontainer.contract.spec import ContainerSpec, RestartPolicy
from hypercontainer.errors import Conflict, InvalidArgument
from stories import Tell, member

MIB = 1024 * 1024


async def made(w: World, *command: str, **more: Any) -> str:
    created = await w.engine.containers.create(member("web", *command, **{**w.spec_defaults, **more}))
    identifier: str = created.id
    return identifier


async def spec(w: World) -> ContainerSpec:
    found: ContainerSpec = (await w.engine.containers.inspect("web")).spec
    return found


def test_limits_are_those_of_its_next_start(tell: Tell) -> None:
    async def story(w: World) -> None:
        await made(w)
        await w.engine.containers.start("web")
        with pytest.raises(Conflict, match="keeps what it began with: cpus, memory_bytes"):
            await w.engine.containers.update("web", memory_bytes=96 * MIB, cpus=2.0)
        await w.engine.containers.stop("web", timeout_s=0)
        await w.engine.containers.update("web", memory_bytes=96 * MIB, cpus=2.0, cpu_shares=512, pids_limit=9)
        assert (await spec(w)).memory_bytes == 96 * MIB
        await w.engine.containers.start("web")
        launched = w.driver.launched[-1]
        assert launched.memory_mib == 96
        await w.engine.containers.update("web", memory_bytes=96 * MIB)  # as it is

    tell(story)


def test_what_cannot_be_changes_nothing(tell: Tell) -> None:
    async def story(w: World) -> None:
        await made(w, auto_remove=True)
        before = await spec(w)
        for wish in (
            {"memory_bytes": MIB},
            {"cpu_shares": 1},
            {"cpus": 0.0},
            {"restart": RestartPolicy("always")},
        ):
            with pytest.raises(InvalidArgument):
                await w.engine.containers.update("web", **wish)
        assert await spec(w) == before

    tell(story)


def test_a_restart_policy_counts_at_the_next_end(tell: Tell) -> None:
    async def story(w: World) -> None:
        await made(w, stdin_once=True)
        await w.engine.containers.start("web")
        await w.engine.containers.update("web", restart=RestartPolicy("always"))
        starts = w.engine.system.events(since="1h", until="", filters={"event": ["start"]})
        await anext(starts)
        attachment = await w.engine.containers.attach("web")
        await attachment.end_input()
        await anext(starts)
        assert (await w.engine.containers.inspect("web")).restart_count == 1
        told = w.engine.system.events(since="1h", until="0s", filters={"event": ["update"]})
        assert len([event async for event in told]) == 1

    tell(story)


def test_one_that_is_about_to_start_again_does_not_where_its_policy_has_gone(tell: Tell) -> None:
    async def story(w: World) -> None:
        await made(w, "exit", "3", restart=RestartPolicy("always"))
        ends = w.engine.system.events(since="1h", until="", filters={"event": ["die"]})
        await w.engine.containers.start("web")
        await anext(ends)
        await w.engine.containers.update("web", restart=RestartPolicy("no"))
        await asyncio.wait_for(w.engine.containers.wait("web"), 10)
        assert (await w.engine.containers.inspect("web")).state == "exited"

    tell(story)
