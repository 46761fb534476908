"""The parts of a guest, made once: hyperstart, the kernel, an image's disk."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from guest_machine import RunScenario, Scenario, build_hyperstart, busybox_root, erofs, ext4, machine
from hypercontainer.kernel import Kernel, KernelStore, cache_dir


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
def guest(guest_kernel: Kernel, guest_files: Path, tmp_path: Path) -> RunScenario:
    """Runs a scenario in a VM of its own, with the disks "lower", "upper", "volume" and the monitor vm/monitor."""

    def run(scenario: Scenario) -> None:
        disks = [
            ("lower", guest_files / "lower.erofs", True),
            ("upper", ext4(tmp_path / "upper"), False),
            ("volume", ext4(tmp_path / "volume"), False),
        ]

        monitor = ("-qmp", f"unix:{tmp_path / 'vm/monitor'},server=on,wait=off")

        async def in_machine() -> None:
            async with machine(
                guest_kernel, guest_files / "hyperstart", tmp_path / "vm", disks, monitor
            ) as vm:
                try:
                    async with asyncio.timeout(240):
                        session = await vm.session()
                        await session.agent.welcome(60)
                        await scenario(vm, session)
                except BaseException:
                    print(vm.console)
                    raise

        asyncio.run(in_machine())

    return run
