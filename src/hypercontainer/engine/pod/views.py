"""Pods as the API shows them; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from hypercontainer.contract.answers import PodInspect, PodSummary
from hypercontainer.contract.spec import PodSpec
from hypercontainer.contract.states import State
from hypercontainer.engine import filters, views
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.state import ContainerRecord, PodRecord

Members = Sequence[Container]


def state(record: PodRecord, members: Members, *, has_run: bool) -> str:
    """``has_run``: it was started as a whole, and goes on."""
    states = {member.record.state for member in members}
    if record.paused or (State.PAUSED in states and State.RUNNING not in states):
        return "paused"
    if states & {State.RUNNING, State.PAUSED, State.RESTARTING}:
        return "running" if record.wanted or not has_run else "stopping"
    if State.STARTING in states or record.wanted:
        return "starting"
    if not states or (states == {State.CREATED} and not record.failure):
        return "created"
    if record.failure or any(_failed(member.record) for member in members):
        return "failed"
    return "stopped" if any(_stopped(member.record) for member in members) else "succeeded"


def _failed(record: ContainerRecord) -> bool:
    ended_badly = record.state is State.EXITED and record.exit_status != 0 and not record.stopped_by_user
    return ended_badly and record.spec.role != "sidecar"


def _stopped(record: ContainerRecord) -> bool:
    """By a user; sidecars are stopped when the others are done, too."""
    return record.stopped_by_user and record.spec.role != "sidecar"


def status(record: PodRecord, members: Members, now: str) -> str:
    """For people, of a pod whose state is ``now``."""
    if now in ("running", "paused", "stopping"):
        since = record.started or min((m.record.started for m in members if m.record.started), default="")
        up = f"Up {views.since(since)}" if since else "Up"
        back = ", ".join(member.record.name for member in members if member.record.state is State.RESTARTING)
        about = f"restarting: {back}" if back else ""
        about = ("Disk full" if record.disk_full else about) if now == "running" else now.capitalize()
        return f"{up} ({about})" if about else up
    return now.capitalize()


def ready(members: Members) -> bool:
    mains = [member for member in members if member.record.spec.role != "init"]
    return bool(mains) and all(
        member.record.state is State.RUNNING and member.begun and member.ready for member in mains
    )


def summary(record: PodRecord, members: Members, *, has_run: bool) -> PodSummary:
    now = state(record, members, has_run=has_run)
    return PodSummary(
        id=record.id,
        name=record.name,
        created=record.created,
        state=now,
        status=status(record, members, now),
        ready=ready(members),
        containers=tuple(views.summary(member.record, record) for member in members),
        ports=tuple(views.port(mapping) for mapping in record.published or record.ports),
        labels=record.spec.labels,
    )


def inspect(record: PodRecord, members: Members, *, has_run: bool) -> PodInspect:
    shown = summary(record, members, has_run=has_run)
    return PodInspect(
        **{name: getattr(shown, name) for name in shown.__struct_fields__},
        spec=whole(record, [member.record for member in members]),
        reason=record.failure,
        vm=views.machine(record),
        network=views.network(record),
    )


def whole(record: PodRecord, members: Sequence[ContainerRecord]) -> PodSpec:
    """As it was asked for, with the containers that came later."""
    later = tuple(member.spec for member in members[len(record.spec.containers) :])
    return msgspec.structs.replace(record.spec, containers=(*record.spec.containers, *later))


STATES = ("created", "starting", "running", "paused", "stopping", "stopped", "succeeded", "failed")
READERS: Mapping[str, filters.Reader[PodSummary]] = {
    "id": filters.beginning(lambda pod: (pod.id,)),
    "name": filters.expression(lambda pod: (pod.name,)),
    "label": filters.labels(lambda pod: pod.labels),
    "status": filters.one_of(STATES, lambda pod: (pod.state,)),
    "ctr-names": filters.expression(lambda pod: [member.name for member in pod.containers]),
    "ctr-ids": filters.beginning(lambda pod: [member.id for member in pod.containers]),
    "ctr-status": filters.one_of(
        tuple(each.value for each in State), lambda pod: {member.state for member in pod.containers}
    ),
    "ctr-number": filters.number(lambda pod: len(pod.containers)),
}
