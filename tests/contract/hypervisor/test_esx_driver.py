"""The driver of vSphere against the simulator of it, as a vCenter and as a host: what it makes there, and leaves."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import io
import os
import subprocess
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyVmomi", reason="pyvmomi is not installed")

from pyVmomi import vim

from free_port import free_port
from hypercontainer.errors import (
    Conflict,
    DiskFull,
    HyperError,
    InvalidArgument,
    LaunchError,
    NotFound,
    NotSupported,
)
from hypercontainer.hypervisor.driver import VM, ExitReason, VMRecord
from hypercontainer.hypervisor.esx import session, vmdk, watch
from hypercontainer.hypervisor.esx.driver import EsxDriver
from hypercontainer.hypervisor.esx.session import Session
from hypercontainer.hypervisor.esx.settings import take
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec, Existing, Nic, VMSpec
from simulated_vsphere import Simulator

MIB = 1 << 20
NETWORK = "VM Network"
SOON_S = 10.0


class World:
    """A driver, and another user of the same server, who sees everything."""

    def __init__(self, simulator: Simulator, folder: Path) -> None:
        self.simulator = simulator
        self.folder = folder
        self.drivers: list[EsxDriver] = []
        self.driver = self.another_driver()
        self.other = Session(take(simulator.settings))
        for name in self.ours():  # what another test has left, when it failed, and its images
            self.call_off(name)
        self.foreign = sorted(self.machines())
        self._count = 0

    def another_driver(self, **changes: Any) -> EsxDriver:
        """As a later hyperd would have it."""
        made = EsxDriver("esx", take(self.simulator.settings | changes), self.folder / "state", lost_s=0.3)
        self.drivers.append(made)
        return made

    def spec(self, **changes: Any) -> VMSpec:
        self._count += 1
        name = f"pod-{self._count}"
        spec = VMSpec(
            id=name,
            name=name,
            run_dir=self.folder / "run" / name,
            kernel=self.image().extents[0][0],
            initrd=self.image().extents[0][0],
            kernel_args=("quiet",),
            memory_mib=64,
            vcpus=2,
            accelerator=Accelerator.OWN,
        )
        return dataclasses.replace(spec, **changes)

    def image(self, name: str = "image", content: bytes = b"an image" * 8192) -> DiskSpec:
        path = self.folder / f"{name}.img"
        if not path.exists():
            path.write_bytes(content)
        return DiskSpec(name, ((path, path.stat().st_size),), read_only=True)

    def written(self, content: bytes = b"what was there") -> DiskSpec:
        path = self.folder / "disk.img"
        with path.open("wb") as file:
            file.write(content)
            file.truncate(4 * MIB)
        return DiskSpec("disk", ((path, 4 * MIB),), read_only=False)

    def machines(self) -> dict[str, Any]:
        def find(live: Any) -> dict[str, Any]:
            view = live.content.viewManager.CreateContainerView(
                live.content.rootFolder, [vim.VirtualMachine], True
            )
            return {each.name: each for each in view.view}

        return self.other.call("looking", find)

    def machine(self, vm: VM) -> Any:
        return self.machines()[vm.record.name]

    def ours(self) -> list[str]:
        return sorted(name for name in self.machines() if name.startswith(("pod-", "hyper-image-")))

    def call_off(self, name: str) -> None:
        machine = self.machines()[name]
        with contextlib.suppress(HyperError):
            self.do(lambda live: live.finish(machine.PowerOffVM_Task()))
        self.do(lambda live: live.finish(machine.Destroy_Task()))

    def do(self, work: Callable[[Any], Any]) -> Any:
        """As the other user."""
        return self.other.call("doing", work)

    def nothing_left(self, *, images: int = 0) -> None:
        """Of any VM."""
        assert len(self.ours()) == images, self.ours()
        assert len({name.partition("/")[0] for name in self.simulator.files()}) == images, (
            self.simulator.files()
        )
        assert not list((self.folder / "run").glob("*"))
        assert not list((self.folder / "state" / "vms").glob("*"))


Test = Callable[[World], Awaitable[None]]


@pytest.fixture(params=["vpx", "esx"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Simulator]]:
    """One of each kind, for all who only use it."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def of(kind: str) -> Simulator:
            simulator = Simulator(tmp_path_factory.mktemp(kind), kind)
            stack.callback(simulator.stop)
            return simulator

        yield of


@pytest.fixture
def own_simulator(kind: str, tmp_path: Path) -> Iterator[Simulator]:
    """One that may come to harm."""
    simulator = Simulator(tmp_path, kind)
    yield simulator
    simulator.stop()


@contextlib.contextmanager
def running(simulator: Simulator, tmp_path: Path) -> Iterator[Callable[[Test], None]]:
    """Ends what it has begun, and proves that this process has nothing of it any more."""
    before = len(os.listdir("/proc/self/fd"))

    async def main(test: Test) -> None:
        world = await asyncio.to_thread(World, simulator, tmp_path)
        try:
            async with asyncio.timeout(60):
                await test(world)
        finally:
            world.other.close()
            for driver in world.drivers:
                await driver.close()

    yield lambda test: asyncio.run(main(test))
    assert len(os.listdir("/proc/self/fd")) <= before
    assert not [each for each in threading.enumerate() if each.name.startswith("esx")]


@pytest.fixture
def run(
    kind: str, tmp_path: Path, simulators: Callable[[str], Simulator]
) -> Iterator[Callable[[Test], None]]:
    with running(simulators(kind), tmp_path) as one:
        yield one


@pytest.fixture
def run_vcenter(tmp_path: Path, simulators: Callable[[str], Simulator]) -> Iterator[Callable[[Test], None]]:
    """For what is the same on a host."""
    with running(simulators("vpx"), tmp_path) as one:
        yield one


@pytest.fixture
def run_alone(own_simulator: Simulator, tmp_path: Path) -> Iterator[Callable[[Test], None]]:
    with running(own_simulator, tmp_path) as one:
        yield one


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.05)


# ------------------------------------------------------------------------------------- what is made


def test_a_machine_is_what_was_asked_for(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        spec = world.spec(
            disks=(world.image(), world.written()), nics=(Nic("02:00:00:00:00:07", Existing(NETWORK)),)
        )
        vm = await world.driver.launch(spec)
        machine = world.machine(vm)
        config = machine.config
        assert machine.runtime.powerState == "poweredOn"
        assert (config.hardware.memoryMB, config.hardware.numCPU) == (64, 2)
        assert config.instanceUuid == vm.record.foreign["uuid"]
        said = {each.key: each.value for each in config.extraConfig}
        assert said["hyper.id"] == spec.id and said["hyper.ready"] == "1"
        kinds = vim.vm.device
        devices = config.hardware.device
        assert [each for each in devices if isinstance(each, kinds.ParaVirtualSCSIController)]
        (nic,) = [each for each in devices if isinstance(each, kinds.VirtualVmxnet3)]
        assert (nic.macAddress, nic.backing.deviceName) == ("02:00:00:00:00:07", NETWORK)
        serial = [each.backing for each in devices if isinstance(each, kinds.VirtualSerialPort)]
        assert [each.serviceURI for each in serial] == [
            vm.record.foreign["console"],
            vm.record.foreign["agent"],
        ]
        assert all(each.proxyURI.startswith("telnets://127.0.0.1:") for each in serial)
        (drive,) = [
            each.backing.fileName
            for each in devices
            if isinstance(each, kinds.VirtualCdrom)
            and isinstance(each.backing, kinds.VirtualCdrom.IsoBackingInfo)
        ]
        assert drive == f"[LocalDS_0] {spec.name}/boot.iso"
        disks = {each.unitNumber: each for each in devices if isinstance(each, kinds.VirtualDisk)}
        assert disks[0].backing.parent is not None and disks[1].backing.parent is None
        assert (disks[0].capacityInKB, disks[1].capacityInKB) == (1024, 4096)
        await vm.kill()
        world.nothing_left(images=1)

    run(test)


def test_an_image_is_brought_there_once(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        first, second = [await world.driver.launch(world.spec(disks=(world.image(),))) for _ in range(2)]
        assert len(world.ours()) == 3
        (holder,) = [name for name in world.ours() if name.startswith("hyper-image-")]
        brought = world.simulator.datastores[0] / holder / f"{holder}.vmdk"
        out = world.folder / "out.img"
        subprocess.run(["qemu-img", "convert", "-f", "vmdk", "-O", "raw", brought, out], check=True)
        whole = out.read_bytes()
        image = world.image().extents[0][0].read_bytes()
        assert whole[: len(image)] == image and not whole[len(image) :].strip(b"\0")
        for vm in (first, second):
            await vm.kill()
        world.nothing_left(images=1)

    run(test)


def test_images_that_nobody_uses_are_as_many_as_was_said(run_vcenter: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        driver = world.another_driver(images=1)
        for name in ("one", "two", "three"):
            vm = await driver.launch(world.spec(disks=(world.image(name, name.encode() * 4096),)))
            await vm.kill()
        last = await driver.launch(world.spec())
        assert len(world.ours()) == 2
        await last.kill()
        world.nothing_left(images=1)

    run_vcenter(test)


def test_what_a_guest_writes_comes_back(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        disk = world.written()
        vm = await world.driver.launch(world.spec(disks=(world.image(), disk)))
        directory = world.simulator.datastores[0] / vm.record.name
        (file,) = [path for path in directory.glob("*.vmdk") if path.stat().st_size]
        there = {
            offset: data
            for offset, data in vmdk.read(io.BytesIO(file.read_bytes()).read)
            if data.strip(b"\0")
        }
        assert there[0].startswith(b"what was there")
        changed = [(0, b"what is there now".ljust(vmdk.GRAIN, b"\0")), (MIB, b"more" * 16384)]
        file.write_bytes(b"".join(vmdk.write(4 * MIB, changed)))
        await vm.kill()
        path = disk.extents[0][0]
        content = path.read_bytes()
        assert content.startswith(b"what is there now\0") and content[MIB:].startswith(b"moremore")
        assert len(content) == 4 * MIB
        assert path.stat().st_blocks * 512 < MIB
        world.nothing_left(images=1)

    run(test)


def test_a_network_interface_comes_and_goes(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        vm = await world.driver.launch(world.spec())
        nic = Nic("02:00:00:00:00:09", Existing(NETWORK))
        await vm.attach_nic(nic)
        macs = [
            each.macAddress
            for each in world.machine(vm).config.hardware.device
            if hasattr(each, "macAddress")
        ]
        assert macs == [nic.mac]
        with pytest.raises(Conflict, match="is attached already"):
            await vm.attach_nic(nic)
        await vm.detach_nic(nic.mac)
        with pytest.raises(NotFound):
            await vm.detach_nic(nic.mac)
        with pytest.raises(NotFound, match=r"'nowhere'.*VM Network"):
            await vm.attach_nic(Nic("02:00:00:00:00:0a", Existing("nowhere")))
        await vm.kill()
        world.nothing_left()

    run(test)


def test_distributed_port_groups_are_networks_too(run_vcenter: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        vm = await world.driver.launch(world.spec(nics=(Nic("02:00:00:00:00:07", Existing("DC0_DVPG0")),)))
        (nic,) = [each for each in world.machine(vm).config.hardware.device if hasattr(each, "macAddress")]
        assert nic.backing.port.portgroupKey.startswith("dvportgroup")
        await vm.kill()
        world.nothing_left()

    run_vcenter(test)


# ------------------------------------------------------------------------------------- while it runs


def test_it_is_paused_and_goes_on(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        vm = await world.driver.launch(world.spec())
        assert not await vm.paused()
        await vm.pause()
        assert await vm.paused() and world.machine(vm).runtime.powerState == "suspended"
        await vm.resume()
        assert not await vm.paused()
        machine = world.machine(vm)
        world.do(lambda live: live.finish(machine.SuspendVM_Task()))
        assert await vm.paused()
        assert (await vm.kill()).reason is ExitReason.HOST_KILL  # one that is suspended, too
        world.nothing_left()

    run(test)


ENDS: dict[str, tuple[Callable[[Any, Any], Any], ExitReason, str]] = {
    "by itself": (lambda live, machine: machine.ShutdownGuest(), ExitReason.GUEST_SHUTDOWN, ""),
    "by somebody": (
        lambda live, machine: live.finish(machine.PowerOffVM_Task()),
        ExitReason.CRASH,
        "powered off in vSphere by hyper@vsphere.local",
    ),
    "removed": (
        lambda live, machine: (live.finish(machine.PowerOffVM_Task()), live.finish(machine.Destroy_Task())),
        ExitReason.CRASH,
        "",
    ),
}


@pytest.mark.parametrize("how", ENDS)
def test_its_end_is_told_and_why(run: Callable[[Test], None], how: str) -> None:
    act, reason, words = ENDS[how]

    async def test(world: World) -> None:
        vm = await world.driver.launch(world.spec())
        machine = world.machine(vm)
        world.do(lambda live: act(live, machine))
        async with asyncio.timeout(SOON_S):
            ended = await vm.wait()
        assert ended.reason is reason or how == "removed", ended
        assert words in ended.stderr
        assert (await vm.kill()).reason is ended.reason
        world.nothing_left()

    run(test)


def test_an_ended_session_begins_anew(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        vm = await world.driver.launch(world.spec())

        def end_others(live: Any) -> None:
            manager = live.content.sessionManager
            ours = manager.currentSession.key
            manager.TerminateSession([each.key for each in manager.sessionList if each.key != ours])

        world.do(end_others)
        await vm.stats()
        world.do(end_others)
        machine = world.machine(vm)
        world.do(lambda live: machine.ShutdownGuest())
        async with asyncio.timeout(SOON_S):
            assert (await vm.wait()).reason is ExitReason.GUEST_SHUTDOWN
        world.nothing_left()

    run(test)


# ------------------------------------------------------------------------------------- found again


def test_a_later_hyperd_takes_it_up(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        first = await world.driver.launch(world.spec(disks=(world.image(), world.written())))
        record = VMRecord.from_json(first.record.to_json())
        await first.close()
        driver = world.another_driver()
        vm = await driver.adopt(record)
        assert vm is not None
        assert not await vm.paused()
        world.do(lambda live: world.machine(vm).ShutdownGuest())
        async with asyncio.timeout(SOON_S):
            assert (await vm.wait()).reason is ExitReason.GUEST_SHUTDOWN
        assert await driver.adopt(record) is None
        world.nothing_left(images=1)

    run(test)


def test_one_that_ended_meanwhile_is_cleared(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        first = await world.driver.launch(world.spec(disks=(world.written(),)))
        await first.close()
        machine = world.machine(first)
        world.do(lambda live: machine.ShutdownGuest())
        assert await world.another_driver().adopt(first.record) is None
        world.nothing_left()

    run(test)


def test_a_machine_of_somebody_else_is_not_touched(run: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        machines = world.machines()
        name = world.foreign[0]
        there = machines[name]
        uuid = there.config.instanceUuid
        record = VMRecord("esx", "x", name, world.folder / "run/x", Accelerator.OWN, foreign={"uuid": uuid})
        assert await world.driver.adopt(record) is None
        await world.driver.destroy(record)
        assert there.runtime.powerState == "poweredOn"
        with pytest.raises(Conflict, match="something of this name already"):
            await world.driver.launch(world.spec(name=name))
        assert sorted(world.machines()) == world.foreign
        world.nothing_left()

    run(test)


# ------------------------------------------------------------------------------------- what goes wrong

FAILURES = [
    ("CreateVM_Task", "NoPermission", (), LaunchError, "may not"),
    ("ImportVApp", "NoPermission", ("disk",), LaunchError, "may not"),
    ("ImportVApp", "InsufficientResourcesFault", ("image",), LaunchError, "not the resources"),
    ("ReconfigVM_Task", "NoDiskSpace", ("image",), DiskFull, "datastore is full"),
    ("ReconfigVM_Task", "NoDiskSpace", ("disk",), DiskFull, "datastore is full"),
    ("PowerOnVM_Task", "InsufficientResourcesFault", ("disk", "image"), LaunchError, "not the resources"),
    ("PowerOnVM_Task", "InvalidHostState", (), LaunchError, "cannot run VMs now"),
    ("HttpNfcLeaseComplete", "InvalidState", ("disk",), HyperError, "VM pod-1"),
]


@pytest.mark.parametrize(("method", "fault", "disks", "error", "words"), FAILURES)
def test_a_launch_that_fails_leaves_nothing(
    run_vcenter: Callable[[Test], None],
    method: str,
    fault: str,
    disks: tuple[str, ...],
    error: type[HyperError],
    words: str,
) -> None:
    async def test(world: World) -> None:
        has = {"disk": world.written(), "image": world.image()}
        world.simulator.fail(method, fault)
        with pytest.raises(HyperError, match=words) as raised:
            await world.driver.launch(world.spec(disks=tuple(has[each] for each in disks)))
        assert isinstance(raised.value, error) or isinstance(raised.value.__cause__, error), repr(
            raised.value
        )
        assert "pod-1" in str(raised.value)
        left = len([name for name in world.ours() if name.startswith("hyper-image-")])
        world.nothing_left(images=left)

    run_vcenter(test)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"user": "nobody"}, "does not know user 'nobody'.*password_file|does not know user"),
    ({"ca": None}, "certificate is not trusted"),
    ({"ca": None, "thumbprint": "ab" * 32}, "another certificate"),
    ({"port": 9}, "cannot be reached"),
    ({"datacenter": "there"}, "no datacenter 'there'.*DC0"),
    ({"cluster": "there"}, "no cluster 'there'"),
    ({"datastore": "there"}, "no datastore 'there'"),
    ({"folder": "there"}, "no folder 'there'"),
    ({"pool": "there"}, "no pool 'there'"),
    ({"password_file": "/there"}, "password_file /there: No such file"),
]


def test_what_is_configured_wrongly_is_named(run_vcenter: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        for changes, words in WRONG:
            changed = {
                key: value for key, value in (world.simulator.settings | changes).items() if value is not None
            }
            driver = EsxDriver("esx", take(changed), world.folder / "other")
            world.drivers.append(driver)
            with pytest.raises((LaunchError, InvalidArgument), match=words) as raised:
                await driver.launch(world.spec())
            assert 'se"cr' not in str(raised.value)
            verdict = await driver.probe(Accelerator.OWN)
            assert not verdict.usable
            assert not all(check.ok for check in await driver.diagnose())
        assert not list((world.folder / "run").glob("*"))
        world.nothing_left()

    run_vcenter(test)


def test_what_it_cannot_have_is_refused(run_vcenter: Callable[[Test], None]) -> None:
    async def test(world: World) -> None:
        qcow = dataclasses.replace(world.image(), format="qcow2")
        with pytest.raises(NotSupported, match="raw"):
            await world.driver.launch(world.spec(disks=(qcow,)))
        with pytest.raises(HyperError, match="'nowhere'"):
            await world.driver.launch(world.spec(nics=(Nic("02:00:00:00:00:07", Existing("nowhere")),)))
        world.nothing_left()

    run_vcenter(test)


def test_a_server_that_hangs_is_not_waited_for(
    run_alone: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "REQUEST_S", 1)

    async def test(world: World) -> None:
        vm = await world.driver.launch(world.spec())
        world.simulator.hang(on=True)
        try:
            with pytest.raises(HyperError, match="does not answer"):
                await vm.stats()
        finally:
            world.simulator.hang(on=False)
        await vm.stats()
        assert (await vm.kill()).reason is ExitReason.HOST_KILL
        world.nothing_left()

    run_alone(test)


def test_a_server_that_comes_back_without_it_has_lost_it(
    run_alone: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "BACKOFF_S", (0.1,))

    async def test(world: World) -> None:
        vm = await world.driver.launch(world.spec())
        waiting = asyncio.create_task(vm.wait())
        world.simulator.stop()
        with pytest.raises(HyperError, match="cannot be reached"):
            await vm.stats()
        adopted = await world.another_driver(line_port=free_port()).adopt(vm.record)  # which knows no better
        assert adopted is not None
        await asyncio.sleep(0.5)
        assert not waiting.done()  # nobody knows
        world.simulator.start()
        async with asyncio.timeout(2 * SOON_S):
            for ended in (await waiting, await adopted.wait()):
                assert ended.reason is ExitReason.CRASH
                assert "not in vSphere any more" in ended.stderr

    run_alone(test)
