"""What may be said of a new container beside its image and command, in a call.

Made of contract/spec.py and sdk/options.py by tools/make_options.py; change it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypedDict

from hypercontainer.contract.egress import SecretHeader
from hypercontainer.contract.networks import Join
from hypercontainer.contract.policies import NetworkPolicy
from hypercontainer.contract.probes import Healthcheck
from hypercontainer.contract.spec import LogConfig, RestartPolicy, Ulimit
from hypercontainer.contract.volumes import InjectedFile, Source, Volume
from hypercontainer.sdk.options import Pairs, Ports, Size


class ContainerOptions(TypedDict, total=False):
    """See docs/sdk.md.

    ``ports``: port in the container (80, "53/udp") -> port of the host (0: any free one; a range such as
    "8000-8009": the first that is free), or (address, port).
    ``network``: a network's name, several, or a ``Join`` that says more of a place in one.
    ``volumes``: path in the container -> name of a volume, "/directory" of the host, or a source of
    ``hypercontainer.contract.volumes``.  ``files``: path -> content.  ``restart``: "always", "on-failure:3", ...
    Sizes: bytes, or "256m".  The rest is as in ContainerSpec.
    """

    name: str
    entrypoint: Sequence[str]
    env: Pairs
    working_dir: str
    user: str
    groups: Sequence[str]
    umask: int
    hostname: str
    domainname: str
    tty: bool
    stdin_open: bool
    init: bool
    labels: Pairs
    annotations: Pairs
    network: str | Join | Sequence[str | Join]
    ports: Ports
    publish_all: bool
    expose: Sequence[str]
    dns: Sequence[str]
    dns_search: Sequence[str]
    dns_options: Sequence[str]
    extra_hosts: Pairs
    links: Sequence[str]
    host_loopback: Sequence[int]
    mac_address: str
    secret_headers: Sequence[SecretHeader]
    network_policy: str | NetworkPolicy
    read_only: bool
    tmpfs: Pairs
    shm_size: Size
    disk_size: Size
    volumes: Mapping[str, str | Source | Volume]
    files: Mapping[str, bytes | str | InjectedFile]
    api_socket: str
    memory: Size
    cpus: float
    cpu_shares: int
    pids_limit: int
    ulimits: Sequence[Ulimit]
    sysctls: Pairs
    oom_score_adj: int
    privileged: bool
    devices: Sequence[str]
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    no_new_privileges: bool
    seccomp: str
    stop_signal: str
    stop_timeout_s: int
    restart: str | RestartPolicy
    auto_remove: bool
    log: LogConfig
    healthcheck: Healthcheck
    pod: str
    platform: str
    pull: str
    kernel: str
    initrd: str
    kernel_args: Sequence[str]
    hypervisor: str
    accelerator: str
    template: bool
