"""What is said with the process of a VM: requests, events, its guest's vsock.  It may be anybody's by now."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.cloudhypervisor.events import MAX_EVENT_BYTES, Parser
from hypercontainer.hypervisor.later import Later
from hypercontainer.hypervisor.vmm import vsock
from hypercontainer.hypervisor.vmm.rest import MAX_ANSWER_BYTES, Api, Refused
from hypercontainer.linux import unix

EVENT = {"timestamp": {"secs": 0, "nanos": 1}, "source": "vm", "event": "booted", "properties": None}


def answered(answer: bytes, timeout_s: float = 5.0) -> object:
    """What comes of a request that is answered so."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    def serve() -> None:
        with theirs, suppress(BrokenPipeError):  # of what is too long the end is not taken
            theirs.recv(65536)
            theirs.sendall(answer)

    server = threading.Thread(target=serve)
    server.start()
    try:
        return asyncio.run(Api(lambda: ours, "it").ask("PUT", "/x", {"a": 1}, timeout_s=timeout_s))
    finally:
        ours.close()
        server.join()


def ok(body: bytes, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def test_an_answer_is_its_json() -> None:
    assert answered(ok(b'{"state":"Running"}')) == {"state": "Running"}
    assert answered(b"HTTP/1.1 204 No Content\r\nServer: x\r\nConnection: keep-alive\r\n\r\n") is None
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n"
    assert answered(b"HTTP/1.1 100 Continue\r\n\r\n" + chunked) == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"fault_message":"no kernel"}', "it: PUT /x: no kernel"),
        (
            b'["Error from API","The VM could not boot","no kernel"]',
            "Error from API: The VM could not boot: no kernel",
        ),
        (b"", "status 400"),
        (b"\x1b[31mred\0", "[31mred"),
    ],
)
def test_a_refusal_is_in_its_words(body: bytes, words: str) -> None:
    with pytest.raises(Refused, match=None) as caught:
        answered(ok(body, b"400 Bad Request"))
    assert words in caught.value.message
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\0\1\2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        ok(b"{"),
        ok(b"[" * 100000),
        ok(b"x" * (MAX_ANSWER_BYTES + 1)),
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100000 + b"\r\n",
    ],
)
def test_what_is_no_answer_is_an_error(garbage: bytes) -> None:
    with pytest.raises(HypervisorError, match="PUT /x"):
        answered(garbage)


def test_no_answer_has_a_deadline() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs, pytest.raises(HypervisorError, match=r"no answer within 0.05 s"):
        asyncio.run(Api(lambda: ours, "it").ask("GET", "/", timeout_s=0.05))


def test_descriptors_go_along(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    (tmp_path / "tap").write_text("this one")
    fd = os.open(tmp_path / "tap", os.O_RDONLY)
    came: list[int] = []

    def serve() -> None:
        with theirs:
            data, fds, _, _ = socket.recv_fds(theirs, 65536, 4)
            came.extend(fds)
            assert json.loads(data.partition(b"\r\n\r\n")[2]) == {"id": "net0"}
            theirs.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")

    server = threading.Thread(target=serve)
    server.start()
    asyncio.run(Api(lambda: ours, "it").ask("PUT", "/net", {"id": "net0"}, fds=(fd,)))
    server.join()
    os.close(fd)
    assert os.read(came[0], 100) == b"this one"
    os.close(came[0])


# ------------------------------------------------------------------------------------- events


def test_events_come_in_any_pieces() -> None:
    text = b"".join(json.dumps(EVENT, indent=2).encode() + b"\n\n" for _ in range(3))
    for size in (1, 7, 1000):
        parser = Parser()
        found = [event for at in range(0, len(text), size) for event in parser.feed(text[at : at + size])]
        assert [event.name for event in found] == ["vm.booted"] * 3


@given(st.binary(max_size=300))
def test_what_is_no_event_is_passed_over(garbage: bytes) -> None:
    parser = Parser()
    parser.feed(garbage + b"\n\n")
    assert [event.name for event in parser.feed(json.dumps(EVENT).encode() + b"\n\n")] == ["vm.booted"]


def test_an_event_without_an_end_does_not_grow() -> None:
    parser = Parser()
    for _ in range(100):
        parser.feed(b"x" * 10000)
    assert len(parser._rest) <= MAX_EVENT_BYTES


# ------------------------------------------------------------------------------------- vsock


def guest(path: Path, lives: list[Callable[[socket.socket], None]]) -> threading.Thread:
    """Listens, and treats one connection after the other as it is told."""
    listener = unix.listen(path)

    def serve() -> None:
        with listener:
            for live in lives:
                peer, _ = listener.accept()
                with peer:
                    live(peer)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def takes(peer: socket.socket) -> None:
    assert peer.recv(13) == b"CONNECT 1024\n"
    peer.sendall(b"OK 1073741824\nhello")
    assert peer.recv(100) == b"hi"


def test_a_guest_is_reached_once_it_listens(tmp_path: Path) -> None:
    """What comes with the answer is the guest's, to the last byte."""
    path = tmp_path / "agent.sock"
    refused: Callable[[socket.socket], None] = lambda peer: None  # noqa: E731
    odd: Callable[[socket.socket], None] = lambda peer: peer.sendall(b"NO\n")  # noqa: E731
    endless: Callable[[socket.socket], None] = lambda peer: peer.sendall(b"O" * 1000)  # noqa: E731
    server = guest(path, [refused, refused, odd, endless, takes])

    async def main() -> None:
        reader, writer = await vsock.connect(lambda: unix.connect_to_theirs(path), lambda: False, 5)
        assert await reader.readexactly(5) == b"hello"
        writer.write(b"hi")
        await writer.drain()
        assert await reader.read() == b""
        writer.close()

    asyncio.run(main())
    server.join()


def test_a_guest_that_never_listens_is_an_error(tmp_path: Path) -> None:
    async def main(ended: bool) -> None:
        await vsock.connect(lambda: unix.connect_to_theirs(tmp_path / "none"), lambda: ended, 0.1)

    with pytest.raises(HypervisorError, match="does not listen at vsock:1024"):
        asyncio.run(main(ended=False))
    with pytest.raises(ConnectionResetError):
        asyncio.run(main(ended=True))


def test_a_paused_guest_hears_it_later(tmp_path: Path) -> None:
    path, goes_on = tmp_path / "agent.sock", threading.Event()

    def late(peer: socket.socket) -> None:
        goes_on.wait()
        takes(peer)

    server = guest(path, [late])

    async def main() -> None:
        later = Later()
        reader, writer = await later.connect(partial(vsock.taken, lambda: unix.connect_to_theirs(path)))
        writer.write(b"hi")
        await writer.drain()
        goes_on.set()
        assert await reader.read() == b"hello"
        writer.close()
        await later.close()

    asyncio.run(main())
    server.join()


def test_what_a_vms_process_has_put_there_is_its_own_socket(tmp_path: Path) -> None:
    """A link to somebody else's would have hyperd speak to that."""
    others = unix.listen(tmp_path / "others.sock")
    (tmp_path / "vm").mkdir()
    (tmp_path / "vm/agent.sock").symlink_to(tmp_path / "others.sock")
    with others, pytest.raises(OSError, match="another kind"):
        unix.connect_to_theirs(tmp_path / "vm/agent.sock")
    (tmp_path / "vm/agent.sock").unlink()
    os.link(tmp_path / "others.sock", tmp_path / "vm/agent.sock")
    if os.geteuid() == 0:
        os.chown(tmp_path / "vm", 12345, 12345)  # whose that is not
        with pytest.raises(OSError, match="another kind"):
            unix.connect_to_theirs(tmp_path / "vm/agent.sock")
