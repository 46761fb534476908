"""What a user asks for of a pod: one VM, its containers, what they share.

Podfiles, Kubernetes' manifests and the command line all become this; the engine knows no other form.  Wire form of
the native API and stored form, in one.  ``None`` means "not said", as in ``spec.py``.
"""

from __future__ import annotations

from msgspec import Struct, field

from hypercontainer.types.spec import ContainerSpec, PortMapping
from hypercontainer.types.volumes import Volume


class PodSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """Order counts: init containers run one after the other before the rest (``ContainerSpec.role``).

    The VM's: ``memory_bytes`` (None: room for what the containers may use, at least the configured default), ``cpus``,
    ``kernel`` and the like.  In a member's own specification ``memory_bytes`` and ``cpus`` are the limits of that
    container inside the VM, and what belongs to a pod as a whole (network, ports, dns, hostname, kernel, ...) is the
    pod's: a member that says it too is refused.
    """

    name: str | None = None
    containers: tuple[ContainerSpec, ...] = ()
    volumes: tuple[Volume, ...] = ()
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)

    # what they share
    hostname: str | None = None
    domainname: str = ""
    share_pids: bool = False
    shm_size_bytes: int = 64 * 1024 * 1024
    network: str = "user"  # or "none"
    ports: tuple[PortMapping, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()  # "name:address"
    mac_address: str | None = None
    sysctls: dict[str, str] = field(default_factory=dict)
    fs_group: int | None = None  # group of the pod's volumes, and of every process

    # the VM
    memory_bytes: int | None = None
    cpus: float | None = None
    disk_size_bytes: int | None = None  # of the disk with the containers' changes and the emptyDirs
    kernel: str | None = None
    initrd: str | None = None
    kernel_args: tuple[str, ...] = ()
    accelerator: str | None = None
    template: bool = True

    # life
    stop_timeout_s: int | None = None  # for all of it, in which hooks, signals and sidecars have their turn
    deadline_s: int | None = None  # after which it is stopped and has failed
    auto_remove: bool = False  # when its last container has ended for good
    manifest: str = ""  # the Kubernetes object it was made for, as JSON; "" of any other
