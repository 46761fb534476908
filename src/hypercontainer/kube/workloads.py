"""Objects that stand for pods -> the pods: Pod, Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, CronJob.

Each pod of a workload is written down as a v1 Pod first and then goes the way of every Pod, so that what the engine
keeps of it (``PodSpec.manifest``) can be played again by itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from hypercontainer.contract.spec import NAME_MAX, RestartPolicy
from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import cron, names, pod, volumes
from hypercontainer.kube.context import Context, Node
from hypercontainer.kube.objects import Object, Objects, parse
from hypercontainer.kube.pod import PodPlan
from hypercontainer.kube.selectors import selects

MAX_PODS = 100  # of one workload
DEFAULT_BACKOFF_LIMIT = 6

NOTHING = Objects()
THIS_NODE = Node()

Document = dict[str, Any]
Uid = Callable[[str], str]


@dataclass(frozen=True)
class JobPlan:
    """A Job: its pods each run once to their end.  ``parallelism``: how many at a time."""

    name: str
    pods: tuple[PodPlan, ...]
    parallelism: int
    backoff_limit: int
    deadline_s: int | None
    ttl_s: int | None  # after its end it is removed


@dataclass(frozen=True)
class CronPlan:
    """A CronJob; ``run`` gives the Job of one of its times, ``cron.next_time`` the times."""

    name: str
    schedule: cron.Schedule
    concurrency: str  # Allow, Forbid, Replace
    starting_deadline_s: int | None
    suspended: bool
    keep_successful: int
    keep_failed: int
    template: Object  # a Job without the time in its name


def stable_uid(name: str) -> str:
    """The same for the same name; a caller whose pods are to have their own gives another function."""
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, f"{name}.pod.hyper.invalid"))


def pods(
    objects: Objects, *, known: Objects = NOTHING, uid: Uid = stable_uid, node: Node = THIS_NODE
) -> list[PodPlan]:
    """Of everything but CronJobs, in the manifest's order; names are unique.

    ``known``: ConfigMaps, Secrets and claims that are there already; those of the manifest go first.
    """
    found: list[PodPlan] = []
    for one in objects:
        if one.kind in _WORKLOADS:
            found += _workload(one, (objects, known), uid, node)
        elif one.kind == "Job":
            found += _job(one, (objects, known), uid, node).pods
    taken: dict[str, tuple[str, str]] = {}
    for plan in found:
        name = plan.spec.name or ""
        if name in taken:
            kind, other = taken[name]
            raise InvalidArgument(
                f"{plan.owner[0]}/{plan.owner[1]}: its pod {name} is also one of {kind}/{other}",
                hint="give one another name",
            )
        taken[name] = plan.owner
    return found


def pod_names(one: Object) -> list[str]:
    """Of the pods that an object makes, without looking at what they are; a CronJob's come with time."""
    if one.kind == "Pod":
        return [one.name]
    if one.kind == "Job":
        return [f"{one.name}-{index}" for index in range(_completions(one))]
    if one.kind not in _WORKLOADS:
        return []
    first, count = _replicas(one)
    return [f"{one.name}-{index}" for index in range(first, first + count)]


def claim_names(one: Object, pods: Iterable[str]) -> list[str]:
    """Of the claims that a StatefulSet makes for ``pods``."""
    if one.kind != "StatefulSet":
        return []
    return [f"{document['metadata']['name']}-{pod}" for pod in pods for document, _ in _claim_templates(one)]


def jobs(
    objects: Objects, *, known: Objects = NOTHING, uid: Uid = stable_uid, node: Node = THIS_NODE
) -> list[JobPlan]:
    """The Jobs, for whoever runs their pods; the same pods as ``pods`` gives."""
    return [_job(one, (objects, known), uid, node) for one in objects if one.kind == "Job"]


def crons(objects: Objects) -> list[CronPlan]:
    return [_cron(one) for one in objects if one.kind == "CronJob"]


def run(
    plan: CronPlan,
    scheduled: datetime,
    objects: Objects,
    *,
    known: Objects = NOTHING,
    uid: Uid = stable_uid,
    node: Node = THIS_NODE,
    suffix: str = "",
) -> JobPlan:
    """The Job of one time, which its name has in minutes, unless there is a ``suffix``, for which a long name is cut.
    ``objects``: the CronJob's manifest."""
    document = plan.template.document
    ending = f"-{suffix or int(scheduled.timestamp()) // 60}"
    room = names.LABEL_MAX - len(ending) - (len(f"-{MAX_PODS - 1}") if suffix else 0)
    name = plan.name[:room].rstrip("-.") + ending
    named = {**document, "metadata": {**document["metadata"], "name": name}}
    return _job(parse(named, plan.template.subject), (objects, known), uid, node, ("CronJob", plan.name))


# ------------------------------------------------------------------------------------------- pods of a workload


def _translate(
    document: Document,
    one: Object,
    sources: tuple[Objects, ...],
    uid: Uid,
    node: Node,
    owner: tuple[str, str],
) -> PodPlan:
    metadata = document["metadata"]
    made = one if one.kind == "Pod" else parse(document, one.subject)
    name = metadata["name"]
    if len(name) > NAME_MAX:
        raise InvalidArgument(f"{one.subject}: the pod's name {name!r} has more than {NAME_MAX} characters")
    identifier = metadata.get("uid") or uid(name)
    ctx = Context(made.subject, name, identifier, made.model, node, sources)
    return pod.translate(ctx, made.document, owner)


def _workload(one: Object, sources: tuple[Objects, ...], uid: Uid, node: Node) -> Iterator[PodPlan]:
    owner = (one.kind, one.name)
    if one.kind == "Pod":
        yield _translate(one.document, one, sources, uid, node, owner)
        return
    first, count = _replicas(one)
    _check_selector(one)
    plans = [
        _translate(_replica(one, index), one, _with_claims(one, index, sources), uid, node, owner)
        for index in range(first, first + count)
    ]
    _check_replicas(one, plans)
    yield from plans


def _replicas(one: Object) -> tuple[int, int]:
    """(number of the first, how many)."""
    if one.kind == "DaemonSet":
        return 0, 1
    spec = one.document["spec"]
    count = _count(spec.get("replicas", 1), 0, one, "spec.replicas")
    start = (spec.get("ordinals") or {}).get("start", 0)
    return _count(start, 0, one, "spec.ordinals.start", most=10**6), count


def _count(value: Any, least: int, one: Object, path: str, most: int = MAX_PODS) -> int:
    if not least <= value <= most:
        raise InvalidArgument(f"{one.subject}: {path}: {value} is not {least} to {most}")
    return int(value)


def _check_selector(one: Object) -> None:
    spec = one.model.spec
    labels = spec.template.metadata.labels if spec.template and spec.template.metadata else None
    if not selects(spec.selector, labels or {}, f"{one.subject}: spec.selector"):
        raise InvalidArgument(
            f"{one.subject}: spec.selector does not select the labels of spec.template",
            hint="matchLabels and the template's labels are usually the same",
        )


def _template(one: Object, name: str, policies: Iterable[str]) -> Document:
    """A Pod of the workload's template; ``policies``: restart policies that make sense, the first the default."""
    template = one.document["spec"].get("template") or {}
    metadata, spec = dict(template.get("metadata") or {}), template.get("spec")
    if not isinstance(spec, dict):
        raise InvalidArgument(f"{one.subject}: spec.template.spec is missing")
    allowed = list(policies)
    policy = spec.get("restartPolicy") or ("Always" if "Always" in allowed else "")
    if policy not in allowed:
        raise InvalidArgument(
            f"{one.subject}: spec.template.spec.restartPolicy: {policy or 'missing'}",
            hint=" or ".join(allowed),
        )
    metadata["name"] = name
    metadata.pop("uid", None)
    if "namespace" in one.document["metadata"]:
        metadata["namespace"] = one.document["metadata"]["namespace"]
    metadata["labels"] = dict(metadata.get("labels") or {})
    metadata["annotations"] = dict(metadata.get("annotations") or {})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": dict(spec)}


def _replica(one: Object, index: int) -> Document:
    name = f"{one.name}-{index}"
    made = _template(one, name, ["Always"])
    if one.kind == "StatefulSet":
        given = one.document["spec"]
        made["metadata"]["labels"] |= {
            "statefulset.kubernetes.io/pod-name": name,
            "apps.kubernetes.io/pod-index": str(index),
        }
        made["spec"]["hostname"] = name
        if given.get("serviceName"):
            made["spec"]["subdomain"] = given["serviceName"]
        claimed = {
            claim["metadata"]["name"]: f"{claim['metadata']['name']}-{name}"
            for claim, _ in _claim_templates(one)
        }
        others = [volume for volume in made["spec"].get("volumes") or () if volume.get("name") not in claimed]
        made["spec"]["volumes"] = others + [
            {"name": volume, "persistentVolumeClaim": {"claimName": claim}}
            for volume, claim in claimed.items()
        ]
    return made


def _claim_templates(one: Object) -> Iterator[tuple[Document, Any]]:
    """(document, model) of each, checked."""
    given = zip(
        one.document["spec"].get("volumeClaimTemplates") or (),
        one.model.spec.volumeClaimTemplates or (),
        strict=True,
    )
    for index, (document, model) in enumerate(given):
        where = f"{one.subject}: spec.volumeClaimTemplates[{index}]"
        if model.metadata is None or not model.metadata.name:
            raise InvalidArgument(f"{where}.metadata.name: missing")
        names.label(model.metadata.name, f"{where}.metadata.name")
        volumes.claim_size(model.spec, f"{where}.spec")
        yield document, model


def _with_claims(one: Object, index: int, sources: tuple[Objects, ...]) -> tuple[Objects, ...]:
    """With the claims that a StatefulSet makes for this pod."""
    if one.kind != "StatefulSet":
        return sources
    made = tuple(
        Object(
            "PersistentVolumeClaim",
            f"{document['metadata']['name']}-{one.name}-{index}",
            one.subject,
            document,
            model,
        )
        for document, model in _claim_templates(one)
    )
    return (Objects(made), *sources)


def _check_replicas(one: Object, plans: list[PodPlan]) -> None:
    """What only one pod can have."""
    if len(plans) < 2:
        return
    spec = plans[0].spec
    if spec.ports:
        raise InvalidArgument(
            f"{one.subject}: {len(plans)} pods cannot all have the host's port {spec.ports[0].host_port}",
            hint="say replicas: 1, or put a Service in front of them and leave hostPort out",
        )
    second = {volume.name: volume.source for volume in plans[1].spec.volumes}
    for volume in spec.volumes:
        shared = second.get(volume.name) == volume.source and type(volume.source).__name__ == "NamedVolume"
        if shared and not volume.read_only:
            raise InvalidArgument(
                f"{one.subject}: {len(plans)} pods cannot all write to the volume of claim {volume.source.name!r}",  # type: ignore[union-attr]
                hint="say replicas: 1, or use a StatefulSet with volumeClaimTemplates",
            )


_WORKLOADS = ("Pod", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")


# ------------------------------------------------------------------------------------------------------ jobs


def _job(
    one: Object, sources: tuple[Objects, ...], uid: Uid, node: Node, owner: tuple[str, str] | None = None
) -> JobPlan:
    spec = one.model.spec
    parallelism = _parallelism(one)
    indexed = spec.completionMode == "Indexed"
    if indexed and spec.completions is None:
        raise InvalidArgument(f"{one.subject}: spec.completions is missing, as completionMode is Indexed")
    limit = DEFAULT_BACKOFF_LIMIT if spec.backoffLimit is None else spec.backoffLimit
    _count(limit, 0, one, "spec.backoffLimit", most=2**31 - 1)
    deadline_s, ttl_s = spec.activeDeadlineSeconds, spec.ttlSecondsAfterFinished
    for value, path in ((deadline_s, "activeDeadlineSeconds"), (ttl_s, "ttlSecondsAfterFinished")):
        _count(0 if value is None else value, 0, one, f"spec.{path}", most=2**31 - 1)
    count = _completions(one)
    plans = []
    for index in range(count):
        document = _completion(one, index if indexed else None, f"{one.name}-{index}")
        plan = _translate(document, one, sources, uid, node, owner or (one.kind, one.name))
        plans.append(_retried(plan, limit, deadline_s))
    if plans:
        plans[0] = replace(
            plans[0], warnings=(*plans[0].warnings, *_job_warnings(one, count, parallelism, limit))
        )
    _check_replicas(one, plans)
    return JobPlan(one.name, tuple(plans), parallelism, limit, deadline_s, ttl_s)


def _parallelism(one: Object) -> int:
    given = one.model.spec.parallelism
    return _count(1 if given is None else given, 0, one, "spec.parallelism")


def _completions(one: Object) -> int:
    """How many pods there are to be."""
    spec = one.model.spec
    # Without completions one success is enough, and the other pods finish what they do.
    wanted = _parallelism(one) if spec.completions is None else spec.completions
    count = _count(wanted, 0, one, "spec.completions")
    return 0 if spec.suspend else count


def _completion(one: Object, index: int | None, name: str) -> Document:
    made = _template(one, name, ["Never", "OnFailure"])
    made["metadata"]["labels"] |= {"batch.kubernetes.io/job-name": one.name, "job-name": one.name}
    if index is not None:
        key = "batch.kubernetes.io/job-completion-index"
        made["metadata"]["annotations"][key] = str(index)
        made["metadata"]["labels"][key] = str(index)
        made["spec"].setdefault("hostname", name)
        for group in ("containers", "initContainers"):
            made["spec"][group] = [
                {
                    **member,
                    "env": [*member.get("env", ()), {"name": "JOB_COMPLETION_INDEX", "value": str(index)}],
                }
                for member in made["spec"].get(group) or ()
            ]
    return made


def _retried(plan: PodPlan, limit: int, deadline_s: int | None) -> PodPlan:
    """What a Job replaces by a new pod, this runs again in the same: ``limit`` times at most."""
    policy = (
        RestartPolicy("on-failure", limit, "kubernetes") if limit else RestartPolicy("no", 0, "kubernetes")
    )
    members = tuple(
        one if one.role == "sidecar" else _replaced(one, restart=policy) for one in plan.spec.containers
    )
    deadlines = [one for one in (plan.spec.deadline_s, deadline_s) if one is not None]
    spec = _replaced(plan.spec, containers=members, deadline_s=min(deadlines, default=None))
    return replace(plan, spec=spec)


def _replaced(struct: Any, **changes: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(struct, **changes)


def _job_warnings(one: Object, count: int, parallelism: int, limit: int) -> Iterator[str]:
    if one.model.spec.template.spec.restartPolicy == "Never" and limit:
        yield f"Job/{one.name}: spec.backoffLimit: what fails runs again in its pod, not in a new one"
    if parallelism < count:
        yield f"Job/{one.name}: spec.parallelism: all {count} pods run at the same time"


# -------------------------------------------------------------------------------------------------- CronJobs


def _cron(one: Object) -> CronPlan:
    spec, template = one.model.spec, one.document["spec"]["jobTemplate"]
    if len(one.name) > 52:
        raise InvalidArgument(
            f"{one.subject}: metadata.name has more than 52 characters", hint="a time is added"
        )
    document = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**(template.get("metadata") or {}), "name": one.name},
        "spec": template.get("spec"),
    }
    made = parse(document, f"{one.subject}: spec.jobTemplate")
    _completion(made, None, one.name)
    for value, name in (
        (spec.startingDeadlineSeconds, "startingDeadlineSeconds"),
        (spec.successfulJobsHistoryLimit, "successfulJobsHistoryLimit"),
        (spec.failedJobsHistoryLimit, "failedJobsHistoryLimit"),
    ):
        _count(value or 0, 0, one, f"spec.{name}", most=2**31 - 1)
    return CronPlan(
        one.name,
        cron.parse(spec.schedule, spec.timeZone or "", f"{one.subject}: spec.schedule"),
        spec.concurrencyPolicy or "Allow",
        spec.startingDeadlineSeconds,
        bool(spec.suspend),
        3 if spec.successfulJobsHistoryLimit is None else spec.successfulJobsHistoryLimit,
        1 if spec.failedJobsHistoryLimit is None else spec.failedJobsHistoryLimit,
        made,
    )
