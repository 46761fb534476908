"""What the image store gives and takes: frozen values, no behaviour beyond small questions about themselves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hypercontainer.contract.probes import Healthcheck
from hypercontainer.image.platforms import Platform


@dataclass(frozen=True)
class RegistriesConfig:
    """How registries are reached.

    ``mirrors``: registry -> mirrors asked before it, in order, each ``[http[s]://]HOST[:PORT][/PREFIX]``.
    ``insecure``: ``HOST[:PORT]`` or a CIDR network whose certificates are not checked and where plain HTTP
    is taken; loopback always is.  ``ca``: ``HOST[:PORT]`` -> PEM file trusted beside the system's.
    ``certs_dir`` is laid out as Docker's: ``HOST[:PORT]/{*.crt,client.cert,client.key}``.
    """

    mirrors: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    insecure: frozenset[str] = frozenset()
    ca: Mapping[str, Path] = field(default_factory=dict)
    certs_dir: Path = Path("/etc/docker/certs.d")
    parallel_downloads: int = 3
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    header_timeout_s: float = (
        60.0  # from connecting to the end of an answer's header, the sending of a body aside
    )
    stall_window_s: float = 60.0  # a transfer slower than 1 KiB/s over this long is taken for stalled
    attempts: int = 5  # in a row without progress
    backoff_s: float = 0.5  # doubled each time, with jitter
    max_backoff_s: float = 60.0  # also bounds what Retry-After may ask for
    max_blob_bytes: int = 64 << 30
    max_archive_bytes: int = 256 << 30
    leftover_grace_s: float = 86_400.0  # how long blobs of an unfinished pull wait to be resumed
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)  # for the proxies


@dataclass(frozen=True)
class Progress:
    """``status``: waiting, downloading, verifying, extracting, uploading, mounted, exists or done; bytes."""

    layer: str
    status: str
    current: int
    total: int


@dataclass(frozen=True)
class Layer:
    """One layer as it is stored.  ``compression``: none, gzip, zstd, xz or bzip2, found in the bytes themselves.

    ``file_name``: of an artifact's layer that is a file and no archive, while it is taken in; "" where the layer stands
    for nothing."""

    digest: str
    diff_id: str
    media_type: str
    size_bytes: int
    compression: str
    file_name: str | None = None


@dataclass(frozen=True)
class ImageConfig:
    """The part of an image's configuration that says how to run it; None is "not given" for argument lists."""

    user: str = ""
    exposed_ports: tuple[str, ...] = ()  # "80/tcp"
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] | None = None
    on_build: tuple[str, ...] = ()
    raw: bytes = field(default=b"", repr=False)  # the whole document, exactly as its digest says


@dataclass(frozen=True)
class HistoryEntry:
    """One step of an image's making, newest first.  ``image`` is the ID for the newest, '' for others."""

    image: str
    created: str
    created_by: str
    comment: str
    size_bytes: int
    empty_layer: bool
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """An image in the store.

    ``references`` and ``repo_digests`` are canonical (``docker.io/library/debian:12``); ``created`` is RFC 3339
    or ''; ``size_bytes`` is what its layers' blobs take in the store.
    """

    id: str
    references: tuple[str, ...]
    repo_digests: tuple[str, ...]
    config: ImageConfig
    layers: tuple[Layer, ...]
    created: str
    size_bytes: int
    manifest_digest: str
    manifest_media_type: str
    manifest_bytes: int
    architecture: str
    os: str
    variant: str = ""
    author: str = ""
    artifact_type: str = ""  # of what is no container image
    # Why it cannot be used, of one that was stored when more was taken, or whose layers proved wrong: it can be removed
    fault: str = ""
    coming: bool = False  # it is used while its layers come
    tagged: str = ""  # when a reference last came to lead to it, RFC 3339; "": before that was written down

    @property
    def short_id(self) -> str:
        return self.id.partition(":")[2][:12]

    @property
    def platform(self) -> Platform:
        return Platform(self.os, self.architecture, self.variant)

    @property
    def dangling(self) -> bool:
        """No tag leads to it."""
        return not self.references


@dataclass(frozen=True)
class Verified:
    """A signature of ``digest`` that is as asked; ``requirement`` is a rule's (`signature.policy`), ``signer`` is for
    people."""

    requirement: str
    digest: str
    signer: str


@dataclass(frozen=True)
class Removed:
    """One line of `rmi`'s answer: exactly one of the two is set."""

    untagged: str = ""
    deleted: str = ""


@dataclass(frozen=True)
class PruneReport:
    """``removed``: of each image all that went, itself last."""

    removed: tuple[tuple[Removed, ...], ...]
    reclaimed_bytes: int


@dataclass(frozen=True)
class DiskUsage:
    """``reclaimable_bytes``: layers that no image refers to, and downloads that wait to be resumed."""

    images: int
    layers: int
    size_bytes: int
    reclaimable_bytes: int
