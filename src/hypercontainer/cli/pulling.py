"""Images that a command needs and that may have to be fetched first, with the user's credentials."""

from __future__ import annotations

from hypercontainer.cli.progress import Display, follow
from hypercontainer.cli.session import tell
from hypercontainer.client.api import Client, RemoteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    T = TypeVar("T")


def credentials_for(reference: str) -> dict[str, str] | None:
    """The user's credentials for the registry of ``reference``, as the API takes them."""
    from hypercontainer.image.credentials import lookup
    from hypercontainer.image.reference import parse

    return as_json(lookup(parse(reference).registry))


def as_json(credentials: Any) -> dict[str, str] | None:
    if credentials is None:
        return None
    names = ("username", "password", "identity_token", "registry_token")
    return {name: getattr(credentials, name) for name in names}


def pull(
    client: Client,
    reference: str,
    *,
    platform: str | None,
    quiet: bool,
    artifacts: bool = True,
    whole: bool = False,
) -> dict[str, Any]:
    """The image, to be used at once; ``whole``: when all of it is here.  ``artifacts`` False: it is to be a
    container's."""
    body: dict[str, Any] = {"reference": reference, "whole": whole} | (
        {} if artifacts else {"artifacts": False}
    )
    if platform:
        body["platform"] = platform
    if credentials := credentials_for(reference):
        body["credentials"] = credentials
    found = follow(client.lines("images.pull", body=body), Display(quiet=quiet))
    assert isinstance(found, dict)
    return found


def with_image(client: Client, spec: dict[str, Any], *, quiet: bool, act: Callable[[dict[str, Any]], T]) -> T:
    """Does ``act(spec)``, with the image fetched before (``pull`` always) or after hyperd said that it has none.

    hyperd itself is told never to pull: so credentials are looked for only when something is fetched.
    """
    policy = spec.get("pull", "missing")
    local = {**with_volumes(client, spec, quiet=quiet), "pull": "never"}
    if policy != "always":
        try:
            return act(local)
        except RemoteError as error:
            if policy == "never" or error.code != "not_found":
                raise
            if is_there(client, spec["image"], spec.get("platform")):
                raise
        tell(f"Unable to find image {spec['image']!r} locally")
    pull(client, spec["image"], platform=spec.get("platform"), quiet=quiet, artifacts=False)
    return act(local)


def with_volumes(client: Client, spec: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    """``spec``, of a container or a pod, with the images fetched that are volumes of it."""
    if not spec.get("volumes"):
        return spec
    return {**spec, "volumes": [_with_image(client, volume, quiet=quiet) for volume in spec["volumes"]]}


def _with_image(client: Client, volume: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    source = volume["source"]
    policy = source.get("pull", "missing")
    if source["kind"] != "image" or policy == "never":
        return volume
    reference = source["reference"]
    missing = policy == "missing" and not is_there(client, reference, None)
    if missing:
        tell(f"Unable to find image {reference!r} locally")
    if missing or policy == "always":
        pull(client, reference, platform=None, quiet=quiet)
    return {**volume, "source": {**source, "pull": "never"}}


def is_there(client: Client, image: str, platform: str | None) -> bool:
    """Of a certain platform nobody knows."""
    if platform:
        return False
    try:
        client.call("images.inspect", query={"ref": image})
    except RemoteError as error:
        return error.code != "not_found"
    return True
