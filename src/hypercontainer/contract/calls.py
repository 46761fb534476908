"""One struct per request of the native API, and the answers that are no object of ``answers.py`` by themselves.

A request's fields are named as the arguments of the method that does the call (``routes.py``), so that nobody has to
carry them over one by one.  Strict: an unknown field is an error (docs/api.md).  Empty query values count as not given.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from hypercontainer.contract.answers import (
    Change,
    Check,
    CronJob,
    KernelLine,
    NetworkInfo,
    Played,
    PodSummary,
    PolicyInfo,
    Port,
    Process,
    Pruned,
    Sample,
    Summary,
)
from hypercontainer.contract.images import HistoryLine, ImageSummary, Removed
from hypercontainer.contract.networks import Join
from hypercontainer.contract.spec import PortMapping

API_VERSION = "1"

Filters = dict[str, tuple[str, ...]]  # in a query: JSON
When = Annotated[
    str,
    Meta(
        pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2}([Tt ][0-9]{2}(:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?)?)?"
        r"([Zz]|[+-][0-9]{2}:[0-9]{2})?"
        r"|[0-9]{1,12}(\.[0-9]{1,9})?"
        r"|[+-]?0"
        r"|[+-]?(([0-9]{1,19}(\.[0-9]{0,19})?|\.[0-9]{1,19})(ns|us|µs|μs|ms|s|m|h))+)?$",
        max_length=100,
        description="RFC 3339 (Docker's shortened forms too; without a zone it is in hyperd's), Unix seconds, or how "
        "long ago, as Go writes durations: 10m, 1h30m",
    ),
]
Cells = Annotated[int, Meta(ge=0, le=65535)]
TimeoutS = Annotated[int, Meta(ge=-1, le=2**31)]  # -1: without end
FilePath = Annotated[
    str,
    Meta(
        pattern=r"^/[^\x00]*[^/\x00]$",
        max_length=4095,
        description="an absolute path, without a slash at its end",
    ),
]
PlacePath = Annotated[
    str,
    Meta(
        pattern=r"^/[^\x00]*$",
        max_length=4095,
        description="an absolute path; with `/` or `/.` at its end, of a directory, also behind a link",
    ),
]
FileOwner = Annotated[int, Meta(ge=0, le=2**32 - 2)]
Name = Annotated[str, Meta(min_length=1, max_length=4096)]


class Request(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of what a client sends."""


class Nothing(Request, frozen=True):
    """No query, or no body."""


# Queries


class EventsQuery(Request, frozen=True):
    since: When = ""
    until: When = ""
    filters: Filters = field(default_factory=dict)


class CheckPolicyQuery(Request, frozen=True):
    """``url``: https://api.example.com/path, tcp://10.0.0.1:5432, udp://..., icmp://10.0.0.1; ``method``: of HTTP."""

    url: Name
    method: str = "GET"


class DeniedQuery(Request, frozen=True):
    """``ref``: a pod, or a container of it; "": all.  ``follow``: what comes, too."""

    ref: str = ""
    follow: bool = False


class FiltersQuery(Request, frozen=True):
    filters: Filters = field(default_factory=dict)


class RefQuery(Request, frozen=True):
    ref: Name


class SaveQuery(Request, frozen=True):
    ref: Annotated[tuple[Name, ...], Meta(min_length=1)]
    format: Literal["docker", "oci"] = "docker"


class LoadQuery(Request, frozen=True):
    platform: str | None = None


class ImportQuery(Request, frozen=True):
    reference: str | None = None
    message: str = ""
    change: tuple[str, ...] = ()
    platform: str | None = None


class RemoveImageQuery(Request, frozen=True):
    ref: Name
    force: bool = False


class ListQuery(Request, frozen=True):
    all: bool = False
    filters: Filters = field(default_factory=dict)
    size: bool = False


class WaitQuery(Request, frozen=True):
    condition: Literal["not-running", "next-exit", "removed", "healthy"] = "not-running"


class ForceQuery(Request, frozen=True):
    force: bool = False


class RemoveQuery(Request, frozen=True):
    force: bool = False
    volumes: bool = False


class LogsQuery(Request, frozen=True):
    follow: bool = False
    since: When = ""
    until: When = ""
    tail: Annotated[int, Meta(ge=0)] | None = None
    timestamps: bool = False


class FileQuery(Request, frozen=True):
    path: FilePath


class PlaceQuery(Request, frozen=True):
    path: PlacePath


class WriteFileQuery(Request, frozen=True):
    """``mode`` is octal."""

    path: FilePath
    mode: Annotated[str, Meta(pattern=r"^0?[0-7]{1,4}$", description="at most four octal digits")] = "0644"
    uid: FileOwner = 0
    gid: FileOwner = 0


class PackQuery(Request, frozen=True):
    """``follow``: of a link, what it leads to."""

    path: PlacePath
    follow: bool = False


class UnpackQuery(Request, frozen=True):
    """``replace``: a directory may take the place of a file, and a file that of a directory.  ``own``: all belongs
    to the container's user."""

    path: PlacePath
    replace: bool = False
    own: bool = False


class StatsQuery(Request, frozen=True):
    stream: bool = False


class CreatePodQuery(Request, frozen=True):
    start: bool = False


class AttachQuery(Request, frozen=True):
    stdin: bool = True
    logs: bool = False


# Bodies


class CredentialsBody(Request, frozen=True):
    username: str = ""
    password: str = ""
    identity_token: str = ""
    registry_token: str = ""


class PruneBody(Request, frozen=True):
    all: bool = False
    images: bool = True
    containers: bool = True
    volumes: bool = False


class ShutdownBody(Request, frozen=True):
    stop_containers: bool = False


class PullBody(Request, frozen=True):
    """``artifacts`` False: one that is no container image is refused, before anything of it is fetched."""

    reference: Name
    platform: str | None = None
    credentials: CredentialsBody | None = None
    artifacts: bool = True
    whole: bool = True  # with all its layers; else they may come while the image is used


class PushBody(Request, frozen=True):
    reference: Name
    credentials: CredentialsBody | None = None


class CommitBody(Request, frozen=True):
    """``change``: Dockerfile instructions; ``pause``: a container that runs stands still meanwhile."""

    container: Name
    reference: str | None = None
    change: tuple[str, ...] = ()
    message: str = ""
    author: str = ""
    pause: bool = True


class TagBody(Request, frozen=True):
    source: Name
    target: Name


class AuthBody(Request, frozen=True):
    registry: Name
    credentials: CredentialsBody


class StopBody(Request, frozen=True):
    timeout_s: TimeoutS | None = None
    signal: Name | None = None


class RestartBody(Request, frozen=True):
    timeout_s: TimeoutS | None = None


class KillBody(Request, frozen=True):
    signal: Name = "KILL"


class RenameBody(Request, frozen=True):
    name: Name


class ResizeBody(Request, frozen=True):
    rows: Cells
    columns: Cells


class PortsBody(Request, frozen=True):
    ports: Annotated[tuple[PortMapping, ...], Meta(min_length=1, max_length=1024)]


class PruneNetworksBody(Request, frozen=True):
    """``filters``: label, label!, until."""

    filters: Filters = field(default_factory=dict)


class ConnectBody(Request, frozen=True):
    """``ref``: a container or a pod; ``join.name`` is not looked at."""

    ref: Name
    join: Join | None = None


class DisconnectBody(Request, frozen=True):
    """``force``: also from a network that is gone."""

    ref: Name
    force: bool = False


class PlayBody(Request, frozen=True):
    text: str
    replace: bool = False
    start: bool = True
    dry_run: bool = False
    skip_unsupported: bool = False


class DownBody(Request, frozen=True):
    text: str
    volumes: bool = False
    dry_run: bool = False


class GenerateBody(Request, frozen=True):
    refs: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=1024)]


# Answers

Versions = dict[str, str]
Facts = dict[str, Any]
PlayedList = list[Played]


class Wrapper(Struct, frozen=True):
    """Base of answers whose one field is what the method returns."""


class Ping(Struct, frozen=True):
    version: str
    api_version: str


class CheckList(Wrapper, frozen=True):
    checks: list[Check]


class KernelList(Wrapper, frozen=True):
    kernels: list[KernelLine]


class ImageList(Wrapper, frozen=True):
    images: list[ImageSummary]


class History(Wrapper, frozen=True):
    history: list[HistoryLine]


class Pushed(Wrapper, frozen=True):
    digest: str


class RemovedList(Wrapper, frozen=True):
    removed: list[Removed]


class AuthAnswer(Struct, frozen=True):
    status: str
    identity_token: str


class ContainerList(Wrapper, frozen=True):
    containers: list[Summary]


class ChangeList(Wrapper, frozen=True):
    changes: list[Change]


class ProcessList(Wrapper, frozen=True):
    processes: list[Process]


class SystemPruned(Pruned, frozen=True, kw_only=True):
    volumes_deleted: tuple[str, ...]


class PodList(Wrapper, frozen=True):
    pods: list[PodSummary]


class PodProcess(Struct, frozen=True):
    container: str
    process: Process


class PodProcessList(Wrapper, frozen=True):
    processes: list[PodProcess]


class PodSamples(Wrapper, frozen=True):
    samples: list[Sample]


class PortList(Wrapper, frozen=True):
    ports: list[Port]


class NetworkList(Wrapper, frozen=True):
    networks: list[NetworkInfo]


class PolicyList(Wrapper, frozen=True):
    policies: list[PolicyInfo]


class NetworksPruned(Struct, frozen=True):
    removed: tuple[str, ...]


class Manifest(Wrapper, frozen=True):
    text: str


class CronJobList(Wrapper, frozen=True):
    cron_jobs: list[CronJob]


class JobName(Wrapper, frozen=True):
    job: str


class ExecCreated(Wrapper, frozen=True):
    id: str


# Control frames (channel 3) from the client


class Control(Request, frozen=True):
    """One of the three is set."""

    resize: tuple[Cells, Cells] | None = None  # rows, columns
    signal: Name | None = None
    detach: bool = False
