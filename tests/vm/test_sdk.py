"""Hyper from Python, against a live hyperd: every example of the documentation, and what examples do not show."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import inspect
import os
import re
import signal
import textwrap
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

import hypercontainer
from hyper import Hyper
from hyper import hyper as hyper_context
from hypercontainer import AsyncClient, Client, ContainerSpec, PodSpec
from hypercontainer.sdk import aio, sync
from hypercontainer.sdk.transport import Api
from soak import rounds

DOC = Path(__file__).parents[2] / "docs/sdk.md"
SLEEP = ["sleep", "1000"]
POD = PodSpec(
    containers=(
        ContainerSpec("busybox", name="main", command=("sleep", "1000")),
        ContainerSpec("busybox", name="side", command=("sleep", "1000")),
    )
)


def public_classes(package: Any) -> Iterator[type]:
    for path in sorted(Path(package.__file__).parent.glob("[a-z]*.py")):
        module = __import__(f"{package.__name__}.{path.stem}", fromlist=["x"])
        for value in vars(module).values():
            named = inspect.isclass(value) and not value.__name__.startswith("_")
            if named and value.__module__ == module.__name__ and not hasattr(value, "__struct_fields__"):
                yield value


def example_of(documented: Any) -> str | None:
    """The indented block below ``Example::``."""
    _, found, rest = (inspect.getdoc(documented) or "").partition("Example::\n")
    return textwrap.dedent(re.split(r"\n(?=\S)", rest.strip("\n"))[0]) if found else None


def examples(package: Any) -> Iterator[Any]:
    """Of every public method, as parameters; "" where one has none."""
    for owner in public_classes(package):
        if source := example_of(owner):
            yield pytest.param(source, id=owner.__name__)
        for name, value in vars(owner).items():
            if inspect.isfunction(value) and not name.startswith("_") and name != "close":
                yield pytest.param(example_of(value) or "", id=f"{owner.__name__}.{name}")


def documented() -> Iterator[Any]:
    text = DOC.read_text()
    for match in re.finditer(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield pytest.param(match[1], id=f"line-{text[: match.start()].count(chr(10)) + 1}")


def names_in(source: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}


@pytest.fixture
def here(hyper: Hyper, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Hyper:
    """The test's hyperd is the one that programs find; `busybox` is an image without a registry."""
    enter(hyper, monkeypatch)
    monkeypatch.chdir(tmp_path)
    hyper("tag", "localhost/busybox", "busybox")
    return hyper


def enter(hyper: Hyper, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HYPER_HOST", raising=False)
    for name in ("HYPER_ROOT", "HYPER_RUN", "HYPER_CONFIG"):
        monkeypatch.setenv(name, hyper.environment[name])


@pytest.fixture
def client(here: Hyper) -> Iterator[Client]:
    with Client() as made:
        yield made


# Which are the asynchronous ones', as `tools/make_sync.py` writes them: `make test` has some.
@pytest.mark.parametrize("source", list(examples(sync))[:: rounds(short=4, soak=1)])
def test_a_blocking_example_does_what_it_says(here: Hyper, source: str) -> None:
    assert source, "this public method has no example"
    wanted = names_in(source)
    with Client() as client:
        names: dict[str, Any] = {"hyper": client, "hypercontainer": hypercontainer}
        if "box" in wanted:
            names["box"] = client.containers.start("busybox", SLEEP)
        if "pod" in wanted:
            names["pod"] = client.pods.start(POD)
        exec(source, names)
        if "pod" in wanted:
            gone(names["pod"])


@pytest.mark.parametrize("source", list(examples(aio)))
def test_an_asynchronous_example_does_what_it_says(here: Hyper, source: str) -> None:
    assert source, "this public method has no example"
    wanted = names_in(source)

    async def play() -> None:
        async with AsyncClient() as client:
            names: dict[str, Any] = {"hyper": client, "hypercontainer": hypercontainer}
            if "box" in wanted:
                names["box"] = await client.containers.start("busybox", SLEEP)
            if "pod" in wanted:
                names["pod"] = await client.pods.start(POD)
            code = compile(source, "example", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            done = eval(code, names)
            if inspect.isawaitable(done):
                await done
            if "pod" in wanted:
                async with names["pod"]:
                    pass

    asyncio.run(play())


def gone(pod: hypercontainer.Pod) -> None:
    with pod:
        pass


@pytest.mark.parametrize("source", list(documented()))
def test_an_example_of_the_documentation_does_what_it_says(here: Hyper, source: str) -> None:
    exec(compile(source, str(DOC), "exec"), {"__name__": "__main__"})


def test_hyperd_is_started_by_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    with hyper_context("[factory]\ncache = 0\n") as own:
        enter(own, monkeypatch)
        with Client(start=False) as client, pytest.raises(hypercontainer.Unavailable, match="not running"):
            client.version()
        with Client() as client:
            assert client.version()["version"] == hypercontainer.__version__
            assert client.info()["DaemonPid"] == own.daemon_pid()


def test_many_megabytes_come_and_go_bit_for_bit(client: Client) -> None:
    data = os.urandom(8 * 1024 * 1024)
    result = client.run("busybox", ["cat"], input=data)
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data).digest()
    with client.containers.start("busybox", SLEEP) as box:
        assert box.exec(["cat"], input=data).stdout == data
        box.write_file("/tmp/data", data)
        assert box.read_file("/tmp/data") == data


def test_a_stream_that_nobody_reads_takes_input_as_far_as_its_window(client: Client) -> None:
    data = b"x" * 1_000_000
    with client.containers.start("busybox", SLEEP) as box, box.exec_stream(["cat"], stdin=True) as stream:

        def write() -> None:
            stream.write(data)
            stream.end_input()

        writing = threading.Thread(target=write)
        writing.start()
        assert b"".join(piece for _, piece in stream) == data
        writing.join()
        assert stream.exit_status == 0


def test_a_run_that_fails_raises_where_that_is_asked_for(client: Client) -> None:
    command = ["sh", "-c", "echo no >&2; exit 4"]
    assert client.run("busybox", command).exit_status == 4
    with pytest.raises(hypercontainer.ContainerFailed, match="ended with status 4\nno") as caught:
        client.run("busybox", command, check=True)
    assert caught.value.result.stderr == b"no\n"
    with pytest.raises(hypercontainer.GuestError, match="nothing-like-that"):
        client.run("busybox", ["nothing-like-that"])
    with pytest.raises(hypercontainer.NotFound):
        client.run("localhost/absent", pull="never")


def test_what_takes_too_long_or_says_too_much_leaves_no_container(client: Client) -> None:
    with pytest.raises(hypercontainer.TimedOut):
        client.run("busybox", SLEEP, timeout_s=3)
    assert client.containers.list(all=True) == []
    with pytest.raises(hypercontainer.TooMuchOutput) as caught:
        client.run("busybox", ["yes"], max_output_bytes=100_000)
    assert caught.value.stdout.startswith(b"y\ny\n")
    assert client.containers.list(all=True) == []


def test_an_exec_that_takes_too_long_is_killed(client: Client) -> None:
    with client.containers.start("busybox", SLEEP) as box:
        with pytest.raises(TimeoutError):
            box.exec(["sleep", "999"], timeout_s=1)
        with box.exec_stream(["sleep", "999"]):
            pass
        assert not [line for line in box.top() if "999" in line.command]


def test_a_cancelled_run_leaves_no_container(here: Hyper) -> None:
    async def play() -> None:
        async with AsyncClient() as client:
            begun = asyncio.Event()

            async def watch() -> None:
                async for event in client.events(since="1h", filters={"event": ["start"]}):
                    if event.attributes.get("name") == "cancelled":
                        begun.set()

            watching = asyncio.create_task(watch())
            running = asyncio.create_task(client.run("busybox", SLEEP, name="cancelled"))
            async with asyncio.timeout(60):
                await begun.wait()
            for task in (running, watching):
                task.cancel()
            await asyncio.gather(running, watching, return_exceptions=True)
            assert running.cancelled()
            assert await client.containers.list(all=True) == []

    asyncio.run(play())


def test_an_interrupted_program_leaves_no_container(client: Client) -> None:
    """Ctrl-C in the middle of a blocking run."""
    main = threading.get_ident()

    def interrupt() -> None:
        for event in client.events(since="1h", filters={"event": ["start"]}):
            if event.attributes.get("name") == "interrupted":
                signal.pthread_kill(main, signal.SIGINT)
                return

    other = threading.Thread(target=interrupt)
    other.start()
    with pytest.raises(KeyboardInterrupt):
        client.run("busybox", SLEEP, name="interrupted")
    other.join()
    assert client.containers.list(all=True) == []


def test_logs_are_followed_to_the_end_and_can_be_left(client: Client) -> None:
    command = ["sh", "-c", "echo out; echo err >&2; read line"]
    with client.containers.start("busybox", command, stdin_open=True) as box:
        logs = box.logs(follow=True)
        assert {next(logs), next(logs)} == {("stdout", b"out\n"), ("stderr", b"err\n")}
        logs.close()
        with box.attach(stdin=True) as stream:
            stream.write(b"go\n")
            assert stream.wait() == 0
        assert sum(len(data) for _, data in box.logs(follow=True)) == len("out\nerr\n")


def test_who_attaches_late_has_what_was_written_before(client: Client) -> None:
    command = ["sh", "-c", "echo first; echo wrong >&2; read line; echo $line; read line"]
    with client.containers.start("busybox", command, stdin_open=True) as box:
        logs = box.logs(follow=True)
        assert {next(logs), next(logs)} == {("stdout", b"first\n"), ("stderr", b"wrong\n")}
        logs.close()
        with box.attach(stdin=True, logs=True) as early:
            early.write(b"second\n")
            seen = {"stdout": b"", "stderr": b""}
            while seen != {"stdout": b"first\nsecond\n", "stderr": b"wrong\n"}:
                channel, data = next(early)
                seen[channel] += data
            with box.attach(stdin=True, logs=True) as late:
                late.write(b"end\n")
                result = late.communicate()
        assert (result.exit_status, result.stdout, result.stderr) == (0, b"first\nsecond\n", b"wrong\n")


def test_files_need_no_program_of_the_image(client: Client) -> None:
    with client.containers.start("busybox", ["/bin/busybox", "sleep", "1000"]) as box:
        box.exec(["rm", "/bin/cat", "/bin/dd"], check=True)
        box.write_file("/tmp/note", "text", mode=0o4750, uid=7, gid=8)
        assert box.read_file("/tmp/note") == b"text"
        assert box.exec(["stat", "-c", "%a %u %g", "/tmp/note"]).text == "4750 7 8\n"
        with pytest.raises(hypercontainer.NotFound, match="/absent/file: No such file"):
            box.write_file("/absent/file", b"")
        for refused in ("/tmp", "/dev/zero"):
            with pytest.raises(hypercontainer.InvalidArgument, match="no regular file"):
                box.read_file(refused)
        with pytest.raises(hypercontainer.InvalidArgument, match="path"):
            box.write_file("relative", b"")
        with pytest.raises(hypercontainer.Conflict, match="/etc/hosts: something is mounted there"):
            box.write_file("/etc/hosts", b"")
        box.stop(grace_s=0)
        with pytest.raises(hypercontainer.Conflict, match="is not running"):
            box.read_file("/tmp/note")


def test_a_client_that_goes_leaves_no_program_in_the_guest(here: Hyper) -> None:
    pod = PodSpec(name="vm", containers=(ContainerSpec("busybox", name="box", command=tuple(SLEEP)),))
    running = "cat /proc/[0-9]*/comm | grep -q ^hyper-"

    async def play() -> None:
        async with AsyncClient() as client, await client.pods.start(pod) as vm:

            async def until(condition: str) -> None:
                await vm.exec(["sh", "-c", f"until {condition}; do :; done"], check=True, timeout_s=60)

            async def sh(script: str) -> str:
                return (await box.exec(["sh", "-c", script], check=True)).text

            box = await client.containers.get("box")
            await sh("echo old >/file; dd if=/dev/zero of=/much bs=1M count=16 2>/dev/null")
            api = Api(str(here.run_dir / "hyper.sock"))
            async with api.exchange("containers.read_file", box.id, query={"path": "/much"}):
                await until(f"{running}read")
            await until(f"! {running}[rw]")
            reading, writing = os.pipe()
            with open(reading, "rb", buffering=0) as source, open(writing, "wb", buffering=0) as more:
                more.write(b"half")
                write = asyncio.create_task(put(api, box.id, source))
                await until(f"{running}write")
                write.cancel()
                await asyncio.gather(write, return_exceptions=True)
                more.close()
                await until(f"! {running}[rw]")
            assert await sh("cat /file; ls -A / | grep hyper; true") == "old\n"

    asyncio.run(play())


async def put(api: Api, box: str, source: BinaryIO) -> None:
    async with api.exchange("containers.write_file", box, query={"path": "/file"}, upload=source):
        pass


def test_a_published_port_leads_into_the_container(client: Client) -> None:
    command = ["sh", "-c", "mkdir /www; echo hello > /www/index.html; echo up; exec httpd -f -h /www"]
    with client.containers.start("busybox", command, ports={80: ("127.0.0.1", 0)}) as web:
        url = f"http://127.0.0.1:{web.port(80)}/"
        assert next(web.logs(follow=True)).data == b"up\n"
        web.exec(
            ["sh", "-c", "until wget -q -O /dev/null http://127.0.0.1/; do :; done"], check=True, timeout_s=60
        )
        with urllib.request.urlopen(url, timeout=30) as answer:
            assert answer.read() == b"hello\n"


def test_a_client_leaves_no_thread_and_no_descriptor(here: Hyper) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    with Client() as client:
        client.version()
    before = (descriptors(), threading.active_count())
    with Client() as client, client.containers.start("busybox", SLEEP) as box:
        with box.exec_stream(["cat"], stdin=True):
            pass
        next(client.events(since="1h"))
    assert (descriptors(), threading.active_count()) == before
    with pytest.raises(hypercontainer.InvalidArgument, match="closed"):
        client.version()
