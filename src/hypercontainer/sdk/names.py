"""What ``hypercontainer`` shows under its own name: everything that a program needs."""

from __future__ import annotations

from hypercontainer.contract.calls import PodProcess
from hypercontainer.contract.egress import SecretHeader
from hypercontainer.contract.networks import Join, NetworkSpec, Subnet
from hypercontainer.contract.policies import EgressRule, NetworkPolicy, PolicyLimits
from hypercontainer.contract.spec import (
    ContainerSpec,
    LogConfig,
    PodSpec,
    PortMapping,
    RestartPolicy,
    Tmpfs,
    Ulimit,
)
from hypercontainer.contract.volumes import (
    ContentFile,
    Contents,
    DiskImage,
    EmptyDir,
    HostPath,
    ImageVolume,
    InjectedFile,
    NamedVolume,
    NetworkDisk,
    NfsShare,
    Volume,
    VolumeMount,
)
from hypercontainer.errors import (
    AgentError,
    AgentProtocolError,
    AgentTimeout,
    Cancelled,
    Conflict,
    DigestMismatch,
    GuestError,
    HyperError,
    HypervisorError,
    ImageError,
    InvalidArgument,
    LaunchError,
    LayerError,
    NotFound,
    NotSupported,
    RegistryError,
    Remedy,
    StreamClosed,
    Unauthorized,
    Unavailable,
    Untrusted,
)
from hypercontainer.image.credentials import Credentials
from hypercontainer.sdk.aio.client import AsyncClient
from hypercontainer.sdk.aio.containers import AsyncContainer
from hypercontainer.sdk.aio.pods import AsyncPod
from hypercontainer.sdk.aio.stream import AsyncStream
from hypercontainer.sdk.container_options import ContainerOptions
from hypercontainer.sdk.failures import BuildFailed, ContainerFailed, TimedOut, TooMuchOutput
from hypercontainer.sdk.results import Output, PodOutput, RunResult
from hypercontainer.sdk.sync.client import Client
from hypercontainer.sdk.sync.containers import Container
from hypercontainer.sdk.sync.pods import Pod
from hypercontainer.sdk.sync.stream import Stream

__all__ = [
    "AgentError",
    "AgentProtocolError",
    "AgentTimeout",
    "AsyncClient",
    "AsyncContainer",
    "AsyncPod",
    "AsyncStream",
    "BuildFailed",
    "Cancelled",
    "Client",
    "Conflict",
    "Container",
    "ContainerFailed",
    "ContainerOptions",
    "ContainerSpec",
    "ContentFile",
    "Contents",
    "Credentials",
    "DigestMismatch",
    "DiskImage",
    "EgressRule",
    "EmptyDir",
    "GuestError",
    "HostPath",
    "HyperError",
    "HypervisorError",
    "ImageError",
    "ImageVolume",
    "InjectedFile",
    "InvalidArgument",
    "Join",
    "LaunchError",
    "LayerError",
    "LogConfig",
    "NamedVolume",
    "NetworkDisk",
    "NetworkPolicy",
    "NetworkSpec",
    "NfsShare",
    "NotFound",
    "NotSupported",
    "Output",
    "Pod",
    "PodOutput",
    "PodProcess",
    "PodSpec",
    "PolicyLimits",
    "PortMapping",
    "RegistryError",
    "Remedy",
    "RestartPolicy",
    "RunResult",
    "SecretHeader",
    "Stream",
    "StreamClosed",
    "Subnet",
    "TimedOut",
    "Tmpfs",
    "TooMuchOutput",
    "Ulimit",
    "Unauthorized",
    "Unavailable",
    "Untrusted",
    "Volume",
    "VolumeMount",
]
