"""A QEMU whose jail has ended before it was let in: the user reads the jail's own words."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.errors import LaunchError
from hypercontainer.hypervisor import jail, launching
from hypercontainer.hypervisor.qemu import driver as module
from hypercontainer.hypervisor.qemu.binary import Binary
from hypercontainer.hypervisor.qemu.driver import QemuDriver
from hypercontainer.hypervisor.spec import Accelerator, VMSpec
from hypercontainer.linux import cgroup, confine
from hypercontainer.linux.cgroup import Cgroups
from hypercontainer.linux.confine import Means

WORDS = "cannot be confined: files: Argument list too long"
QEMU = Binary(
    Path("/q"), "", "9.0.0", frozenset(Accelerator), sandbox=True, free_page_reporting=True, qboot=True
)


@pytest.mark.parametrize("namespaces", [False, True])
def test_a_jail_that_ends_at_once_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, namespaces: bool
) -> None:
    program = tmp_path / "jail"
    program.write_text(f"#!/bin/sh\necho '{WORDS}' >&2\nexit 125\n")
    program.chmod(0o755)
    kernel = tmp_path / "kernel"
    kernel.write_bytes(b"\x7fELF")
    held = launching.held

    async def found(*_: object) -> Any:
        return QEMU

    async def means(*_: object) -> Means:
        return Means(namespaces, 0)

    async def ended(*arguments: Any, **named: Any) -> Any:
        gate, process = await held(*arguments, **named)
        await process.wait()
        return gate, process

    monkeypatch.setattr(confine, "JAIL", program)
    monkeypatch.setattr(jail, "means", means)
    monkeypatch.setattr(QemuDriver, "_binary", found)
    monkeypatch.setattr(module, "held", ended)
    monkeypatch.setattr(cgroup, "here", Cgroups)
    driver = QemuDriver(tmp_path / "facts")
    spec = VMSpec("a1", "web", tmp_path / "run", kernel, None, (), 64, 1, hotplug_slots=0)
    with pytest.raises(LaunchError, match=WORDS):
        asyncio.run(driver.launch(spec))
    assert not spec.run_dir.exists()
