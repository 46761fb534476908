"""What containers can be filtered by, as `docker ps` has it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from hypercontainer.contract import ports
from hypercontainer.contract.answers import Port
from hypercontainer.contract.states import State
from hypercontainer.engine import filters, views
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.filters import Question
from hypercontainer.engine.state import ContainerRecord, PodRecord
from hypercontainer.errors import InvalidArgument
from hypercontainer.image.reference import parse

# States of Docker's that a container here is never in are no mistakes.
STATES = (*(state.value for state in State), "dead")
HEALTH = ("starting", "healthy", "unhealthy", "none")

Names = Mapping[str, str]  # an image's name, whole: its ID
Find = Callable[[str], Container]


def readers(names: Names, find: Find) -> Mapping[str, filters.Reader[Container]]:
    """``names``: of all images; ``find``: a container by its name or ID, NotFound."""
    return {
        "id": filters.beginning(lambda c: (c.id,)),
        "name": filters.expression(lambda c: (c.record.name, f"/{c.record.name}")),
        "label": filters.labels(lambda c: c.record.labels),
        "label!": filters.without_labels(lambda c: c.record.labels),
        "status": filters.one_of(STATES, lambda c: (c.record.state.value,)),
        "exited": filters.number(_exited),
        "ancestor": lambda value: _ancestor(value, names),
        "before": lambda value: _older(find(value)),
        "since": lambda value: _newer(find(value)),
        "volume": filters.among(_mounted),
        "publish": lambda value: _port(value, lambda port: port.host_port),
        "expose": lambda value: _port(value, lambda port: port.container_port),
        "network": lambda value: lambda c: _is_in(_pod(c), value),
        "health": filters.one_of(HEALTH, _health),
        "pod": lambda value: lambda c: _is_of_pod(c, value),
        "is-task": filters.truth(lambda c: False),  # there is no swarm
    }


PRUNED: Mapping[str, filters.Reader[Container]] = {
    "label": filters.labels(lambda c: c.record.labels),
    "label!": filters.without_labels(lambda c: c.record.labels),
    "until": filters.before(lambda c: c.record.created),
}


def order(container: Container) -> tuple[str, int]:
    """The older ones first."""
    return container.record.created, container.record.place


def image_name(record: ContainerRecord, names: Names) -> str:
    """What its image was asked for by, or the image's ID where that leads to another image by now, or to none."""
    if _begins(record.image_id, record.image) or _leads_to(record.image, names) == record.image_id:
        return record.image
    return record.image_id


def _leads_to(text: str, names: Names) -> str | None:
    return names.get(_whole_name(text))


@functools.lru_cache(maxsize=1024)
def _whole_name(text: str) -> str:
    """As `Names` have it; "" of what is no reference."""
    try:
        reference = parse(text)
    except InvalidArgument:
        return ""
    return f"{reference.name}@{reference.digest}" if reference.digest else reference.canonical


def _begins(image_id: str, text: str) -> bool:
    digits = text.removeprefix("sha256:")
    return bool(digits) and image_id.removeprefix("sha256:").startswith(digits)


def _ancestor(value: str, names: Names) -> Question[Container]:
    """A name, with or without its tag, or the beginning of an ID."""
    wanted = _leads_to(value, names)
    if wanted is not None:
        return lambda c: c.record.image_id == wanted
    return lambda c: _begins(c.record.image_id, value)


def _exited(container: Container) -> int | None:
    return container.record.exit_status if container.record.state is State.EXITED else None


def _older(than: Container) -> Question[Container]:
    return lambda c: order(c) < order(than)


def _newer(than: Container) -> Question[Container]:
    return lambda c: order(c) > order(than)


def _is_in(pod: PodRecord, network: str) -> bool:
    """By its name, its ID, or the beginning of that."""
    ids = [each.network_id for each in pod.attachments]
    return any(join.name == network for join in pod.networks) or any(
        identifier.startswith(network) for identifier in ids if identifier and network
    )


def _pod(container: Container) -> PodRecord:
    return container.sandbox.record.value


def _mounted(container: Container) -> set[str]:
    points = views.mount_points(container.record, _pod(container))
    return {text for point in points for text in (point.source, point.path)}


def _health(container: Container) -> tuple[str]:
    known = views.health(container.record)
    return ("none" if known is None else known.status,)


def _is_of_pod(container: Container, value: str) -> bool:
    """A container that is alone has no pod that anybody could name."""
    pod = _pod(container)
    return bool(pod.name) and (pod.name == value or pod.id.startswith(value))


def _port(value: str, number: Callable[[Port], int]) -> Question[Container]:
    """A port or a range, with or without a protocol; ``number``: which of a mapping's is asked for."""
    wanted = set(ports.exposed(value))
    return lambda c: any((number(port), port.protocol) in wanted for port in views.ports(c.record, _pod(c)))
