"""What goes wrong with vSphere: each has a clear error, and leaves nothing there."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from esx_world import SOON_S, Test, World
from free_port import free_port
from hypercontainer.errors import DiskFull, HyperError, InvalidArgument, LaunchError, NotSupported
from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.hypervisor.esx import journal, session, vsphere, watch
from hypercontainer.hypervisor.esx.driver import EsxDriver
from hypercontainer.hypervisor.esx.settings import take
from hypercontainer.hypervisor.spec import Accelerator, Existing, Nic
from until import until

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


# ------------------------------------------------------------------------------------- left over, for now


def test_what_could_not_be_removed_is_removed_later(
    run_vcenter: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By itself: nobody has to launch another for that."""
    monkeypatch.setattr(vsphere, "LATER_S", (0.2,) * 20)

    async def test(world: World) -> None:
        world.simulator.fail("PowerOnVM_Task", "InvalidHostState")
        world.simulator.fail("Destroy_Task", "InvalidState")
        with pytest.raises(LaunchError, match="cannot run VMs now"):
            await world.driver.launch(world.spec())
        assert world.ours()
        await asyncio.to_thread(until, lambda: not world.ours(), "it is removed")
        await world.driver.close()
        world.nothing_left()

    run_vcenter(test)


def test_a_launch_of_a_killed_hyperds_that_vsphere_still_works_at(
    run_vcenter: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be removed just yet; a launch meanwhile does not care."""
    monkeypatch.setattr(vsphere, "LATER_S", (0.2,) * 20)

    async def test(world: World) -> None:
        vm = await world.driver.launch(world.spec())
        await vm.close()
        await world.driver.close()
        written = journal.Journal(world.folder / "state")
        written.write(vm.record.foreign["uuid"], journal.Entry(str(vm.record.run_dir)))
        driver = world.another_driver()
        world.simulator.fail("Destroy_Task", "InvalidState")
        await driver.destroy(vm.record)
        assert world.ours() == [vm.record.name]
        world.simulator.fail("Destroy_Task", "InvalidState")
        other = await driver.launch(world.spec())
        await asyncio.to_thread(until, lambda: world.ours() == [other.record.name], "it is removed")
        await other.kill()
        await driver.close()
        world.nothing_left()

    run_vcenter(test)


def test_a_launch_that_never_came_to_anything_is_forgotten(
    run_vcenter: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When it cannot any more."""

    async def test(world: World) -> None:
        written = journal.Journal(world.folder / "state")
        uuid = written.vm_uuid()
        written.write(uuid, journal.Entry(str(world.folder / "nowhere")))
        (world.folder / f"state/vms/.{uuid}.new").touch()  # a hyperd that was killed as it wrote
        for late_s in (60.0, -1.0):
            monkeypatch.setattr(journal, "LATE_S", late_s)
            await (await world.driver.launch(world.spec())).kill()
            assert len(written.nobodys()) == (late_s > 0)
        assert not list((world.folder / "state/vms").iterdir())
        world.nothing_left()

    run_vcenter(test)
