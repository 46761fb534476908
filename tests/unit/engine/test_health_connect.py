"""The connecting process in the guest, and what probes and hooks do."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable

import pytest

from health_peers import PATIENCE_S, Site, dial, page, served, silent
from hypercontainer.contract.answers import Exit
from hypercontainer.contract.probes import Exec, Grpc, HttpGet, Sleep, TcpConnect
from hypercontainer.engine.health import actions
from hypercontainer.engine.health.connect import Dial, ProcessStream, tcp, through
from hypercontainer.engine.health.http_probe import http_get
from hypercontainer.engine.health.result import Result
from hypercontainer.errors import AgentError, GuestError, StreamClosed
from virtual_clock import VirtualClock


class Process:
    """A connecting process as ``engine.interface.Attachment``."""

    tty = False

    def __init__(self) -> None:
        self.channels: dict[int, asyncio.Queue[bytes]] = {1: asyncio.Queue(), 2: asyncio.Queue()}
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.written = b""
        self.signals: list[str] = []
        self.closed = False

    def end(self, status: int, said: bytes = b"") -> None:
        if said:
            self.channels[2].put_nowait(said)
        for channel in self.channels.values():
            channel.put_nowait(b"")
        self.ended.set_result(Exit(status))

    async def read(self, channel: int) -> bytes:
        data = await self.channels[channel].get()
        if not data:
            self.channels[channel].put_nowait(b"")
        return data

    async def write(self, data: bytes) -> None:
        if self.ended.done():
            raise StreamClosed("it has ended")
        self.written += data

    async def end_input(self) -> None: ...
    async def resize(self, rows: int, columns: int) -> None: ...
    async def signal(self, name: str) -> None:
        self.signals.append(name)

    async def exit(self) -> Exit:
        return await asyncio.shield(self.ended)

    async def close(self) -> None:
        self.closed = True


def with_process(body: Callable[[Process, Dial], Awaitable[None]]) -> Process:
    async def main() -> Process:
        process = Process()

        async def start(arguments: tuple[str, ...]) -> Process:
            assert arguments == ("hyper-connect", "127.0.0.1", "80")
            return process

        await body(process, through(start))
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, f"left behind: {others}"
        return process

    return asyncio.run(main())


CHECK = TcpConnect(port=80)


@pytest.mark.parametrize("sign", ["word", "end", "bytes"])
def test_a_connection_shows(sign: str) -> None:
    async def body(process: Process, through_it: Dial) -> None:
        task = asyncio.create_task(tcp(through_it, CHECK, PATIENCE_S))
        await asyncio.sleep(0)
        if sign == "word":
            process.channels[2].put_nowait(b"connected\n")
        elif sign == "bytes":
            process.channels[1].put_nowait(b"220 welcome")
        else:
            process.end(0)
        assert (await task).ok

    process = with_process(body)
    assert process.closed and process.signals == ([] if sign == "end" else ["KILL"])


def test_no_connection_shows() -> None:
    async def body(process: Process, through_it: Dial) -> None:
        process.end(1, b"Connection refused\n")
        expected = Result(False, "127.0.0.1 port 80: Connection refused")
        assert await tcp(through_it, CHECK, PATIENCE_S) == expected

    assert with_process(body).signals == []


def test_no_connection_shows_to_a_protocol() -> None:
    async def body(process: Process, through_it: Dial) -> None:
        process.end(1)
        expected = Result(False, "127.0.0.1 port 80: hyper-connect ended with status 1")
        assert await http_get(through_it, HttpGet(port=80), PATIENCE_S) == expected

    with_process(body)


def test_a_process_that_hangs_is_ended() -> None:
    async def body(_process: Process, through_it: Dial) -> None:
        assert await tcp(through_it, CHECK, 0.01) == Result(False, "no answer within 0.01 s")

    assert with_process(body).signals == ["KILL"]


def test_http_through_a_process() -> None:
    async def body(process: Process, through_it: Dial) -> None:
        for part in page(200, b"fine"):
            process.channels[1].put_nowait(bytes([part]))
        assert await http_get(through_it, HttpGet(port=80), PATIENCE_S) == Result(True, "fine")

    assert with_process(body).written.startswith(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:80\r\n")


def test_reads_are_as_small_as_asked() -> None:
    async def body(process: Process, _through_it: Dial) -> None:
        stream = ProcessStream(process, "peer")
        process.channels[1].put_nowait(b"abcde")
        assert [await stream.read(2), await stream.read(2), await stream.read(2)] == [b"ab", b"cd", b"e"]
        process.end(1, b"reset")
        assert await stream.read(2) == b""  # there was a connection
        await stream.close()
        await stream.close()

    with_process(body)


def test_a_lost_guest_says_nothing_about_the_container() -> None:
    async def body(process: Process, through_it: Dial) -> None:
        process.ended.set_exception(AgentError("gone"))
        for channel in process.channels.values():
            channel.put_nowait(b"")
        with pytest.raises(AgentError):
            await tcp(through_it, CHECK, PATIENCE_S)

    with_process(body)


# --------------------------------------------------------------------------------------------- actions


async def execute(command: tuple[str, ...], _timeout_s: float | None) -> tuple[int, bytes]:
    match command:
        case ("none",):
            raise GuestError("none: no such file", errno=2)
        case ("slow",):
            raise TimeoutError
        case ("lost",):
            raise AgentError("gone")
    return len(command) - 1, b"said\x1b[31m\n"


@pytest.mark.parametrize(
    ("command", "result"),
    [
        (("true",), Result(True, "said [31m")),
        (("a", "b", "c"), Result(False, "'a' ended with status 2: said [31m")),
        (("none",), Result(False, "none: no such file")),
        (("slow",), Result(False, "no answer within 3 s")),
    ],
)
def test_exec(command: tuple[str, ...], result: Result) -> None:
    reach = actions.Reach(execute, dial)
    assert asyncio.run(actions.check(Exec(command), reach, 3)) == result
    assert asyncio.run(actions.perform(Exec(command), reach, 3)) == result


def test_exec_without_a_guest() -> None:
    with pytest.raises(AgentError):
        asyncio.run(actions.check(Exec(("lost",)), actions.Reach(execute, dial), 3))


def test_a_hook_is_content_with_any_answer() -> None:
    async def main() -> None:
        reach = actions.Reach(execute, dial)
        async with served(Site({})) as port:
            assert not (await actions.check(HttpGet(port=port), reach, PATIENCE_S)).ok
            assert (await actions.perform(HttpGet(port=port), reach, None)).ok
            assert (await actions.perform(TcpConnect(port=port), reach, None)).ok
        async with served(silent) as port:
            assert not (await actions.check(Grpc(port=port), reach, 0.01)).ok

    asyncio.run(main())


def test_sleep() -> None:
    async def main() -> None:
        clock = VirtualClock()
        reach = actions.Reach(execute, dial, clock=clock)
        do = functools.partial(actions.perform, reach=reach)
        slept = asyncio.create_task(do(Sleep(5), timeout_s=None))
        cut = asyncio.create_task(do(Sleep(500), timeout_s=7))
        await clock.advance(6)
        assert slept.result() == Result(True) and not cut.done()
        await clock.advance(1)
        assert not cut.result().ok

    asyncio.run(main())
