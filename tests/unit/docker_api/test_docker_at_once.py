"""What clients of Docker's API ask for at the same time, of one and the same thing: one has it, the others are told so
in the statuses that they know."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from docker_stage import Play, Stage, player
from fake_process import FakeProcess
from fake_world import IMAGE
from hypercontainer.engine.container import observe
from hypercontainer.engine.container.looked import FRESH_S
from stories import have_any_kernel

SEVERAL = 4
WAITS_S = 20.0


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    have_any_kernel(monkeypatch)
    return player(tmp_path)


async def at_once(s: Stage, *asked: tuple[Any, ...]) -> list[tuple[int, Any]]:
    return await asyncio.gather(*(s.call(*each) for each in asked))


def bridges(s: Stage) -> int:
    assert s.world.fabric is not None
    return len(s.world.fabric.bridges)


class Held:
    """A call of the fabric's, on its thread, that goes on when it is let; ``begun``: it is there."""

    def __init__(self, call: Callable[[Any], None]) -> None:
        self._call = call
        self._let = threading.Event()
        self._loop = asyncio.get_running_loop()
        self.begun = asyncio.Event()

    def __call__(self, what: Any) -> None:
        self._loop.call_soon_threadsafe(self.begun.set)
        assert self._let.wait(WAITS_S)
        self._call(what)

    def let(self) -> None:
        self._let.set()


def test_networks_of_one_name(play: Play) -> None:
    async def story(s: Stage) -> None:
        wish = ("POST", "/networks/create", {"Name": "back"})
        got = await at_once(s, *[wish] * SEVERAL)
        assert sorted(status for status, _ in got) == [201, *[409] * (SEVERAL - 1)]
        assert {body.get("message") for status, body in got if status == 409} == {
            "network with name back already exists"
        }
        assert bridges(s) == 1

    play(story)


def test_default_network_of_the_first_containers(play: Play) -> None:
    async def story(s: Stage) -> None:
        await asyncio.gather(*(s.container(f"c{number}", start=True) for number in range(SEVERAL)))
        assert bridges(s) == 1

    play(story)


def test_volumes_of_one_name(play: Play) -> None:
    async def story(s: Stage) -> None:
        got = await at_once(s, *[("POST", "/volumes/create", {"Name": "data"})] * SEVERAL)
        assert [status for status, _ in got] == [201] * SEVERAL, got

    play(story)


def test_names_of_containers(play: Play) -> None:
    async def story(s: Stage) -> None:
        await s.container("web")
        other = await s.container("other")
        words = 'Conflict. The container name "/other" is already in use by container'
        for call in ("/containers/create?name=other", "/containers/web/rename?name=other"):
            status, body = await s.call("POST", call, {"Image": IMAGE})
            assert (status, body["message"].startswith(f'{words} "{other}".')) == (409, True), body

    play(story)


@pytest.mark.parametrize("step", ["reach", "plug"])
def test_network_that_is_removed_while_a_container_comes_into_it(play: Play, step: str) -> None:
    """Before it has a place there, it finds none; from then on the network stays."""

    async def story(s: Stage) -> None:
        await s.container("web", start=True)
        assert (await s.call("POST", "/networks/create", {"Name": "back"}))[0] == 201
        held = Held(getattr(s.world.fabric, step))
        setattr(s.world.fabric, step, held)
        connecting = asyncio.create_task(s.call("POST", "/networks/back/connect", {"Container": "web"}))
        await held.begun.wait()
        removing = asyncio.create_task(s.call("DELETE", "/networks/back"))
        if step == "plug":
            assert (await removing)[0] == 403
        else:
            while await s.call("GET", "/networks/back") != (404, {"message": "network back not found"}):
                pass
        held.let()
        assert (await connecting)[0] == (200 if step == "plug" else 404)
        assert (await removing)[0] == (403 if step == "plug" else 204)
        assert (await s.call("GET", "/containers/web/json"))[0] == 200

    play(story)


def test_files_of_a_container_whose_vm_goes(play: Play) -> None:
    async def story(s: Stage) -> None:
        begun = asyncio.Event()

        async def stat(process: FakeProcess) -> int:
            begun.set()
            await asyncio.sleep(WAITS_S)
            return 0

        s.world.driver.programs = {**(s.world.driver.programs or {}), "hyper-stat": stat}
        await s.container("web", start=True)
        asked = asyncio.create_task(s.call("GET", "/containers/web/archive?path=/bin"))
        await begun.wait()
        s.world.driver.machine(s.world.driver.launched[-1].id).crash()
        assert await asked == (409, {"message": "container web: /bin: its VM ended (crash)"})

    play(story)


def test_vm_that_waits_for_room(play: Play) -> None:
    """It would say nothing until there is some."""

    async def story(s: Stage) -> None:
        await s.container("web", start=True)
        s.world.driver.machine(s.world.driver.launched[-1].id).stall(True)
        for method, path, body in (
            ("GET", "archive?path=/bin", b""),
            ("GET", "export", b""),
            ("POST", "exec", {"Cmd": ["true"]}),
        ):
            status, told = await s.call(method, f"/containers/web/{path}", body)
            if status == 201:
                status, told = await s.call("POST", f"/exec/{told['Id']}/start", {"Detach": True})
            assert status == 500
            assert "no space left on device" in told["message"]
            assert "docker system prune" in told["message"]

    play(story)


def test_many_who_look_at_once_cost_the_guest_one_question(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    measured = observe.measured

    async def counted(*given: Any) -> observe.Measured:
        asked.append(given)
        return await measured(*given)

    monkeypatch.setattr(observe, "measured", counted)

    async def story(s: Stage) -> None:
        await s.container("web", start=True)
        look = ("GET", "/containers/web/stats?stream=0&one-shot=1")
        got = await at_once(s, *[look] * SEVERAL)
        assert len({body["read"] for _, body in got}) == len(asked) == 1
        await asyncio.sleep(FRESH_S)  # they are told apart by time
        assert (await s.call(*look))[1]["read"] != got[0][1]["read"]

    play(story)
