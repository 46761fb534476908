"""What the query of a build asks for, in the engine's words (contract/builds.py)."""

from __future__ import annotations

from typing import Any

import msgspec

from hypercontainer.contract.builds import BuildSpec
from hypercontainer.contract.calls import CredentialsBody
from hypercontainer.contract.reading import refused
from hypercontainer.errors import InvalidArgument, NotSupported
from hypercontainer.image.reference import DOCKER_HUB
from hypercontainer.surfaces.docker.call import Call
from hypercontainer.surfaces.docker.names import platform_of
from hypercontainer.surfaces.docker.query import Query
from hypercontainer.surfaces.docker.registry_auth import AuthConfig, decoded

CONFIG_HEADER = "X-Registry-Config"
HUB_HOSTS = ("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io")
NETWORKS = {"": "", "default": "", "bridge": "", "host": "host", "none": "none"}


class _Ulimit(msgspec.Struct):
    Name: str
    Hard: int
    Soft: int


def wanted(query: Query) -> BuildSpec:
    """InvalidArgument, NotSupported."""
    if query.text("remote") == "client-session":
        raise NotSupported(
            "a build whose files are those of a session is taken by BuildKit's gRPC alone, as buildx has it"
        )
    if query.flag("squash"):
        raise NotSupported("layers are not squashed; a stage that copies what another has made does it")
    network = query.text("networkmode")
    if network not in NETWORKS:
        raise NotSupported(f"networkmode={network[:80]}: a build has the builder's network, or none")
    said: dict[str, Any] = {
        "dockerfile_path": query.text("dockerfile"),
        "remote": query.text("remote"),
        "tags": [each for each in query.many("t") if each],
        "target": query.text("target"),
        "args": _table(query, "buildargs"),
        "labels": _table(query, "labels"),
        "platform": platform_of(query.text("platform")),
        "no_cache": query.flag("nocache"),
        "pull": query.flag("pull"),
        "network": NETWORKS[network],
        "extra_hosts": [host for each in query.many("extrahosts") for host in each.split(",") if host],
        "shm_size_bytes": query.number("shmsize") or None,
        "ulimits": [
            f"{each.Name}={each.Soft}:{each.Hard}"
            for each in _json(query, "ulimits", list[_Ulimit] | None) or ()
        ],
        "progress": "rawjson",
    }
    try:
        return msgspec.convert(said, BuildSpec)
    except msgspec.ValidationError as error:
        raise refused(error, BuildSpec, of="query") from None


def credentials(call: Call) -> dict[str, CredentialsBody | None]:
    """By registry, as images have it in their names."""
    said = decoded(call.header(CONFIG_HEADER), CONFIG_HEADER, dict[str, AuthConfig])
    return {
        DOCKER_HUB if host in HUB_HOSTS else host: auth.credentials() for host, auth in (said or {}).items()
    }


def _table(query: Query, name: str) -> dict[str, str]:
    """A name without a value is one that the client's environment has none of."""
    said = _json(query, name, dict[str, str | None] | None) or {}
    return {key: value for key, value in said.items() if value is not None}


def _json(query: Query, name: str, kind: Any) -> Any:
    if not (text := query.text(name)):
        return None
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise InvalidArgument(f"{name}: it is no JSON of what is wanted") from None
