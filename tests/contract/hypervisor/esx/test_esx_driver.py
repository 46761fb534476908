"""The driver of vSphere against the simulator of it, as a vCenter and as a host: what it makes there, and its ends."""

from __future__ import annotations

import asyncio
import io
import queue
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from pyVmomi import vim

from esx_world import MIB, NETWORK, SOON_S, Test, World
from hypercontainer.errors import Conflict, NotFound
from hypercontainer.hypervisor.driver import ExitReason, VMRecord
from hypercontainer.hypervisor.esx import vmdk
from hypercontainer.hypervisor.esx.vm import EsxVM
from hypercontainer.hypervisor.esx.watch import State
from hypercontainer.hypervisor.spec import Accelerator, Existing, Nic

# ------------------------------------------------------------------------------------- what is made


def test_a_machine_is_what_was_asked_for(run_each: Callable[[Test], None]) -> None:
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

    run_each(test)


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


def test_what_a_guest_writes_comes_back(run_each: Callable[[Test], None]) -> None:
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

    run_each(test)


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
}


@pytest.mark.parametrize("how", ENDS)
def test_its_end_is_told_and_why(run_each: Callable[[Test], None], how: str) -> None:
    act, reason, words = ENDS[how]

    async def test(world: World) -> None:
        vm = await world.driver.launch(world.spec())
        machine = world.machine(vm)
        world.do(lambda live: act(live, machine))
        async with asyncio.timeout(SOON_S):
            ended = await vm.wait()
        assert ended.reason is reason, ended
        assert words in ended.stderr
        assert (await vm.kill()).reason is ended.reason
        world.nothing_left()

    run_each(test)


def test_one_that_somebody_removes_has_ended(
    run_each: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulator tells of no removal before it has told of a change."""
    heard: queue.Queue[State] = queue.Queue()
    tell = EsxVM.told

    def told(vm: EsxVM, state: State) -> None:
        heard.put(state)
        tell(vm, state)

    monkeypatch.setattr(EsxVM, "told", told)

    async def test(world: World) -> None:
        vm = await world.driver.launch(world.spec())
        machine = world.machine(vm)
        assert await asyncio.to_thread(heard.get, timeout=SOON_S) is State.ON
        world.do(lambda live: live.finish(machine.SuspendVM_Task()))
        while await asyncio.to_thread(heard.get, timeout=SOON_S) is not State.SUSPENDED:
            pass
        world.do(lambda live: live.finish(machine.Destroy_Task()))
        async with asyncio.timeout(SOON_S):
            ended = await vm.wait()
        assert ended.reason is ExitReason.CRASH and "not in vSphere any more" in ended.stderr
        assert (await vm.kill()).reason is ended.reason
        world.nothing_left()

    run_each(test)


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
