"""Disks plugged into a clone, as its guest finds them."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.hypervisor.driver import VM, ExitReason
from hypercontainer.hypervisor.spec import DiskSpec

MEBIBYTE = 1 << 20
Run = Callable[[Callable[[Any], Awaitable[None]]], None]
Linux = Callable[[str], dict[str, Any]]


def raw(path: Path, *, read_only: bool = False) -> DiskSpec:
    with path.open("wb") as file:
        file.truncate(MEBIBYTE)
    return DiskSpec(path.name, ((path, MEBIBYTE),), read_only)


async def up(vm: VM, banner: str) -> None:
    """Returns once the guest has said so: there is no event for it, since nobody but a test waits for it."""
    async with asyncio.timeout(20):
        while banner not in vm.console_tail():
            await asyncio.sleep(0.01)


@pytest.mark.vm
def test_a_linux_guest_finds_what_its_clone_was_given(run_qemu: Run, tmp_path: Path, linux: Linux) -> None:
    """Before it went on and while it runs, raw and qcow2, with what it writes where it belongs."""
    script = (
        "echo guest waits; until [ -b /dev/vda ]; do sleep 0.05; done; cat /sys/block/vda/serial; echo\n"
        "dd if=/dev/vda bs=9 count=1 2>/dev/null; echo\n"
        "printf written | dd of=/dev/vda bs=512 seek=2 2>/dev/null; sync\n"
        "echo first done; until [ -b /dev/vdb ]; do sleep 0.05; done; cat /sys/block/vdb/serial /sys/block/vdb/size"
    )

    async def test(harness: Any) -> None:
        path, second = tmp_path / "first", raw(tmp_path / "second")
        path.write_bytes(b"from here".ljust(MEBIBYTE, b"\0"))
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", path, f"{path}.qcow2"], check=True)
        first = DiskSpec("first", ((Path(f"{path}.qcow2"), MEBIBYTE),), read_only=False, format="qcow2")
        changes = linux(script)
        saved = await harness.launch_to_save(**changes)
        await up(saved, "guest waits")
        snapshot = await saved.save()
        harness.stack.callback(snapshot.close)
        vm = await harness.clone(snapshot, **changes)
        await vm.attach_disk(first)
        await vm.resume()
        await up(vm, "first done")
        await vm.attach_disk(second)
        ended = await vm.wait()
        assert ended.reason is ExitReason.GUEST_SHUTDOWN
        said = ended.console.partition("[")[0]  # the kernel's last word
        assert said.split() == "first from here first done second2048".split()
        subprocess.run(
            ["qemu-img", "convert", "-f", "qcow2", "-O", "raw", first.extents[0][0], path], check=True
        )
        assert path.read_bytes()[1024:1031] == b"written"

    run_qemu(test)
