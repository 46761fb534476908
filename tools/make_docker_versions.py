"""Writes the table of versions of docs/docker-compat.md from the description of Docker's API
(src/hypercontainer/surfaces/docker/openapi).

usage: python tools/make_docker_versions.py [--check]
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from hypercontainer.surfaces.docker.openapi.notation import FOREVER, Field, Operation, source
from hypercontainer.surfaces.docker.versions import LEAST, NEWEST, Version, words

TARGET = Path(__file__).parents[1] / "docs/docker-compat.md"
BEGIN, END = "<!-- by tools/make_docker_versions.py -->", "<!-- end -->"

Change = tuple[str, str]  # what, of what


def table() -> str:
    lines = ["| version | new | gone | left out where it says nothing |", "| --- | --- | --- | --- |"]
    for minor in range(LEAST[1] + 1, NEWEST[1] + 1):
        version = (LEAST[0], minor)
        columns = (_since(version), _until(version), _optional(version))
        lines.append(f"| {words(version)} | {' | '.join(map(_told, columns))} |")
    return "\n".join(lines) + "\n"


def _told(changes: Iterable[Change]) -> str:
    """What several have in common is said once."""
    of: dict[str, list[str]] = {}
    for what, owner in changes:
        of.setdefault(owner, []).append(f"`{what}`")
    owners: dict[str, list[str]] = {}
    for owner, whats in of.items():
        owners.setdefault(", ".join(whats), []).append(owner)
    return "; ".join(f"{', '.join(names)}: {whats}" for whats, names in owners.items())


def _since(version: Version) -> Iterator[Change]:
    yield from ((each.name, kind) for kind, each in _fields() if each.span.since == version)
    for operation in source().operations.values():
        yield from (
            (f"?{each.name}", operation.name) for each in operation.query if each.span.since == version
        )
        for reply in operation.replies.values():
            yield from ((each.name, operation.name) for each in reply.media if each.span.since == version)


def _until(version: Version) -> Iterator[Change]:
    yield from ((each.name, kind) for kind, each in _fields() if each.span.until == version)
    for operation in source().operations.values():
        yield from (
            (f"?{each.name}", operation.name) for each in operation.query if each.span.until == version
        )


def _optional(version: Version) -> Iterator[Change]:
    yield from ((each.name, kind) for kind, each in _fields() if each.optional.since == version != FOREVER)


def _fields() -> Iterator[tuple[str, Field]]:
    """Of types that something is of: not of those that only lend their fields to others."""
    known = source()
    said = [each.type for fields in known.types.values() for each in fields.values()]
    said += [word for operation in known.operations.values() for word in _types_of(operation)]
    used = set(re.findall(r"\w+", " ".join(said)))
    for kind, fields in known.types.items():
        if kind in used:
            yield from ((kind, each) for each in fields.values())


def _types_of(operation: Operation) -> Iterator[str]:
    yield operation.body
    yield from (reply.type for reply in operation.replies.values())


def _whole(text: str) -> str:
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n{END}{after}"


def main() -> int:
    text = TARGET.read_text()
    wanted = _whole(text)
    if "--check" in sys.argv[1:]:
        return int(text != wanted)
    TARGET.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
