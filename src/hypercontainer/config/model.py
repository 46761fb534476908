"""The whole configuration, as frozen dataclasses.  Units stand in the names; None is "not said".

The defaults here are the product's; docs/configuration.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Defaults:
    """What a container gets that does not say otherwise.  ``dns``: (): the host's resolvers."""

    memory_bytes: int = 128 * MIB
    cpus: float = 1.0
    stop_timeout_s: int = 10
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()


@dataclass(frozen=True)
class Machine:
    """The VM and its hypervisor.  ``kernel``: a path or a name that `hyper kernel ls` shows.  VMs of a hyperd
    that is root run as uids from ``uid_base`` on."""

    kernel: str | None = None
    initrd: Path | None = None
    kernel_args: tuple[str, ...] = ()
    accelerator: str = "auto"  # auto, kvm, tcg
    qemu: str = "qemu-system-x86_64"  # a path, or a name to find in PATH
    boot_timeout_s: int = 60
    uid_base: int = 500_000
    uid_count: int = 65_536


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
class Layers:
    """What a layer may at most hold: its uncompressed tar, its entries, its disk image's apparent size."""

    max_bytes: int = 64 * GIB
    max_entries: int = 1_000_000
    max_image_bytes: int = 1024 * GIB


@dataclass(frozen=True)
class Config:
    """``address`` is the socket's path.  ``group`` may use root's socket, if there is such a group.  ``file``
    is the configuration file that was read, None if there was none."""

    root: Path
    run: Path
    address: Path
    cache: Path
    file: Path | None = None
    group: str = "hyper"
    defaults: Defaults = Defaults()
    machine: Machine = Machine()
    logging: Logging = Logging()
    registries: Registries = Registries()
    layers: Layers = Layers()

    @property
    def host(self) -> str:
        return f"unix://{self.address}"
