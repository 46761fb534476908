"""CronJobs: Jobs at their times, those of before tidied up, and Jobs that are removed some time after their end.

Nothing asks every so often: it waits for the next time that somebody has, for the end of a pod, or for a manifest.
What is due is found in what is kept, so that a hyperd that was away, or killed in mid-step, goes on where it was: a
Job's name is made of its time, and its pods are made where they are missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections import Counter
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from hypercontainer import kube
from hypercontainer.contract.answers import CronJob, CronRun
from hypercontainer.engine import times
from hypercontainer.engine.creation import Asker
from hypercontainer.engine.engine import Engine
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.turns import on_behalf
from hypercontainer.engine.wall import Wall
from hypercontainer.errors import HyperError, NotFound
from hypercontainer.surfaces.kube.kept import ASKED_BY, Document, Kept, as_asked, seconds
from hypercontainer.surfaces.kube.pods import Pods

_JOB_LABEL = "batch.kubernetes.io/job-name"
_ENDED = ("succeeded", "failed", "stopped")
RETRY_S = 60  # after something could not be removed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Job:
    """One Job of a CronJob, as its pods are.  ``state``: active, succeeded or failed."""

    name: str
    pods: tuple[Pod, ...]

    @property
    def state(self) -> str:
        states = {pod.summary().state for pod in self.pods}
        if not states <= set(_ENDED):
            return "active"
        return "succeeded" if states == {"succeeded"} else "failed"

    @property
    def started(self) -> float:
        return min(times.to_ns(pod.record.created) for pod in self.pods) / 1e9

    @property
    def finished(self) -> float:
        """Of one that has ended."""
        ends = [record.finished for pod in self.pods for record in pod.records() if record.finished]
        return max((times.to_ns(end) / 1e9 for end in ends), default=self.started)


def ended(pod: Pod) -> bool:
    return pod.summary().state in _ENDED


class CronJobs:
    """Owner of the one task that waits, and of those that make Jobs.  ``open`` may be called often."""

    def __init__(self, engine: Engine, kept: Kept, pods: Pods, wall: Wall) -> None:
        self._engine = engine
        self._kept = kept
        self._pods = pods
        self._wall = wall
        self._poked = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[str] = set()  # owners of which something is being made or removed
        self._playing: Counter[str] = Counter()  # Jobs whose pods somebody is about to make
        self._problems: dict[str, str] = {}  # why the last Job of a CronJob was not made
        self._opened = False

    def open(self) -> None:
        """Goes on with what is kept, if anything is."""
        self._poked.set()
        if not self._opened and (self._kept.documents("CronJob") or self._kept.documents("Job")):
            self._opened = True
            self._spawn(self._wait())
            self._spawn(self._listen())
            for document in self._kept.documents(
                "CronJob"
            ):  # what a hyperd that was killed has made, not started
                pods = self._pods.of(_owner(document))
                if waiting := [pod.record.name for pod in pods if pod.summary().state == "created"]:
                    self._spawn(self._start(waiting))

    @contextlib.contextmanager
    def playing(self, jobs: Sequence[str]) -> Iterator[None]:
        """Meanwhile these Jobs are not taken for ones that have ended, or are gone."""
        self._playing.update(jobs)
        try:
            yield
        finally:
            self._playing.subtract(jobs)
            self._playing = +self._playing
            self._poked.set()

    async def close(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("CronJobs: %s", error, exc_info=error)

    # ------------------------------------------------------------------------------------- waiting

    async def _wait(self) -> None:
        while True:
            self._poked.clear()
            at = self._tend_all()
            waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._poked.wait())]
            if at is not None:
                waits.append(asyncio.ensure_future(self._wall.until(at)))
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
                await asyncio.gather(*waits, return_exceptions=True)

    async def _listen(self) -> None:
        async for event in self._engine.system.events(filters={"type": ["pod", "daemon"]}):
            if event.action in ("die", "remove", "stop", "events-lost"):
                self._poked.set()

    def _tend_all(self) -> float | None:
        """Begins what is due; the next moment at which something will be."""
        now = self._wall.now()
        moments = [self._tend_job(document, now) for document in self._kept.documents("Job")]
        for document in self._kept.documents("CronJob"):
            try:
                moments.append(self._tend_cron_job(document, now))
            except HyperError as error:  # its time zone is not known any more, say
                log.error("%s: %s", _owner(document), error)
        return min((one for one in moments if one is not None), default=None)

    # ------------------------------------------------------------------------------------- what is due

    def _tend_cron_job(self, document: Document, now: float) -> float | None:
        plan, owner = _plan(document), _owner(document)
        if owner in self._busy:
            return None
        jobs = self._jobs(plan.name)
        active = [job for job in jobs if job.state == "active"]
        old, goes = _outlived(plan, jobs, now)
        due = None if plan.suspended else _due(plan, document, now)
        others = [job for job in active if due is None or job.name != _name_at(plan, due)]
        if others and plan.concurrency == "Forbid":
            due = None  # the end of those that run comes by here again
        if due is not None and plan.concurrency == "Replace":
            old += others
        if due is not None or old:
            self._begin(owner, self._turn(document, plan, due, old))
            return None
        return min((one for one in (goes, _next(plan, now)) if one is not None), default=None)

    def _tend_job(self, document: Document, now: float) -> float | None:
        """One that is removed after its end."""
        name, owner = document["metadata"]["name"], _owner(document)
        pods = self._pods.of(owner)
        if owner in self._busy or name in self._playing or any(not pod.recovered.is_set() for pod in pods):
            return None
        if not pods:  # somebody has removed them, or they could not be made
            self._kept.remove("Job", name)
            return None
        job = _Job(name, tuple(pods))
        if job.state == "active":
            return None
        goes: float = job.finished + document["spec"]["ttlSecondsAfterFinished"]
        if goes > now:
            return goes
        self._begin(owner, self._forget_job(name, job))
        return None

    def _jobs(self, cron_job: str) -> list[_Job]:
        """Oldest first."""
        found: dict[str, list[Pod]] = {}
        for pod in self._pods.of(f"CronJob/{cron_job}"):
            found.setdefault(pod.record.spec.labels.get(_JOB_LABEL, ""), []).append(pod)
        return sorted((_Job(name, tuple(pods)) for name, pods in found.items()), key=lambda job: job.started)

    # ------------------------------------------------------------------------------------- what is done

    def _begin(self, owner: str, work: Coroutine[Any, Any, None]) -> None:
        async def done() -> None:
            try:
                await work
                self._poked.set()
            except HyperError as error:
                log.error("%s: %s; it is tried again in %d s", owner, error, RETRY_S)
                self._spawn(self._poke_at(self._wall.now() + RETRY_S))
            finally:
                self._busy.discard(owner)

        self._busy.add(owner)
        self._spawn(done())

    async def _poke_at(self, at: float) -> None:
        await self._wall.until(at)
        self._poked.set()

    async def _turn(
        self, document: Document, plan: kube.CronPlan, due: float | None, old: Sequence[_Job]
    ) -> None:
        await self._pods.take_down(pod for job in old for pod in job.pods)
        if due is None:
            return
        try:
            await self._make(document, kube.run(plan, _moment(due), kube.Objects(), known=self._kept.known()))
            self._problems.pop(plan.name, None)
        except HyperError as error:
            log.error("CronJob %s: the Job of %s: %s", plan.name, times.from_ns(int(due * 1e9)), error)
            self._problems[plan.name] = str(error)
        if not self._kept.note_time(plan.name, due):  # it was taken away meanwhile
            await self._pods.take_down(self._pods.of(_owner(document)))

    async def _make(self, document: Document, job: kube.JobPlan) -> None:
        """What of the Job is not there yet; it is started from here, and goes on by itself.  All of it or nothing."""
        try:
            await self._make_pods(document, job)
        except BaseException:
            await asyncio.shield(self._unmake(document["metadata"]["name"], job.name))
            raise

    async def _unmake(self, cron_job: str, name: str) -> None:
        """A Job that is not complete: its pods would wait for ever, and the CronJob for their end."""
        pods = [pod for job in self._jobs(cron_job) if job.name == name for pod in job.pods]
        try:
            await self._pods.take_down(pod for pod in pods if pod.summary().state == "created")
        except HyperError as error:
            log.error("CronJob %s: what was made of the Job %s stays: %s", cron_job, name, error)

    async def _make_pods(self, document: Document, job: kube.JobPlan) -> None:
        missing = [plan for plan in job.pods if self._pods.find(plan.spec.name or "") is None]
        wishes = [self._pods.wish(plan, replace=False) for plan in missing]
        asked_by = (document["metadata"].get("annotations") or {}).get(ASKED_BY)
        asker = Asker(None if asked_by is None else int(asked_by))
        with on_behalf(asker.uid):
            await self._pods.make(wishes, (), asker)
        names = [plan.spec.name or "" for plan in job.pods]
        found = [pod for name in names if (pod := self._pods.find(name)) is not None]
        self._spawn(self._start([pod.record.name for pod in found if pod.summary().state == "created"]))

    async def _start(self, names: Sequence[str]) -> None:
        try:
            await self._pods.start(names)
        except HyperError as error:  # which the pod's state tells, too
            log.warning("%s: %s", ", ".join(names), error)

    async def _forget_job(self, name: str, job: _Job) -> None:
        await self._pods.take_down(job.pods)
        if name not in self._playing:
            self._kept.remove("Job", name)

    # ------------------------------------------------------------------------------------- asked from outside

    def _document(self, name: str) -> Document:
        document = self._kept.get("CronJob", name)
        if document is None:
            raise NotFound(f"no such CronJob: {name}")
        return document

    async def run_now(self, name: str) -> str:
        document = self._document(name)
        plan = _plan(document)
        known = self._kept.known()
        suffix = f"manual-{secrets.token_hex(2)}"
        job = kube.run(plan, _moment(self._wall.now()), kube.Objects(), known=known, suffix=suffix)
        await self._make(document, job)
        return job.name

    def listed(self) -> list[CronJob]:
        return [self._told(document) for document in self._kept.documents("CronJob")]

    def _told(self, document: Document) -> CronJob:
        """As it is written, where it cannot be understood any more."""
        name, spec = document["metadata"]["name"], document["spec"]
        following, problem = None, self._problems.get(name, "")
        try:
            following = _next(_plan(document), self._wall.now())
        except HyperError as error:  # as in _tend_all
            problem = str(error)
        return CronJob(
            name=name,
            schedule=spec["schedule"],
            time_zone=spec.get("timeZone") or "",
            suspended=bool(spec.get("suspend")),
            concurrency=spec.get("concurrencyPolicy") or "Allow",
            last=(document.get("status") or {}).get("lastScheduleTime", ""),
            next="" if following is None else times.from_ns(int(following) * 10**9),
            problem=problem,
            runs=tuple(
                CronRun(job.name, job.state, tuple(pod.record.name for pod in job.pods))
                for job in self._jobs(name)
            ),
        )


def _plan(document: Document) -> kube.CronPlan:
    (plan,) = kube.crons(kube.kept([msgspec.json.encode(as_asked(document))]))
    return plan


def _owner(document: Document) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _name_at(plan: kube.CronPlan, due: float) -> str:
    return f"{plan.name}-{int(due) // 60}"


def _next(plan: kube.CronPlan, now: float) -> float | None:
    found = None if plan.suspended else kube.next_time(plan.schedule, _moment(now))
    return None if found is None else found.timestamp()


def _due(plan: kube.CronPlan, document: Document, now: float) -> float | None:
    """The last time that has come and had no Job, and for which it is not too late."""
    last = seconds((document.get("status") or {}).get("lastScheduleTime"))
    after = seconds(document["metadata"]["creationTimestamp"]) if last is None else last
    assert after is not None
    if plan.starting_deadline_s is not None:
        after = max(after, now - plan.starting_deadline_s)
    found = kube.last_time(plan.schedule, _moment(min(after, now)), _moment(now))
    return None if found is None else found.timestamp()


def _outlived(plan: kube.CronPlan, jobs: Sequence[_Job], now: float) -> tuple[list[_Job], float | None]:
    """(those that are to go now, when the next one is): beyond the history's limits, or past their time."""
    goes: list[_Job] = []
    for state, limit in (("succeeded", plan.keep_successful), ("failed", plan.keep_failed)):
        of_state = [job for job in jobs if job.state == state]
        goes += of_state[: max(0, len(of_state) - limit)]
    ttl_s = plan.template.document["spec"].get("ttlSecondsAfterFinished")
    if ttl_s is None:
        return goes, None
    times_left = [job.finished + ttl_s for job in jobs if job.state != "active" and job not in goes]
    goes += [job for job in jobs if job.state != "active" and job not in goes and job.finished + ttl_s <= now]
    return goes, min((at for at in times_left if at > now), default=None)
