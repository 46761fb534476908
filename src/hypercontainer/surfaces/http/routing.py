"""How a request finds its route, among those of any surface."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, Protocol, TypeVar
from urllib.parse import unquote

from hypercontainer.errors import HyperError, NotFound


class Routed(Protocol):
    """``segments`` of the path; ID stands for any one that is not empty."""

    @property
    def method(self) -> str: ...
    @property
    def segments(self) -> Sequence[str]: ...


R = TypeVar("R", bound=Routed)


class MethodNotAllowed(HyperError):
    code = "invalid_argument"
    status = 405

    def __init__(self, method: str, path: str, allowed: Sequence[str]) -> None:
        super().__init__(f"{path} takes {', '.join(allowed)}, not {method}")
        self.allowed = tuple(allowed)


class Router(Generic[R]):
    """``hint``: where all calls are listed."""

    def __init__(self, routes: Iterable[R], *, hint: str | None = None) -> None:
        self._hint = hint
        self._by_length: dict[int, list[tuple[Sequence[str], R]]] = {}
        for route in routes:
            pattern = route.segments
            self._by_length.setdefault(len(pattern), []).append((pattern, route))

    def find(self, method: str, target: str) -> tuple[R, str, str]:
        """(route, ID, query); raises NotFound and MethodNotAllowed."""
        path, _, query = target.partition("?")
        segments = [unquote(segment) for segment in path.split("/")]
        allowed = []
        for pattern, route in self._by_length.get(len(segments), ()):
            found, name = _match(pattern, segments)
            if found and route.method == method:
                return route, name, query
            if found:
                allowed.append(route.method)
        if allowed:
            raise MethodNotAllowed(method, path, sorted(set(allowed)))
        raise NotFound(f"no such call: {method} {path}", hint=self._hint)


def _match(pattern: Sequence[str], segments: Sequence[str]) -> tuple[bool, str]:
    name = ""
    for wanted, given in zip(pattern, segments, strict=True):
        if wanted == "ID":
            if not given:
                return False, ""
            name = given
        elif wanted != given:
            return False, ""
    return True, name
