"""The parts of a guest, made once: hyperstart, the kernel, an image's disk."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from guest_machine import RunScenario, Scenario, build_hyperstart, busybox_root, erofs, ext4, machine
from guest_pods import PodScenario, RunPod, shared_directory, two_images
from hypercontainer.agent.operations import Disk
from hypercontainer.kernel import Kernel, KernelStore, cache_dir
from uml_machine import uml_machine


@pytest.fixture(scope="session")
def guest_kernel() -> Kernel:
    kernels = KernelStore(cache_dir()).list()
    assert kernels, "there is no kernel: run `make kernel`, or `make setup` for the distribution's"
    return kernels[0]


@pytest.fixture(scope="session")
def guest_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ``hyperstart`` and ``lower.erofs``."""
    directory = tmp_path_factory.mktemp("guest")
    build_hyperstart(directory)
    erofs(directory, busybox_root(directory))
    return directory


@pytest.fixture
def guest(guest_kernel: Kernel, guest_files: Path, tmp_path: Path, hypervisor: str) -> RunScenario:
    """Runs a scenario in a VM of its own, with the disks "lower", "upper", "volume" and QEMU's monitor vm/monitor."""

    def run(scenario: Scenario) -> None:
        disks = [
            ("lower", guest_files / "lower.erofs", True),
            ("upper", ext4(tmp_path / "upper"), False),
            ("volume", ext4(tmp_path / "volume"), False),
        ]

        monitor = ("-qmp", f"unix:{tmp_path / 'vm/monitor'},server=on,wait=off")
        hyperstart, directory = guest_files / "hyperstart", tmp_path / "vm"

        async def in_machine() -> None:
            async with (
                machine(guest_kernel, hyperstart, directory, disks, monitor)
                if hypervisor == "qemu"
                else uml_machine(hyperstart, directory, disks)
            ) as vm:
                try:
                    async with asyncio.timeout(240):
                        session = await vm.session()
                        await session.agent.welcome(60)
                        await scenario(vm, session)
                except BaseException:
                    print(vm.last_words)
                    raise

        asyncio.run(in_machine())

    return run


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Disk]]:
    """Two images one after the other on a disk, and where they are."""
    return two_images(tmp_path_factory.mktemp("images"))


@pytest.fixture
def pod(
    guest_kernel: Kernel,
    guest_files: Path,
    images: tuple[Path, list[Disk]],
    tmp_path: Path,
    hypervisor: str,
) -> RunPod:
    """Runs a scenario in a VM with the disks "image" (two images), "disk" and "volume", and QEMU's 9p share "share"."""

    def run(scenario: PodScenario) -> None:
        shared = shared_directory(tmp_path)
        disks = [
            ("image", images[0], True),
            ("disk", ext4(tmp_path / "disk"), False),
            ("volume", ext4(tmp_path / "volume"), False),
        ]
        hyperstart, directory = guest_files / "hyperstart", tmp_path / "vm"
        share = ("-virtfs", f"local,path={shared},mount_tag=share,security_model=none,multidevs=forbid")

        async def in_machine() -> None:
            async with (
                machine(guest_kernel, hyperstart, directory, disks, share)
                if hypervisor == "qemu"
                else uml_machine(hyperstart, directory, disks)
            ) as vm:
                try:
                    async with asyncio.timeout(240):
                        session = await vm.session()
                        await session.agent.welcome(60)
                        await scenario(vm, session, *images[1])
                except BaseException:
                    print(vm.last_words)
                    raise

        asyncio.run(in_machine())
        for name in ("disk", "volume"):
            subprocess.run(["e2fsck", "-fn", tmp_path / name], check=True, stdout=subprocess.DEVNULL)

    return run
