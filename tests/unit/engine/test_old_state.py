"""A state directory that an earlier hyperd wrote is taken over: tests/golden/state/README.md says what is in it.

``adopted``: its VMs go on, and the new engine takes them back.  ``gone``: the host was restarted in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fake_agent import FakeGuest
from fake_process import FakeProcess
from fake_world import IMAGE, World
from free_port import free_port
from hypercontainer.agent.operations import ContainerPlan, Disk, ProcessPlan
from hypercontainer.agent.wire import Stream
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.errors import Conflict, NotFound
from hypercontainer.hypervisor.spec import VMSpec
from hypercontainer.semantics import shape
from nics import nat_nic
from stories import have_any_kernel

Story = Callable[["OldWorld"], Awaitable[None]]
Tell = Callable[..., None]

STATE = Path(__file__).parents[2] / "golden/state"
WRITTEN = "main-3665161"
SAID = b"ready\n"  # by what runs, before the old hyperd ended
SIGTERM = 15


# ------------------------------------------------------------------------------------- the engine's face


async def container(w: World, ref: str) -> Any:
    return await w.engine.containers.held(ref)


async def pod(w: World, ref: str) -> Any:
    return await w.engine.pods.held(ref)


async def listed(w: World) -> list[Any]:
    found: list[Any] = await w.engine.containers.find(all=True)
    return found


async def play(w: World, text: str) -> list[Any]:
    return await w.engine.manifests.play(text, start=False)


# ------------------------------------------------------------------------------------- the old world


class OldWorld(World):
    """``names``: what stands in the golden files for what is of this machine and this run."""

    names: dict[str, str]
    service_port: int

    def filled_in(self, golden: str) -> str:
        text = (STATE / golden).read_text().replace("@SERVICE_PORT@", str(self.service_port))
        for name, value in self.names.items():
            text = text.replace(name, value)
        return text


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tell:
    """Runs a story in a world with the old state, whose VMs are there (``alive``) or not."""
    have_any_kernel(monkeypatch)

    def run(story: Story, *, alive: bool) -> None:
        async def whole() -> None:
            async with asyncio.timeout(30), old_world(tmp_path, alive=alive) as made:
                await story(made)

        asyncio.run(whole())

    return run


@contextlib.asynccontextmanager
async def old_world(tmp: Path, *, alive: bool) -> AsyncIterator[OldWorld]:
    w = OldWorld(tmp, networks=True)
    try:
        await w.open()
        await w.load()
        image = await w.engine.images.inspect(IMAGE)
        await w.engine.close()
        w.names = {"@TMP@": str(tmp), "@IMAGE_ID@": image.id, "@LAYER@": image.layers[0]}
        w.service_port = free_port()
        (tmp / "shared").mkdir()
        lay_files(w.config.root)
        db = lay_records(w)
        if alive:
            await bring_up(w, db)
        db.close()
        await w.open()
        yield w
    finally:
        await w.engine.close(stop_containers=True)
        await w.driver.stop()


def lay_files(root: Path) -> None:
    laid = json.loads((STATE / f"{WRITTEN}.files.json").read_text())
    for place in (*laid["files"], *laid["disks"]):
        (root / place).parent.mkdir(parents=True, exist_ok=True)
    for place, content in laid["files"].items():
        (root / place).write_bytes(bytes.fromhex(content))
    for place, size_bytes in laid["disks"].items():
        with (root / place).open("wb") as file:
            file.truncate(size_bytes)


def lay_records(w: OldWorld) -> sqlite3.Connection:
    for path in w.config.root.glob("state.db*"):
        path.unlink()
    db = sqlite3.connect(w.config.root / "state.db", isolation_level=None)
    db.executescript(w.filled_in(f"{WRITTEN}.sql"))
    return db


def bodies(db: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    return [json.loads(body) for (body,) in db.execute(f"SELECT body FROM {table}")]


async def bring_up(w: World, db: sqlite3.Connection) -> None:
    """The VMs that the records tell of, as the old hyperd has left them, but for the ports of its host."""
    for record in bodies(db, "pods"):
        if (known := record["vm"]) is None:
            continue
        kernel = Path(record["vm_kernel"])
        vm = await w.driver.launch(
            VMSpec(
                id=known["id"],
                name=known["name"],
                run_dir=Path(known["run_dir"]),
                kernel=kernel,
                initrd=kernel,
                kernel_args=(),
                memory_mib=record["memory_mib"],
                vcpus=2,
                nics=(nat_nic(mac=record["mac"]),),
            )
        )
        known |= {name: getattr(vm.record, name) for name in ("pid", "start_ticks", "boot_id")}
        db.execute("UPDATE pods SET body = CAST(? AS BLOB) WHERE id = ?", (json.dumps(record), record["id"]))
        await vm.close()
        for member in bodies(db, "containers"):
            if member["pod"] == record["id"] and member["state"] in ("running", "paused"):
                goes_on(w.driver.guests[known["id"]], member)


def goes_on(guest: FakeGuest, record: dict[str, Any]) -> None:
    """A container's program, of whose output the old hyperd has acknowledged what it wrote into the log."""
    identifier = record["id"]
    guest.containers[identifier] = ContainerPlan(identifier, Disk("image", "erofs"))
    if record["state"] == "paused":
        guest.frozen.add(identifier)
    number = len(guest.containers)
    stdin = record["spec"]["stdin_open"]
    plan = ProcessPlan(identifier, number, ("trap",), init=True, stdin=stdin)
    guest.processes[number] = process = FakeProcess(guest, plan, 100 + number)
    process.catches = frozenset({SIGTERM})
    if not stdin:
        process.outputs[Stream.STDOUT].acked = len(SAID)
    process.task = asyncio.create_task(process.run(_until_told))


async def _until_told(process: FakeProcess) -> int:
    await process.write(b"signal %d\n" % await process.signals.get())
    return 0


async def log_of(w: World, name: str) -> bytes:
    return b"".join([data async for _, data in (await container(w, name)).logs()])


async def states(w: World) -> dict[str, tuple[str, int]]:
    return {each.name: (each.state, each.exit_status) for each in await listed(w)}


async def is_ready(w: World, ref: str) -> None:
    while not (await (await pod(w, ref)).inspect()).ready:
        await asyncio.sleep(0.01)


# ------------------------------------------------------------------------------------- what is there

STILL = {
    "gone-home": ("exited", 0),
    "not-yet": ("created", 0),
    "keeper": ("exited", 3),
    "prepare": ("exited", 0),
    "shop-till": ("created", 0),
}
WITH_A_VM = ("at-work", "helper", "server", "rests", "late")
LOST = 255


def test_containers_whose_vms_go_on_are_taken_back(tell: Tell) -> None:
    async def story(w: OldWorld) -> None:
        running = {name: ("paused" if name == "rests" else "running", 0) for name in WITH_A_VM}
        assert await states(w) == STILL | running
        found = {each.name: each.state for each in await w.engine.pods.find()}
        assert found == {"front": "running", "bare": "created", "shop": "created"}
        await come_to_work(w)

    tell(story, alive=True)


async def come_to_work(w: World) -> None:
    """What was taken back is in hand: it goes on writing into its log, and ends when it is told to."""
    await (await container(w, "at-work")).stop()
    assert await log_of(w, "at-work") == SAID + b"signal 15\n"
    await (await container(w, "rests")).unpause()
    await (await pod(w, "front")).stop(timeout_s=5)
    assert {
        name: state for name, (state, _) in (await states(w)).items() if name in WITH_A_VM
    } == dict.fromkeys(WITH_A_VM, "exited")
    assert list((w.config.run / "pods").iterdir()) == []
    assert len(w.driver.launched) == 2  # none but the old ones


def test_containers_whose_vms_are_gone_are_written_off(tell: Tell) -> None:
    async def story(w: OldWorld) -> None:
        assert await states(w) == STILL | dict.fromkeys(WITH_A_VM, ("exited", LOST))
        for name in WITH_A_VM:
            shown = await (await container(w, name)).inspect()
            assert (shown.error, shown.finished > shown.started) == ("its VM was gone", True)
        assert not (await (await pod(w, "front")).inspect()).vm.pid
        assert list((w.config.run / "pods").iterdir()) == []

    tell(story, alive=False)


def test_all_is_shown_as_the_old_hyperd_showed_it(tell: Tell) -> None:
    async def story(w: OldWorld) -> None:
        shown = await answers(w)
        expected = json.loads((STATE / f"{WRITTEN}.answers.json").read_text())
        for kind, known in expected.items():
            assert shown[kind].keys() == known.keys()
            for name in known:
                outgrown(known[name])
                assert kept(shown[kind][name], known[name]) == known[name], (kind, name)

    tell(story, alive=True)


def outgrown(known: dict[str, Any]) -> None:
    """What is said no more: a network's name in a specification, which has several now, and the way out of what does
    not run."""
    for spec in (known.get("spec", {}), *known.get("spec", {}).get("containers", ())):
        spec.pop("network", None)
    if not known.get("network", {}).get("address"):
        known.get("network", {}).pop("gateway", None)
    docker = known.get("NetworkSettings", {})
    for place in (docker, *docker.get("Networks", {}).values()):
        if not place.get("IPAddress"):
            place.pop("Gateway", None)
            place.pop("MacAddress", None)


def kept(shown: Any, known: Any) -> Any:
    """Of ``shown`` what ``known`` has too: a later release says more, and null or nothing for what is empty."""
    if known == "" or (not known and not shown):
        return known
    if isinstance(known, dict) and isinstance(shown, dict):
        return {key: kept(shown.get(key), value) for key, value in known.items()}
    if isinstance(known, list) and isinstance(shown, list) and len(shown) == len(known):
        return [kept(*pair) for pair in zip(shown, known, strict=True)]
    return shown


async def answers(w: OldWorld) -> dict[str, dict[str, Any]]:
    """By kind and name, without what this machine and this moment have put in."""
    containers = {
        each.name: as_sent(await (await container(w, each.name)).inspect()) for each in await listed(w)
    }
    pods = {
        each.name: as_sent(await (await pod(w, each.name)).inspect()) for each in await w.engine.pods.find()
    }
    docker = {name: shape.container(found) for name, found in containers.items()}
    text = json.dumps({"containers": containers, "pods": pods, "docker": docker})
    for name, value in w.names.items():
        text = text.replace(value, name)
    told: dict[str, dict[str, Any]] = json.loads(text, object_hook=_without_the_moment)
    return told


def as_sent(answer: Any) -> Any:
    return json.loads(msgspec.json.encode(answer))


def _without_the_moment(found: dict[str, Any]) -> dict[str, Any]:
    """``status`` counts from now ("Up 3 minutes"), and the PIDs are the fake's own."""
    return {name: value for name, value in found.items() if name not in ("pid", "Pid", "status")}


# ------------------------------------------------------------------------------------- what can be done with it


def test_an_exited_container_starts_again(tell: Tell) -> None:
    async def story(w: OldWorld) -> None:
        assert await log_of(w, "gone-home") == (SAID + b"signal 15\n") * 2
        home = await container(w, "gone-home")
        await home.start()
        shown = await home.inspect()
        assert (shown.state, shown.config.hostname) == ("running", "home")
        published = [(port.container_port, port.protocol) for port in shown.ports if port.host_port]
        assert sorted(published) == [(53, "udp"), (80, "tcp")]
        vm = w.driver.launched[-1]
        assert (vm.memory_mib, vm.vcpus, vm.nics[0].mac) == (96, 2, "02:00:00:00:00:07")
        await home.stop()
        assert (await states(w))["gone-home"] == ("exited", 0)
        assert await log_of(w, "gone-home") == (SAID + b"signal 15\n") * 3

    tell(story, alive=False)


def test_one_that_was_only_created_starts(tell: Tell) -> None:
    async def story(w: OldWorld) -> None:
        await (await container(w, "not-yet")).start()
        assert (await states(w))["not-yet"] == ("running", 0)
        await (await container(w, "not-yet")).remove(force=True)
        assert "not-yet" not in await states(w)

    tell(story, alive=False)


def test_a_removal_that_was_begun_is_finished(tell: Tell) -> None:
    async def story(w: OldWorld) -> None:
        with pytest.raises(NotFound):
            await container(w, "half-removed")
        left = {path.name for path in (w.config.root / "containers").iterdir()}
        assert left <= {each.id for each in await listed(w)}

    tell(story, alive=True)


def test_a_pod_starts_again_with_what_came_to_it_later(tell: Tell) -> None:
    async def story(w: OldWorld) -> None:
        front = await pod(w, "front")
        await front.start()
        await is_ready(w, "front")
        now = await states(w)
        assert now["prepare"] == ("exited", 0)
        assert {now[name][0] for name in ("helper", "server", "rests", "late")} == {"running"}
        assert {(vm.memory_mib, vm.vcpus) for vm in w.driver.launched} == {(128, 2)}
        [port] = (await front.inspect()).ports
        assert (port.container_port, port.host_ip) == (80, "127.0.0.1")
        await front.stop(timeout_s=5)

    tell(story, alive=False)


def test_a_pod_without_containers_takes_one(tell: Tell) -> None:
    async def story(w: OldWorld) -> None:
        await w.engine.containers.create(
            ContainerSpec(image=IMAGE, name="first", command=("trap",), pod="bare")
        )
        await (await container(w, "first")).start()
        assert (await (await pod(w, "bare")).inspect()).state == "running"

    tell(story, alive=False)


def test_a_service_leads_to_its_pod_once_it_is_played_anew(tell: Tell) -> None:
    """It was on the host's loopback address, and its pod in a network of its own."""

    async def story(w: OldWorld) -> None:
        assert w.fabric is not None
        text = w.filled_in("shop.yaml").replace("@IMAGE_NAME@", IMAGE)
        await w.engine.manifests.play(text, replace=True)
        await is_ready(w, "shop")
        while not all(each.behind for each in w.fabric.served.values()):
            await asyncio.sleep(0.01)
        [served] = w.fabric.served.values()
        [attachment] = (await pod(w, "shop")).record.attachments
        assert (served.port, served.behind) == (w.service_port, ((attachment.host4, 8080),))

    tell(story, alive=False)


def test_a_manifest_that_is_played_again_wants_a_pod_in_a_network(tell: Tell) -> None:
    """Its pod had a network of its own, with its services at the gateway: that one is another."""

    async def story(w: OldWorld) -> None:
        text = w.filled_in("shop.yaml").replace("@IMAGE_NAME@", IMAGE)
        with pytest.raises(Conflict, match="pod shop"):
            await play(w, text)
        told = await w.engine.manifests.play(text, replace=True, start=False)
        played = {(each.kind, each.name): each.action for each in told}
        kinds = ("PersistentVolumeClaim", "ConfigMap", "Secret", "Service", "Pod")
        names = ("orders", "settings", "keys", "shop", "shop")
        done = ("unchanged", *4 * ("replaced",))
        assert played == dict(zip(zip(kinds, names, strict=True), done, strict=True))

    tell(story, alive=True)


def test_volumes_are_known_to_be_used(tell: Tell) -> None:
    async def story(w: OldWorld) -> None:
        assert [volume.name for volume in await w.engine.volumes.find()] == ["ledger", "orders"]
        for name in ("ledger", "orders"):
            with pytest.raises(Conflict):
                await w.engine.volumes.remove(name)
        keeper = await container(w, "keeper")
        await keeper.start()
        [launched] = w.driver.launched
        ledger = w.config.root / "volumes/ledger/disk.img"
        assert ledger in [path for disk in launched.disks for path, _ in disk.extents]
        assert [share.path for share in launched.shares] == [w.tmp / "shared"]
        await keeper.wait()
        await keeper.remove()
        await w.engine.volumes.remove("ledger")
        assert not ledger.exists()

    tell(story, alive=False)
