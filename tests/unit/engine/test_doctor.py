"""What `hyper doctor` says of an engine in need, in the command line's words."""

from __future__ import annotations

import os
from typing import Any

import pytest

from fake_world import World
from hypercontainer.cli.commands.info import COMMANDS, worded
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
        assert all(any(f"`{command}`" in said for said in checks.values()) for command in COMMANDS.values())

    tell(story)
