"""Pods with a name, on fake VMs: one VM for all, lives of their own, order of start and end, the next hyperd."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from fake_world import IMAGE, World, read_all
from hypercontainer.contract.limits import CONTAINERS_MAX
from hypercontainer.contract.probes import Exec, Lifecycle, Probe
from hypercontainer.contract.spec import ContainerSpec, ExecSpec, PortMapping, RestartPolicy
from hypercontainer.contract.volumes import EmptyDir, NamedVolume, Volume, VolumeMount
from hypercontainer.engine.state import StateStore
from hypercontainer.errors import Conflict, HyperError, InvalidArgument, NotFound
from stories import Tell, member, pod, states


def test_containers_of_a_pod_share_a_vm_which_goes_with_the_last(tell: Tell) -> None:
    async def story(w: World) -> None:
        created = await pod(w, member("a"), member("b"))
        assert [c.name for c in created.containers] == ["a", "b"]
        await w.engine.pods.start("p")
        assert len(w.driver.launched) == 1
        assert await states(w) == {"a": "running", "b": "running"}
        assert (await w.engine.pods.inspect("p")).state == "running"
        await w.engine.containers.stop("a")
        assert await states(w) == {"a": "exited", "b": "running"}
        assert (await w.engine.pods.inspect("p")).vm.pid
        await w.engine.containers.start("a")  # back into the same VM
        assert len(w.driver.launched) == 1
        await w.engine.pods.stop("p")
        assert await states(w) == {"a": "exited", "b": "exited"}
        assert not (await w.engine.pods.inspect("p")).vm.pid
        assert list((w.config.run / "pods").iterdir()) == []

    tell(story)


def test_a_hyperd_that_ends_with_its_containers_does_not_end_what_pods_were_wanted(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"), member("b"), auto_remove=True)
        await w.engine.pods.start("p")
        await w.engine.close(stop_containers=True)
        state = StateStore(w.config.root / "state.db")
        assert [(record.name, record.wanted) for record in state.pods()] == [("p", True)]
        state.close()
        await w.open()

    tell(story)


def test_a_limit_of_containers_is_kept_before_anything_is_made(tell: Tell) -> None:
    refusal = rf"pod p: a pod has {CONTAINERS_MAX} containers at most"

    async def story(w: World) -> None:
        many = [member(f"m{number}") for number in range(CONTAINERS_MAX + 1)]
        with pytest.raises(InvalidArgument, match=refusal):
            await pod(w, *many)
        assert await w.engine.pods.find() == []
        await pod(w, *many[:-1])
        late = msgspec.structs.replace(many[-1], pod="p", image="localhost/not-even-fetched")
        with pytest.raises(InvalidArgument, match=refusal):
            await w.engine.containers.create(late)
        assert len(await states(w)) == CONTAINERS_MAX
        assert len(list((w.config.root / "containers").iterdir())) == CONTAINERS_MAX

    tell(story)


def test_a_removed_pod_leaves_nothing(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"), member("b"))
        await w.engine.pods.start("p")
        with pytest.raises(Conflict, match="has containers that run: a, b"):
            await w.engine.pods.remove("p")
        await w.engine.pods.remove("p", force=True)
        assert await states(w) == {}
        assert await w.engine.pods.find() == []
        for folder in ("root/containers", "root/pods", "run/pods"):
            assert list((w.tmp / folder).iterdir()) == []
        with pytest.raises(NotFound, match="no such pod: p"):
            await w.engine.pods.inspect("p")

    tell(story)


def test_a_pod_is_created_whole_or_not_at_all(tell: Tell) -> None:
    async def story(w: World) -> None:
        with pytest.raises(InvalidArgument, match="there is no volume v"):
            await pod(w, member("a"), member("b", mounts=(VolumeMount("v", "/v"),)))
        with pytest.raises(InvalidArgument, match="ports: pod p decides it"):
            await pod(w, member("a", ports=(PortMapping(80),)))
        with pytest.raises(NotFound):
            await pod(w, member("a"), ContainerSpec(image="localhost/nothing", pull="never"))
        with pytest.raises(Conflict, match="the name a is already in use"):
            await pod(w, member("a"), member("a"))
        assert await states(w) == {}
        assert await w.engine.pods.find() == []
        for folder in ("containers", "pods"):
            assert list((w.config.root / folder).iterdir()) == []

    tell(story)


def test_all_that_ends_ends_the_pod(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a", "exit", "0"), member("b", "exit", "0"))
        await w.engine.pods.start("p")
        assert (await w.engine.pods.wait("p")).exit_status == 0
        assert (await w.engine.pods.inspect("p")).state == "succeeded"
        await pod(w, member("c", "exit", "3"), member("d", "exit", "0"), name="q")
        await w.engine.pods.start("q")
        assert (await w.engine.pods.wait("q")).exit_status == 3
        found = await w.engine.pods.inspect("q")
        assert (found.state, found.reason) == ("failed", "container c failed")

    tell(story)


def test_init_containers_run_one_by_one_before_the_rest(tell: Tell) -> None:
    async def story(w: World) -> None:
        order: list[str] = []

        async def watch() -> None:
            async for event in w.engine.system.events(filters={"type": ["container"]}):
                if event.action in ("start", "die"):
                    order.append(f"{event.action} {event.attributes['name']}")

        watcher = asyncio.create_task(watch())
        await asyncio.sleep(0)
        await pod(
            w,
            member("one", "exit", "0", role="init"),
            member("side", role="sidecar"),
            member("two", "exit", "0", role="init"),
            member("main"),
        )
        await w.engine.pods.start("p")
        assert await states(w) == {"one": "exited", "side": "running", "two": "exited", "main": "running"}
        await w.engine.pods.stop("p", timeout_s=5)
        watcher.cancel()
        assert order == [
            *("start one", "die one", "start side", "start two", "die two", "start main"),
            *("die main", "die side"),
        ]

    tell(story)


def test_an_init_container_that_fails_fails_the_pod(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("one", "exit", "4", role="init"), member("main"))
        with pytest.raises(HyperError, match="container one failed"):
            await w.engine.pods.start("p")
        assert await states(w) == {"one": "exited", "main": "created"}
        assert (await w.engine.pods.inspect("p")).state == "failed"
        assert (await w.engine.pods.wait("p")).exit_status == 4

    tell(story)


def test_a_restart_policy_acts_in_a_vm_that_stays(tell: Tell) -> None:
    async def story(w: World) -> None:
        again = RestartPolicy("on-failure", 2)
        await pod(w, member("a"), member("b", "exit", "5", restart=again))
        await w.engine.pods.start("p")
        while (await w.engine.containers.inspect("b")).restart_count < 2:
            await w.engine.containers.wait("b", "next-exit")
        await w.engine.containers.wait("b")
        shown = await w.engine.containers.inspect("b")
        assert (shown.state, shown.exit_status, shown.restart_count) == ("exited", 5, 2)
        assert await states(w) == {"a": "running", "b": "exited"}
        assert len(w.driver.launched) == 1

    tell(story)


def test_a_container_is_added_to_a_pod_that_runs_and_removed_again(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"))
        await w.engine.pods.start("p")
        await w.engine.containers.create(member("b", pod="p"))
        await w.engine.containers.start("b")
        assert [c.name for c in (await w.engine.pods.inspect("p")).containers] == ["a", "b"]
        assert len(w.driver.launched) == 1
        await w.engine.containers.remove("b", force=True)
        assert [c.name for c in (await w.engine.pods.inspect("p")).containers] == ["a"]
        assert await states(w) == {"a": "running"}

    tell(story)


def test_a_pod_without_containers_waits_for_them(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w)
        assert (await w.engine.pods.inspect("p")).state == "created"
        attachment = await w.engine.containers.run(
            ContainerSpec(image=IMAGE, command=("echo", "hello"), pod="p"), created=lambda _: None
        )
        assert await read_all(attachment) == b"hello\n"
        assert (await attachment.exit()).exit_status == 0
        assert not (await w.engine.pods.inspect("p")).vm.pid

    tell(story)


def test_the_next_hyperd_has_the_pod_as_it_was(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(
            w, member("a"), member("b", restart=RestartPolicy("always")), member("side", role="sidecar")
        )
        await w.engine.pods.start("p")
        await w.engine.close()
        await w.open()
        assert (await w.engine.pods.inspect("p")).state == "running"
        assert set((await states(w)).values()) == {"running"}
        assert len(w.driver.launched) == 1
        await w.engine.pods.stop("p", timeout_s=5)
        assert set((await states(w)).values()) == {"exited"}

    tell(story)


def test_ports_change_while_the_pod_runs(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"), ports=(PortMapping(80, 0),))
        await w.engine.pods.start("p")
        (first,) = await w.engine.any_pods.ports("p")
        assert first.host_port > 0
        (added,) = await w.engine.any_pods.add_ports("p", [PortMapping(81)])
        assert {port.container_port for port in await w.engine.any_pods.ports("p")} == {80, 81}
        with pytest.raises(NotFound, match="port 82/tcp is not published"):
            await w.engine.any_pods.remove_ports("p", [PortMapping(80), PortMapping(82)])
        await w.engine.any_pods.remove_ports("p", [PortMapping(81, added.host_port)])
        assert await w.engine.any_pods.ports("p") == [first]

    tell(story)


def test_volumes_are_shared_and_a_used_one_is_kept(tell: Tell) -> None:
    async def story(w: World) -> None:
        mounts = (VolumeMount("data", "/data"), VolumeMount("tmp", "/scratch"))
        volumes = (Volume("data", NamedVolume("data")), Volume("tmp", EmptyDir()))
        await pod(w, member("a", mounts=mounts), member("b", mounts=mounts), volumes=volumes)
        await w.engine.pods.start("p")
        (info,) = await w.engine.volumes.find()
        assert (info.name, info.pods) == ("data", ("p",))
        with pytest.raises(Conflict, match="used by p"):
            await w.engine.volumes.remove("data")
        await w.engine.pods.remove("p", force=True)
        assert (await w.engine.volumes.prune()).removed == ()  # somebody has named it
        assert (await w.engine.volumes.prune(all=True)).removed == ("data",)

    tell(story)


def test_hooks_and_probes(tell: Tell) -> None:
    async def story(w: World) -> None:
        bad = Probe(Exec(("exit", "1")), period_s=1, failure_threshold=1)
        hook = Lifecycle(post_start=Exec(("exit", "0")), pre_stop=Exec(("exit", "0")))
        good = Probe(Exec(("exit", "0")), period_s=1)
        await pod(w, member("a", lifecycle=hook, startup=good), member("b", liveness=bad))
        await w.engine.pods.start("p")
        end = await w.engine.containers.wait("b")
        assert "liveness probe failed" in end.error
        shown = await w.engine.pods.inspect("p")
        assert [c.state for c in shown.containers] == ["running", "exited"]

    tell(story)


def test_exec_in_the_vm(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(w, member("a"))
        with pytest.raises(Conflict, match="the VM of pod p does not run"):
            await w.engine.any_pods.exec_create("p", ExecSpec(command=("echo", "hi")))
        await w.engine.pods.start("p")
        identifier = await w.engine.any_pods.exec_create("p", ExecSpec(command=("echo", "hi")))
        attachment = await w.engine.execs.start(identifier)
        assert attachment is not None
        assert await read_all(attachment) == b"hi\n"

    tell(story)


def test_logs_of_all_containers_go_on_over_restarts(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(
            w,
            member("a", "echo", "one"),
            member("b", "exit", "5", restart=RestartPolicy("on-failure", 1)),
            member("c", "echo", "again", restart=RestartPolicy("always")),
        )
        await w.engine.pods.start("p")
        seen: list[tuple[str, bytes]] = []
        async for line in w.engine.pods.logs("p", follow=True):
            seen.append((line.container, line.data))
            if seen.count(("c", b"again\n")) == 3:
                break
        assert seen.count(("a", b"one\n")) == 1
        await w.engine.pods.stop("p", timeout_s=0)
        kept = [(line.container, line.data) async for line in w.engine.pods.logs("p")]
        assert kept[0] == ("a", b"one\n")
        assert kept.count(("c", b"again\n")) >= 3

    tell(story)


def test_the_vm_with_what_is_in_its_memory_stays_between_init_containers(tell: Tell) -> None:
    async def story(w: World) -> None:
        await pod(
            w, member("i", "exit", "0", role="init"), member("j", "exit", "0", role="init"), member("m")
        )
        await w.engine.pods.start("p")
        assert len(w.driver.launched) == 1
        await w.engine.pods.stop("p")
        assert not (await w.engine.pods.inspect("p")).vm.pid
        failing = member("k", "exit", "1", role="init"), member("n")
        await pod(w, *failing, name="q")
        with pytest.raises(HyperError, match="container k failed"):
            await w.engine.pods.start("q")
        await w.engine.pods.wait("q")
        assert list((w.config.run / "pods").iterdir()) == []  # nobody is left whom it waits for

    tell(story)
