"""BuildKit's own protocol between a client and a builder: what passes, what is held up, what is changed on its way."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from h2_peer import Ends, MemoryWire, Peer, framed
from hypercontainer.engine import protobuf
from hypercontainer.engine.build import command, solving
from hypercontainer.engine.build.bases import Bases
from hypercontainer.engine.build.control import Control
from hypercontainer.engine.protobuf import Field
from hypercontainer.errors import Conflict, NotFound, Unavailable

DOCKERFILE = b"ARG BASE\nFROM $BASE AS a\nFROM registry:5000/private\nCOPY --from=a /x /\n"
MADE = "sha256:" + "1" * 64
SPLIT = 20  # where its content is cut in two


class Program:
    """In the builder: what speaks with its dockerd."""

    def __init__(self, wire: MemoryWire) -> None:
        self.wire = wire

    async def read(self, channel: int) -> bytes:
        return await self.wire.read()

    async def write(self, data: bytes) -> None:
        await self.wire.write(data)

    async def close(self) -> None:
        self.wire.close()


class Store:
    """Images of hyperd's: what is asked of it is noted."""

    def __init__(self) -> None:
        self.here = {"busybox"}
        self.fetched: list[tuple[str, str]] = []
        self.handed: list[str] = []
        self.taken: list[tuple[str, str, tuple[str, ...]]] = []
        self.pushed: list[str] = []
        self.problem: Exception | None = None

    async def get(self, name: str, *, platform: str | None = None) -> None:
        if name not in self.here:
            raise NotFound(name)

    async def fetch(self, name: str, *, credentials: Any, **_: Any) -> None:
        self.fetched.append((name, credentials.username if credentials else ""))

    async def hand_over(self, builder: object, names: Sequence[str]) -> None:
        self.handed += names

    async def take_back(self, builder: object, name: str, identifier: str, tags: Sequence[str]) -> str:
        if self.problem is not None:
            raise self.problem
        self.taken.append((name, identifier, tuple(tags)))
        return identifier or "sha256:read"

    async def push(self, tags: Sequence[str], credentials: Any) -> str:
        self.pushed += tags
        return "sha256:pushed"

    def outlived(self, identifier: str) -> list[str]:
        return []


class Stage:
    def __init__(self) -> None:
        self.store = Store()
        self.control = Control(Bases(self.store, self.store), self.store)  # type: ignore[arg-type]
        self.dialed: asyncio.Queue[MemoryWire] = asyncio.Queue()
        self.problem: Exception | None = None
        self.works: list[asyncio.Task[None]] = []
        self.peers: list[Peer] = []

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[Any]:
        if self.problem is not None:
            raise self.problem
        yield SimpleNamespace(alive=True, dialed=self.connected)

    @contextlib.asynccontextmanager
    async def connected(self, path: str) -> AsyncIterator[Program]:
        assert path == command.SOCKET
        ends = Ends()
        self.dialed.put_nowait(ends.there)
        program = Program(ends.here)
        try:
            yield program
        finally:
            await program.close()

    async def dockerd(self, *, client: bool = False) -> tuple[Peer, str]:
        """The builder's end of the next connection, and what was asked for on it."""
        wire = await self.dialed.get()
        head = await wire.read()
        await wire.write(b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        return await self.peer(wire, client=client), head.decode()

    async def peer(self, wire: MemoryWire, *, client: bool) -> Peer:
        made = Peer(wire, client=client)
        self.peers.append(made)
        await made.flush()
        return made

    async def client(self) -> Peer:
        ends = Ends()
        self.works.append(asyncio.create_task(self.control.serve(ends.here, self.held)))
        return await self.peer(ends.there, client=True)

    async def session(self, name: str) -> Peer:
        """What a client answers on."""
        ends = Ends()
        fields = [("x-docker-expose-session-uuid", name)]
        self.works.append(asyncio.create_task(self.control.serve_session(ends.here, self.held, name, fields)))
        peer = await self.peer(ends.there, client=False)
        _, head = await self.dockerd(client=True)
        assert head.startswith("POST /session HTTP/1.1\r\n") and f"session-uuid: {name}\r\n" in head
        return peer


@contextlib.asynccontextmanager
async def stage() -> AsyncIterator[Stage]:
    made = Stage()
    try:
        yield made
    finally:
        for peer in made.peers:
            await peer.close()
        await asyncio.gather(*made.works, return_exceptions=True)
        await made.control.close()


async def answer_files(peer: Peer) -> None:
    """As a client does that is asked for its Dockerfile, in a directory of two, and for what it is to registries."""
    await peer.until(lambda: bool(peer.heads))
    said = dict(peer.heads[1][0])
    assert said[b":path"] == b"/moby.filesync.v1.FileSync/DiffCopy"
    assert (said[b"dir-name"], said[b"followpaths"]) == (b"dockerfile", b"sub/Dockerfile")
    peer.h2.send_headers(1, [(":status", "200"), ("content-type", "application/grpc")])
    for name in ("sub", "sub/Dockerfile"):
        facts = protobuf.written([protobuf.text(1, name), protobuf.number(2, 0o644)])
        await peer.send(1, framed(protobuf.written([Field(2, facts)])))
    await peer.send(1, framed(b""))
    await peer.until(lambda: len(peer.data[1]) > 5)
    assert protobuf.last_number(protobuf.read(peer.data[1][5:]), 3) == 1  # the second of what it was told of
    for part in (DOCKERFILE[:SPLIT], DOCKERFILE[SPLIT:], b""):
        packet = [protobuf.number(1, 2), protobuf.number(3, 1), Field(4, part)]
        await peer.send(1, framed(protobuf.written(packet)))
    await peer.until(lambda: len(peer.heads) == 2)
    assert peer.data[3].endswith(b"registry:5000")
    await peer.answer(3, protobuf.written([protobuf.text(1, "me"), protobuf.text(2, "secret")]))


def solve(**more: str) -> bytes:
    exporter = [protobuf.text(1, "moby"), *protobuf.table_fields(2, {"name": "shop,shop:2", "push": "true"})]
    options = {"filename": "sub/Dockerfile", "build-arg:BASE": "busybox", **more}
    options["attest:provenance"] = "mode=min,inline-only=true"
    return protobuf.written(
        [
            protobuf.text(solving.REF, "ref1"),
            protobuf.text(solving.SESSION, "s1"),
            protobuf.text(6, "dockerfile.v0"),
            *protobuf.table_fields(7, options),
            protobuf.text(solving.EXPORTER, "moby"),
            *protobuf.table_fields(solving.EXPORTER_ATTRS, {"name": "shop,shop:2"}),
            Field(solving.EXPORTERS, protobuf.written(exporter)),
        ]
    )


async def test_a_build() -> None:
    async with stage() as s:
        session, client = await s.session("s1"), await s.client()
        files = asyncio.create_task(answer_files(session))
        call = asyncio.create_task(client.call(solving.CONTROL_SOLVE, solve()))
        builder, head = await s.dockerd()
        assert head.startswith("POST /grpc HTTP/1.1\r\n")
        await builder.until(lambda: 1 in builder.ended)
        await files
        assert s.store.fetched == [("registry:5000/private", "me")]
        assert s.store.handed == ["busybox", "registry:5000/private"]
        asked = protobuf.read(builder.data[1][5:])
        kind, attrs = "image", protobuf.table(asked, solving.EXPORTER_ATTRS)
        assert protobuf.last_text(asked, solving.EXPORTER) == kind
        assert attrs["name"].startswith(command.RESULT) and attrs["push"] == attrs["unpack"] == "false"
        (exporter,) = protobuf.all_of(asked, solving.EXPORTERS)
        assert protobuf.table(protobuf.read(exporter), 2) == attrs
        assert protobuf.table(asked, 7) == {
            "filename": "sub/Dockerfile",
            "build-arg:BASE": "busybox",
            "force-network-mode": "host",
        }
        assert protobuf.all_of(asked, solving.ENTITLEMENTS) == [b"network.host"]
        said = {"containerimage.config.digest": MADE, "containerimage.digest": "sha256:2", "other": "x"}
        facts = said | {"image.name": attrs["name"]}
        await builder.answer(1, protobuf.written(protobuf.table_fields(1, facts)))
        message, trailers = await call
        assert trailers == {b"grpc-status": b"0"}
        assert s.store.taken == [(attrs["name"], MADE, ("shop", "shop:2"))]
        assert protobuf.table(protobuf.read(message), 1) == {
            "containerimage.config.digest": MADE,
            "containerimage.digest": "sha256:pushed",
            "other": "x",
            "image.name": "docker.io/library/shop:latest,docker.io/library/shop:2",
        }
        assert s.store.pushed == ["shop", "shop:2"]
        assert not s.control.sessions_of


async def test_what_a_client_hears_of_its_image_are_its_own_names() -> None:
    async with stage() as s:
        client = await s.client()
        build = await client.ask(solving.CONTROL_SOLVE)
        await client.send(build, framed(bare("shop,shop:2")), end=True)
        builder, _ = await s.dockerd()
        await builder.until(lambda: 1 in builder.ended)
        attrs = protobuf.table(protobuf.read(builder.data[1][5:]), solving.EXPORTER_ATTRS)
        listening = await client.ask(solving.CONTROL_STATUS)
        await client.send(listening, framed(b""), end=True)
        await builder.until(lambda: 3 in builder.ended)
        other = Field(1, protobuf.written([protobuf.text(1, "step"), protobuf.text(3, attrs["name"])]))
        news = protobuf.written([other, named(attrs["name"]), named("elsewhere")])
        said = b"".join(map(framed, (b"no message", news, b"\xff" + attrs["name"].encode())))
        builder.h2.send_headers(3, [(":status", "200")])
        for at in range(0, len(said), SPLIT):
            await builder.send(3, said[at : at + SPLIT])
        here = [named(f"docker.io/library/{name}") for name in ("shop:latest", "shop:2")]
        told = protobuf.written([other, *here, named("elsewhere")])
        heard = b"".join(map(framed, (b"no message", told, b"\xff" + attrs["name"].encode())))
        await client.until(lambda: client.data[listening] == heard)
        # What is no message of gRPC's passes as well.
        await builder.send(3, b"\x01\0\0\0\x01x")
        await client.until(lambda: client.data[listening] == heard + b"\x01\0\0\0\x01x")


def named(name: str) -> Field:
    """How far it is that an image gets this name."""
    said = f"naming to {name}"
    status = [protobuf.text(1, said), protobuf.text(2, "sha256:1"), protobuf.number(4, 1)]
    return Field(solving.STATUSES, protobuf.written(status))


async def test_other_calls_pass_as_they_are() -> None:
    async with stage() as s:
        client = await s.client()
        call = asyncio.create_task(client.call("/moby.buildkit.v1.Control/ListWorkers", b"who", token="t"))
        builder, _ = await s.dockerd()
        await builder.until(lambda: 1 in builder.ended)
        assert builder.data[1] == framed(b"who") and dict(builder.heads[1][0])[b"token"] == b"t"
        await builder.answer(1, b"they")
        assert await call == (b"they", {b"grpc-status": b"0"})
        # Two ways at once, for as long as it goes on.
        stream = await client.ask("/moby.buildkit.v1.Control/Session")
        await client.send(stream, b"one")
        await builder.until(lambda: builder.data[3] == b"one")
        builder.h2.send_headers(3, [(":status", "200")])
        await builder.send(3, b"two")
        await client.until(lambda: client.data[stream] == b"two")


async def test_a_build_that_fails_is_told_as_it_is_and_takes_nothing_back() -> None:
    async with stage() as s:
        client = await s.client()
        call = asyncio.create_task(client.call(solving.CONTROL_SOLVE, bare()))
        builder, _ = await s.dockerd()
        await builder.until(lambda: 1 in builder.ended)
        builder.h2.send_headers(
            1, [(":status", "200"), ("grpc-status", "2"), ("grpc-message", "no")], end_stream=True
        )
        await builder.flush()
        _, trailers = await call
        assert (trailers[b"grpc-status"], trailers[b"grpc-message"]) == (b"2", b"no")
        assert not s.store.taken


async def test_an_image_that_cannot_be_had_of_the_builder_is_no_success() -> None:
    async with stage() as s:
        s.store.problem = Conflict("there is no room: 100%\nfull")
        client = await s.client()
        call = asyncio.create_task(client.call(solving.CONTROL_SOLVE, bare()))
        builder, _ = await s.dockerd()
        await builder.until(lambda: 1 in builder.ended)
        await builder.answer(1, b"")
        _, trailers = await call
        assert trailers[b"grpc-status"] == b"2"
        assert trailers[b"grpc-message"] == b"there is no room: 100%25%0Afull"


@pytest.mark.parametrize("said", ["", "busybox", "sha256:1"])
async def test_an_image_whose_id_is_not_said_is_known_when_it_is_here(said: str) -> None:
    async with stage() as s:
        client = await s.client()
        call = asyncio.create_task(client.call(solving.CONTROL_SOLVE, bare()))
        builder, _ = await s.dockerd()
        await builder.until(lambda: 1 in builder.ended)
        facts = {solving.CONFIG_DIGEST: said, solving.DIGEST: "sha256:2"}
        await builder.answer(1, protobuf.written(protobuf.table_fields(1, facts)))
        message, _ = await call
        assert [identifier for _, identifier, _ in s.store.taken] == [""]
        assert protobuf.table(protobuf.read(message), 1)[solving.DIGEST] == "sha256:read"


async def test_a_build_that_its_client_gives_up_is_given_up() -> None:
    async with stage() as s:
        client = await s.client()
        stream = await client.ask(solving.CONTROL_SOLVE)
        await client.send(stream, framed(bare()), end=True)
        builder, _ = await s.dockerd()
        await builder.until(lambda: 1 in builder.ended)
        client.h2.reset_stream(stream, 8)
        await client.flush()
        await builder.until(lambda: builder.reset == {1: 8})


async def test_no_builder() -> None:
    async with stage() as s:
        s.problem = Unavailable("the builder ended")
        client = await s.client()
        _, trailers = await client.call("/moby.buildkit.v1.Control/ListWorkers", b"")
        assert (trailers[b"grpc-status"], trailers[b"grpc-message"]) == (b"14", b"the builder ended")


@pytest.mark.parametrize("message", [b"\xff", b"\x0a\x7f", b"\x0b"])
async def test_a_message_that_is_none(message: bytes) -> None:
    async with stage() as s:
        client = await s.client()
        call = asyncio.create_task(client.call(solving.CONTROL_SOLVE, message))
        builder, _ = await s.dockerd()
        _, trailers = await call
        assert trailers[b"grpc-status"] == b"2" and not builder.heads


async def test_a_message_that_is_too_large() -> None:
    async with stage() as s:
        client = await s.client()
        stream = await client.ask(solving.CONTROL_SOLVE)
        _, _ = await s.dockerd()
        await client.send(stream, b"\0\xff\xff\xff\xff" + bytes(100), end=True)
        await client.until(lambda: stream in client.ended)
        assert dict(client.heads[stream][-1])[b"grpc-status"] == b"2"


def bare(name: str = "") -> bytes:
    """Of an image without a Dockerfile and without a session."""
    attrs = protobuf.table_fields(solving.EXPORTER_ATTRS, {"name": name} if name else {})
    kind = protobuf.text(solving.EXPORTER, "moby")
    return protobuf.written([protobuf.text(solving.REF, "r"), kind, *attrs])
