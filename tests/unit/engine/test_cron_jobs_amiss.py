"""CronJobs and Jobs where something goes wrong: half made, never made, taken away by hand, not understood any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cron_stage import MINUTE_S, Stage, cron_job, stage, time_noted
from fake_world import IMAGE, World
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.engine.creation import Creation
from hypercontainer.errors import Conflict, NotFound
from hypercontainer.surfaces.kube.kept import Kept
from stories import Tell
from virtual_clock import settle

MISSING = "localhost/none:1"
TWO = "parallelism: 2"


def kept_job(image: str = IMAGE) -> str:
    return f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: once}}
spec:
  ttlSecondsAfterFinished: 3600
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{{name: c, image: "{image}", imagePullPolicy: Never, command: [exit, "0"]}}]
"""


def jobs(s: Stage) -> list[str]:
    """Those that are kept until some time after their end."""
    found = Kept(s.w.engine.real.state).documents("Job")
    return [document["metadata"]["name"] for document in found]


class Stuck:
    """What is patched with it does not come to its end before ``go``."""

    def __init__(self, patch: pytest.MonkeyPatch, method: str, only: str = "") -> None:
        self.here = asyncio.Event()
        self.go = asyncio.Event()
        real = getattr(Creation, method)

        async def stuck(creation: Creation, spec: ContainerSpec | PodSpec, *words: Any) -> Any:
            if (spec.name or "").endswith(only):
                self.here.set()
                await self.go.wait()
            return await real(creation, spec, *words)

        patch.setattr(Creation, method, stuck)


def second_fails(patch: pytest.MonkeyPatch) -> None:
    real = Creation.pod

    async def create(creation: Creation, spec: PodSpec, *words: Any, **more: Any) -> Any:
        if (spec.name or "").endswith("-1"):
            raise Conflict("no room for the second")
        return await real(creation, spec, *words, **more)

    patch.setattr(Creation, "pod", create)


def test_a_cron_job_has_its_times_though_a_pod_beside_it_cannot_be_made(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            with pytest.raises(NotFound):
                await s.manifests.play(f"{cron_job()}---{kept_job(MISSING)}")
            await s.clock.advance(MINUTE_S)
            await s.heard.until("die", f"{s.job(1)}-0")

    tell(story)


def test_a_cron_job_has_its_times_though_whoever_has_played_it_has_gone_away(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            with monkeypatch.context() as patch:
                pull = Stuck(patch, "fetch")
                playing = asyncio.create_task(s.manifests.play(f"{cron_job()}---{kept_job()}"))
                await pull.here.wait()
                playing.cancel()
                await asyncio.gather(playing, return_exceptions=True)
            await s.clock.advance(MINUTE_S)
            await s.heard.until("die", f"{s.job(1)}-0")

    tell(story)


def test_of_a_job_that_cannot_be_made_whole_nothing_stays(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = time_noted(monkeypatch)

    async def story(w: World) -> None:
        async with stage(w) as s:
            await s.manifests.play(cron_job(spec="concurrencyPolicy: Forbid", job=TWO))
            with monkeypatch.context() as patch:
                second_fails(patch)
                await s.clock.advance(MINUTE_S)
                await over.wait()
                assert await s.pods() == set()
                assert "no room for the second" in (await s.told()).problem
                with pytest.raises(Conflict, match="no room for the second"):
                    await s.manifests.run_cron_job("beat")
                assert await s.pods() == set()
            await s.clock.advance(MINUTE_S)
            for index in range(2):
                await s.heard.until("die", f"{s.job(2)}-{index}")
            assert await s.states() == {s.job(2): "succeeded"}

    tell(story)


def test_of_a_job_that_was_asked_for_by_somebody_who_has_gone_away_nothing_stays(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            await s.manifests.play(cron_job(spec="suspend: true", job=TWO))
            second = Stuck(monkeypatch, "pod", only="-1")
            running = asyncio.create_task(s.manifests.run_cron_job("beat"))
            await second.here.wait()
            assert len(await s.pods()) == 1
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert await s.pods() == set()

    tell(story)


def test_one_whose_zone_is_not_known_any_more_says_so_beside_the_others(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            await s.manifests.play(f"{cron_job(spec='timeZone: Europe/Paris', name='moved')}---{cron_job()}")
            kept = Kept(w.engine.real.state)
            document = kept.get("CronJob", "moved")
            assert document is not None
            document["spec"]["timeZone"] = "Europe/Gone"
            kept.put(document)
            told = {one.name: one for one in await s.manifests.cron_jobs()}
            assert told["beat"].next
            assert told["beat"].problem == ""
            assert (told["moved"].time_zone, told["moved"].next) == ("Europe/Gone", "")
            assert "Europe/Gone" in told["moved"].problem

    tell(story)


@pytest.mark.parametrize("name", ["b" * 52, "b" * 47 + "-long"])
def test_one_with_a_long_name_runs_by_hand(tell: Tell, name: str) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            await s.manifests.play(cron_job(spec="suspend: true", name=name, job="completions: 11"))
            job = await s.manifests.run_cron_job(name)
            assert job.startswith("b" * 47)
            assert max(len(pod) for pod in await s.pods()) <= 63  # what a pod's host name has
            for index in range(11):
                await s.heard.until("die", f"{job}-{index}")
            assert await s.states() == {job: "succeeded"}

    tell(story)


def test_a_job_whose_pods_were_removed_by_hand_is_forgotten(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            await s.manifests.play(kept_job())
            await s.heard.until("die", "once-0")
            assert jobs(s) == ["once"]
            await w.engine.pods.remove("once-0")
            await s.heard.until("remove", "once-0")
            assert jobs(s) == []

    tell(story)


def test_a_job_that_could_not_be_made_is_forgotten(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            with pytest.raises(NotFound):
                await s.manifests.play(kept_job(MISSING))
            await settle()
            assert jobs(s) == []

    tell(story)


def test_a_job_is_not_forgotten_while_its_image_comes(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            pull = Stuck(monkeypatch, "fetch")
            playing = asyncio.create_task(s.manifests.play(kept_job()))
            await pull.here.wait()
            s.manifests.open()
            await settle()
            assert jobs(s) == ["once"]
            pull.go.set()
            await playing
            await s.heard.until("die", "once-0")
            assert jobs(s) == ["once"]

    tell(story)
