"""How a container's health is asked for, and what is done at its beginning and end: Kubernetes' probes and hooks, and
Docker's health check."""

from __future__ import annotations

from msgspec import Struct


class Exec(Struct, frozen=True, forbid_unknown_fields=True, tag="exec", tag_field="kind"):
    """Good where the program ends with 0."""

    command: tuple[str, ...]


class HttpGet(Struct, frozen=True, forbid_unknown_fields=True, tag="http", tag_field="kind"):
    """Good where the answer's status is 200-399.  ``host`` "": the pod itself."""

    port: int
    path: str = "/"
    host: str = ""
    scheme: str = "http"  # or "https", whose certificate is not looked at
    headers: tuple[tuple[str, str], ...] = ()


class TcpConnect(Struct, frozen=True, forbid_unknown_fields=True, tag="tcp", tag_field="kind"):
    """Good where somebody accepts."""

    port: int
    host: str = ""


class Grpc(Struct, frozen=True, forbid_unknown_fields=True, tag="grpc", tag_field="kind"):
    """Good where grpc.health.v1.Health/Check answers SERVING."""

    port: int
    service: str = ""


class Sleep(Struct, frozen=True, forbid_unknown_fields=True, tag="sleep", tag_field="kind"):
    seconds: int


Check = Exec | HttpGet | TcpConnect | Grpc
Action = Exec | HttpGet | TcpConnect | Sleep


class Probe(Struct, frozen=True, forbid_unknown_fields=True):
    """Times and thresholds as Kubernetes has them."""

    check: Check
    initial_delay_s: int = 0
    period_s: int = 10
    timeout_s: int = 1
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_s: int | None = None  # of a container that this probe ends


class Healthcheck(Struct, frozen=True, forbid_unknown_fields=True):
    """Docker's health check, which ends nothing.  ``test``: () for the image's, ("NONE",) for none, ("CMD", program,
    ...) or ("CMD-SHELL", line).  Nanoseconds, at least one millisecond; 0: as the image says, or 30 s, 30 s, 0 s, 5 s
    and 3 in their order."""

    test: tuple[str, ...] = ()
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0  # in which a failure counts for nothing
    start_interval_ns: int = 0  # in place of the interval, while it is starting within that time
    retries: int = 0  # failures in a row that make it unhealthy


class Lifecycle(Struct, frozen=True, forbid_unknown_fields=True):
    """``post_start`` runs beside the program; where it fails, the container is ended.  ``pre_stop`` runs before
    the stop signal, within the time to stop."""

    post_start: Action | None = None
    pre_stop: Action | None = None
