"""Pods as the API shows them; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from hypercontainer.contract.answers import PodInspect, PodSummary, Port
from hypercontainer.contract.spec import PodSpec
from hypercontainer.contract.states import State
from hypercontainer.engine import views
from hypercontainer.engine.pod.pod import Pod
from hypercontainer.engine.state import ContainerRecord
from hypercontainer.errors import InvalidArgument

_FILTERS = ("id", "name", "label", "status", "ctr-names", "ctr-ids")


def state(pod: Pod) -> str:
    states = {member.record.state for member in pod.members.values()}
    if State.PAUSED in states and State.RUNNING not in states:
        return "paused"
    if states & {State.RUNNING, State.PAUSED, State.RESTARTING}:
        return "running" if pod.record.wanted or pod.run is None else "stopping"
    if State.STARTING in states or pod.record.wanted:
        return "starting"
    if not states or (states == {State.CREATED} and not pod.record.failure):
        return "created"
    if pod.record.failure or any(_failed(member.record) for member in pod.members.values()):
        return "failed"
    return "succeeded"


def _failed(record: ContainerRecord) -> bool:
    return record.state is State.EXITED and record.exit_status != 0 and record.spec.role != "sidecar"


def done(pod: Pod) -> bool:
    """Whether it has succeeded, and nobody has ended it before."""
    mains = [member.record for member in pod.members.values() if member.record.spec.role == "main"]
    return state(pod) == "succeeded" and not any(record.stopped_by_user for record in mains)


def status(pod: Pod) -> str:
    """The STATUS column of ``hyper pod ls``."""
    now = state(pod)
    if now in ("running", "paused", "stopping"):
        since = pod.record.started or min(
            (m.record.started for m in pod.members.values() if m.record.started), default=""
        )
        up = f"Up {views.since(since)}" if since else "Up"
        return up if now == "running" else f"{up} ({now.capitalize()})"
    return now.capitalize()


def ready(pod: Pod) -> bool:
    mains = [member for member in pod.members.values() if member.record.spec.role != "init"]
    return bool(mains) and all(
        member.record.state is State.RUNNING and member.begun and member.ready for member in mains
    )


def summary(pod: Pod) -> PodSummary:
    record = pod.record
    return PodSummary(
        id=record.id,
        name=record.name,
        created=record.created,
        state=state(pod),
        status=status(pod),
        ready=ready(pod),
        containers=tuple(views.summary(member.record, record) for member in pod.members.values()),
        ports=_ports(pod),
        labels=pod.labels,
    )


def inspect(pod: Pod) -> PodInspect:
    record = pod.record
    shown = summary(pod)
    return PodInspect(
        **{name: getattr(shown, name) for name in shown.__struct_fields__},
        spec=whole(pod),
        reason=record.failure,
        vm=views.machine(record),
        network=views.network(record),
    )


def whole(pod: Pod) -> PodSpec:
    """As it was asked for, with the containers that came later."""
    spec = pod.record.spec or PodSpec()
    later = tuple(record.spec for record in pod.records()[len(spec.containers) :])
    return msgspec.structs.replace(spec, containers=(*spec.containers, *later))


def _ports(pod: Pod) -> tuple[Port, ...]:
    return tuple(views.port(mapping) for mapping in pod.record.published or pod.record.ports)


def matches(pod: Pod, filters: Mapping[str, Sequence[str]]) -> bool:
    """All keys must match, each by one of its values (labels: by all)."""
    for key, values in filters.items():
        if key not in _FILTERS:
            raise InvalidArgument(
                f"unknown filter {key!r}", hint=f"pods can be filtered by {', '.join(_FILTERS)}"
            )
        if key == "label":
            if not all(views.label_matches(pod.labels, value) for value in values):
                return False
        elif not any(_matches(pod, key, value) for value in values):
            return False
    return True


def _matches(pod: Pod, key: str, value: str) -> bool:
    match key:
        case "id":
            return pod.id.startswith(value)
        case "name":
            return value in pod.record.name
        case "status":
            return state(pod) == value
        case "ctr-names":
            return any(value in member.record.name for member in pod.members.values())
        case _:
            return any(identifier.startswith(value) for identifier in pod.members)
