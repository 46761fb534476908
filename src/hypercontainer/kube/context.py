"""What the parts of one pod's translation know in common: the pod, the objects around it, the machine, and warnings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypercontainer.contract.spec import HOST_ADDRESS, POD_ADDRESS
from hypercontainer.errors import InvalidArgument
from hypercontainer.kube.objects import Object, Objects

if TYPE_CHECKING:
    from lightkube.models import core_v1


MAX_POD_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Node:
    """What a pod is told of the machine that it is on.  Addresses are known when the pod starts, and put in then.
    ``memory_bytes`` and ``cpus`` are what a container without a limit may use; None: it cannot ask."""

    name: str = "hyper"
    address: str = HOST_ADDRESS
    pod_address: str = POD_ADDRESS
    memory_bytes: int | None = None
    cpus: int | None = None


@dataclass
class Context:
    """``warnings`` grows, each once."""

    subject: str
    name: str  # the pod's
    uid: str
    model: core_v1.Pod
    node: Node
    sources: tuple[Objects, ...]  # the manifest's objects first
    warnings: dict[str, None] = field(default_factory=dict)
    spent: int = 0  # characters and bytes that references have brought in

    def at(self, path: str) -> str:
        return f"{self.subject}: {path}"

    def warn(self, path: str, problem: str) -> None:
        self.warnings[f"Pod/{self.name}: {path}: {problem}"] = None

    def spend(self, count: int, path: str) -> None:
        """A short manifest can refer to one long value very often."""
        self.spent += count
        if self.spent > MAX_POD_BYTES:
            raise InvalidArgument(f"{self.at(path)}: the pod's arguments, variables and files exceed 16 MiB")

    def object(self, kind: str, name: str) -> Object | None:
        found = (source.find(kind, name) for source in self.sources)
        return next((one for one in found if one is not None), None)

    def data(self, kind: str, name: str | None, optional: bool | None, where: str) -> dict[str, bytes]:
        """Of a ConfigMap or a Secret; an optional one that is not there is empty."""
        if not name:
            raise InvalidArgument(f"{where}: the name of a {kind} is missing")
        found = self.object(kind, name)
        if found is not None:
            return found.data
        if optional:
            return {}
        raise InvalidArgument(
            f"{where}: there is no {kind} {name[:253]!r}",
            hint="put it into the manifest, play it before, or say optional: true",
        )


def exactly_one(given: object, choices: Iterable[str], where: str) -> str:
    """The one of an object's attributes that is set."""
    names = list(choices)
    found = [name for name in names if getattr(given, name, None) is not None]
    if len(found) != 1:
        problem = f"{' and '.join(found)} exclude one another" if found else "says nothing"
        raise InvalidArgument(f"{where}: {problem}", hint=f"exactly one of {', '.join(names)}")
    return found[0]
