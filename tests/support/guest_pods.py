"""Pods in a bare guest: containers whose images are parts of one disk, and whose changes are directories of another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from guest_machine import (
    STANDARD_MOUNTS,
    Machine,
    Session,
    busybox_root,
    container_plan,
    erofs,
    process_plan,
)
from hypercontainer.agent.operations import ContainerPlan, Disk, Mount
from hypercontainer.errors import AgentError, GuestError

PADDING_BYTES = 8 * 512  # before the first image
EVERY_CAPABILITY = (1 << 41) - 1
ALMIGHTY: dict[str, Any] = {
    "cap_bounding": EVERY_CAPABILITY,
    "cap_effective": EVERY_CAPABILITY,
    "cap_permitted": EVERY_CAPABILITY,
}
PodScenario = Callable[[Machine, Session, Disk, Disk], Awaitable[None]]
RunPod = Callable[[PodScenario], None]


def two_images(directory: Path) -> tuple[Path, list[Disk]]:
    """Two images one after the other on a disk, and where they are."""
    root = busybox_root(directory)
    (root / "data/deep").mkdir(parents=True)
    (root / "data/file").write_text("of the image\n")
    (root / "data/deep/link").symlink_to("../file")
    (root / "data/deep").chmod(0o2750)
    (root / "hollow").mkdir(0o711)
    disk, parts, content = directory / "image", [], bytes(PADDING_BYTES)
    for name in ("one", "two"):
        (root / "name").write_text(name + "\n")
        image = erofs(directory, root, f"{name}.erofs").read_bytes()
        image += bytes(-len(image) % 512)
        parts.append(Disk("image", "erofs", len(content), len(image)))
        content += image
    disk.write_bytes(content)
    return disk, parts


def shared_directory(directory: Path) -> Path:
    """What the host shares: a link in it leads out."""
    shared = directory / "shared"
    (shared / "below").mkdir(parents=True)
    (shared / "below/file").write_text("of the host\n")
    (shared / "up").symlink_to("../..")
    return shared


def member(name: str, lower: Disk, **changes: Any) -> ContainerPlan:
    return container_plan(name, lower=lower, **{"upper": Disk("disk", "ext4", directory=name), **changes})


def bound(*mounts: Mount) -> dict[str, Any]:
    return {"mounts": (*STANDARD_MOUNTS, *mounts)}


async def start(session: Session, plan: ContainerPlan, process: int) -> None:
    await session.agent.create_container(plan)
    await session.agent.start_process(process_plan(plan.container, process, "sleep", "1000", init=True))


async def sh(session: Session, container: str, script: str, **changes: Any) -> str:
    """What a script says; it must succeed."""
    status, text = await session.run(container, "sh", "-c", script, **changes)
    assert status == 0, (status, text)
    return text


async def refusal(operation: Awaitable[Any]) -> int:
    with pytest.raises(GuestError) as caught:
        await operation
    return caught.value.errno


async def power_off(vm: Machine, session: Session) -> None:
    """So that the disks can be looked at."""
    with suppress(AgentError):  # QEMU's end may overtake the answer
        await session.agent.shutdown()
    assert await vm.ended() == 0
    assert "panic" not in vm.console
    assert "fatal" not in vm.console
