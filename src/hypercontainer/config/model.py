"""The whole configuration, as frozen dataclasses.  Units stand in the names; None is "not said".

The defaults here are the product's; docs/configuration.md lists them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

MIB = 1 << 20
GIB = 1 << 30

LEAST_MEMORY_BYTES, MOST_MEMORY_BYTES = 128 * MIB, 512 * MIB


def usual_memory_bytes(host_bytes: int) -> int:
    """Of a container on a machine with so much: a seventh, as a power of two (of nominally 2 or 4 GiB a machine has a
    little less).  Beyond the most, what a guest has read would stay in memory that others could use."""
    usual = LEAST_MEMORY_BYTES
    while usual < MOST_MEMORY_BYTES and 2 * usual * 7 <= host_bytes:
        usual *= 2
    return usual


def _host_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@dataclass(frozen=True)
class Defaults:
    """What a container gets that does not say otherwise.  ``dns``: (): the host's resolvers."""

    memory_bytes: int = field(default_factory=lambda: usual_memory_bytes(_host_bytes()))
    cpus: float = 1.0
    stop_timeout_s: int = 10
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machine:
    """The VM and its hypervisor.  ``kernel``: a path or the name of one that hyperd has.  VMs of a hyperd
    that is root run as uids from ``uid_base`` on.  ``disk_full``: whether a guest that writes where the host has no
    room stands still until there is some ("pause"), or is told of it ("error")."""

    kernel: str | None = None
    initrd: Path | None = None
    kernel_args: tuple[str, ...] = ()
    hypervisor: str = "auto"  # or a driver's name
    accelerator: str = "auto"  # auto, kvm, hvf, tcg
    qemu: str = "qemu-system-x86_64"  # a path, or a name to find in PATH
    boot_timeout_s: int = 60
    disk_full: str = "pause"  # pause, error
    uid_base: int = 500_000
    uid_count: int = 65_536


@dataclass(frozen=True)
class Uml:
    """User Mode Linux.  ``mode``: by what its kernel hears of the calls of a guest's processes."""

    mode: str = "seccomp"  # seccomp, ptrace


@dataclass(frozen=True)
class Networks:
    """``default``: what a pod is connected to that says nothing: "bridge", a network of all such pods; "user", one of
    its own; "auto": bridge, where hyperd can make networks; "none".

    ``cni_conf_dir``: where configurations of CNI are; ``cni_plugin_dirs``: where their plugins are looked for;
    ``cni_gc``: nobody else uses these, and what is no pod's of this hyperd's goes when it begins."""

    default: str = "auto"
    cni_conf_dir: Path = Path("/etc/cni/net.d")
    cni_plugin_dirs: tuple[Path, ...] = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))
    cni_gc: bool = False


@dataclass(frozen=True)
class Logging:
    """Of containers; ``level`` is hyperd's own."""

    level: str = "info"
    driver: str = "file"
    max_size_bytes: int = 20 * MIB
    max_files: int = 5


@dataclass(frozen=True)
class Registries:
    """``mirrors``: registry -> the URLs that are asked before it.  ``insecure``: host:port that may speak plain
    HTTP or show a certificate nobody signed.  ``ca``: registry -> a file of certificates to trust for it."""

    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    insecure: tuple[str, ...] = ()
    ca: Mapping[str, Path] = field(default_factory=dict)
    parallel_downloads: int = 4


@dataclass(frozen=True)
class ImageRule:
    """What images need whose repository ``match`` fits: complete, or with ``*`` for all below it, or for all there are.

    ``require``: "none"; "refuse", there are none to be had; "key", a signature by one of ``keys``, files of PEM;
    "keyless", one by one of ``identities``, of ``issuer``, as the file ``trusted_root`` lets believe.  With a
    ``trusted_root`` the signature of a key must be in a transparency log, too."""

    match: str
    require: str
    keys: tuple[Path, ...] = ()
    identities: tuple[str, ...] = ()
    issuer: str = ""
    trusted_root: Path | None = None


@dataclass(frozen=True)
class Images:
    """``policy``: the first rule that fits counts.  ``lazy``: "auto" or "off"; whether an image is used before its
    layers are here, where so much of it is missing.  ``lazy_wait_s``: how long a guest waits for what does not come.
    ``verity``: whether guests check what they read of images' disks: "auto", if their kernel can; "required"; "off"."""

    policy: tuple[ImageRule, ...] = ()
    lazy: str = "auto"
    lazy_min_bytes: int = 64 << 20
    lazy_wait_s: int = 60
    verity: str = "off"


@dataclass(frozen=True)
class Layers:
    """What a layer may at most hold: its uncompressed tar, its entries, its disk image's apparent size."""

    max_bytes: int = 64 * GIB
    max_entries: int = 1_000_000
    max_image_bytes: int = 1024 * GIB


def _builder_memory_bytes() -> int:
    """A quarter of the machine's, from 1 to 4 GiB: a VM takes of it what its guest uses."""
    return min(4 * GIB, max(GIB, _host_bytes() // 4))


@dataclass(frozen=True)
class Build:
    """The builder: an image with dockerd, docker and buildx.  It is stopped when nobody has built for ``idle_s``."""

    image: str = "docker.io/library/docker:28-dind"
    memory_bytes: int = field(default_factory=_builder_memory_bytes)
    cpus: float | None = None  # None: as for any container
    cache_size_bytes: int = 64 * GIB
    idle_s: int = 600


@dataclass(frozen=True)
class Volumes:
    """``kind``: of a named volume that is made where nobody says it: "disk" or "shared"."""

    kind: str = "disk"


@dataclass(frozen=True)
class Tls:
    """``ca``: a file of who may sign clients' certificates; ``certificate`` and ``key``: hyperd's own.  ``roles``: what
    the names in a client's certificate may do: "read", "operate", "admin"; "*" is any name."""

    ca: Path
    certificate: Path
    key: Path
    roles: Mapping[str, Literal["read", "operate", "admin"]]


@dataclass(frozen=True)
class Docker:
    """Docker's API.  ``socket``: where it is served; None: docker.sock in the run directory.  ``tcp``: HOST and PORT
    where it is also served, with ``tls``, without which it is not."""

    serve: bool = True
    socket: Path | None = None
    tcp: tuple[str, int] | None = None
    tls: Tls | None = None


@dataclass(frozen=True)
class RbdCluster:
    """A cluster of Ceph, of which pods may have images as disks.  ``monitors``: each HOST, or HOST:PORT.
    ``keyring``: a file with the key of ``user``, as Ceph writes it, read each time a VM is started."""

    monitors: tuple[str, ...]
    user: str
    keyring: Path


@dataclass(frozen=True)
class SizePolicy:
    """What is done otherwise for VMs of one size; None: as for the others."""

    cpus: int
    memory_bytes: int
    template: bool | None = None
    cache: int | None = None

    def fits(self, memory_bytes: int, cpus: int) -> bool:
        """A VM's memory is whole MiB, rounded up."""
        return cpus == self.cpus and _mib(memory_bytes) == _mib(self.memory_bytes)


@dataclass(frozen=True)
class Policy:
    """For VMs of one size: whether they are cloned from a template, and how many clones are kept ready."""

    template: bool
    cache: int


@dataclass(frozen=True)
class Factory:
    """How VMs come to be.  ``idle_s``: a size that was not used for so long has none ready, 0: it keeps them.
    ``memory_percent``: of the host's available memory, what stands ready may take.  ``sizes``: no two
    fit the same VM."""

    template: bool = True
    cache: int = 2
    idle_s: int = 300
    memory_percent: int = 10
    sizes: tuple[SizePolicy, ...] = ()

    def policy(self, memory_bytes: int, vcpus: int) -> Policy:
        template, cache = self.template, self.cache
        for size in self.sizes:
            if size.fits(memory_bytes, vcpus):
                template = template if size.template is None else size.template
                cache = cache if size.cache is None else size.cache
        return Policy(template, cache if template else 0)


def _mib(memory_bytes: int) -> int:
    return -(-memory_bytes // MIB)


Setting = str | int | float | bool | tuple[str, ...]


@dataclass(frozen=True)
class Config:
    """``address`` is the socket's path.  ``group`` may use root's socket, if there is such a group.  ``file``
    is the configuration file that was read, None if there was none.  ``hypervisors``: by the name of a driver what it
    is to know, which it judges itself."""

    root: Path
    run: Path
    address: Path
    cache: Path
    file: Path | None = None
    group: str = "hyper"
    defaults: Defaults = Defaults()
    machine: Machine = Machine()
    uml: Uml = Uml()
    factory: Factory = Factory()
    network: Networks = Networks()
    logging: Logging = Logging()
    registries: Registries = Registries()
    images: Images = Images()
    layers: Layers = Layers()
    build: Build = Build()
    volumes: Volumes = Volumes()
    docker: Docker = Docker()
    rbd: Mapping[str, RbdCluster] = field(default_factory=dict)
    hypervisors: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)

    @property
    def host(self) -> str:
        return f"unix://{self.address}"

    @property
    def docker_socket(self) -> Path | None:
        """None: Docker's API is not served."""
        return (self.docker.socket or self.run / "docker.sock") if self.docker.serve else None
