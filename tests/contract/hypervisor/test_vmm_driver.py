"""Cloud Hypervisor's driver and Firecracker's, beside what every driver keeps: with what acts as these programs."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import stat
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import vmm_machine
from hypercontainer.errors import Conflict, HypervisorError, LaunchError, NotSupported, Unavailable
from hypercontainer.hypervisor import kvm
from hypercontainer.hypervisor.cloudhypervisor import config as cloud_config
from hypercontainer.hypervisor.driver import VM, ExitReason
from hypercontainer.hypervisor.firecracker import config as fire_config
from hypercontainer.hypervisor.run_dir import read_record
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec, DriveSpec, Nic, ShareSpec, Tap
from hypercontainer.linux import netns
from hypercontainer.linux.users import User
from hypercontainer.suite import running
from hypercontainer.suite.case import Case, cases
from hypercontainer.suite.harness import TEST_UID
from hypercontainer.suite.nics import nat_nic
from hypercontainer.suite.tap_space import TapSpace
from killed import Plan, begun, remains
from soak import rounds
from vmm_machine import HARNESSES, VmmHarness

pytestmark = pytest.mark.vm
Run = Callable[[Callable[[Any], Awaitable[None]]], None]


@pytest.fixture
def acted(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    vmm_machine.acting(monkeypatch, tmp_path_factory.mktemp("devices"))


@pytest.mark.parametrize("name", HARNESSES)
@pytest.mark.parametrize("case", cases(), ids=str)
def test_contract(case: Case, name: str, tmp_path: Path, acted: None) -> None:
    """What is both's is tried with one of them; in the long form all with each."""
    turn = sum(case.name.encode()) % len(HARNESSES)
    if name != [*HARNESSES][turn] and not rounds(short=0, soak=1):
        pytest.skip(f"{[*HARNESSES][turn]} has it here, and make soak tries both")
    running.run(case, HARNESSES[name], tmp_path)


@pytest.fixture(params=HARNESSES)
def run(request: pytest.FixtureRequest, tmp_path: Path, acted: None) -> Iterator[Run]:
    """Runs a coroutine function with a harness, and proves that it leaves nothing."""
    with running.nothing_left(tmp_path):
        yield partial(running.with_harness, HARNESSES[request.param], tmp_path)


@pytest.fixture
def run_cloud(tmp_path: Path, acted: None) -> Iterator[Run]:
    with running.nothing_left(tmp_path):
        yield partial(running.with_harness, HARNESSES["cloud-hypervisor"], tmp_path)


async def printed(vm: VM, text: str) -> None:
    async with asyncio.timeout(20):
        while text not in vm.console_tail():
            await asyncio.sleep(0.01)


def disk(path: Path, mode: int, *, read_only: bool) -> DiskSpec:
    path.write_bytes(b"\0" * 4096)
    path.chmod(mode)
    return DiskSpec(path.name, ((path, 4096),), read_only)


def test_its_process_has_what_only_root_may_read(run: Run, tmp_path: Path) -> None:
    """Kernel and initrd by descriptors, disks as if they were its uid's, and afterwards they are as they were."""

    async def test(harness: VmmHarness) -> None:
        kernel = tmp_path / "secret-kernel"
        kernel.write_bytes(b"k")
        kernel.chmod(0o600)
        disks = (
            disk(tmp_path / "image", 0o400, read_only=True),
            disk(tmp_path / "disk-1", 0o600, read_only=False),
        )
        vm = await harness.launch(kernel=kernel, initrd=kernel, disks=disks)
        await printed(vm, "test guest is up")
        status = Path(f"/proc/{vm.pid}/status").read_text()
        if os.geteuid() == 0:
            assert f"Uid:\t{TEST_UID}\t" in status
        assert "CapEff:\t0000000000000000" in status
        assert "Seccomp:\t2" in status
        await vm.kill()
        assert [stat.S_IMODE(path.stat().st_mode) for path, _ in (one.extents[0] for one in disks)] == [
            0o400,
            0o600,
        ]
        assert {one.extents[0][0].stat().st_uid for one in disks} == {os.geteuid()}

    run(test)


def test_a_guest_reaches_its_gateway_by_its_tap(run: Run) -> None:
    """Frames go from the tap that the program has by the bridge to libslirp, and back; of each NIC."""

    async def test(harness: VmmHarness) -> None:
        two = (nat_nic(), nat_nic(mac="52:54:00:12:34:57"))
        vm = await harness.launch("n", nics=two)
        await printed(vm, "gateway 52:55:0a:00:02:02\ngateway 52:55:0a:00:02:02")
        assert {helper.name for helper in vm.record.helpers} == {
            "its network namespace",
            "network interface 0",
            "network interface 1",
        }
        await vm.kill()

    run(test)


def test_a_namespace_that_was_never_written_down_is_ended(run: Run) -> None:
    """Its keeper waits at no gate, and whoever made it was killed at once."""

    async def test(harness: VmmHarness) -> None:
        spec = harness.spec()
        plan = Plan(partial(vmm_machine.dying, harness.name, harness.folder), (spec,), ((),), (False,))
        killed = await begun(plan, harness.folder)
        assert await killed.wait() == -signal.SIGKILL
        assert remains(harness, plan)
        record = read_record(spec.run_dir)
        assert record is not None
        await harness.driver.destroy(record)
        assert not remains(harness, plan)

    run(test)


def test_a_vm_without_a_network_has_no_namespace_kept(run: Run) -> None:
    async def test(harness: VmmHarness) -> None:
        vm = await harness.launch(nics=())
        assert vm.record.helpers == ()
        await vm.kill()

    run(test)


def test_a_tap_of_a_network_is_handed_over(
    run_cloud: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root makes network namespaces and taps here")

    async def test(harness: VmmHarness) -> None:
        vm = await harness.launch(
            nics=(
                Nic("52:54:00:12:34:60", Tap(tmp_path / "keeper.sock", "tap0")),
                nat_nic(mac="52:54:00:12:34:61"),
            )
        )
        assert space.links() == {"tap0"}
        await vm.kill()
        assert space.links() == set()

    with TapSpace() as space:
        real = netns.tap
        monkeypatch.setattr(
            netns, "tap", lambda control, name: (space.tap if name == "tap0" else real)(control, name)
        )
        run_cloud(test)


def test_what_it_has_not_is_refused_by_name(run: Run, tmp_path: Path) -> None:
    async def test(harness: VmmHarness) -> None:
        raw = disk(tmp_path / "one", 0o600, read_only=True)
        lacking: dict[str, dict[str, Any]] = {
            "directories of the host": {"shares": (ShareSpec("a", tmp_path, True),)},
            "drives": {"drives": (DriveSpec("image", True),)},
            "processors": {"vcpus": 255},
            "format qcow2": {"disks": (replace(raw, format="qcow2"),)},
            "another user": {"disks": (replace(raw, user=User(1, 1, ())),)},
            "block devices": {"disks": (replace(raw, device=True),)},
        }
        for words, changes in lacking.items():
            with pytest.raises(NotSupported, match=words):
                await harness.launch(**changes)
        vm = await harness.launch()
        for act in (
            lambda: vm.attach_disk(raw),
            lambda: vm.detach_disk("one"),
            lambda: vm.insert_disk(raw),
            lambda: vm.attach_nic(nat_nic()),
            lambda: vm.grow_disk("one", 8192),
            vm.save,
        ):
            with pytest.raises(NotSupported, match=vm.record.name):
                await act()

    run(test)


def test_a_writer_has_a_disk_alone(run: Run, tmp_path: Path) -> None:
    async def test(harness: VmmHarness) -> None:
        mine = disk(tmp_path / "mine", 0o600, read_only=False)
        vm = await harness.launch(disks=(mine,))
        with pytest.raises(Conflict, match="in use by another"):
            await harness.launch(disks=(mine,))
        await vm.kill()
        await harness.launch(disks=(mine,))

    run(test)


def test_a_process_that_is_its_guests_cannot_have_hyperd_speak_to_another(run: Run, tmp_path: Path) -> None:
    """It may put a link where its socket was."""

    async def test(harness: VmmHarness) -> None:
        vm = await harness.launch()
        place = vm.record.run_dir / "vm/agent.sock"
        place.unlink()
        place.symlink_to("/run/docker.sock")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("hypercontainer.hypervisor.vmm.vm.AGENT_TIMEOUT_S", 0.2)
            with pytest.raises(HypervisorError, match="does not listen"):
                await vm.connect_agent()
        await vm.kill()

    run(test)


def test_its_network_lost_is_its_end(run: Run) -> None:
    async def test(harness: VmmHarness) -> None:
        vm = await harness.launch()
        keeper = next(helper for helper in vm.record.helpers if helper.name == "its network namespace")
        os.kill(keeper.pid, 9)
        ended = await vm.wait()
        assert ended.reason is ExitReason.CRASH
        assert "its network namespace had ended" in ended.stderr

    run(test)


def test_a_reboot_while_nobody_watches_is_its_end_once_somebody_does(run_cloud: Run) -> None:
    """The pipe has kept the word."""

    async def test(harness: VmmHarness) -> None:
        vm = await harness.launch("r")
        await vm.close()
        await asyncio.sleep(2)
        assert Path(f"/proc/{vm.pid}").exists()  # it has begun anew
        again = await harness.another_driver().adopt(vm.record)
        assert again is not None
        assert (await again.wait()).reason is ExitReason.GUEST_RESET

    run_cloud(test)


def test_a_refusal_ends_the_launch_in_its_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for config in (cloud_config, fire_config):
        real = config.vm_config
        monkeypatch.setattr(config, "vm_config", lambda spec, real=real: {**real(spec), "nonsense": 1})

    async def test(harness: VmmHarness) -> None:
        spec = harness.spec()
        with pytest.raises(LaunchError, match="unknown field `nonsense`"):
            await harness.driver.launch(spec)
        assert not spec.run_dir.exists()

    run(test)


def test_kvm_that_boots_no_guest_is_said_before(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kvm, "device_problem", lambda: "there is no /dev/kvm")

    async def test(harness: VmmHarness) -> None:
        verdict = await harness.driver.probe(Accelerator.KVM)
        assert (verdict.usable, verdict.reason) == (False, "there is no /dev/kvm")
        with pytest.raises(LaunchError, match="KVM is not usable: there is no /dev/kvm"):
            await harness.launch()
        checks = {check.name: check for check in await harness.driver.diagnose()}
        assert {check.ok for check in checks.values()} == {True, None}
        assert "QEMU emulates" in checks[f"KVM for {harness.title}"].remedy

    run(test)


def test_one_that_is_too_old_or_another_is_named(run: Run, tmp_path: Path) -> None:
    async def test(harness: VmmHarness) -> None:
        for said, words in (("0.9.0", "is .* 0.9.0"), ("", "does not say that it is")):
            folder = tmp_path / f"old{said}"
            folder.mkdir()
            path = folder / harness.name
            path.write_text(f"#!/bin/sh\necho {harness.name} v{said}\n")
            path.chmod(0o755)
            with pytest.raises(Unavailable, match=words):
                await vmm_machine.driver(harness.name, tmp_path, path).capabilities()
        missing = vmm_machine.driver(harness.name, tmp_path, tmp_path / "none")
        with pytest.raises(Unavailable, match="there is no"):
            missing.check_installed()
        assert [check.ok for check in await missing.diagnose()] == [None]

    run(test)


@pytest.mark.parametrize("name", HARNESSES)
def test_with_the_real_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linux: Callable[..., dict[str, Any]]
) -> None:
    """Where somebody has it, and KVM: never so far."""
    if (found := shutil.which(name)) is None:
        pytest.skip(f"there is no {name} on this machine")

    monkeypatch.setattr(HARNESSES[name], "real", Path(found))

    async def test(harness: VmmHarness) -> None:
        verdict = await harness.driver.probe(Accelerator.KVM)
        if not verdict.usable:
            pytest.skip(f"KVM is not usable: {verdict.reason}")
        vm = await harness.launch(**linux("echo here > /dev/console; sleep 1", Accelerator.KVM), nics=())
        await printed(vm, "here")
        assert (await vm.wait()).reason in (ExitReason.GUEST_SHUTDOWN, ExitReason.GUEST_RESET)

    running.with_harness(HARNESSES[name], tmp_path, test)
