"""Image references: the grammar, Docker's short names, and how they are shown.

    reference   = [registry "/"] repository [":" tag] ["@" digest]
    registry    = host [":" port]        the first component, when it has a "." or ":" or is "localhost"
    repository  = component *("/" component)

A `Reference` is always complete: Docker Hub is spelled ``docker.io``, its one-component names are below
``library/``, and a reference with neither tag nor digest has the tag ``latest``.  This module imports next
to nothing: the command line uses it.  Source: the distribution project's reference grammar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from hypercontainer.errors import InvalidArgument

DOCKER_HUB = "docker.io"
DEFAULT_TAG = "latest"
MAX_NAME_CHARS = 255
_HUB_ALIASES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io"})

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_REGISTRY = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::(?P<port>[0-9]{{1,5}}))?")
_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Whether ``text`` is a digest of an algorithm that can be checked here: sha256 or sha512."""
    return _DIGEST.fullmatch(text) is not None


@dataclass(frozen=True)
class Reference:
    """A complete reference; at least one of ``tag`` and ``digest`` is there."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    @property
    def name(self) -> str:
        """Registry and repository: ``docker.io/library/debian``."""
        return f"{self.registry}/{self.repository}"

    @property
    def canonical(self) -> str:
        """The whole reference: ``docker.io/library/debian:12``."""
        return self.name + self._suffix()

    def familiar_name(self) -> str:
        """The name as people type it: ``debian``, ``user/app``, ``quay.io/app/app``."""
        if self.registry != DOCKER_HUB:
            return self.name
        short = self.repository.removeprefix("library/")
        for candidate in (short, self.repository):
            if _split_registry(candidate) == (DOCKER_HUB, self.repository):
                return candidate
        return self.name

    def familiar(self) -> str:
        """The reference as people type it: ``debian:12``."""
        return self.familiar_name() + self._suffix()

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    def __str__(self) -> str:
        return self.canonical


def parse(text: str) -> Reference:
    """The reference that ``text`` means; InvalidArgument names the part that is wrong."""
    if not text:
        raise InvalidArgument("image reference is empty", hint="give a name such as debian:12")
    if len(text) > MAX_NAME_CHARS + 300:
        raise _invalid(text[:60] + "...", "it is too long")
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise _invalid(text, f"the digest {digest!r} is neither sha256:<64 hex> nor sha512:<128 hex>")
    tag: str | None = None
    slash, colon = rest.rfind("/"), rest.rfind(":")
    if colon > slash:
        rest, tag = rest[:colon], rest[colon + 1 :]
        if not _TAG.fullmatch(tag):
            raise _invalid(text, f"the tag {tag!r} is not 1 to 128 of A-Z a-z 0-9 _ . - (not first . or -)")
    if not at and tag is None and _IDENTIFIER.fullmatch(rest):
        raise _invalid(text, "a name cannot be 64 hexadecimal digits, which is an image ID")
    registry, repository = _split_registry(rest)
    _check_registry(text, registry)
    _check_repository(text, registry, repository)
    if tag is None and not at:
        tag = DEFAULT_TAG
    return Reference(registry, repository, tag, digest or None)


def is_bare(text: str) -> bool:
    """Whether a reference says neither tag nor digest."""
    return "@" not in text and ":" not in text.rpartition("/")[2]


def api_host(registry: str) -> str:
    """The host that speaks the distribution protocol for ``registry``."""
    return "registry-1.docker.io" if registry == DOCKER_HUB else registry


def normalize_registry(text: str) -> str:
    """The registry that ``text`` means on a `login` line or in Docker's configuration (may be a URL)."""
    host = re.sub(r"\Ahttps?://", "", text).partition("/")[0]
    if not host or host in _HUB_ALIASES:
        return DOCKER_HUB
    _check_registry(text, host)
    return host


def _split_registry(name: str) -> tuple[str, str]:
    head, slash, tail = name.partition("/")
    if slash and ("." in head or ":" in head or head == "localhost" or head != head.lower()):
        registry, repository = head, tail
    else:
        registry, repository = DOCKER_HUB, name
    if registry in _HUB_ALIASES:
        registry = DOCKER_HUB
        if "/" not in repository:
            repository = f"library/{repository}"
    return registry, repository


def _check_registry(text: str, registry: str) -> None:
    match = _REGISTRY.fullmatch(registry)
    if match is None:
        raise _invalid(text, f"the registry {registry!r} is not HOST or HOST:PORT")
    if match["port"] is not None and not 0 < int(match["port"]) < 65536:
        raise _invalid(text, f"the registry's port {match['port']} is not between 1 and 65535")


def _check_repository(text: str, registry: str, repository: str) -> None:
    if len(registry) + 1 + len(repository) > MAX_NAME_CHARS:
        raise _invalid(text, f"the name is longer than {MAX_NAME_CHARS} characters")
    for component in repository.split("/"):
        if _COMPONENT.fullmatch(component):
            continue
        if not component:
            raise _invalid(text, "the repository name has an empty component")
        if component != component.lower():
            raise _invalid(text, f"the repository name must be lower case, {component!r} is not")
        raise _invalid(
            text, f"the name component {component!r} is not a-z 0-9, with single . _ __ or - inside"
        )


def _invalid(text: str, why: str) -> InvalidArgument:
    return InvalidArgument(
        f"image reference {text!r}: {why}", hint="the form is [REGISTRY/]NAME[:TAG][@DIGEST]"
    )
