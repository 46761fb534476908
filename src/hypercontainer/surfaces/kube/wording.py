"""The engine's complaints in a manifest's words: a field of a specification is a path below the pod's ``spec``, or
below one of its containers, and what would be right is what a manifest says."""

from __future__ import annotations

from hypercontainer.errors import InvalidArgument

_PATHS = {
    "annotations": "metadata.annotations",
    "cap_add": "securityContext.capabilities.add",
    "cap_drop": "securityContext.capabilities.drop",
    "command": "args",
    "containers": "containers",
    "cpu_shares": "resources.requests.cpu",
    "cpus": "resources.limits.cpu",
    "deadline_s": "activeDeadlineSeconds",
    "dns": "dnsConfig.nameservers",
    "dns_options": "dnsConfig.options",
    "dns_search": "dnsConfig.searches",
    "domainname": "subdomain",
    "entrypoint": "command",
    "env": "env",
    "expose": "ports",
    "extra_hosts": "hostAliases",
    "fs_group": "securityContext.fsGroup",
    "group": "securityContext.runAsGroup",
    "groups": "securityContext.supplementalGroups",
    "hostname": "hostname",
    "image": "image",
    "labels": "metadata.labels",
    "lifecycle": "lifecycle",
    "liveness": "livenessProbe",
    "memory_bytes": "resources.limits.memory",
    "mounts": "volumeMounts",
    "name": "metadata.name",
    "no_new_privileges": "securityContext.allowPrivilegeEscalation",
    "pid_mode": "shareProcessNamespace",
    "ports": "ports",
    "privileged": "securityContext.privileged",
    "pull": "imagePullPolicy",
    "read_only": "securityContext.readOnlyRootFilesystem",
    "readiness": "readinessProbe",
    "restart": "restartPolicy",
    "run_as_non_root": "securityContext.runAsNonRoot",
    "seccomp": "securityContext.seccompProfile",
    "share_pids": "shareProcessNamespace",
    "startup": "startupProbe",
    "stdin_once": "stdinOnce",
    "stdin_open": "stdin",
    "stop_signal": "lifecycle.stopSignal",
    "stop_timeout_s": "terminationGracePeriodSeconds",
    "sysctls": "securityContext.sysctls",
    "termination_message_fallback": "terminationMessagePolicy",
    "termination_message_path": "terminationMessagePath",
    "tty": "tty",
    "user": "securityContext.runAsUser",
    "volumes": "volumes",
    "working_dir": "workingDir",
}
_TAKES = {"run_as_non_root": "a number other than 0 in runAsUser"}


def in_manifest(error: InvalidArgument, plan_owner: str) -> InvalidArgument:
    """``plan_owner``: the object that the pod is made for, as "Deployment/web".  What is no field's fault stays as it
    is, and a field that no manifest says keeps its name."""
    if not error.field:
        return error
    path = _PATHS.get(error.field, error.field)
    takes = _TAKES.get(error.field, error.hint)
    return InvalidArgument(f"{plan_owner}: {path}: {error.why}", hint=takes, remedies=error.remedies)
