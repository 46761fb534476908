"""What cannot be is refused, and the message says where."""

from __future__ import annotations

import re

import pytest

from hypercontainer import kube
from hypercontainer.contract.limits import CONTAINERS_MAX
from hypercontainer.errors import InvalidArgument

CONTAINER = "{name: c, image: 'x:1'}"


def pod(spec: str = "", container: str = "", metadata: str = "") -> str:
    return (
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: p, {metadata}}}, "
        f"spec: {{containers: [{{name: c, image: 'x:1', {container}}}], {spec}}}}}"
    )


def crowd(inits: int, mains: int) -> str:
    """A pod of so many containers."""
    first = ", ".join(f"{{name: i{n}, image: x}}" for n in range(inits))
    others = ", ".join(f"{{name: m{n}, image: x}}" for n in range(mains))
    return pod(f"initContainers: [{first}]").replace("containers: [{", f"containers: [{others}, {{", 1)


def volume(source: str, mount: str = "") -> str:
    return pod(f"volumes: [{{name: v, {source}}}]", f"volumeMounts: [{{name: v, mountPath: /v, {mount}}}]")


def deployment(spec: str, kind: str = "Deployment", template: str = CONTAINER, pod_spec: str = "") -> str:
    return (
        f"{{apiVersion: apps/v1, kind: {kind}, metadata: {{name: d}}, spec: {{{spec}, "
        f"template: {{metadata: {{labels: {{a: b}}}}, spec: {{{pod_spec} containers: [{template}]}}}}}}}}"
    )


def job(spec: str = "", policy: str = "restartPolicy: Never, ") -> str:
    template = f"template: {{spec: {{{policy} containers: [{CONTAINER}]}}}}"
    return f"{{apiVersion: batch/v1, kind: Job, metadata: {{name: j}}, spec: {{{spec} {template}}}}}"


def cron_job(spec: str, template: str = "") -> str:
    inner = (
        f"{{spec: {{{template} template: {{spec: {{restartPolicy: Never, containers: [{CONTAINER}]}}}}}}}}"
    )
    head = "{apiVersion: batch/v1, kind: CronJob, metadata: {name: c}, spec: "
    return f"{head}{{{spec}, jobTemplate: {inner}}}}}"


def service(spec: str) -> str:
    return f"{{apiVersion: v1, kind: Service, metadata: {{name: s}}, spec: {{{spec}}}}}"


def config_map(data: str) -> str:
    return f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: m}}, {data}}}\n---\n"


SELECTOR = "selector: {matchLabels: {a: b}}"
REFUSED = [
    # objects
    ("", "manifest is empty"),
    ("a: 1", "document 1: kind is missing"),
    ("[1]", "document 1: an object"),
    ("{kind: Ingress, metadata: {name: web}}", "document 1, Ingress/web: kind Ingress is not supported"),
    (pod() + "\n---\n" + pod(), "document 2, Pod/p: this name is there twice"),
    ("{kind: Pod, apiVersion: v2, metadata: {name: a}}", "Pod/a: apiVersion is not v1"),
    ("{kind: Deployment, apiVersion: extensions/v1beta1}", "apiVersion is not apps/v1"),
    ("{kind: Pod, apiVersion: v1, metadata: {name: a}}", "Pod/a: spec is missing"),
    ("{kind: Pod, apiVersion: v1, spec: {containers: []}}", "metadata.name: missing"),
    ("{kind: Pod, apiVersion: v1, metadata: {generateName: a-}}", "metadata.generateName: not supported"),
    ("{kind: List, apiVersion: v1, items: [{kind: Node}]}", "document 1, List, items[0], Node: kind Node"),
    ("{kind: List, apiVersion: v1, item: []}", "unknown field 'item'"),
    (pod(metadata="labels: {a: 1}"), "metadata.labels['a'] is no text"),
    (pod(metadata="labels: {'-a': x}"), "'-a' is no key"),
    (pod(metadata="labels: {a: 'x y'}"), "'x y' is no label's value"),
    (pod(metadata="annotations: {'a b': x}"), "'a b' is no key"),
    (pod(metadata="namespace: UP"), "metadata.namespace: 'UP' is no DNS label"),
    (pod().replace("name: p", "name: P"), "metadata.name: 'P' is no DNS name"),
    (pod().replace("name: c", "name: c_1"), "spec.containers[0].name: 'c_1' is no DNS label"),
    (
        crowd(inits=8, mains=CONTAINERS_MAX - 8),
        f"spec.containers: a pod has {CONTAINERS_MAX} containers at most",
    ),
    (
        pod().replace("name: p", f"name: {'p.' * 126 + 'p'}").replace("name: c", "name: ccc"),
        "spec.containers[0].name: 'p.p.p",
    ),
    # types and fields
    (
        pod("restartPolicyy: Always"),
        "document 1, Pod/p: spec.restartPolicyy: unknown field (did you mean restartPolicy?)",
    ),
    (pod("restartPolicy: Sometimes"), "spec.restartPolicy: 'Sometimes' is not known"),
    (
        pod("terminationGracePeriodSeconds: soon"),
        "spec.terminationGracePeriodSeconds: is a text; a whole number is wanted",
    ),
    (
        pod(container="ports: [{}]"),
        "spec.containers[0].ports[0]: containerPort is missing",
    ),
    (pod(container="command: ls"), "spec.containers[0].command: is a text; a list is wanted"),
    (
        pod(container="env: [{name: A, value: 1}]"),
        "spec.containers[0].env[0].value: is a whole number; a text is wanted",
    ),
    (pod().replace("name: p", "name: y"), "a text is wanted (put quotes around it)"),
    # the pod
    (pod("hostNetwork: true"), "spec.hostNetwork: not supported"),
    (pod("initContainers: [{name: c, image: 'x:1'}]"), "there is a container 'c' already"),
    (
        pod("initContainers: [{name: i, image: 'x:1', livenessProbe: {}}]"),
        "initContainers[0].livenessProbe: an init",
    ),
    (pod("os: {name: windows}"), "spec.os.name: windows"),
    (pod("terminationGracePeriodSeconds: -1"), "terminationGracePeriodSeconds: -1 is not 0 or more"),
    (pod("activeDeadlineSeconds: 0"), "spec.activeDeadlineSeconds: 0"),
    (pod("hostname: a.b"), "spec.hostname: 'a.b'"),
    (pod("subdomain: s, setHostnameAsFQDN: true, hostname: " + "h" * 60), "spec.setHostnameAsFQDN"),
    (pod("hostAliases: [{ip: nowhere, hostnames: [a]}]"), "spec.hostAliases[0].ip: 'nowhere'"),
    (pod("hostAliases: [{ip: 1.2.3.4, hostnames: ['a b']}]"), "spec.hostAliases[0].hostnames"),
    (pod("dnsPolicy: None"), "spec.dnsPolicy: None wants"),
    (pod("dnsConfig: {nameservers: [dns.test]}"), "spec.dnsConfig.nameservers: 'dns.test'"),
    (pod("dnsConfig: {options: [{name: 'a b'}]}"), "spec.dnsConfig.options"),
    (pod("dnsConfig: {searches: ['a\\nb']}".replace("'", '"')), "spec.dnsConfig.searches"),
    # security
    (pod("securityContext: {supplementalGroupsPolicy: Strict}"), "supplementalGroupsPolicy: Strict"),
    (pod("securityContext: {sysctls: [{name: 'a b', value: x}]}"), "securityContext.sysctls"),
    (pod("securityContext: {runAsUser: -1}"), "runAsUser: -1"),
    (pod("securityContext: {runAsGroup: -1}"), "runAsGroup: -1"),
    (pod("securityContext: {runAsNonRoot: true, runAsUser: 0}"), "runAsUser 0 and runAsNonRoot"),
    (pod(container="securityContext: {procMount: Unmasked}"), "procMount: Unmasked"),
    (pod(container="securityContext: {privileged: true, allowPrivilegeEscalation: false}"), "and privileged"),
    (pod(container="securityContext: {capabilities: {add: [net_admin]}}"), "capabilities: 'net_admin'"),
    (pod(container="securityContext: {seccompProfile: {type: Localhost}}"), "seccompProfile.type: Localhost"),
    # containers
    (pod().replace("image: 'x:1'", "args: []"), "spec.containers[0].image: missing"),
    (pod(container="env: [{name: 'A=B', value: x}]"), "env[0].name: 'A=B'"),
    (
        pod(container="env: [{name: A, value: x, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]"),
        "exclude",
    ),
    (pod(container="env: [{name: A, valueFrom: {}}]"), "env[0].valueFrom: says nothing"),
    (
        pod(container="env: [{name: A, valueFrom: {fieldRef: {fieldPath: spec.wonder}}}]"),
        "'spec.wonder' is not known",
    ),
    (
        pod(container="env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.labels}}}]"),
        "is not known here",
    ),
    (
        pod(container="env: [{name: A, valueFrom: {configMapKeyRef: {name: m, key: k}}}]"),
        "there is no ConfigMap 'm'",
    ),
    (pod(container="envFrom: [{secretRef: {name: m}}]"), "envFrom[0].secretRef: there is no Secret 'm'"),
    (
        config_map("data: {a: b}")
        + pod(container="env: [{name: A, valueFrom: {configMapKeyRef: {name: m, key: k}}}]"),
        "has no key 'k'",
    ),
    (
        config_map("binaryData: {a: /w==}") + pod(container="envFrom: [{configMapRef: {name: m}}]"),
        "not UTF-8",
    ),
    (
        pod(container="env: [{name: A, valueFrom: {fileKeyRef: {key: a, path: b, volumeName: v}}}]"),
        "fileKeyRef: not",
    ),
    (
        pod(container="env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.cpu}}}]"),
        "has no limits.cpu",
    ),
    (
        pod(container="env: [{name: A, valueFrom: {resourceFieldRef: {resource: limits.gpu}}}]"),
        "'limits.gpu' is not",
    ),
    (pod(container="resources: {limits: {nvidia.com/gpu: 1}}"), "limits.nvidia.com/gpu: not to be had"),
    (pod(container="resources: {limits: {memory: 1Q}}"), "limits.memory: '1Q' is no quantity"),
    (
        pod(container="resources: {limits: {cpu: 1}, requests: {cpu: 2}}"),
        "request of cpu is more than its limit",
    ),
    (pod(container="ports: [{containerPort: 0}]"), "ports[0].containerPort: '0'"),
    (pod(container="ports: [{containerPort: 1, protocol: SCTP}]"), "SCTP is not supported"),
    (pod(container="ports: [{containerPort: 1, name: A}]"), "ports[0].name: 'A'"),
    (
        pod(container="ports: [{containerPort: 1, hostPort: 2}, {containerPort: 3, hostPort: 2}]"),
        "published already",
    ),
    (pod(container="ports: [{containerPort: 1, hostPort: 2, hostIP: here}]"), "ports[0].hostIP: 'here'"),
    (
        pod(container="ports: [{containerPort: 1, hostPort: 2, hostIP: '::1'}]"),
        "ports[0].hostIP: ::1: ports are",
    ),
    (pod(container="terminationMessagePath: here"), "terminationMessagePath: 'here'"),
    (pod(container="livenessProbe: {}"), "livenessProbe: says nothing"),
    (pod(container="livenessProbe: {exec: {command: [a]}, tcpSocket: {port: 1}}"), "exclude one another"),
    (pod(container="livenessProbe: {exec: {}}"), "livenessProbe.exec.command: is empty"),
    (pod(container="livenessProbe: {tcpSocket: {port: http}}"), "the container has no port 'http'"),
    (pod(container="livenessProbe: {tcpSocket: {port: 70000}}"), "'70000' is no port"),
    (
        pod(container="livenessProbe: {tcpSocket: {port: 1}, successThreshold: 2}"),
        "successThreshold: 2 is not 1",
    ),
    (pod(container="livenessProbe: {tcpSocket: {port: 1}, periodSeconds: -1}"), "periodSeconds: -1"),
    (
        pod(container="readinessProbe: {tcpSocket: {port: 1}, terminationGracePeriodSeconds: 1}"),
        "ends no container",
    ),
    (pod(container='livenessProbe: {httpGet: {port: 1, path: "/a b"}}'), "is no path of a URL"),
    (
        pod(container='livenessProbe: {httpGet: {port: 1, httpHeaders: [{name: A, value: "x\\r\\nB: y"}]}}'),
        "one line",
    ),
    (pod(container="lifecycle: {preStop: {}}"), "lifecycle.preStop: says nothing"),
    # volumes
    (pod(container="volumeMounts: [{name: v, mountPath: /v}]"), "the pod has no volume 'v'"),
    (pod("volumes: [{name: v}, {name: v}]"), "a volume 'v' is there already"),
    (volume("emptyDir: {}, hostPath: {path: /x}"), "emptyDir and hostPath exclude"),
    (volume("emptyDir: {medium: HugePages}"), "emptyDir.medium: 'HugePages'"),
    (volume("image: {}"), "image.reference: missing, or not the name of an image"),
    (volume("image: {reference: m:1, pullPolicy: Sometimes}"), "pullPolicy"),
    (volume("hostPath: {path: x}"), "hostPath.path: 'x' is no absolute path"),
    (volume("hostPath: {path: /a/../b}"), "'/a/../b' is no absolute path"),
    (volume("hostPath: {path: /x, type: Socket}"), "hostPath.type: a Socket"),
    (volume("nfs: {server: a, path: b}"), "spec.volumes[0].nfs.path: 'b' is no absolute path"),
    (volume("csi: {driver: a}"), "spec.volumes[0].csi: not supported"),
    (volume("iscsi: {iqn: a, lun: 0, targetPortal: b}"), "spec.volumes[0].iscsi: not supported"),
    (volume("rbd: {image: a, monitors: []}"), "spec.volumes[0].rbd.monitors: missing"),
    (
        volume("rbd: {image: a, monitors: [b], fsType: xfs}"),
        "spec.volumes[0].rbd.fsType: 'xfs' cannot be mounted",
    ),
    (volume("rbd: {image: a, monitors: [b], keyring: k}"), "rbd.keyring: 'k' is no absolute path"),
    (volume("rbd: {image: a, monitors: [b], secretRef: {name: s}}"), "rbd.secretRef"),
    (volume("configMap: {name: m}"), "configMap: there is no ConfigMap 'm'"),
    (
        config_map("data: {a: b}") + volume("configMap: {name: m, items: [{key: k, path: p}]}"),
        "has no key 'k'",
    ),
    (
        config_map("data: {a: b}") + volume("configMap: {name: m, items: [{key: a, path: ../p}]}"),
        "'../p' is no rel",
    ),
    (
        config_map("data: {a: b}") + volume("configMap: {name: m, defaultMode: 01000}"),
        "defaultMode: 512 is no mode",
    ),
    (
        config_map("data: {a: b, c: d}")
        + volume("configMap: {name: m, items: [{key: a, path: p}, {key: c, path: p/q}]}"),
        "'p/q' would be a file and a directory",
    ),
    (
        config_map("data: {a: b}")
        + volume(
            "projected: {sources: [{configMap: {name: m, items: [{key: a, path: p}]}}, "
            "{downwardAPI: {items: [{path: p, fieldRef: {fieldPath: metadata.name}}]}}]}"
        ),
        "sources[1].downwardAPI.items[0].path: another item is at 'p' already",
    ),
    (
        volume("projected: {sources: [{serviceAccountToken: {path: t}}]}"),
        "serviceAccountToken: not supported",
    ),
    (volume("downwardAPI: {items: [{path: a}]}"), "items[0]: says nothing"),
    (volume("downwardAPI: {items: [{path: a, fieldRef: {fieldPath: status.podIP}}]}"), "is not known here"),
    (
        volume("downwardAPI: {items: [{path: a, resourceFieldRef: {resource: limits.cpu}}]}"),
        "containerName ''",
    ),
    (volume("persistentVolumeClaim: {claimName: A}"), "claimName: 'A'"),
    (volume("emptyDir: {}", "subPath: ../x"), "subPath: '../x'"),
    (volume("emptyDir: {}", "subPathExpr: $(A)"), "there is no variable 'A'"),
    (volume("emptyDir: {}", "subPath: a, subPathExpr: b"), "exclude one another"),
    (volume("emptyDir: {}", "mountPropagation: Bidirectional"), "mountPropagation: Bidirectional"),
    (volume("emptyDir: {}").replace("mountPath: /v", "mountPath: v"), "mountPath: 'v'"),
    (volume("emptyDir: {}").replace("mountPath: /v", "mountPath: /"), "'/' cannot be mounted over"),
    (
        "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c}, spec: {volumeMode: Block}}",
        "spec.volumeMode: Block",
    ),
    (
        "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: c}, spec: {}}",
        "requests.storage: missing",
    ),
    # data
    (config_map("data: {a/b: c}"), "'a/b' is no key"),
    (config_map("data: {..: c}"), "'..' is no key"),
    (config_map("data: {a: b}, binaryData: {a: ''}"), "in data and in binaryData"),
    (config_map(f"data: {{a: {'x' * (1 << 20)}y}}"), "more than 1 MiB"),
    ("{apiVersion: v1, kind: Secret, metadata: {name: s}, data: {a: '!'}}", "data['a'] is not base64"),
    (
        "{apiVersion: v1, kind: Secret, metadata: {name: s}, type: kubernetes.io/tls, data: {tls.crt: ''}}",
        "wants the key tls.key",
    ),
    (pod("x" * 1000 + ": 1"), f"spec.{'x' * 80}: unknown field"),
    (
        config_map(f"data: {{a: {'x' * 900_000}}}")
        + pod(
            container=f"env: [{', '.join(['{name: A, valueFrom: {configMapKeyRef: {name: m, key: a}}}'] * 20)}]"
        ),
        "exceed 16 MiB",
    ),
    (
        config_map(f"data: {{a: {'x' * 900_000}}}")
        + pod("volumes: [" + ", ".join(f"{{name: v{n}, configMap: {{name: m}}}}" for n in range(20)) + "]"),
        "exceed 16 MiB",
    ),
    # workloads
    (deployment("selector: {matchLabels: {a: c}}"), "Deployment/d: spec.selector does not select"),
    (deployment("selector: {}"), "Deployment/d: spec.selector: is empty"),
    (deployment(f"{SELECTOR}, replicas: 101"), "spec.replicas: 101 is not 0 to 100"),
    (deployment(SELECTOR, pod_spec="restartPolicy: Never,"), "restartPolicy: Never (Always)"),
    (
        deployment(
            f"{SELECTOR}, replicas: 2",
            template="{name: c, image: x, ports: [{containerPort: 1, hostPort: 2}]}",
        ),
        "2 pods cannot all have the host's port 2",
    ),
    (
        deployment(
            f"{SELECTOR}, replicas: 2",
            pod_spec="volumes: [{name: v, persistentVolumeClaim: {claimName: one}}],",
        ),
        "cannot all write to the volume of claim 'one'",
    ),
    (
        deployment(SELECTOR).replace("name: d", "name: p")
        + "\n---\n"
        + pod().replace("name: p", "name: p-0"),
        "also one",
    ),
    (job(policy=""), "restartPolicy: missing (Never or OnFailure)"),
    (job(policy="restartPolicy: Always,"), "restartPolicy: Always"),
    (job("completionMode: Indexed,"), "spec.completions is missing"),
    (job("parallelism: -1,"), "spec.parallelism: -1"),
    (job("podFailurePolicy: {rules: [{action: Ignore}]},"), "podFailurePolicy: not supported"),
    (cron_job("schedule: daily"), "CronJob/c: spec.schedule: 'daily' has not five fields"),
    (cron_job("schedule: '@daily', timeZone: Mars/Olympus"), "no time zone"),
    (service("ports: [{port: 80}]"), "spec.selector: is missing"),
    (service("selector: {a: b}"), "spec.ports: is missing"),
    (service("type: ExternalName, externalName: ''"), "ExternalName is not supported"),
    (service("selector: {a: b}, ports: [{port: 80}, {port: 81}]"), "ports[0].name: missing"),
    (service("selector: {a: b}, ports: [{port: 80, nodePort: 8080}]"), "nodePort: goes with"),
    (service("selector: {a: b}, clusterIP: 10.0.0.1, ports: [{port: 80}]"), "clusterIP: an address"),
]


@pytest.mark.parametrize(("manifest", "problem"), REFUSED, ids=[problem[:60] for _, problem in REFUSED])
def test_refused(manifest: str, problem: str) -> None:
    with pytest.raises(InvalidArgument, match=re.escape(problem)):
        objects, _ = kube.read(manifest)
        kube.pods(objects)
        kube.services(objects)
        kube.claims(objects)
        kube.crons(objects)
