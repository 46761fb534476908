"""Which pod a name means."""

from __future__ import annotations

from hypercontainer.client.api import RemoteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from hypercontainer.client.api import Client

    T = TypeVar("T")


def on_pod_of(client: Client, name: str, act: Callable[[str], T]) -> T:
    """Does ``act`` on the pod ``name``, or on that of the container ``name``."""
    try:
        return act(name)
    except RemoteError as error:
        if error.code != "not_found":
            raise
        try:
            pod = client.call("containers.inspect", name)["pod"]
        except RemoteError:
            raise error from None
    return act(str(pod))
