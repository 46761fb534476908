"""An image as ``docker image inspect`` shows it."""

from __future__ import annotations

from hypercontainer.semantics.shape import DRIVER, NEVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def image(found: dict[str, Any]) -> dict[str, Any]:
    """``found``: an ``ImageInspect``."""
    document = found["config"]
    shown = {
        "Id": found["id"],
        "RepoTags": [reference for reference in map(_familiar, found["references"]) if "@" not in reference],
        "RepoDigests": [_familiar(digest) for digest in found["repo_digests"]],
        "Parent": "",
        "Comment": _text(document.get("comment")),
        "Created": found["created"],
        "Container": _text(document.get("container")),
        "ContainerConfig": _config(document.get("container_config")),
        "DockerVersion": _text(document.get("docker_version")),
        "Author": _text(document.get("author")),
        "Config": _config(document.get("config")),
        "Architecture": found["architecture"],
    }
    if found.get("artifact_type"):
        shown["ArtifactType"] = found["artifact_type"]
    if document.get("variant"):
        shown["Variant"] = document["variant"]
    return shown | {
        "Os": found["os"],
        "Size": found["size_bytes"],
        "VirtualSize": found["size_bytes"],
        "GraphDriver": {"Data": None, "Name": DRIVER},
        "RootFS": {
            "Type": "layers",
            "Layers": (document.get("rootfs") or {}).get("diff_ids", found["layers"]),
        },
        "Metadata": {"LastTagTime": found.get("tagged") or NEVER},
        "Descriptor": {"digest": found["manifest_digest"]},
    }


_EMPTY: dict[str, Any] = {
    "Hostname": "",
    "Domainname": "",
    "User": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "ExposedPorts": {},
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Env": None,
    "Cmd": None,
    "Healthcheck": {},
    "ArgsEscaped": False,
    "Image": "",
    "Volumes": None,
    "WorkingDir": "",
    "Entrypoint": None,
    "NetworkDisabled": False,
    "MacAddress": "",
    "OnBuild": None,
    "Labels": None,
    "StopSignal": "",
    "StopTimeout": 0,
    "Shell": [],
}
_LEFT_OUT = (
    *("ExposedPorts", "Healthcheck", "ArgsEscaped", "NetworkDisabled", "MacAddress"),
    *("StopSignal", "StopTimeout", "Shell"),
)


def _config(document: Any) -> dict[str, Any]:
    """With all fields that Docker has, and no other; those that it leaves out where they are empty it leaves out."""
    given = document if isinstance(document, dict) else {}
    whole = {name: empty if given.get(name) is None else given[name] for name, empty in _EMPTY.items()}
    return {name: value for name, value in whole.items() if value or name not in _LEFT_OUT}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _familiar(reference: str) -> str:
    from hypercontainer.image.reference import parse

    return parse(reference).familiar()
