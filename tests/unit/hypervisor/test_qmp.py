"""The QMP client against a QEMU that says whatever the test says."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.qemu import qmp as module
from hypercontainer.hypervisor.qemu.qmp import (
    Event,
    Greeting,
    QmpClient,
    QmpDisconnected,
    QmpError,
    QmpParser,
    QmpState,
    Reply,
)
from hypercontainer.linux import unix

GREETING = (
    b'{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, '
    b'"capabilities": []}}\r\n'
)
STREAM = (
    GREETING
    + b'{"return": {}, "id": 0}\r\n'
    + b'{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}\r\n'
    + b'{"error": {"class": "GenericError", "desc": "no"}, "id": 1}\r\n'
    + b'{"event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}\r\n'
)
MESSAGES = [
    Greeting("7.2.22"),
    Reply(0, {}, None),
    Event("STOP", {}),
    Reply(1, None, ("GenericError", "no")),
    Event("SHUTDOWN", {"guest": True, "reason": "guest-shutdown"}),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_a_stream_may_be_cut_anywhere(cuts: list[int]) -> None:
    parser = QmpParser()
    edges = [0, *sorted(cuts), len(STREAM)]
    found = [message for a, b in itertools.pairwise(edges) for message in parser.feed(STREAM[a:b])]
    assert found == MESSAGES


@given(st.binary(max_size=200))
def test_anything_else_is_a_value_error_and_nothing_worse(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        QmpParser().feed(data + b"\n")


@pytest.mark.parametrize(
    "line",
    [
        b"{}",
        b"[]",
        b'{"return": 1, "id": "x"}',
        b'{"QMP": {}}',
        b'{"event": 7}',
        b"[" * 100_000,
        b'{"return":' + b"[" * 100_000,
    ],
)
def test_wrong_shapes_are_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        QmpParser().feed(line + b"\n")


def test_a_line_without_end_is_refused() -> None:
    parser = QmpParser()
    with pytest.raises(ValueError, match="longer than"):
        for _ in range(module.MAX_LINE_BYTES // 65536 + 2):
            parser.feed(b"x" * 65536)


Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def talk(
    path: Path, server: Server, client: Callable[[QmpClient], Awaitable[None]], **options: Any
) -> list[Event]:
    """Runs ``client`` connected to ``server``; the events that came."""
    events: list[Event] = []

    async def main() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await server(reader, writer)
            finally:
                writer.close()

        async with asyncio.timeout(10), await asyncio.start_unix_server(serve, sock=unix.listen(path)):
            qmp = await QmpClient.connect(path, events.append, **options)
            try:
                await client(qmp)
            finally:
                await qmp.close()

    asyncio.run(main())
    return events


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GREETING)
    command = json.loads(await reader.readline())
    assert command == {"execute": "qmp_capabilities", "arguments": {}, "id": 0}
    writer.write(b'{"return": {}, "id": 0}\r\n')


def test_replies_find_their_commands_whatever_their_order(tmp_path: Path) -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        asked = [json.loads(await reader.readline()) for _ in range(2)]
        writer.write(b'{"event": "RESUME"}\r\n{"return": "stray", "id": 99}\r\n')
        for command in reversed(asked):
            writer.write(json.dumps({"return": command["execute"], "id": command["id"]}).encode() + b"\n")

    async def client(qmp: QmpClient) -> None:
        assert qmp.state is QmpState.READY
        assert qmp.version == "7.2.22"
        a, b = await asyncio.gather(qmp.execute("a"), qmp.execute("b"))
        assert (a, b) == ("a", "b")

    assert talk(tmp_path / "q", server, client) == [Event("RESUME", {})]


def test_a_refusal_carries_qemus_words(tmp_path: Path) -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.readline()
        writer.write(b'{"error": {"class": "DeviceNotFound", "desc": "no such thing"}, "id": 1}\n')
        await reader.read()

    async def client(qmp: QmpClient) -> None:
        with pytest.raises(QmpError, match="QEMU refused eject: no such thing") as caught:
            await qmp.execute("eject")
        assert caught.value.kind == "DeviceNotFound"

    talk(tmp_path / "q", server, client)


@pytest.mark.parametrize(
    ("last_words", "reason"),
    [(b"", "QEMU closed it"), (b"garbage\n", "broke the protocol"), (GREETING, "a second greeting")],
)
def test_the_end_fails_every_waiter_with_its_reason(tmp_path: Path, last_words: bytes, reason: str) -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.readline()
        await reader.readline()
        writer.write(last_words)
        await writer.drain()

    async def client(qmp: QmpClient) -> None:
        answers = await asyncio.gather(qmp.execute("a"), qmp.execute("b"), return_exceptions=True)
        for answer in answers:
            assert isinstance(answer, QmpDisconnected)
            assert reason in str(answer)
        await qmp.wait_closed()
        assert qmp.state is QmpState.CLOSED
        with pytest.raises(QmpDisconnected, match=reason):
            await qmp.execute("c")

    talk(tmp_path / "q", server, client)


def test_no_answer_in_time_is_an_error_and_the_connection_goes_on(tmp_path: Path) -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.readline()
        late = json.loads(await reader.readline())
        writer.write(b'{"return": "too late", "id": 1}\n')
        writer.write(json.dumps({"return": "in time", "id": late["id"]}).encode() + b"\n")
        await reader.read()

    async def client(qmp: QmpClient) -> None:
        with pytest.raises(HypervisorError, match="did not answer slow within"):
            await qmp.execute("slow", timeout_s=0.05)
        assert await qmp.execute("fast") == "in time"

    talk(tmp_path / "q", server, client)


def test_silence_instead_of_a_greeting_has_a_deadline(tmp_path: Path) -> None:
    async def server(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def client(qmp: QmpClient) -> None:
        raise AssertionError("connected")

    with pytest.raises(HypervisorError, match=r"did not answer within 0\.05 s"):
        talk(tmp_path / "q", server, client, timeout_s=0.05)


def test_nobody_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(QmpDisconnected, match="cannot connect"):
        asyncio.run(QmpClient.connect(tmp_path / "nothing", lambda _: None))


def test_descriptors_travel_with_their_command(tmp_path: Path) -> None:
    """The receiving side is a plain socket: asyncio's streams drop descriptors."""
    listener = unix.listen(tmp_path / "q")
    (tmp_path / "file").write_bytes(b"content")

    def serve() -> tuple[bytes, bytes]:
        peer, _ = listener.accept()
        with peer:
            peer.sendall(GREETING)
            peer.recv(4096)
            peer.sendall(b'{"return": {}, "id": 0}\n')
            data, fds, _, _ = socket.recv_fds(peer, 4096, 4)
            while not data.endswith(b"\n"):
                data += peer.recv(4096)
            peer.sendall(b'{"return": {"fdset-id": 3}, "id": 1}\n')
            content = os.read(fds[0], 100)
            os.close(fds[0])
            return data, content

    async def main() -> None:
        served = asyncio.create_task(asyncio.to_thread(serve))
        qmp = await QmpClient.connect(tmp_path / "q", lambda _: None)
        with (tmp_path / "file").open("rb") as file:
            assert await qmp.execute("add-fd", {"opaque": "x"}, fds=[file.fileno()]) == {"fdset-id": 3}
        data, content = await served
        assert json.loads(data)["arguments"] == {"opaque": "x"}
        assert content == b"content"
        await qmp.close()

    asyncio.run(main())
    listener.close()


def flood(path: Path, meanwhile: Callable[[QmpClient], Awaitable[None]]) -> None:
    """A QEMU that says events as fast as it is read, until nobody reads."""
    line = b'{"event":"X","data":{}}\n' * 1000

    async def main() -> None:
        async with asyncio.timeout(60):
            listener = unix.listen(path)
            with listener:
                connecting = asyncio.create_task(QmpClient.connect(path, lambda event: None))
                await asyncio.sleep(0)
                peer, _ = await asyncio.get_running_loop().sock_accept(listener)
            threading.Thread(target=shout, args=[peer, line], daemon=True).start()
            qmp = await connecting
            try:
                await meanwhile(qmp)
            finally:
                await qmp.close()

    asyncio.run(main())


def shout(peer: socket.socket, line: bytes) -> None:
    peer.setblocking(True)
    with peer, contextlib.suppress(OSError):
        peer.sendall(GREETING)
        peer.recv(1000)
        peer.sendall(b'{"return": {}, "id": 0}\r\n')
        while True:
            peer.sendall(line)


def test_who_floods_leaves_others_their_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MESSAGES_PER_S", 1 << 40)
    monkeypatch.setattr(module, "BYTES_PER_S", 1 << 40)
    turns = 0

    async def meanwhile(qmp: QmpClient) -> None:
        nonlocal turns
        for _ in range(100):
            await asyncio.sleep(0)
            turns += 1
        assert qmp.state is QmpState.READY

    flood(tmp_path / "q", meanwhile)
    assert turns == 100


def test_who_floods_is_done_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def meanwhile(qmp: QmpClient) -> None:
        monkeypatch.setattr(module, "MESSAGES_PER_S", 5000)  # which a busy machine gets to read, too
        await qmp.wait_closed()
        assert "within a second" in qmp.broken
        with pytest.raises(QmpDisconnected, match="broke the protocol"):
            await qmp.execute("x")

    flood(tmp_path / "q", meanwhile)


def test_a_budget_is_of_a_second() -> None:
    budget = module.Budget(0.0)
    for second in range(3):
        budget.spend(second, module.MESSAGES_PER_S, module.BYTES_PER_S)
    budget = module.Budget(0.0)
    for messages, size_bytes in ((module.MESSAGES_PER_S, 0), (0, module.BYTES_PER_S)):
        budget.spend(0.5, messages, size_bytes)
    for messages, size_bytes in ((1, 0), (0, 1)):
        with pytest.raises(ValueError, match="within a second"):
            budget.spend(0.9, messages, size_bytes)
