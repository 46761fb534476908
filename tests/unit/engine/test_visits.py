"""Files of containers that do not run: reached in a VM in which nothing of their image does."""

from __future__ import annotations

import asyncio
import contextlib
import errno
from typing import Any

import pytest

from fake_process import FakeProcess
from fake_world import World
from free_port import free_port
from hypercontainer.agent.wire import Stream
from hypercontainer.contract.answers import PathFacts
from hypercontainer.contract.spec import PortMapping
from hypercontainer.engine.pipes import pieces_of
from hypercontainer.engine.state import StateStore
from hypercontainer.errors import Conflict, HyperError, InvalidArgument, NotFound
from stories import Tell, member, pod, states
from virtual_clock import settle


class Programs:
    """What hyperstart does with files, made up; ``ran``: all that ran."""

    def __init__(self, w: World) -> None:
        self.ran: list[str] = []
        self.go = asyncio.Event()
        made = {
            "hyper-stat": self._stat,
            "hyper-pack": self._pack,
            "hyper-unpack": self._unpack,
            "hyper-export": self._refuse,
            "hyper-layer": self._refuse,
            "cat": self._cat,
        }
        w.driver.programs = {**(w.driver.programs or {}), **made}

    async def _stat(self, process: FakeProcess) -> int:
        self.ran.append("stat")
        if process.plan.args[1] == "/absent":
            await process.write(b"/absent: no such file\n", Stream.STDERR)
            return errno.ENOENT
        await process.write(b"40755 4096 7\n")
        return 0

    async def _pack(self, process: FakeProcess) -> int:
        self.ran.append("pack")
        await process.write(b"packing\n", Stream.STDERR)
        await process.write(b"first")
        await self.go.wait()
        await process.write(b"last")
        return 0

    async def _refuse(self, process: FakeProcess) -> int:
        self.ran.append(process.plan.args[0])
        await process.write(b"a disk: there is none\n", Stream.STDERR)
        return errno.EBUSY

    async def _unpack(self, process: FakeProcess) -> int:
        self.ran.append(f"unpack {process.plan.args[3]}")
        while data := await process.read():
            if data == b"bad":
                await process.write(b"a: \x1b[0mno archive\n", Stream.STDERR)
                return errno.EBADMSG
        return 0

    async def _cat(self, process: FakeProcess) -> int:
        self.ran.append("cat")
        while await process.read():
            pass
        return 0


async def alone(w: World, **more: Any) -> str:
    created = await w.engine.containers.create(member("c", **more, **w.spec_defaults))
    return str(created.id)


def running(w: World) -> int:
    return len(list((w.config.run / "pods").iterdir())) if (w.config.run / "pods").exists() else 0


def test_nothing_of_the_image_runs_and_nothing_is_left(tell: Tell) -> None:
    async def story(w: World) -> None:
        programs, port = Programs(w), free_port()
        await alone(w, ports=(PortMapping(80, port),))
        other = PortMapping(80, port)
        assert await w.engine.containers.stat_path("c", "/etc") == PathFacts("etc", 0o40755, 4096, 7)
        with pytest.raises(NotFound, match="container c: /absent"):
            await w.engine.containers.stat_path("c", "/absent")
        assert programs.ran == ["stat", "stat"]
        assert [spec.nics for spec in w.driver.launched] == [(), ()]
        assert running(w) == 0 and await states(w) == {"c": "created"}
        inspected = await w.engine.containers.inspect("c")
        assert inspected.restart_count == 0 and not inspected.started
        assert other.host_port == port  # which nobody had meanwhile
        await w.engine.containers.start("c")
        assert w.driver.launched[-1].nics

    tell(story, networks=True)


@pytest.mark.parametrize("what", ["export", "layer"])
def test_an_archive_that_cannot_begin_is_no_visit_any_more(tell: Tell, what: str) -> None:
    async def story(w: World) -> None:
        Programs(w)
        await alone(w)
        held = await w.engine.real.containers.held("c")
        with pytest.raises(Conflict):
            await getattr(held, what)()
        assert running(w) == 0
        async with asyncio.timeout(5):
            await w.engine.containers.start("c")

    tell(story)


def test_a_start_waits_for_a_visit_and_has_a_whole_vm(tell: Tell) -> None:
    async def story(w: World) -> None:
        programs = Programs(w)
        await alone(w)
        _, archive = await w.engine.containers.pack("c", "/etc")
        assert await anext(archive) == b"first"
        starting = asyncio.create_task(w.engine.containers.start("c"))
        await settle()
        assert not starting.done() and len(w.driver.launched) == 1
        programs.go.set()
        assert [data async for data in archive] == [b"last"]
        await starting
        assert await states(w) == {"c": "running"}
        assert [bool(spec.nics) for spec in w.driver.launched] == [False, True]
        assert programs.ran == ["stat", "pack", "cat"]

    tell(story, networks=True)


def test_who_leaves_early_ends_the_visit(tell: Tell) -> None:
    async def story(w: World) -> None:
        Programs(w)
        await alone(w)
        _, archive = await w.engine.containers.pack("c", "/etc")
        await anext(archive)
        await archive.aclose()
        assert running(w) == 0
        await w.engine.containers.start("c")

    tell(story)


def test_who_goes_while_the_visit_ends_leaves_no_vm_to_the_next(tell: Tell) -> None:
    """A client that has read all and hangs up: its container is removed once the VM is gone, not beside it."""

    async def story(w: World) -> None:
        Programs(w)
        await alone(w)
        sandbox = (await w.engine.real.containers.held("c")).sandbox
        _, archive = await w.engine.containers.pack("c", "/etc")
        await anext(archive)
        async with sandbox.busy:
            leaving = asyncio.ensure_future(archive.aclose())
            await settle()
            leaving.cancel()
            removing = asyncio.create_task(w.engine.containers.remove("c"))
            await settle()
            assert not leaving.done() and not removing.done()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await removing
        assert await states(w) == {} and running(w) == 0

    tell(story)


def test_who_is_removed_by_force_cuts_its_visitors_off(tell: Tell) -> None:
    async def story(w: World) -> None:
        Programs(w)
        await alone(w)
        _, archive = await w.engine.containers.pack("c", "/etc")
        await anext(archive)
        removing = asyncio.create_task(w.engine.containers.remove("c", force=True))
        with pytest.raises(HyperError):
            await anext(archive)
        await removing
        assert await states(w) == {} and running(w) == 0

    tell(story)


def test_a_container_that_runs_is_visited_where_it_runs(tell: Tell) -> None:
    async def story(w: World) -> None:
        programs = Programs(w)
        programs.go.set()
        await alone(w)
        await w.engine.containers.start("c")
        _, archive = await w.engine.containers.pack("c", "/etc")
        assert b"".join([data async for data in archive]) == b"firstlast"
        await w.engine.containers.pause("c")
        await w.engine.containers.stat_path("c", "/etc")
        assert len(w.driver.launched) == 1 and await states(w) == {"c": "paused"}

    tell(story)


def test_one_of_a_pod_is_visited_in_the_pods_vm(tell: Tell) -> None:
    async def story(w: World) -> None:
        Programs(w)
        await pod(w, member("a"), member("b"))
        await w.engine.containers.start("a")
        await w.engine.containers.stat_path("b", "/etc")
        assert len(w.driver.launched) == 1
        assert await states(w) == {"a": "running", "b": "created"}
        (guest,) = w.driver.guests.values()
        assert len(guest.containers) == 1, "the visited one is gone from the guest"

    tell(story)


def test_a_pod_that_starts_meanwhile_waits_and_has_its_network(tell: Tell) -> None:
    async def story(w: World) -> None:
        programs = Programs(w)
        await pod(w, member("a"), member("b"))
        _, archive = await w.engine.containers.pack("a", "/etc")
        await anext(archive)
        starting = asyncio.create_task(w.engine.pods.start("p"))
        other = asyncio.create_task(w.engine.containers.stat_path("b", "/etc"))
        await settle()
        assert not starting.done()
        programs.go.set()
        async for _ in archive:
            pass
        await asyncio.gather(starting, other)
        assert await states(w) == {"a": "running", "b": "running"}
        assert w.driver.launched[-1].nics and not w.driver.launched[0].nics

    tell(story, networks=True)


def test_a_visit_that_hyperd_does_not_live_to_end_is_ended_by_the_next(tell: Tell) -> None:
    async def story(w: World) -> None:
        Programs(w)
        await alone(w)
        _, archive = await w.engine.containers.pack("c", "/etc")
        await anext(archive)
        killed = w.engine
        await w.open()
        await asyncio.gather(*(asyncio.to_thread(lambda: None) for _ in range(3)))
        await w.engine.containers.start("c")
        assert await states(w) == {"c": "running"}
        assert [bool(spec.nics) for spec in w.driver.launched] == [False, True]
        with contextlib.suppress(HyperError):
            await archive.aclose()
        await killed.close()

    tell(story, networks=True)


def test_what_is_unpacked_belongs_to_whom(tell: Tell) -> None:
    async def story(w: World) -> None:
        programs = Programs(w)
        await alone(w, user="41:42")
        await w.engine.containers.unpack("c", "/tmp", pieces_of(b"x"))
        await w.engine.containers.unpack("c", "/tmp", pieces_of(b"x"), own=True)
        with pytest.raises(InvalidArgument, match=r"container c: /tmp: a: \?\[0mno archive"):
            await w.engine.containers.unpack("c", "/tmp", pieces_of(b"bad"))
        assert programs.ran == ["unpack -", "unpack 41:42", "unpack -"]

    tell(story)


def test_what_is_being_removed_is_not_visited(tell: Tell) -> None:
    async def story(w: World) -> None:
        Programs(w)
        await alone(w)
        held = await w.engine.containers.held("c")
        await w.engine.containers.remove("c")
        with pytest.raises(Conflict, match="is being removed"):
            await held.stat_path("/etc")
        state = StateStore(w.config.root / "state.db")
        assert state.pods() == []
        state.close()

    tell(story)
