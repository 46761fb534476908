"""Kubernetes' manifests, translated: text -> objects -> pods and services, and back.  Pure; no I/O.

    read       text -> Objects and what in it has no effect
    pods       Objects -> PodPlans: the pods of everything but CronJobs
    claims, jobs, crons, run, next_time, services     what else there is to know of them
    generate   pods as they run -> text that ``read`` takes

docs/kubernetes.md says what is taken, reported and refused.  Raises InvalidArgument.
"""

from __future__ import annotations

from hypercontainer.kube.context import Node
from hypercontainer.kube.cron import Schedule, last_time, next_time
from hypercontainer.kube.objects import Object, Objects, kept, read
from hypercontainer.kube.pod import PodPlan, PullSecret
from hypercontainer.kube.services import ServicePlan, ServicePort, services
from hypercontainer.kube.volumes import claims
from hypercontainer.kube.workloads import (
    CronPlan,
    JobPlan,
    claim_names,
    crons,
    jobs,
    pod_names,
    pods,
    run,
    stable_uid,
)
from hypercontainer.kube.writer import Names, generate

__all__ = [
    "CronPlan",
    "JobPlan",
    "Names",
    "Node",
    "Object",
    "Objects",
    "PodPlan",
    "PullSecret",
    "Schedule",
    "ServicePlan",
    "ServicePort",
    "claim_names",
    "claims",
    "crons",
    "generate",
    "jobs",
    "kept",
    "last_time",
    "next_time",
    "pod_names",
    "pods",
    "read",
    "run",
    "services",
    "stable_uid",
]
