"""What events can be filtered by, as `docker events` has it."""

from __future__ import annotations

from collections.abc import Mapping

from hypercontainer.contract.answers import Event
from hypercontainer.engine import filters
from hypercontainer.engine.filters import Question

# What something can happen to, here and with Docker; of some of Docker's nothing is here.
TYPES = (
    *("container", "image", "volume", "network", "daemon", "builder"),
    *("pod", "template", "policy"),
    *("plugin", "service", "node", "secret", "config"),
)
SCOPES = ("local", "swarm")


def _of(kind: str) -> filters.Reader[Event]:
    """Named by its ID or its name, or by the beginning of one."""

    def read(value: str) -> Question[Event]:
        return lambda event: (
            event.type == kind
            and (event.id.startswith(value) or event.attributes.get("name", "").startswith(value))
        )

    return read


def _image(value: str) -> Question[Event]:
    """Of the image, or of a container made from it; with or without the tag."""

    def ask(event: Event) -> bool:
        name = event.attributes.get("name" if event.type == "image" else "image", "")
        forms = {event.id, name} if event.type == "image" else {name}
        return value in forms or value in {form.rpartition(":")[0] for form in forms if form}

    return ask


READERS: Mapping[str, filters.Reader[Event]] = {
    "type": filters.one_of(TYPES, lambda event: (event.type,)),
    "event": filters.among(lambda event: (event.action, event.action.partition(":")[0])),
    **{kind: _of(kind) for kind in TYPES if kind not in ("image", "builder", "template", "policy")},
    "scope": filters.one_of(SCOPES, lambda event: ("local",)),
    "image": _image,
    "label": filters.labels(lambda event: event.attributes),
}
