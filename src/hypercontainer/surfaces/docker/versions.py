"""Versions of the Engine API: which are served, how a path says one, and what of an answer each has."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from hypercontainer.errors import InvalidArgument

Version = tuple[int, int]

LEAST: Version = (1, 40)
NEWEST: Version = (1, 52)

_PREFIX = re.compile(r"/v([0-9]{1,4})\.([0-9]{1,4})(?=/)")


def words(version: Version) -> str:
    return f"{version[0]}.{version[1]}"


def split(path: str) -> tuple[Version, str]:
    """The version that a path begins with, and the rest; the newest where it says none.  InvalidArgument, in the words
    that clients look for, where it is not served."""
    match = _PREFIX.match(path)
    if match is None:
        return NEWEST, path
    version = (int(match[1]), int(match[2]))
    if version < LEAST:
        raise InvalidArgument(
            f"client version {words(version)} is too old. Minimum supported API version is {words(LEAST)}, "
            "please upgrade your client to a newer version"
        )
    if version > NEWEST:
        raise InvalidArgument(
            f"client version {words(version)} is too new. Maximum supported API version is {words(NEWEST)}"
        )
    return version, path[match.end() :]


@dataclass(frozen=True)
class Field:
    """Of an answer, which some versions do not have.  ``path``: names with dots, * for all of a map or a list;
    ``since``: the first version with it; ``until``: the first without it; ``empty``: that of its emptiness alone, of a
    field that is left out where it says nothing."""

    path: str
    since: Version = LEAST
    until: Version = (99, 0)
    empty: bool = False

    def is_of(self, version: Version) -> bool:
        return self.since <= version < self.until


# By kind of answer.  A handler makes it with all that any version has; what is here takes away what one has not.
FIELDS: dict[str, tuple[Field, ...]] = {}


def shaped(kind: str, answer: Any, version: Version) -> Any:
    """``answer``, which is changed, as ``version`` has it."""
    for field in FIELDS.get(kind, ()):
        if not field.is_of(version):
            _take_away(answer, field.path.split("."), empty=field.empty)
    return answer


def _take_away(at: Any, names: list[str], *, empty: bool) -> None:
    first, *rest = names
    if first == "*":
        for each in at.values() if isinstance(at, dict) else at if isinstance(at, list) else ():
            _take_away(each, rest, empty=empty)
    elif not isinstance(at, dict) or first not in at:
        return
    elif rest:
        _take_away(at[first], rest, empty=empty)
    elif not (empty and at[first]):
        del at[first]
