"""Jobs, CronJobs, services, and what a caller gives beside the manifest."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from hypercontainer import kube
from hypercontainer.contract.spec import RestartPolicy
from hypercontainer.contract.volumes import Contents
from hypercontainer.errors import InvalidArgument

POD = """
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - name: c
    image: localhost/x
    env:
    - {name: UID, valueFrom: {fieldRef: {fieldPath: metadata.uid}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
    - {name: CPUS, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}
    - {name: WANTED, valueFrom: {resourceFieldRef: {resource: requests.cpu}}}
    envFrom: [{configMapRef: {name: m}}]
"""
MAP = "{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {A: %s}}"


def read(text: str) -> kube.Objects:
    return kube.read(text)[0]


def test_what_the_caller_gives() -> None:
    node = kube.Node(name="here", memory_bytes=512 << 20, cpus=2)
    (plan,) = kube.pods(read(POD), known=read(MAP % "old"), uid=lambda name: f"uid-of-{name}", node=node)
    env = plan.spec.containers[0].env
    assert env == ("A=old", "UID=uid-of-p", "NODE=here", "MEMORY=512", "CPUS=2", "WANTED=0")


def test_the_manifest_goes_before_what_is_known() -> None:
    node = kube.Node(memory_bytes=1, cpus=1)
    (plan,) = kube.pods(read(POD + "---\n" + MAP % "new"), known=read(MAP % "old"), node=node)
    assert "A=new" in plan.spec.containers[0].env


def test_what_is_kept_is_the_pod_without_its_status() -> None:
    text = POD.replace("    envFrom: [{configMapRef: {name: m}}]\n", "status: {phase: Running}\n")
    (plan,) = kube.pods(read(text), node=kube.Node(memory_bytes=1, cpus=1))
    kept = json.loads(plan.spec.manifest)
    assert kept["metadata"] == {"name": "p"}
    assert "status" not in kept


JOB = """
apiVersion: batch/v1
kind: Job
metadata: {name: j}
spec:
  parallelism: 3
  template: {spec: {restartPolicy: OnFailure, containers: [{name: c, image: "x:1"}]}}
"""


def test_job_without_completions_has_a_pod_for_each_at_a_time() -> None:
    (job,) = kube.jobs(read(JOB))
    assert [plan.spec.name for plan in job.pods] == ["j-0", "j-1", "j-2"]
    assert job.pods[0].spec.containers[0].restart == RestartPolicy("on-failure", 6, "kubernetes")
    assert job.pods[0].warnings == ()
    assert (job.parallelism, job.backoff_limit, job.deadline_s) == (3, 6, None)


def test_job_that_may_not_fail() -> None:
    (job,) = kube.jobs(read(JOB.replace("parallelism: 3", "backoffLimit: 0")))
    assert job.pods[0].spec.containers[0].restart == RestartPolicy("no", 0, "kubernetes")


def test_job_that_is_suspended_has_no_pods() -> None:
    assert kube.pods(read(JOB.replace("parallelism: 3", "suspend: true"))) == []


def test_cron_job() -> None:
    objects = read("""
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "30 3 * * *"
  timeZone: Europe/Paris
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 60
  jobTemplate:
    spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: "x:1"}]}}}
""")
    assert kube.pods(objects) == []
    (plan,) = kube.crons(objects)
    assert (plan.concurrency, plan.starting_deadline_s, plan.suspended) == ("Forbid", 60, False)
    assert (plan.keep_successful, plan.keep_failed) == (3, 1)
    at = kube.next_time(plan.schedule, datetime(2026, 7, 1, 12, tzinfo=UTC))
    assert at == datetime(2026, 7, 2, 1, 30, tzinfo=UTC)
    job = kube.run(plan, at, objects)
    assert job.name == f"nightly-{int(at.timestamp()) // 60}"
    (pod,) = job.pods
    assert pod.owner == ("CronJob", "nightly")
    assert pod.spec.name == f"{job.name}-0"
    assert pod.spec.labels["job-name"] == job.name


def test_what_is_wrong_inside_a_cron_job_is_found_when_it_is_read() -> None:
    objects_text = """
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec:
  schedule: "@daily"
  jobTemplate: {spec: {template: {spec: {containers: [{name: c, image: "x:1"}]}}}}
"""
    with pytest.raises(
        InvalidArgument, match=re.escape("spec.jobTemplate, Job/nightly: spec.template.spec.restartPolicy")
    ):
        kube.crons(read(objects_text))


def test_service_finds_the_port_by_its_name() -> None:
    objects = read("""
apiVersion: v1
kind: Service
metadata: {name: s}
spec:
  selector: {app: web}
  ports: [{name: a, port: 80, targetPort: http}, {name: b, port: 81}, {name: c, port: 82, targetPort: none}]
---
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web, tier: x}}
spec: {containers: [{name: c, image: "x:1", ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: other, labels: {app: other}}
spec: {containers: [{name: c, image: "x:1"}]}
""")
    (service,) = kube.services(objects)
    web, other = kube.pods(objects)
    assert service.selects(web.spec.labels)
    assert not service.selects(other.spec.labels)
    assert [service.target(port, web) for port in service.ports] == [8080, 81, None]


def test_replicas_may_read_one_volume() -> None:
    objects = read("""
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: r}
spec:
  replicas: 2
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec:
      containers: [{name: c, image: "x:1"}]
      volumes: [{name: v, persistentVolumeClaim: {claimName: one, readOnly: true}}]
""")
    assert [plan.spec.name for plan in kube.pods(objects)] == ["r-0", "r-1"]


def test_daemon_set_is_one_pod() -> None:
    objects = read("""
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: d}
spec:
  selector: {matchLabels: {a: b}}
  template: {metadata: {labels: {a: b}}, spec: {containers: [{name: c, image: "x:1"}]}}
""")
    assert [plan.spec.name for plan in kube.pods(objects)] == ["d-0"]


def test_broken_pull_secret() -> None:
    secret = "{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {.dockercfg: '%s'}}\n---\n"
    pod = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {imagePullSecrets: [{name: s}], %s}}"
    pod %= "containers: [{name: c, image: 'x:1'}]"
    (plan,) = kube.pods(read(secret % '{"r.test": {"username": "a", "password": "b"}}' + pod))
    assert plan.pull_secrets == (kube.PullSecret("r.test", "a", "b"),)
    assert "b" not in repr(plan.pull_secrets).replace("'r.test'", "")
    for broken in ("[]", "x", '{"r.test": 1}', '{"r.test": {"auth": "!"}}', '{"r.test": {"username": 1}}'):
        with pytest.raises(InvalidArgument, match="Secret s"):
            kube.pods(read(secret % broken + pod))


def one_pod(container: str = "", spec: str = "") -> kube.PodPlan:
    text = "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: 'x:1', %s}], %s}}"
    (plan,) = kube.pods(read(text % (container, spec)))
    return plan


@pytest.mark.parametrize(
    ("container", "pod", "expected"),
    [
        ("", "securityContext: {runAsGroup: 3000}", (None, "3000")),
        ("securityContext: {runAsGroup: 4000}", "securityContext: {runAsGroup: 3000}", (None, "4000")),
        ("securityContext: {runAsUser: 7}", "securityContext: {runAsGroup: 3000}", ("7:3000", None)),
        ("securityContext: {runAsUser: 7}", "", ("7", None)),
    ],
)
def test_groups_that_processes_run_as(container: str, pod: str, expected: tuple[str | None, ...]) -> None:
    (made,) = one_pod(container, pod).spec.containers
    assert (made.user, made.group) == expected


def test_a_null_amount_is_nothing_and_a_null_text_empty() -> None:
    plan = one_pod("resources: {limits: {memory: null, cpu: 1}}, args: [a, null]")
    (made,) = plan.spec.containers
    assert (made.memory_bytes, made.cpus, made.command) == (None, 1.0, ("a", ""))
    (found,) = read(
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: m, labels: {l: null}}, data: {A: null}}"
    )
    assert found.data == {"A": b""}
    assert found.model.metadata.labels == {"l": ""}


def test_shares_are_capped_as_the_kubelet_caps_them() -> None:
    def shares(cpus: str) -> int | None:
        return one_pod(f"resources: {{requests: {{cpu: {cpus}}}}}").spec.containers[0].cpu_shares

    assert [shares(one) for one in ("0", "1m", "1", "256", "300")] == [2, 2, 1024, 262144, 262144]


def test_of_projected_sources_that_meet_the_last_one_counts() -> None:
    objects = read(
        """
{apiVersion: v1, kind: Secret, metadata: {name: s}, stringData: {key: first, a: A, b: B}}
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: m}, data: {key: second, c: C}}
---
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {l: x}}
spec:
  containers: [{name: c, image: "x:1"}]
  volumes:
  - name: v
    projected:
      sources:
      - secret: {name: s}
      - configMap: {name: m}
      - configMap: {name: m, items: [{key: c, path: a}]}
      - downwardAPI: {items: [{path: b, fieldRef: {fieldPath: metadata.name}}]}
  - name: twice
    configMap: {name: m, items: [{key: key, path: x}, {key: c, path: x}]}
"""
    )
    (plan,) = kube.pods(objects)
    first, twice = (volume.source for volume in plan.spec.volumes)
    assert isinstance(first, Contents)
    assert isinstance(twice, Contents)
    assert {file.path: file.content for file in first.files} == {
        "key": b"second",
        "a": b"C",
        "b": b"p",
        "c": b"C",
    }
    assert {file.path: file.content for file in twice.files} == {"x": b"C"}
