"""What `hyper doctor` says of an engine in need, in the command line's words."""

from __future__ import annotations

import os
from typing import Any

import pytest

from fake_world import World
from hypercontainer.cli.commands.info import COMMANDS, worded
from hypercontainer.contract.answers import Check
from hypercontainer.engine.service.system import SystemService
from hypercontainer.errors import Remedy, Unavailable
from hypercontainer.kernel import Kernel
from hypercontainer.kernel.store import KernelStore
from stories import Tell


def test_each_remedy_that_is_a_command_is_named(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: KernelStore) -> Kernel:
        raise Unavailable("none", hint="build one, or fetch Debian's", remedies=[Remedy("kernels.fetch")])

    def full(path: Any) -> os.statvfs_result:
        return os.statvfs_result((4096, 4096, 10, 0, 0, 10, 10, 10, 0, 255))

    async def story(w: World) -> None:
        monkeypatch.setattr(KernelStore, "default", none)
        monkeypatch.setattr(os, "statvfs", full)
        checks = {check.name: worded(check.remedy) for check in await w.engine.system.doctor()}
        assert checks["guest kernel"].endswith("fetch Debian's, with `hyper kernel fetch`")
        assert checks["disk space"].endswith("are not used, with `hyper system prune`")
        assert all(
            any(f"`{command}`" in said for said in checks.values())
            for command in COMMANDS.values()
            if "platform" not in command
        )

    tell(story)


@pytest.mark.parametrize(("native", "needed"), [(True, None), (None, False)])
def test_a_kernel_of_qemus_is_needed_where_there_is_no_other(
    tell: Tell, monkeypatch: pytest.MonkeyPatch, native: bool | None, needed: bool | None
) -> None:
    def none(self: KernelStore) -> Kernel:
        raise Unavailable("none")

    async def check(self: SystemService) -> Check:
        return Check("User Mode Linux", native, "it is tried")

    async def story(w: World) -> None:
        monkeypatch.setattr(KernelStore, "default", none)
        monkeypatch.setattr(SystemService, "_check_native", check)
        found = {check.name: check for check in await w.engine.system.doctor()}
        assert found["guest kernel"].ok is needed
        assert found["guest kernel"].detail.startswith("none")

    tell(story)
