"""What registries are asked beside pulls and pushes: whether they know somebody, and what they have."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from hypercontainer.contract.images import Described, SearchResult
from hypercontainer.image.cancel import Guard
from hypercontainer.image.credentials import Credentials
from hypercontainer.image.documents import Index, Manifest, WirePlatform, parse_config, parse_manifest
from hypercontainer.image.endpoints import Endpoint, origin
from hypercontainer.image.platforms import Platform
from hypercontainer.image.reference import DOCKER_HUB, normalize_registry, parse
from hypercontainer.image.registry import Repository, ServedManifest
from hypercontainer.image.transport import Transport

# Docker Hub's own, which is not where its images are.
_HUB_SEARCH = Endpoint("index.docker.io", ("https",))

Operation = Callable[[str, threading.Event | None], AbstractContextManager[Guard]]


class Inquiries:
    """The store's side of it; ``operation`` is the store's."""

    def __init__(self, transport: Transport, operation: Operation) -> None:
        self._transport, self._operation = transport, operation

    def check_credentials(
        self, registry: str, credentials: Credentials, *, cancelled: threading.Event | None = None
    ) -> str:
        """Log in: Unauthorized unless the registry takes ``credentials``.

        Returns the identity token to keep instead of the password, '' where the registry has none.
        """
        name = normalize_registry(registry)
        with self._operation(f"log in to {name}", cancelled) as guard:
            return self._repository(self._origin(name), "", credentials, guard).ping()

    def tags(
        self, name: str, credentials: Credentials | None, *, cancelled: threading.Event | None = None
    ) -> list[str]:
        """Of a repository; NotFound where the registry has none of this name."""
        wanted = parse(name)
        with self._operation(f"list the tags of {wanted.familiar_name()}", cancelled) as guard:
            place = self._origin(wanted.registry)
            return self._repository(place, wanted.repository, credentials, guard).tags()

    def describe(
        self, reference: str, credentials: Credentials | None, *, cancelled: threading.Event | None = None
    ) -> Described:
        """What the registry has under the reference; nothing of it is kept."""
        wanted = parse(reference)
        with self._operation(f"look up {wanted.familiar()}", cancelled) as guard:
            place = self._origin(wanted.registry)
            source = self._repository(place, wanted.repository, credentials, guard)
            served = source.manifest(wanted.digest or wanted.tag or "")
            what = f"manifest {served.digest} of {source}"
            document = parse_manifest(served.raw, served.content_type, what)
            if isinstance(document, Index):
                platforms = [x.platform for x in document.manifests if x.platform is not None]
            else:
                platforms = [] if document.artifact_type else [_platform_of(source, document)]
            return _described(served, document.media_type, platforms)

    def search(
        self,
        registry: str,
        term: str,
        limit: int,
        credentials: Credentials | None,
        *,
        cancelled: threading.Event | None = None,
    ) -> list[SearchResult]:
        """By the old protocol, which Docker Hub still speaks; NotFound where the registry does not."""
        name = normalize_registry(registry)
        place = _HUB_SEARCH if name == DOCKER_HUB else self._origin(name)
        with self._operation(f"search {name}", cancelled) as guard:
            return self._repository(place, "", credentials, guard).search(term, limit)

    def _origin(self, registry: str) -> Endpoint:
        return origin(registry, self._transport.config)

    def _repository(
        self, place: Endpoint, name: str, credentials: Credentials | None, guard: Guard
    ) -> Repository:
        return Repository(self._transport, place, name, credentials, guard)


def _platform_of(source: Repository, manifest: Manifest) -> WirePlatform:
    what = f"image config {manifest.config.digest} of {source}"
    found: Platform = parse_config(source.small_blob(manifest.config, what), what).platform
    return WirePlatform(found.architecture, found.os, found.variant)


def _described(served: ServedManifest, media_type: str, platforms: list[WirePlatform]) -> Described:
    said = (
        {"architecture": x.architecture, "os": x.os, **({"variant": x.variant} if x.variant else {})}
        for x in platforms
    )
    return Described(served.digest, media_type, len(served.raw), tuple(said))
