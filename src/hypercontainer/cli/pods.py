"""Where the calls for pods are, and which pod a name means."""

from __future__ import annotations

from hypercontainer.client.api import RemoteError
from hypercontainer.client.http import quote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from hypercontainer.client.api import Client

    T = TypeVar("T")


def pod_path(pod: str, verb: str = "") -> str:
    return f"/v1/pods/{quote(pod)}" + (f"/{verb}" if verb else "")


def on_pod_of(client: Client, name: str, act: Callable[[str], T]) -> T:
    """Does ``act`` on the pod ``name``, or on that of the container ``name``."""
    try:
        return act(name)
    except RemoteError as error:
        if error.code != "not_found":
            raise
        try:
            pod = client.get(f"/v1/containers/{quote(name)}")["pod"]
        except RemoteError:
            raise error from None
    return act(str(pod))
