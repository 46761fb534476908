"""Which package may import which, and inside some of them which room which."""

from __future__ import annotations

from collections.abc import Iterator

from structure.house import PACKAGE, House, Module, inside, room_of
from structure.tables import ALLOWED, EVERYBODYS, STOREYS


def findings(house: House) -> Iterator[str]:
    for module in house.modules.values():
        if module.name != PACKAGE:
            yield from _between_packages(house, module)
        if module.room in STOREYS:
            yield from _between_rooms(house, module)


def _between_packages(house: House, module: Module) -> Iterator[str]:
    own = module.room
    if own not in ALLOWED:
        yield f"{module.path}: package {own!r} has no row in the import table"
        return
    allowed = ALLOWED[own] | {own} | (frozenset() if own in EVERYBODYS else EVERYBODYS)
    for node, target in house.imports(module):
        other = room_of(target, PACKAGE)
        if other not in allowed:
            yield f"{module.at(node)}: {own} may not import {other}"


def _between_rooms(house: House, module: Module) -> Iterator[str]:
    package = f"{PACKAGE}.{module.room}"
    storeys = {
        part: (height, room)
        for height, rooms in enumerate(STOREYS[module.room])
        for room in rooms
        for part in room.split()
    }
    own = room_of(module.name, package)
    if own not in storeys:
        yield f"{module.path}: {own!r} has no row in the storeys of {module.room}"
        return
    for node, target in house.imports(module):
        other = room_of(target, package)
        if not inside(target, package) or other not in storeys:
            continue
        if storeys[other] != storeys[own] and storeys[other][0] >= storeys[own][0]:
            yield f"{module.at(node)}: {module.room}'s {own} may not import {other}"
