"""What removed containers have left in a pod whose VM runs: directories of its disk, and disks that were theirs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path

from hypercontainer.agent.operations import ContainerPlan
from hypercontainer.engine.record import Kept
from hypercontainer.engine.sandbox import layout, plug, storage
from hypercontainer.engine.sandbox.claims import Claim
from hypercontainer.engine.sandbox.contents import Contents
from hypercontainer.engine.sandbox.live import Live
from hypercontainer.engine.state import PodRecord
from hypercontainer.errors import AgentError, HyperError
from hypercontainer.rootfs import chain_id

STALE = "hyper.stale"  # the container by which the guest knows a directory that is to be removed

log = logging.getLogger(__name__)


async def discard_stale(live: Live, record: Kept[PodRecord]) -> None:
    """Directories whose removal was put off."""
    while record.value.stale and record.value.images:
        directory, *rest = record.value.stale
        with contextlib.suppress(AgentError):
            # For as long as it takes a container has it again, and goes with all that is its own.
            upper = layout.disk_directory(directory)
            lower = layout.lower(record.value.images[0])
            await live.agent.create_container(ContainerPlan(STALE, lower, upper))
            await live.agent.destroy_container(STALE, discard=True)
        record.change(stale=tuple(rest))


async def remove_disks(folder: Path, pod: PodRecord, contents: Contents) -> None:
    """Of empty directories of which nothing in ``contents`` is, and which a VM does not have any more."""
    volumes = [brought.volume for brought in contents.volumes.values()]

    def remove() -> None:
        unused = storage.unused_limited(volumes, folder)
        storage.remove_limited(path for path in unused if path.stem not in pod.mounted.values())

    try:
        await asyncio.to_thread(remove)
    except OSError as error:  # they go with the pod
        log.warning("pod %s: %s", pod.name or pod.id[:12], error)


async def unplug(live: Live, record: Kept[PodRecord], contents: Contents, claim: Claim) -> None:
    """Disks of which nothing in ``contents`` is on any more."""
    wanted = storage.names(record.value, contents.volumes.values())
    images = {chain_id(diff_ids) for diff_ids in contents.images}
    async with live.awake():
        try:
            await plug.unused(live.vm, live.agent, record, volumes=wanted, images=images)
            claim.reduce(contents)
        except HyperError as error:
            log.warning("pod %s: %s", record.value.name or record.value.id[:12], error)
