"""The engine's policy, on fake VMs: lives of containers, restarts of hyperd, failures."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from fake_process import FakeProcess
from fake_world import IMAGE, World, read_all
from hypercontainer.agent.wire import Operation, Stream
from hypercontainer.config import Defaults, Logging
from hypercontainer.contract.answers import Created, Event, Exit
from hypercontainer.contract.spec import ContainerSpec, ExecSpec, LogConfig, RestartPolicy
from hypercontainer.engine import files
from hypercontainer.errors import Conflict, GuestError, InvalidArgument, NameTaken, NotFound, Unavailable
from stories import Story, Tell


def spec(w: World, *command: str, **more: Any) -> ContainerSpec:
    return ContainerSpec(image=IMAGE, command=command or None, **{**w.spec_defaults, **more})


async def run(w: World, wish: ContainerSpec) -> tuple[bytes, int]:
    attachment = await w.engine.containers.run(wish, created=lambda _: None)
    output = await read_all(attachment)
    return output, (await attachment.exit()).exit_status


def test_run_gives_output_and_status_and_leaves_a_stopped_container(tell: Tell) -> None:
    async def story(w: World) -> None:
        assert await run(w, spec(w, "echo", "hello", name="one")) == (b"hello\n", 0)
        assert await run(w, spec(w, "exit", "7", name="two")) == (b"", 7)
        shown = await w.engine.containers.find(all=True)
        assert [(c.name, c.state, c.exit_status) for c in shown] == [
            ("two", "exited", 7),
            ("one", "exited", 0),
        ]
        assert await w.engine.containers.find() == []
        assert [data async for _, data in w.engine.containers.logs("one")] == [b"hello\n"]

    tell(story)


def test_rm_leaves_nothing(tell: Tell) -> None:
    async def story(w: World) -> None:
        assert await run(w, spec(w, "exit", "3", auto_remove=True)) == (b"", 3)
        assert await w.engine.containers.find(all=True) == []
        assert list((w.config.root / "containers").iterdir()) == []
        assert list((w.config.run / "pods").iterdir()) == []

    tell(story)


@pytest.mark.parametrize("auto_remove", [True, False])
def test_a_program_that_is_missing_fails_the_start(tell: Tell, auto_remove: bool) -> None:
    async def story(w: World) -> None:
        with pytest.raises(GuestError) as caught:
            await run(w, spec(w, "nosuch", name="bad", auto_remove=auto_remove))
        assert caught.value.errno == 2
        left = await w.engine.containers.find(all=True)
        assert [(c.name, c.state, c.exit_status) for c in left] == (
            [] if auto_remove else [("bad", "created", 127)]
        )
        assert list((w.config.run / "pods").iterdir()) == []

    tell(story)


def test_stop_sends_the_signal_waits_and_start_runs_again(tell: Tell) -> None:
    async def story(w: World) -> None:
        containers = w.engine.containers
        made = await containers.create(spec(w, "trap", name="web"))
        for _ in range(2):
            await containers.start("web")
            assert (await containers.inspect(made.id[:8])).state == "running"
            logs = containers.logs("web", follow=True, tail=0)
            await containers.stop("web")
            assert b"signal 15\n" in [data async for _, data in containers.logs("web")]
            del logs
            shown = await containers.inspect("web")
            assert (shown.state, shown.exit_status, shown.pid) == ("exited", 0, 0)
        await containers.start("web")
        await containers.restart("web", signal="INT")
        ends = w.engine.system.events(since="1h", until="0s", filters={"event": ["die"]})
        assert "130" in [end async for end in ends][-1].attributes.values()  # INT, which it does not catch

    tell(story)


def test_stop_kills_what_does_not_listen(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.containers.create(spec(w, "deaf", name="deaf", stop_signal="SIGUSR1"))
        await w.engine.containers.start("deaf")
        await w.engine.containers.stop("deaf", timeout_s=0)
        assert (await w.engine.containers.inspect("deaf")).exit_status == 137

    async def deaf(process: Any) -> int:
        process.catches = frozenset({10})
        await asyncio.sleep(1000)
        return 0

    def with_deaf(inner: Story) -> Story:
        async def outer(w: World) -> None:
            w.driver.programs = {"deaf": deaf}
            await inner(w)

        return outer

    tell(with_deaf(story))


def test_names_are_unique_checked_and_resolved(tell: Tell) -> None:
    async def story(w: World) -> None:
        containers = w.engine.containers
        made = await containers.create(spec(w, "true", name="a"))
        with pytest.raises(Conflict, match="name a is already in use"):
            await containers.create(spec(w, "true", name="a"))
        with pytest.raises(InvalidArgument, match="invalid container name"):
            await containers.create(spec(w, "true", name="../a"))
        with pytest.raises(NotFound, match="no such container: no-digit"):
            await containers.start("no-digit")
        await containers.rename("a", "b")
        assert (await containers.inspect("b")).id == made.id
        await containers.create(spec(w, "true", name="a"))
        with pytest.raises(Conflict):
            await containers.rename("a", "b")
        both = await asyncio.gather(
            *(containers.create(spec(w, "true", name="same")) for _ in range(2)), return_exceptions=True
        )
        assert {type(result) for result in both} == {Created, NameTaken}

    tell(story)


def test_restart_policy_starts_again_until_the_user_stops_it(tell: Tell) -> None:
    async def story(w: World) -> None:
        containers = w.engine.containers
        await containers.create(spec(w, "exit", "4", name="flaky", restart=RestartPolicy("on-failure", 2)))
        events = w.engine.system.events(since="1h", until="", filters={"event": ["die"]})
        await containers.start("flaky")
        ends = [await anext(events) for _ in range(3)]
        assert [event.attributes["exitCode"] for event in ends] == ["4", "4", "4"]
        await containers.wait("flaky")
        shown = await containers.inspect("flaky")
        assert (shown.state, shown.restart_count) == ("exited", 2)

    tell(story)


START = ["prepare", "vm", "guest", "configure", "root", "process"]


def stages(event: Event) -> dict[str, float]:
    return {
        name: float(ms)
        for name, _, ms in (part.partition("=") for part in event.attributes["timings"].split())
    }


@pytest.mark.parametrize("auto_remove", [True, False])
def test_every_run_says_where_its_time_went(tell: Tell, auto_remove: bool) -> None:
    async def story(w: World) -> None:
        attachment = await w.engine.containers.run(
            spec(w, "exit", "3", auto_remove=auto_remove), created=lambda _: None
        )
        timings = (await attachment.exit()).timings
        assert timings is not None
        assert (timings.vm, list(timings.stages_ms)) == ("cold", [*START, "run", "end"])
        assert min(timings.stages_ms.values()) >= 0
        wanted = {"event": ["start", "timings"]}
        events = w.engine.system.events(since="1h", until="", filters=wanted)
        started, ended = [await anext(events) for _ in range(2)]
        assert (started.action, ended.action) == ("start", "timings")
        assert started.attributes["vm"] == ended.attributes["vm"] == "cold"
        assert list(stages(started)) == START
        assert stages(ended) == pytest.approx(timings.stages_ms, abs=0.051)

    tell(story)


def test_a_run_that_another_hyperd_began_has_no_timings_and_the_next_has(
    tell: Tell,
) -> None:
    async def story(w: World) -> None:
        await w.engine.containers.create(spec(w, "trap", name="web"))
        await w.engine.containers.start("web")
        await w.engine.close()
        engine = await w.open()
        attachment = await engine.containers.attach("web")
        await engine.containers.stop("web")
        assert await attachment.exit() == Exit(0)
        await engine.containers.start("web")
        attachment = await engine.containers.attach("web")
        await engine.containers.stop("web")
        timings = (await attachment.exit()).timings
        assert timings is not None
        assert list(timings.stages_ms) == [*START, "run", "end"]

    tell(story)


def test_a_removal_that_was_interrupted_is_finished_by_the_next_hyperd(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: World) -> None:
        await w.engine.containers.create(spec(w, "trap", name="web"))

        def killed(path: Path) -> None:
            raise Unavailable(f"hyperd ended before {path} was removed")

        with monkeypatch.context() as patch:
            patch.setattr(files, "remove_tree", killed)
            with pytest.raises(Unavailable):
                await w.engine.containers.remove("web")
        assert (await w.engine.containers.inspect("web")).state == "removing"
        await w.engine.close()
        engine = await w.open()
        with pytest.raises(NotFound):
            await engine.containers.inspect("web")

    tell(story)


def test_labels_may_be_called_as_anything(tell: Tell) -> None:
    async def story(w: World) -> None:
        names = ("name", "image", "kind", "action", "identifier", "self", "vm", "timings")
        wish = spec(w, "exit", "0", name="web", labels=dict.fromkeys(names, "label"))
        assert await run(w, wish) == (b"", 0)
        started = await anext(w.engine.system.events(since="1h", until="", filters={"event": ["start"]}))
        told = started.attributes
        assert (told["name"], told["image"], told["vm"]) == ("web", IMAGE, "cold")
        assert (told["kind"], told["action"]) == ("label", "label")

    tell(story)


def test_pods_outlive_the_engine(tell: Tell) -> None:
    async def story(w: World) -> None:
        containers = w.engine.containers
        await containers.create(spec(w, "trap", name="stays"))
        await containers.start("stays")
        await containers.create(spec(w, "cat", name="ends", stdin_open=True))
        await containers.start("ends")
        await w.engine.close()
        w.driver.guests[next(s.id for s in w.driver.launched if s.name == "ends")].processes[1].kill(9)
        engine = await w.open()
        assert (await engine.containers.wait("ends")).exit_status == 137
        assert (await engine.containers.inspect("stays")).state == "running"
        await engine.containers.stop("stays")
        lines = [data async for _, data in engine.containers.logs("stays")]
        assert b"".join(lines) == b"ready\nsignal 15\n"

    tell(story)


def test_a_lost_vm_is_reported(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.containers.create(spec(w, "sleep", name="victim"))
        await w.engine.containers.start("victim")
        w.driver.machine(w.driver.launched[0].id).crash("qemu: out of luck")
        assert (await w.engine.containers.wait("victim")).exit_status == 255
        assert "out of luck" in (await w.engine.containers.inspect("victim")).error

    tell(story)


def test_a_vm_that_went_while_hyperd_was_away_is_reported(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.containers.create(spec(w, "sleep", name="victim"))
        await w.engine.containers.start("victim")
        await w.engine.close()
        w.driver.machine(w.driver.launched[0].id).crash()
        engine = await w.open()
        shown = await engine.containers.inspect("victim")
        assert (shown.state, shown.exit_status) == ("exited", 255)

    tell(story)


def test_exec(tell: Tell) -> None:
    async def story(w: World) -> None:
        containers = w.engine.containers
        await containers.create(spec(w, "sleep", name="host"))
        with pytest.raises(Conflict, match="not running"):
            await containers.exec_create("host", ExecSpec(("echo", "x")))
        await containers.start("host")
        exec_id = await containers.exec_create("host", ExecSpec(("cat",), stdin=True))
        attachment = await w.engine.execs.start(exec_id)
        assert attachment is not None
        await attachment.write(b"through")
        await attachment.end_input()
        assert await read_all(attachment) == b"through"
        assert (await attachment.exit()).exit_status == 0
        assert (await w.engine.execs.inspect(exec_id)).exit_status == 0
        missing = await containers.exec_create("host", ExecSpec(("nosuch",)))
        with pytest.raises(GuestError):
            await w.engine.execs.start(missing)

    tell(story)


def test_pause_and_remove(tell: Tell) -> None:
    async def story(w: World) -> None:
        containers = w.engine.containers
        made = await containers.create(spec(w, "sleep", name="c"))
        await containers.start("c")
        await containers.pause("c")
        assert (await containers.inspect("c")).state == "paused"
        assert made.id in next(iter(w.driver.guests.values())).frozen
        with pytest.raises(Conflict, match="paused"):
            await containers.exec_create("c", ExecSpec(("true",)))
        await containers.unpause("c")
        with pytest.raises(Conflict, match="running"):
            await containers.remove("c")
        await containers.remove("c", force=True)
        assert await containers.find(all=True) == []
        assert list((w.config.root / "containers").iterdir()) == []

    tell(story)


def test_a_failed_launch_leaves_nothing_and_says_why(tell: Tell) -> None:
    async def story(w: World) -> None:
        kernel = w.tmp / "soon-gone"
        kernel.write_bytes(b"\x7fELF")
        await w.engine.containers.create(spec(w, "true", name="c", kernel=str(kernel)))
        kernel.unlink()
        with pytest.raises(NotFound, match=r"kernel .*soon-gone"):
            await w.engine.containers.start("c")
        assert [c.state for c in await w.engine.containers.find(all=True)] == ["created"]
        assert list((w.config.run / "pods").iterdir()) == []

    tell(story)


def test_hostname_and_environment_reach_the_guest(tell: Tell) -> None:
    async def story(w: World) -> None:
        output, _ = await run(w, spec(w, "env", hostname="box", env=("A=b",)))
        assert {b"HOSTNAME=box", b"A=b"} <= set(output.split(b"\n"))
        guest = next(iter(w.driver.guests.values()))
        assert guest.config is not None
        assert guest.config.hostname == "box"
        assert len(guest.config.entropy) == 64
        assert [operation for operation, _ in guest.requests[:4]] == [
            Operation.CONFIGURE,
            Operation.CONTAINER_CREATE,
            Operation.SET_TIME,
            Operation.PROCESS_START,
        ]

    tell(story)


def test_an_attached_client_that_asks_for_the_log_has_it_from_its_beginning(
    tell: Tell,
) -> None:
    """Wherever it joins: without gap or repetition, on each channel."""
    count = 3000

    async def counts(process: FakeProcess) -> int:
        for number in range(count):
            await process.write(b"o%d\n" % number)
            await process.write(b"e%d\n" % number, Stream.STDERR)
            await asyncio.sleep(0)
        await process.read()
        return 0

    async def story(w: World) -> None:
        w.driver.programs = {"counts": counts}
        containers = w.engine.containers
        await containers.create(spec(w, "counts", name="c", stdin_open=True))
        await containers.start("c")
        clients = []
        for _ in range(5):
            clients.append(await containers.attach("c", logs=True))
            seen = clients[-1]
            while b"o%d\n" % (len(clients) * count // 8) not in await seen.read(1):
                pass
        late = await containers.attach("c", logs=True)
        whole = [asyncio.gather(read_all(late, 1), read_all(late, 2))]
        drained = [asyncio.gather(read_all(one, 1), read_all(one, 2)) for one in clients]
        await clients[0].write(b"end")
        assert [(await late.exit()).exit_status, *await asyncio.gather(*whole)] == [
            0,
            [b"".join(b"%s%d\n" % (letter, n) for n in range(count)) for letter in (b"o", b"e")],
        ]
        for _, errors in await asyncio.gather(*drained):
            assert errors == b"".join(b"e%d\n" % n for n in range(count))
        # One that joins between two runs has the earlier one's, and the next one's.
        between = await containers.attach("c", logs=True)
        await containers.start("c")
        await between.write(b"end")
        assert len(await read_all(between, 1)) == 2 * len((await asyncio.gather(*whole))[0][0])

    tell(story)


def test_no_log_is_promised_where_none_is_kept(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.containers.create(spec(w, "sleep", name="c", log=LogConfig("none")))
        await w.engine.containers.start("c")
        with pytest.raises(Conflict, match="keeps no log"):
            await w.engine.containers.attach("c", logs=True)

    tell(story)


def test_a_client_may_attach_before_the_start(tell: Tell) -> None:
    async def story(w: World) -> None:
        containers = w.engine.containers
        await containers.create(spec(w, "cat", name="c", stdin_open=True, stdin_once=True))
        attachment = await containers.attach("c")
        await containers.start("c")
        await attachment.write(b"in time")
        await attachment.end_input()
        assert await read_all(attachment) == b"in time"
        assert (await attachment.exit()).exit_status == 0
        waiting = await containers.attach("c")
        await containers.remove("c")
        assert await read_all(waiting) == b""
        assert (await waiting.exit()).error == "the container was removed"

    tell(story)


def test_the_configuration_speaks_where_the_user_does_not(tell: Tell) -> None:
    async def story(w: World) -> None:
        await w.engine.close()
        w.config = dataclasses.replace(
            w.config,
            defaults=Defaults(stop_timeout_s=3, dns=("192.0.2.53",), memory_bytes=64 << 20),
            logging=Logging(max_size_bytes=1 << 20, max_files=2),
        )
        engine = await w.open()
        await engine.containers.create(spec(w, "true", name="quiet"))
        await engine.containers.create(
            spec(w, "true", name="loud", dns=("192.0.2.1",), stop_timeout_s=0, log=LogConfig(max_files=7))
        )
        quiet, loud = (
            (await engine.containers.inspect("quiet")).spec,
            (await engine.containers.inspect("loud")).spec,
        )
        assert (quiet.dns, quiet.stop_timeout_s, quiet.log) == (
            ("192.0.2.53",),
            3,
            LogConfig("file", 1 << 20, 2),
        )
        assert (loud.dns, loud.stop_timeout_s, loud.log) == (("192.0.2.1",), 0, LogConfig("file", 1 << 20, 7))

    tell(story)
