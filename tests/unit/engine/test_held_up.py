"""Clients and registries that hold up what they asked for: nobody else waits, and nothing stays once they are gone."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import pytest

import busybox_image
from fake_registry import Fake, Handler
from fake_world import IMAGE, World
from hypercontainer.daemon.service import Collections
from hypercontainer.surfaces.http.connection import Connection, Limits
from hypercontainer.surfaces.http.server import Server
from hypercontainer.surfaces.hyper.native import NativeApi
from stories import Tell

STRANGER, OTHER = os.geteuid() + 1000, os.geteuid() + 2000
CROWD = (os.cpu_count() or 1) + 8  # more than the loop's own executor has threads
ARCHIVE = busybox_image.archive([busybox_image.layer()], IMAGE)
LOAD = "POST /v1/images/load"
IMPORT = "POST /v1/images/import?reference=localhost/broken"

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture(autouse=True)
def users(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose the connections are, in their order, as `Served` makes them."""
    coming: list[int] = []
    given: dict[Connection, int] = {}

    def peer_uid(connection: Connection) -> int:
        if connection not in given:
            given[connection] = coming.pop(0)
        return given[connection]

    monkeypatch.setattr(Connection, "peer_uid", peer_uid)
    monkeypatch.setattr(Served, "users", coming)


class Served:
    """The real engine behind a real server."""

    users: ClassVar[list[int]] = []

    def __init__(self, address: Path, server: Server) -> None:
        self.address, self.server = address, server

    async def ask(
        self, request: str, body: bytes = b"", *, whole: bool = True, user: int | None = None
    ) -> Stream:
        """A request whose body is ``body``, or only begins with it."""
        self.users.append(os.geteuid() if user is None else user)
        reader, writer = await asyncio.open_unix_connection(self.address)
        size = len(body) + (0 if whole else 1 << 20)
        writer.write(f"{request} HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n".encode() + body)
        await writer.drain()
        return reader, writer

    async def answer(self, request: str, body: bytes = b"", user: int | None = None) -> bytes:
        reader, writer = await self.ask(request, body, user=user)
        head = await reader.readuntil(b"\r\n\r\n")
        assert b" 200 " in head.splitlines()[0], head
        writer.close()
        return head


@contextlib.asynccontextmanager
async def served(w: World, limits: Limits | None = None) -> AsyncIterator[Served]:
    address = w.tmp / "s"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(address))
    server = Server(NativeApi(Collections(w.engine.real), lambda _: None), limits=limits)
    await server.serve([sock])
    try:
        yield Served(address, server)
    finally:
        await server.close(deadline_s=0.05)


async def threads_end(name: str) -> None:
    """Fails where one is left: there is nothing that it could wait for."""
    for thread in threading.enumerate():
        if thread.name == name:
            await asyncio.to_thread(thread.join, 10)
            assert not thread.is_alive()


def blobs_are_free(w: World) -> bool:
    """Whether blobs may be deleted: nobody works on them."""
    with (w.config.root / "images" / "session.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.parametrize("request_line", [LOAD, IMPORT])
def test_a_broken_off_archive_leaves_nothing(tell: Tell, request_line: str) -> None:
    async def story(w: World) -> None:
        async with served(w) as hyperd:
            for _ in range(3):
                _, writer = await hyperd.ask(request_line, ARCHIVE[:600_000], whole=False)
                writer.close()
                await writer.wait_closed()
            await hyperd.answer("GET /v1/images")
            for task in [task for task in asyncio.all_tasks() if "_connected" in repr(task)]:
                await asyncio.wait([task], timeout=10)
            await threads_end("archives")
            assert blobs_are_free(w)
            assert not list((w.config.root / "images" / "staging").iterdir())

    tell(story)


def test_silent_archives_hold_up_nobody(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with served(w) as hyperd:
            silent = [await hyperd.ask(LOAD, ARCHIVE[:1000], whole=False) for _ in range(CROWD)]
            await hyperd.answer("GET /v1/images")
            await hyperd.answer("GET /v1/images/inspect?ref=" + IMAGE)
            await hyperd.answer(LOAD, ARCHIVE)
            for _, writer in silent:
                writer.close()

    tell(story)


def test_more_archives_than_are_taken_are_refused_by_name(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hypercontainer.engine.images.ARCHIVES_MAX", 2)

    async def story(w: World) -> None:
        await w.engine.close()
        await w.open()
        async with served(w) as hyperd:
            silent = [await hyperd.ask(LOAD, whole=False) for _ in range(2)]
            reader, writer = await hyperd.ask(LOAD, ARCHIVE)
            answer = await reader.readuntil(b"one of them to end")
            assert b" 503 " in answer.splitlines()[0] and b"2 archives already" in answer
            for _, other in [*silent, (reader, writer)]:
                other.close()

    tell(story)


def test_an_archive_that_says_nothing_for_long_is_given_up(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with served(w, Limits(silence_s=0.05)) as hyperd:
            reader, writer = await hyperd.ask(LOAD, ARCHIVE[:1000], whole=False)
            assert b"nothing of the body came" in await reader.read()
            await threads_end("archives")
            writer.close()

    tell(story)


def drip(begun: threading.Event, over: threading.Event) -> object:
    """An answer whose header never ends."""

    def action(handler: Handler) -> None:
        handler.close_connection = True
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Header: ")
        begun.set()
        while not over.wait(0.02):
            handler.wfile.write(b"x")

    return action


def test_dripping_registries_hold_up_nobody_and_go_with_their_clients(tell: Tell) -> None:
    async def story(w: World) -> None:
        over = threading.Event()
        with Fake() as registry:
            begun = [threading.Event() for _ in range(CROWD)]
            for number, event in enumerate(begun):
                registry.fail(f"manifests/t{number:03}", drip(event, over))  # type: ignore[arg-type]
            registry.fail("/v2/", lambda h: False)
            async with served(w) as hyperd:
                pulls = [
                    await hyperd.ask(
                        "POST /v1/images/pull",
                        json.dumps({"reference": f"{registry.host}/x:t{number:03}"}).encode(),
                    )
                    for number in range(CROWD)
                ]
                await asyncio.to_thread(begun[0].wait, 10)
                await hyperd.answer("GET /v1/images")
                for _, writer in pulls:
                    writer.close()
                for task in [task for task in asyncio.all_tasks() if "_connected" in repr(task)]:
                    await asyncio.wait([task], timeout=10)
                await threads_end("transfers")
                await threads_end("registry-call")
                assert blobs_are_free(w)
            over.set()

    tell(story)


def test_a_client_that_does_not_take_what_it_asked_for_holds_up_nobody(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with served(w) as hyperd:
            unread = [await hyperd.ask(f"GET /v1/images/save?ref={IMAGE}") for _ in range(CROWD)]
            await hyperd.answer("GET /v1/images")
            for _, writer in unread:
                writer.transport.abort()
            for task in [task for task in asyncio.all_tasks() if "_connected" in repr(task)]:
                await asyncio.wait([task], timeout=10)
            await threads_end("archives")
            assert blobs_are_free(w)

    tell(story)


async def told(stream: Stream) -> bytes:
    return await stream[0].readuntil(b"one of them to end")


def test_nobody_takes_others_places_for_archives(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypercontainer.engine.images.ARCHIVES_MAX", 8)

    async def story(w: World) -> None:
        await w.engine.close()
        await w.open()
        async with served(w) as hyperd:
            silent = [await hyperd.ask(LOAD, whole=False, user=STRANGER) for _ in range(10)]
            await hyperd.answer(LOAD, ARCHIVE, user=OTHER)
            await hyperd.answer(LOAD, ARCHIVE)
            answers = [asyncio.create_task(told(stream)) for stream in silent]
            while sum(answer.done() for answer in answers) < 8:
                left = [answer for answer in answers if not answer.done()]
                await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for answer in answers:
                if answer.done():
                    said = answer.result()
                    assert b" 503 " in said and f"2 archives of user {STRANGER} already".encode() in said
            assert sum(answer.done() for answer in answers) == 8
            for answer, (_, writer) in zip(answers, silent, strict=True):
                answer.cancel()
                writer.close()

    tell(story)


def test_a_slow_registry_of_ones_own_holds_up_oneself(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hypercontainer.engine.images.TRANSFERS_MAX", 4)

    async def story(w: World) -> None:
        await w.engine.close()
        await w.open()
        over = threading.Event()
        with Fake() as registry:
            slow = [threading.Event() for _ in range(6)]
            other = threading.Event()
            for number, event in enumerate([*slow, other]):
                registry.fail(f"manifests/t{number}", drip(event, over))  # type: ignore[arg-type]
            registry.fail("/v2/", lambda h: False)

            async def pull(hyperd: Served, number: int, user: int) -> Stream:
                wanted = json.dumps({"reference": f"{registry.host}/x:t{number}"}).encode()
                return await hyperd.ask("POST /v1/images/pull", wanted, user=user)

            async with served(w) as hyperd:
                held = [await pull(hyperd, number, STRANGER) for number in range(6)]
                theirs = await pull(hyperd, 6, OTHER)
                assert await asyncio.to_thread(other.wait, 10)
                assert sum(event.is_set() for event in slow) <= 1
                for _, writer in [*held, theirs]:
                    writer.close()
                over.set()

    tell(story)
