"""Which pod a name means."""

from __future__ import annotations

from hypercontainer.client.api import RemoteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from hypercontainer.client.api import Client

    T = TypeVar("T")

_DIGITS = frozenset("0123456789abcdef")


def on_pod_of(client: Client, name: str, act: Callable[[str], T]) -> T:
    """Does ``act`` on the pod ``name``, or on that of the container ``name``."""
    if _DIGITS.issuperset(name) and (pod := _of_container_called(client, name)):
        return act(pod)
    try:
        return act(name)
    except RemoteError as error:
        if error.code != "not_found":
            raise
        container = _found(client, "containers.inspect", name)
        if container is None:
            raise
    return act(str(container["pod"]))


def _of_container_called(client: Client, name: str) -> str:
    """The pod of the container with exactly this name, where no pod has it: the beginning of a pod's ID is not meant
    then.  "" where there is none."""
    container = _found(client, "containers.inspect", name)
    if container is None or container["name"] != name:
        return ""
    pod = _found(client, "pods.inspect", name)
    return "" if pod is not None and pod["name"] == name else str(container["pod"])


def _found(client: Client, call: str, name: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.call(call, name)
    except RemoteError:
        return None
    return found
