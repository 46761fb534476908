"""Which of Kubernetes' fields are taken, which are reported, which are refused: the whole decision, in one place.

A field that stands nowhere here, because Kubernetes has it since yesterday, is refused.  ``schema.py`` applies this
to every object, so that nothing is dropped in silence.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Fields:
    """Of one type.  ``refused`` says why; a ``reported`` field has no effect and its user is told."""

    taken: frozenset[str]
    reported: frozenset[str] = frozenset()
    refused: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))


def _fields(taken: str, reported: str = "", **refused: str) -> Fields:
    return Fields(frozenset(taken.split()), frozenset(reported.split()), MappingProxyType(refused))


_ISOLATED = "a pod is a VM of its own and shares no namespace with the host"
_NETWORK_STORAGE = (
    "volumes of this kind are not to be had; use nfs, persistentVolumeClaim, hostPath or emptyDir"
)
_CLUSTER = "there is no cluster that would supply it"
_OWNER = "files of volumes belong to root and fsGroup"
_REMOTE_VOLUMES = (
    "awsElasticBlockStore azureDisk azureFile cephfs cinder csi fc flexVolume flocker gcePersistentDisk gitRepo "
    "glusterfs iscsi photonPersistentDisk portworxVolume quobyte scaleIO storageos vsphereVolume"
).split()
_CONTAINER = (
    "args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe resources "
    "restartPolicy securityContext startupProbe stdin stdinOnce terminationMessagePath terminationMessagePolicy tty "
    "volumeMounts workingDir"
)

TABLE: dict[str, Fields] = {
    # objects
    "ObjectMeta": _fields(
        "annotations labels name namespace uid",
        "creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generation managedFields "
        "ownerReferences resourceVersion selfLink",
        generateName="say the whole name in metadata.name",
    ),
    "Pod": _fields("apiVersion kind metadata spec", "status"),
    "ConfigMap": _fields("apiVersion binaryData data kind metadata", "immutable"),
    "Secret": _fields("apiVersion data kind metadata stringData type", "immutable"),
    "PersistentVolumeClaim": _fields("apiVersion kind metadata spec", "status"),
    "PersistentVolumeClaimTemplate": _fields("metadata spec"),
    "PersistentVolumeClaimSpec": _fields(
        "accessModes resources volumeMode",
        "storageClassName volumeAttributesClassName",
        dataSource="volumes are not made from snapshots or other volumes",
        dataSourceRef="volumes are not made from snapshots or other volumes",
        selector="a claim is a volume of its own name",
        volumeName="a claim is a volume of its own name",
    ),
    "VolumeResourceRequirements": _fields("requests", "limits"),
    "Service": _fields("apiVersion kind metadata spec", "status"),
    "ServiceSpec": _fields(
        "clusterIP ports selector sessionAffinity type",
        "allocateLoadBalancerNodePorts clusterIPs externalTrafficPolicy healthCheckNodePort internalTrafficPolicy "
        "ipFamilies ipFamilyPolicy loadBalancerClass loadBalancerIP publishNotReadyAddresses "
        "sessionAffinityConfig trafficDistribution",
        externalIPs="other machines' addresses are not served",
        externalName="there is no DNS that would answer with it",
        loadBalancerSourceRanges="published ports are not filtered",
    ),
    "ServicePort": _fields("name nodePort port protocol targetPort", "appProtocol"),
    "Deployment": _fields("apiVersion kind metadata spec", "status"),
    "DeploymentSpec": _fields(
        "replicas selector template",
        "minReadySeconds paused progressDeadlineSeconds revisionHistoryLimit strategy",
    ),
    "ReplicaSet": _fields("apiVersion kind metadata spec", "status"),
    "ReplicaSetSpec": _fields("replicas selector template", "minReadySeconds"),
    "StatefulSet": _fields("apiVersion kind metadata spec", "status"),
    "StatefulSetSpec": _fields(
        "ordinals replicas selector serviceName template volumeClaimTemplates",
        "minReadySeconds persistentVolumeClaimRetentionPolicy podManagementPolicy revisionHistoryLimit updateStrategy",
    ),
    "StatefulSetOrdinals": _fields("start"),
    "DaemonSet": _fields("apiVersion kind metadata spec", "status"),
    "DaemonSetSpec": _fields("selector template", "minReadySeconds revisionHistoryLimit updateStrategy"),
    "Job": _fields("apiVersion kind metadata spec", "status"),
    "JobSpec": _fields(
        "activeDeadlineSeconds backoffLimit completionMode completions parallelism suspend template "
        "ttlSecondsAfterFinished",
        "manualSelector podReplacementPolicy scheduling selector",
        backoffLimitPerIndex="backoffLimit counts for each pod already",
        managedBy=_CLUSTER,
        maxFailedIndexes="there is only backoffLimit",
        podFailurePolicy="there is only backoffLimit",
        successPolicy="a job has succeeded when all its pods have",
    ),
    "CronJob": _fields("apiVersion kind metadata spec", "status"),
    "CronJobSpec": _fields(
        "concurrencyPolicy failedJobsHistoryLimit jobTemplate schedule startingDeadlineSeconds "
        "successfulJobsHistoryLimit suspend timeZone"
    ),
    "JobTemplateSpec": _fields("metadata spec"),
    "PodTemplateSpec": _fields("metadata spec"),
    "LabelSelector": _fields("matchExpressions matchLabels"),
    "LabelSelectorRequirement": _fields("key operator values"),
    # the pod
    "PodSpec": _fields(
        "activeDeadlineSeconds containers dnsConfig dnsPolicy hostAliases hostUsers hostname hostnameOverride "
        "imagePullSecrets initContainers nodeName os resources restartPolicy securityContext serviceAccount "
        "serviceAccountName setHostnameAsFQDN shareProcessNamespace subdomain terminationGracePeriodSeconds volumes",
        "affinity automountServiceAccountToken enableServiceLinks evictionResponders nodeSelector overhead "
        "preemptionPolicy priority priorityClassName readinessGates runtimeClassName schedulerName schedulingGates "
        "schedulingGroup tolerations topologySpreadConstraints",
        ephemeralContainers="containers can be created in the pod when it runs",
        hostIPC=_ISOLATED,
        hostNetwork=_ISOLATED + "; publish ports with hostPort",
        hostPID=_ISOLATED,
        resourceClaims="devices of the host are not passed to a VM",
    ),
    "PodSecurityContext": _fields(
        "fsGroup runAsGroup runAsNonRoot runAsUser seccompProfile supplementalGroups supplementalGroupsPolicy sysctls",
        "appArmorProfile fsGroupChangePolicy seLinuxChangePolicy seLinuxOptions windowsOptions",
    ),
    "PodDNSConfig": _fields("nameservers options searches"),
    "PodDNSConfigOption": _fields("name value"),
    "PodOS": _fields("name"),
    "HostAlias": _fields("hostnames ip"),
    "LocalObjectReference": _fields("name"),
    "Sysctl": _fields("name value"),
    # its containers
    "Container": _fields(
        _CONTAINER,
        "resizePolicy",
        restartPolicyRules="there is only restartPolicy",
        volumeDevices="a volume is mounted, not given as a device; use volumeMounts",
    ),
    "ContainerPort": _fields("containerPort hostIP hostPort name protocol"),
    "EnvVar": _fields("name value valueFrom"),
    "EnvVarSource": _fields(
        "configMapKeyRef fieldRef resourceFieldRef secretKeyRef",
        fileKeyRef="the files of a volume are not read before its containers start",
    ),
    "EnvFromSource": _fields("configMapRef prefix secretRef"),
    "ConfigMapEnvSource": _fields("name optional"),
    "SecretEnvSource": _fields("name optional"),
    "ConfigMapKeySelector": _fields("key name optional"),
    "SecretKeySelector": _fields("key name optional"),
    "ObjectFieldSelector": _fields("apiVersion fieldPath"),
    "ResourceFieldSelector": _fields("containerName divisor resource"),
    "ResourceRequirements": _fields("limits requests", claims="devices of the host are not passed to a VM"),
    "SecurityContext": _fields(
        "allowPrivilegeEscalation capabilities privileged procMount readOnlyRootFilesystem runAsGroup runAsNonRoot "
        "runAsUser seccompProfile",
        "appArmorProfile seLinuxOptions windowsOptions",
    ),
    "Capabilities": _fields("add drop"),
    "SeccompProfile": _fields("type", localhostProfile="profiles are not read from the host"),
    "Lifecycle": _fields("postStart preStop stopSignal"),
    "LifecycleHandler": _fields("exec httpGet sleep tcpSocket"),
    "Probe": _fields(
        "exec failureThreshold grpc httpGet initialDelaySeconds periodSeconds successThreshold tcpSocket "
        "terminationGracePeriodSeconds timeoutSeconds"
    ),
    "ExecAction": _fields("command"),
    "HTTPGetAction": _fields("host httpHeaders path port scheme", protocol="probes speak HTTP/1.1"),
    "HTTPHeader": _fields("name value"),
    "TCPSocketAction": _fields("host port"),
    "GRPCAction": _fields("port service", mode="probes speak gRPC in the clear"),
    "SleepAction": _fields("seconds"),
    "VolumeMount": _fields(
        "mountPath mountPropagation name readOnly recursiveReadOnly subPath subPathExpr",
        bindMountOptions="mounts have no options but readOnly",
    ),
    # volumes
    "Volume": _fields(
        "configMap downwardAPI emptyDir ephemeral hostPath image name nfs persistentVolumeClaim projected rbd "
        "secret",
        **dict.fromkeys(_REMOTE_VOLUMES, _NETWORK_STORAGE),
    ),
    "NFSVolumeSource": _fields("path readOnly server"),
    "EmptyDirVolumeSource": _fields("medium sizeLimit", mode="its mode is always 0777"),
    "HostPathVolumeSource": _fields("path type"),
    "RBDVolumeSource": _fields(
        "fsType image keyring monitors pool readOnly user",
        secretRef="keyring is a file of hyperd's machine that has the key",
    ),
    "ImageVolumeSource": _fields("pullPolicy reference"),
    "ConfigMapVolumeSource": _fields("defaultMode items name optional", defaultUser=_OWNER),
    "SecretVolumeSource": _fields("defaultMode items optional secretName", defaultUser=_OWNER),
    "DownwardAPIVolumeSource": _fields("defaultMode items", defaultUser=_OWNER),
    "DownwardAPIVolumeFile": _fields("fieldRef mode path resourceFieldRef", user=_OWNER),
    "KeyToPath": _fields("key mode path", user=_OWNER),
    "PersistentVolumeClaimVolumeSource": _fields("claimName readOnly"),
    "EphemeralVolumeSource": _fields("volumeClaimTemplate"),
    "ProjectedVolumeSource": _fields("defaultMode sources", defaultUser=_OWNER),
    "VolumeProjection": _fields(
        "configMap downwardAPI secret",
        clusterTrustBundle=_CLUSTER,
        podCertificate=_CLUSTER,
        serviceAccountToken=_CLUSTER,
    ),
    "ConfigMapProjection": _fields("items name optional"),
    "SecretProjection": _fields("items name optional"),
    "DownwardAPIProjection": _fields("items"),
}

# Values that Kubernetes knows; what of these cannot work is refused where it is translated.
VALUES: dict[str, str] = {
    "PodSpec.restartPolicy": "Always OnFailure Never",
    "PodSpec.dnsPolicy": "ClusterFirst ClusterFirstWithHostNet Default None",
    "PodOS.name": "linux windows",
    "PodSecurityContext.supplementalGroupsPolicy": "Merge Strict",
    "PersistentVolumeClaimSpec.volumeMode": "Block Filesystem",
    "Container.imagePullPolicy": "Always IfNotPresent Never",
    "Container.restartPolicy": "Always OnFailure Never",
    "Container.terminationMessagePolicy": "FallbackToLogsOnError File",
    "ContainerPort.protocol": "SCTP TCP UDP",
    "SecurityContext.procMount": "Default Unmasked",
    "SeccompProfile.type": "Localhost RuntimeDefault Unconfined",
    "HTTPGetAction.scheme": "HTTP HTTPS",
    "VolumeMount.mountPropagation": "Bidirectional HostToContainer None",
    "VolumeMount.recursiveReadOnly": "Disabled Enabled IfPossible",
    "ImageVolumeSource.pullPolicy": "Always IfNotPresent Never",
    "HostPathVolumeSource.type": "BlockDevice CharDevice Directory DirectoryOrCreate File FileOrCreate Socket",
    "ServiceSpec.sessionAffinity": "ClientIP None",
    "ServiceSpec.type": "ClusterIP ExternalName LoadBalancer NodePort",
    "ServicePort.protocol": "SCTP TCP UDP",
    "JobSpec.completionMode": "Indexed NonIndexed",
    "CronJobSpec.concurrencyPolicy": "Allow Forbid Replace",
    "LabelSelectorRequirement.operator": "DoesNotExist Exists In NotIn",
}

QUANTITIES = frozenset({"EmptyDirVolumeSource.sizeLimit", "ResourceFieldSelector.divisor"})
