"""Events have Docker's words, in Docker's order."""

from __future__ import annotations

import io
from typing import Any

from fake_world import World
from hypercontainer.contract.answers import Event
from hypercontainer.contract.spec import ExecSpec
from hypercontainer.engine import times
from layer_tar import directory, tar
from stories import Tell, member


async def told(w: World, **filters: str) -> list[Event]:
    wanted = {name: [value] for name, value in filters.items()}
    return [event async for event in w.engine.system.events(since="1h", until="0s", filters=wanted)]


def words(events: list[Event], *names: str) -> list[Any]:
    return [(event.action, *(event.attributes.get(name, "") for name in names)) for event in events]


def test_of_a_container(tell: Tell) -> None:
    async def story(w: World) -> None:
        containers = w.engine.containers
        await containers.create(member("old", "trap", **w.spec_defaults))
        await containers.start("old")
        await containers.rename("old", "web")
        exec_id = await containers.exec_create("web", ExecSpec(("exit", "3")))
        attachment = await w.engine.execs.start(exec_id)
        assert attachment is not None
        await attachment.exit()
        await containers.stop("web")
        await containers.remove("web")
        events = await told(w, type="container")
        assert words(events, "name", "signal", "exitCode", "oldName") == [
            ("create", "old", "", "", ""),
            ("start", "old", "", "", ""),
            ("rename", "web", "", "", "/old"),
            ("exec_create: exit 3", "web", "", "", ""),
            ("exec_start: exit 3", "web", "", "", ""),
            ("exec_die", "web", "", "3", ""),
            ("kill", "web", "15", "", ""),
            ("die", "web", "", "0", ""),
            ("timings", "web", "", "", ""),  # not Docker's
            ("stop", "web", "", "", ""),
            ("destroy", "web", "", "", ""),
        ]
        assert {event.attributes["execID"] for event in events if "exec" in event.action} == {exec_id}
        assert words(await told(w, event="exec_start")) == [("exec_start: exit 3",)]

    tell(story)


def test_of_a_volume(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.volumes.create("data", labels={"a": "b"})
        await w.engine.volumes.remove("data")
        events = await told(w, type="volume")
        assert words(events, "driver", "a") == [("create", "local", "b"), ("destroy", "local", "")]

    tell(story)


def test_of_an_image(tell: Tell) -> None:
    async def story(w: World) -> None:
        images = w.engine.images
        made = await images.import_(io.BytesIO(tar(directory(b"etc"))), reference="localhost/made:1")
        await images.tag("localhost/made:1", "localhost/made:2")
        await images.remove("localhost/made:2")
        await images.remove("localhost/made:1")
        events = [event for event in await told(w, type="image") if event.id == made.id]
        assert words(events, "name") == [
            ("import", "localhost/made:1"),
            ("tag", "localhost/made:2"),
            ("untag", "localhost/made:2"),
            ("untag", "localhost/made:1"),
            ("delete", made.id),
        ]

    tell(story)


def test_what_came_after_the_end_that_was_asked_for_is_not_told(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.volumes.create("before")
        between = times.now()
        await w.engine.volumes.create("after")
        events = w.engine.system.events(since="1h", until=between, filters={"type": ["volume"]})
        assert [event.id async for event in events] == ["before"]

    tell(story)
