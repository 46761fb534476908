"""CronJobs on a clock that passes hours in no time: their times, what meets, what stays, and a hyperd that dies."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from cron_stage import MINUTE_S, Heard, cron_job, stage, time_noted
from fake_process import PROGRAMS, FakeProcess
from fake_world import IMAGE, World
from hypercontainer.errors import NotFound
from hypercontainer.surfaces.kube.manifests import Manifests
from stories import Tell


def test_each_time_has_its_job(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            (told,) = await s.manifests.play(cron_job())
            assert (told.kind, told.action, told.warnings) == ("CronJob", "created", ())
            assert await s.pods() == set()
            for minutes in (1, 2):
                await s.clock.advance(MINUTE_S)
                await s.heard.until("die", f"{s.job(minutes)}-0")
            assert await s.states() == {s.job(1): "succeeded", s.job(2): "succeeded"}
            shown = await s.told()
            assert shown.last.startswith(datetime.fromtimestamp(s.began + 120, UTC).strftime("%FT%T"))
            assert shown.next.startswith(datetime.fromtimestamp(s.began + 180, UTC).strftime("%FT%T"))
            (told,) = await s.manifests.down(cron_job())
            assert (told.action, set(told.pods)) == ("removed", {f"{s.job(1)}-0", f"{s.job(2)}-0"})
            assert await s.pods() == set()
            assert await s.manifests.cron_jobs() == []

    tell(story)


def test_times_are_those_of_their_zone(tell: Tell) -> None:
    async def story(w: World) -> None:
        began = datetime(2026, 7, 1, 3, 59, tzinfo=UTC).timestamp()
        async with stage(w, began) as s:
            await s.manifests.play(cron_job(schedule="0 0 * * *", spec="timeZone: America/New_York"))
            assert (await s.told()).time_zone == "America/New_York"
            await s.clock.advance(MINUTE_S)
            await s.heard.until("die", f"{s.job(1)}-0")

    tell(story)


def test_old_jobs_go(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            await s.manifests.play(cron_job(spec="successfulJobsHistoryLimit: 1"))
            for minutes in (1, 2):
                await s.clock.advance(MINUTE_S)
                await s.heard.until("die", f"{s.job(minutes)}-0")
            await s.heard.until("remove", f"{s.job(1)}-0")
            assert await s.states() == {s.job(2): "succeeded"}

    tell(story)


def test_of_failed_jobs_one_is_kept_unless_said_otherwise(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            await s.manifests.play(cron_job('[exit, "3"]'))
            for minutes in (1, 2):
                await s.clock.advance(MINUTE_S)
                await s.heard.until("die", f"{s.job(minutes)}-0")
            await s.heard.until("remove", f"{s.job(1)}-0")
            assert await s.states() == {s.job(2): "failed"}

    tell(story)


def test_jobs_may_run_beside_one_another(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            await s.manifests.play(cron_job("[cat]"))
            for minutes in (1, 2):
                await s.clock.advance(MINUTE_S)
                await s.heard.until("start", f"{s.job(minutes)}-0")
            assert await s.states() == {s.job(1): "active", s.job(2): "active"}

    tell(story)


def test_one_that_forbids_others_waits_for_its_end(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            await s.manifests.play(cron_job("[cat]", spec="concurrencyPolicy: Forbid"))
            for _ in range(3):
                await s.clock.advance(MINUTE_S)
                await s.heard.until("start", f"{s.job(1)}-0")
            assert await s.states() == {s.job(1): "active"}
            await w.engine.pods.stop(f"{s.job(1)}-0")
            # The last of the times that were missed is made up for, once.
            await s.heard.until("start", f"{s.job(3)}-0")
            assert set(await s.states()) == {s.job(1), s.job(3)}

    tell(story)


def test_one_that_replaces_others_ends_them(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            await s.manifests.play(cron_job("[cat]", spec="concurrencyPolicy: Replace"))
            for minutes in (1, 2):
                await s.clock.advance(MINUTE_S)
                await s.heard.until("start", f"{s.job(minutes)}-0")
            assert await s.states() == {s.job(2): "active"}

    tell(story)


def test_one_that_is_suspended_has_no_times_until_it_goes_on(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            await s.manifests.play(cron_job(spec="suspend: true"))
            await s.clock.advance(3 * MINUTE_S)
            assert ((await s.told()).next, await s.pods()) == ("", set())
            (told,) = await s.manifests.play(cron_job())
            assert told.action == "replaced"
            await s.heard.until("die", f"{s.job(3)}-0")
            assert set(await s.states()) == {s.job(3)}

    tell(story)


@pytest.mark.parametrize(("deadline", "made"), [("", True), ("startingDeadlineSeconds: 20", False)])
def test_a_hyperd_that_was_away_makes_up_for_the_last_time_if_it_is_not_too_late(
    tell: Tell, deadline: str, made: bool
) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            await s.manifests.play(cron_job(spec=deadline))
            await s.manifests.close()
            await s.clock.advance(3 * MINUTE_S)  # and nobody was there
            s.manifests = Manifests(w.engine.real, wall=s.wall)
            s.manifests.open()
            if made:
                await s.heard.until("die", f"{s.job(3)}-0")
            await s.clock.advance(MINUTE_S)
            await s.heard.until("die", f"{s.job(4)}-0")
            assert set(await s.states()) == ({s.job(3), s.job(4)} if made else {s.job(4)})

    tell(story)


def test_a_job_that_a_hyperd_had_half_made_is_not_made_twice(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            await s.manifests.play(cron_job("[cat]", spec="concurrencyPolicy: Forbid"))
            killed = asyncio.Event()

            async def never(*_: Any, **__: Any) -> None:
                killed.set()
                await asyncio.Event().wait()

            with monkeypatch.context() as patch:
                patch.setattr("hypercontainer.engine.pod.pod.Pod.change_spec", lambda *_: None)
                patch.setattr("hypercontainer.surfaces.kube.pods.Pods.start", never)
                await s.clock.advance(MINUTE_S)
                await killed.wait()
                before = {pod.id for pod in await w.engine.pods.find()}
                await s.reopen()
            s.manifests.open()
            heard = Heard(w)
            listening = asyncio.create_task(heard.listen())
            await heard.until("start", f"{s.job(1)}-0")
            listening.cancel()
            assert {pod.id for pod in await w.engine.pods.find()} == before
            assert await s.states() == {s.job(1): "active"}

    tell(story)


def test_a_change_of_anything_but_the_times_keeps_them(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            await s.manifests.play(cron_job())
            await s.clock.advance(MINUTE_S)
            await s.heard.until("die", f"{s.job(1)}-0")
            last = (await s.told()).last
            (told,) = await s.manifests.play(cron_job('[exit, "1"]'))
            assert (told.action, (await s.told()).last) == ("replaced", last)
            (told,) = await s.manifests.play(cron_job('[exit, "1"]'))
            assert told.action == "unchanged"
            await s.manifests.play(cron_job(schedule="@hourly"))
            assert (await s.told()).last == ""

    tell(story)


def test_what_cannot_be_made_is_told_and_the_next_time_comes(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = time_noted(monkeypatch)

    async def story(w: World) -> None:
        async with stage(w) as s:
            text = cron_job().replace(IMAGE, "localhost/none:1")
            await s.manifests.play(text)
            await s.clock.advance(MINUTE_S)
            await over.wait()
            assert "localhost/none:1" in (await s.told()).problem
            await s.manifests.play(cron_job())
            await s.clock.advance(MINUTE_S)
            await s.heard.until("die", f"{s.job(2)}-0")
            assert (await s.told()).problem == ""

    tell(story)


def test_one_by_hand(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            await s.manifests.play(cron_job(spec="suspend: true"))
            name = await s.manifests.run_cron_job("beat")
            await s.heard.until("die", f"{name}-0")
            assert await s.states() == {name: "succeeded"}
            with pytest.raises(NotFound):
                await s.manifests.run_cron_job("other")

    tell(story)


def test_its_pods_are_made_for_the_user_who_has_played_it(tell: Tell) -> None:
    async def story(w: World) -> None:
        async with stage(w) as s:
            forged = "metadata: {name: beat, annotations: {hyper.invalid/asked-by: '0', mine: kept}}"
            text = cron_job(spec="suspend: true").replace("metadata: {name: beat}", forged)
            await s.manifests.play(text, asked_by=1234)
            (told,) = await s.manifests.play(text, asked_by=1234)
            assert told.action == "unchanged"
            name = await s.manifests.run_cron_job("beat")
            assert (await w.engine.pods.held(f"{name}-0")).record.asked_by == 1234
            await s.manifests.play(text)
            name = await s.manifests.run_cron_job("beat")
            assert (await w.engine.pods.held(f"{name}-0")).record.asked_by is None

    tell(story)


def ends_when(told: asyncio.Event) -> Any:
    async def program(_: FakeProcess) -> int:
        await told.wait()
        return 0

    return program


def test_jobs_that_are_removed_some_time_after_their_end(tell: Tell) -> None:
    async def story(w: World) -> None:
        go = asyncio.Event()
        w.driver.programs = {**PROGRAMS, "waits": ends_when(go)}
        job = f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: once}}
spec:
  ttlSecondsAfterFinished: 3600
  template:
    spec:
      restartPolicy: Never
      containers: [{{name: c, image: "{IMAGE}", imagePullPolicy: Never, command: [waits]}}]
"""
        async with stage(w) as s:
            await s.manifests.play(job)
            await s.clock.advance(2 * 3600)  # it has not ended
            go.set()
            await s.heard.until("die", "once-0")
            await s.heard.until("remove", "once-0")  # by this clock its end was two hours ago
            assert await s.pods() == set()

    tell(story)
