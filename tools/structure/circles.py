"""Modules that import one another in a circle, and so cannot be read, tested or changed one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from structure.house import House

Graph = dict[str, set[str]]


def findings(house: House) -> Iterator[str]:
    graph = {
        name: {target for _, target in house.imports(module)} - {name}
        for name, module in house.modules.items()
    }
    for members in _circles(graph):
        path = house.modules[members[0]].path
        rest = ", ".join(sorted(_short(name) for name in members))
        way = " -> ".join(_short(name) for name in _way_round(graph, members[0]))
        yield f"{path}: a circle of {len(members)} modules ({way}): {rest}"


def _short(name: str) -> str:
    return name.partition(".")[2] or name


def _circles(graph: Graph) -> Iterator[list[str]]:
    """Groups of more than one, each of whose members reaches all others."""
    reach = {name: _reached(graph, name) for name in graph}
    told: set[str] = set()
    for name in sorted(graph):
        if name in told or name not in reach[name]:
            continue
        members = sorted(other for other in reach[name] if name in reach[other])
        told.update(members)
        yield members


def _reached(graph: Graph, start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        for name in graph[waiting.pop()] - found:
            found.add(name)
            waiting.append(name)
    return found


def _way_round(graph: Graph, start: str) -> list[str]:
    """The shortest way from ``start`` back to it."""
    ways = deque([[start]])
    while True:
        way = ways.popleft()
        for name in sorted(graph[way[-1]]):
            if name == start:
                return [*way, start]
            if name not in way:
                ways.append([*way, name])
