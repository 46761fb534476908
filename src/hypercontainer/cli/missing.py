"""Docker's commands that this release has not, each with what does the same.

Loaded only where a command is unknown.  A first word alone stands for all of its family.
"""

from __future__ import annotations

_BUILD = ("one builder is there, which needs no care", "`hyper build -t NAME .`")
_COMPOSE = (
    "Docker's own does it",
    "`docker compose`, which `hyper context use` leads here; `hyper play` takes a Kubernetes manifest",
)
_SWARM = ("there is no swarm", "`hyper play` runs the Deployments and Services of a manifest on this machine")
_PLUGINS = ("there are no plugins", "volumes, networks and logs are hyperd's own: docs/configuration.md")
_REGISTRY = ("registries are asked by other programs for that", "`skopeo inspect` and `skopeo copy`")

MISSING: dict[str, tuple[str, str]] = {
    "app": _COMPOSE,
    "builder": _BUILD,
    "buildx": _BUILD,
    "bake": _BUILD,
    "checkpoint": ("a container is not written down while it runs", "`hyper pause` lets it stand still"),
    "compose": _COMPOSE,
    "config": _SWARM,
    **{
        f"context {verb}": ("contexts are Docker's own", f"`docker context {verb}`")
        for verb in ("export", "import", "inspect", "ls", "update")
    },
    "manifest": _REGISTRY,
    "node": _SWARM,
    "plugin": _PLUGINS,
    "sbom": _REGISTRY,
    "scout": _REGISTRY,
    "search": ("registries are not searched", "Docker Hub's pages do: https://hub.docker.com/search"),
    "secret": _SWARM,
    "service": _SWARM,
    "stack": _SWARM,
    "swarm": _SWARM,
    "trust": (
        "signatures are not looked at",
        "a name with a digest (NAME@sha256:...) is that image and no other",
    ),
    "update": (
        "a virtual machine keeps the size that it was made with",
        "`hyper rm` and `hyper run` with other limits",
    ),
    "volume update": _SWARM,
}
FAMILIES = {"container": "update", "system": "dial-stdio"}
MISSING["system dial-stdio"] = (
    "hyperd is reached by its socket alone",
    "`ssh -L` forwards a socket: docs/api.md",
)

# What is no command of anybody's, but is typed for one.
MEANT = {
    "list": "hyper ps lists containers, hyper pod ls pods",
    "ls": "hyper ps lists containers, hyper pod ls pods",
}


def why(words: list[str]) -> tuple[str, str, str] | None:
    """(the command, why it is not there, what does the same) of a command line that begins with ``words``."""
    first, second = words[0], words[1] if len(words) > 1 else ""
    if f"{first} {second}" in MISSING:
        return (f"{first} {second}", *MISSING[f"{first} {second}"])
    if first in MISSING:
        return (first, *MISSING[first])
    if second in FAMILIES.get(first, "").split():
        return (f"{first} {second}", *MISSING[second])
    return None
