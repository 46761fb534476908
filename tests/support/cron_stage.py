"""A world's manifests with the hands of the clock: CronJobs whose hours pass in no time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from fake_world import IMAGE, World
from hypercontainer.contract.answers import CronJob
from hypercontainer.surfaces.kube.kept import Kept
from hypercontainer.surfaces.kube.manifests import Manifests
from virtual_clock import VirtualClock, VirtualWall, settle

MINUTE_S = 60.0


def cron_job(
    command: str = '[exit, "0"]',
    *,
    schedule: str = "* * * * *",
    spec: str = "",
    job: str = "",
    name: str = "beat",
) -> str:
    return f"""
apiVersion: batch/v1
kind: CronJob
metadata: {{name: {name}}}
spec:
  schedule: "{schedule}"
  {spec}
  jobTemplate:
    spec:
      backoffLimit: 0
      {job}
      template:
        spec:
          restartPolicy: Never
          terminationGracePeriodSeconds: 0
          containers: [{{name: c, image: "{IMAGE}", imagePullPolicy: Never, command: {command}, stdin: true}}]
"""


class Heard:
    """Events of pods, as they come: ``until`` waits for one that has come, or will."""

    def __init__(self, w: World) -> None:
        self._w = w
        self._come: list[tuple[str, str]] = []
        self._more = asyncio.Event()

    async def listen(self) -> None:
        async for event in self._w.engine.system.events(filters={"type": ["pod"]}):
            self._come.append((event.action, event.attributes["name"]))
            self._more.set()

    async def until(self, action: str, name: str) -> None:
        while (action, name) not in self._come:
            self._more.clear()
            await self._more.wait()
        await settle()


class Stage:
    """A world's manifests at a time of day: half a minute past ``began``, which is a full minute."""

    def __init__(self, w: World, began: float) -> None:
        self.w = w
        self.clock = VirtualClock()
        self.began = began
        self.wall = VirtualWall(self.clock, began + 30)
        self.manifests = Manifests(w.engine.real, wall=self.wall)
        self.heard = Heard(w)

    def job(self, minutes: int) -> str:
        """The Job of so many minutes past the beginning."""
        return f"beat-{int(self.began) // 60 + minutes}"

    async def pods(self) -> set[str]:
        return {one.name for one in await self.w.engine.pods.find()}

    async def told(self) -> CronJob:
        (one,) = await self.manifests.cron_jobs()
        return one

    async def states(self) -> dict[str, str]:
        return {run.name: run.state for run in (await self.told()).runs}

    async def reopen(self) -> None:
        """Another hyperd, at the same moment."""
        await self.manifests.close()
        await self.w.engine.close()
        await self.w.open()
        self.manifests = Manifests(self.w.engine.real, wall=self.wall)


@contextlib.asynccontextmanager
async def stage(w: World, began: float | None = None) -> AsyncIterator[Stage]:
    made = Stage(w, time.time() // 60 * 60 if began is None else began)
    listening = asyncio.create_task(made.heard.listen())
    await settle()
    try:
        yield made
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await made.manifests.close()


def time_noted(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set once a time of a CronJob is over, whatever came of it."""
    over, note_time = asyncio.Event(), Kept.note_time

    def noted(self: Kept, name: str, at: float) -> bool:
        over.set()
        return note_time(self, name, at)

    monkeypatch.setattr(Kept, "note_time", noted)
    return over
