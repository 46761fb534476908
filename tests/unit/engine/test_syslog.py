"""A container's output on its way to a syslog server: what a message is, and servers that are slow or gone."""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path
from typing import Any

import pytest

from fake_world import World
from hypercontainer.contract.spec import LogConfig, Syslog
from hypercontainer.engine.log import syslog as sending
from hypercontainer.engine.log.syslog import Forwarding
from hypercontainer.errors import InvalidArgument, NotSupported, Unavailable
from hypercontainer.semantics import syslog
from stories import Tell, member

FACTS = {"ID": "0123456789ab", "Name": "web"}
T_NS = 1_700_000_000_123_456_789


@pytest.mark.parametrize(
    ("config", "pattern"),
    [
        (Syslog(), rb"<30>Nov 1[45] \d\d:\d\d:20 web\[7\]: hello"),
        (Syslog(format="rfc3164", facility="local7"), rb"<190>Nov 1[45] \d\d:\d\d:20 host web\[7\]: hello"),
        (
            Syslog(format="rfc5424", facility="0"),
            rb"<6>1 2023-11-14T22:13:20\+00:00 host web 7 web - hello",
        ),
        (Syslog(format="rfc5424micro"), rb"<30>1 2023-11-14T22:13:20\.123456\+00:00 host web 7 web - hello"),
    ],
)
def test_messages(config: Syslog, pattern: bytes) -> None:
    write = syslog.writer(config, "web", host="host", pid=7)
    assert re.fullmatch(pattern, write(syslog.INFO, T_NS, b"hello"))


def test_tags() -> None:
    assert syslog.tag(Syslog(), FACTS) == "0123456789ab"
    assert syslog.tag(Syslog(tag="a {{.Name}}/{{ .ID }}\n"), FACTS) == "a_web/0123456789ab_"


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("", "unixgram:///dev/log"),
        ("udp://h", "udp://h:514"),
        ("tcp://[::1]:5", "tcp://::1:5"),
        ("unix:///s", "unix:///s"),
    ],
)
def test_addresses(address: str, told: str) -> None:
    assert str(syslog.server(Syslog(address))) == told


@pytest.mark.parametrize(
    "config",
    [
        Syslog("h:5"),
        Syslog("udp://"),
        Syslog("tcp://h:99999"),
        Syslog("unix://relative"),
        Syslog("http://h"),
        Syslog(facility="mine"),
        Syslog(facility="24"),
        Syslog(format="json"),
        Syslog(tag="{{.Secret}}"),
        Syslog(tag="{{if .ID}}x{{end}}"),
    ],
)
def test_what_is_no_server(config: Syslog) -> None:
    with pytest.raises(InvalidArgument):
        syslog.check(config)


def test_there_is_no_tls() -> None:
    with pytest.raises(NotSupported):
        syslog.check(Syslog("tcp+tls://h"))


def forwarding(address: str, **more: Any) -> Forwarding:
    return Forwarding(Syslog(address, tag="{{.Name}}", **more), FACTS, None)


def test_lines_are_messages_however_they_come() -> None:
    async def story() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.setblocking(False)
            sender = forwarding(f"udp://127.0.0.1:{server.getsockname()[1]}")
            await sender.open()
            for stream, data in ((1, b"one\r\ntw"), (2, b"bad\n"), (1, b"o\n\n"), (1, b"end")):
                sender.append(stream, data)
            await sender.close()
            got = [await asyncio.get_running_loop().sock_recv(server, 65536) for _ in range(5)]
        texts = [re.sub(rb"^<(\d+)>.*\]: ", rb"\1 ", message) for message in got]
        assert sorted(texts) == [b"27 bad", b"30 ", b"30 end", b"30 one", b"30 two"]

    asyncio.run(story())


def test_a_long_line_is_several_messages(tmp_path: Path) -> None:
    async def story() -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(str(tmp_path / "log"))
            sender = forwarding(f"unixgram://{tmp_path}/log")
            await sender.open()
            sender.append(1, b"x" * (sending.LINE_MAX + 5))
            await sender.close()
            server.setblocking(False)
            got = [server.recv(65536).partition(b": ")[2] for _ in range(2)]
        assert [len(text) for text in got] == [sending.LINE_MAX, 5]

    asyncio.run(story())


def test_a_server_that_goes_and_comes_again() -> None:
    async def story() -> None:
        heard: asyncio.Queue[bytes] = asyncio.Queue()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heard.put_nowait(await reader.readline())
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sender = forwarding(f"tcp://127.0.0.1:{port}", format="rfc5424")
        await sender.open()
        sender.append(1, b"first\n")
        assert (await heard.get()).endswith(b"web - first\n")
        while heard.empty():  # what is sent into a connection that has gone is lost
            sender.append(1, b"again\n")
            await asyncio.sleep(0)
        await sender.close()
        server.close()
        with pytest.raises(Unavailable, match=r"log driver syslog: tcp://127\.0\.0\.1"):
            await sender.open()

    asyncio.run(story())


def test_nobody_waits_for_a_server_that_does_not_read() -> None:
    async def story() -> None:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
            server.listen()
            sender = forwarding(f"tcp://127.0.0.1:{server.getsockname()[1]}")
            await sender.open()
            for _ in range(200):
                sender.append(1, b"x" * 100_000 + b"\n")
            assert sender._waiting_bytes <= sending.WAITING_MAX
            await sender.close()
            assert sender._sender is None

    asyncio.run(story())


def test_the_log_has_it_too(tell: Tell, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(str(tmp_path / "log"))
            server.setblocking(False)
            log = LogConfig("syslog", syslog=Syslog(f"unixgram://{tmp_path}/log", tag="{{.Name}}"))
            wish = member("web", "echo", "hello", log=log, stdin_open=False, **w.spec_defaults)
            await w.engine.containers.create(wish)
            await w.engine.containers.start("web")
            await w.engine.containers.wait("web")
            assert [data async for _, data in w.engine.containers.logs("web")] == [b"hello\n"]
            assert server.recv(1000).endswith(b"]: hello")
        with pytest.raises(Unavailable, match="log driver syslog"):
            await w.engine.containers.start("web")

    tell(story)
