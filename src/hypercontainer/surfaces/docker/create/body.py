"""The body of Docker's create call.  Lenient, as clients are: what is not known is passed over, and null is as good as
absent.  Times are nanoseconds, sizes bytes."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from hypercontainer.surfaces.docker.endpoints import Endpoint

Words = list[str] | str | None  # a text is one word
Set = dict[str, Any] | None  # its keys count
Labels = dict[str, str] | None


# What Go's names have in capitals.
_WORDS = {
    "id": "ID",
    "io": "IO",
    "iops": "IOps",
    "tcp": "TCP",
    "uts": "UTS",
}


def _docker(name: str) -> str:
    return "".join(_WORDS.get(word, word.capitalize()) for word in name.split("_"))


class _Lenient(Struct, rename=_docker, omit_defaults=True, kw_only=True):
    pass


class Healthcheck(_Lenient):
    test: list[str] | None = None
    interval: int | None = None
    timeout: int | None = None
    start_period: int | None = None
    start_interval: int | None = None
    retries: int | None = None


class RestartPolicy(_Lenient):
    name: str | None = None
    maximum_retry_count: int | None = None


class LogConfig(_Lenient):
    type: str | None = None
    config: Labels = None


class PortBinding(_Lenient):
    host_ip: str | None = None
    host_port: str | int | None = None


class _Whole(Struct, rename=_docker, kw_only=True):
    """Shown again with all its fields, whichever were said."""


class Ulimit(_Whole):
    name: str = ""
    soft: int = 0
    hard: int = 0


class Device(_Whole):
    path_on_host: str = ""
    path_in_container: str | None = ""
    cgroup_permissions: str | None = ""


class WeightDevice(_Whole):
    path: str = ""
    weight: int = 0


class BindOptions(_Lenient):
    propagation: str | None = None
    non_recursive: bool | None = None
    create_mountpoint: bool | None = None
    read_only_non_recursive: bool | None = None
    read_only_force_recursive: bool | None = None


class VolumeDriver(_Lenient):
    name: str | None = None
    options: Labels = None


class VolumeOptions(_Lenient):
    no_copy: bool | None = None
    labels: Labels = None
    subpath: str | None = None
    driver_config: VolumeDriver | None = None


class ImageOptions(_Lenient):
    subpath: str | None = None


class TmpfsOptions(_Lenient):
    size_bytes: int | None = None
    mode: int | None = None
    options: list[list[str]] | None = None


class Mount(_Lenient):
    type: str | None = None
    source: str | None = None
    target: str | None = None
    read_only: bool | None = None
    consistency: str | None = None
    bind_options: BindOptions | None = None
    volume_options: VolumeOptions | None = None
    image_options: ImageOptions | None = None
    tmpfs_options: TmpfsOptions | None = None


class NetworkingConfig(_Lenient):
    endpoints_config: dict[str, Endpoint | None] | None = None


class Resources(_Lenient):
    """What ``update`` takes, too."""

    cpu_shares: int | None = None
    memory: int | None = None
    nano_cpus: int | None = None
    cgroup_parent: str | None = None
    blkio_weight: int | None = None
    blkio_weight_device: list[WeightDevice] | None = None
    blkio_device_read_bps: list[Any] | None = None
    blkio_device_write_bps: list[Any] | None = None
    blkio_device_read_iops: list[Any] | None = None
    blkio_device_write_iops: list[Any] | None = None
    cpu_period: int | None = None
    cpu_quota: int | None = None
    cpu_realtime_period: int | None = None
    cpu_realtime_runtime: int | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    devices: list[Device] | None = None
    device_cgroup_rules: list[str] | None = None
    device_requests: list[Any] | None = None
    kernel_memory: int | None = None
    kernel_memory_tcp: int | None = None
    memory_reservation: int | None = None
    memory_swap: int | None = None
    memory_swappiness: int | None = None
    oom_kill_disable: bool | None = None
    pids_limit: int | None = None
    ulimits: list[Ulimit] | None = None
    cpu_count: int | None = None
    cpu_percent: int | None = None
    io_maximum_iops: int | None = None
    io_maximum_bandwidth: int | None = None
    restart_policy: RestartPolicy | None = None


class HostConfig(Resources):
    binds: list[str] | None = None
    container_id_file: str | None = None
    log_config: LogConfig | None = None
    network_mode: str | None = None
    port_bindings: dict[str, list[PortBinding] | None] | None = None
    auto_remove: bool | None = None
    volume_driver: str | None = None
    volumes_from: list[str] | None = None
    console_size: list[int] | None = None
    annotations: Labels = None
    cap_add: Words = None
    cap_drop: Words = None
    cgroupns_mode: str | None = None
    dns: list[str] | None = None
    dns_options: list[str] | None = None
    dns_search: list[str] | None = None
    extra_hosts: list[str] | None = None
    group_add: list[str] | None = None
    ipc_mode: str | None = None
    cgroup: str | None = None
    links: list[str] | None = None
    oom_score_adj: int | None = None
    pid_mode: str | None = None
    privileged: bool | None = None
    publish_all_ports: bool | None = None
    readonly_rootfs: bool | None = None
    security_opt: list[str] | None = None
    storage_opt: Labels = None
    tmpfs: Labels = None
    uts_mode: str | None = None
    userns_mode: str | None = None
    shm_size: int | None = None
    sysctls: Labels = None
    runtime: str | None = None
    isolation: str | None = None
    mounts: list[Mount] | None = None
    masked_paths: list[str] | None = None
    readonly_paths: list[str] | None = None
    init: bool | None = None


class Body(_Lenient):
    image: str | None = None
    hostname: str | None = None
    domainname: str | None = None
    user: str | None = None
    attach_stdin: bool | None = None
    attach_stdout: bool | None = None
    attach_stderr: bool | None = None
    exposed_ports: Set = None
    tty: bool | None = None
    open_stdin: bool | None = None
    stdin_once: bool | None = None
    env: list[str] | None = None
    cmd: Words = None
    entrypoint: Words = None
    healthcheck: Healthcheck | None = None
    args_escaped: bool | None = None
    volumes: Set = None
    working_dir: str | None = None
    network_disabled: bool | None = None
    mac_address: str | None = None
    on_build: list[str] | None = None
    labels: Labels = None
    stop_signal: str | None = None
    stop_timeout: int | None = None
    shell: list[str] | None = None
    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None


def words(given: Words) -> tuple[str, ...] | None:
    return (given,) if isinstance(given, str) else None if given is None else tuple(given)
