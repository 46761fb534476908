"""Names that a container has for others and nobody else has: Docker's links, as name servers know them.  Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from hypercontainer.errors import InvalidArgument

_NAME: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}")


def links(given: Iterable[str]) -> dict[str, str]:
    """By the alias the container, in small letters."""
    made = {}
    for text in given:
        name, colon, alias = text.partition(":")
        alias = alias if colon else name
        if not _NAME.fullmatch(name) or not _NAME.fullmatch(alias):
            raise InvalidArgument(f"{text[:80]!r} is no link", field="links", takes="NAME:ALIAS")
        made[alias.lower()] = name.lower()
    return made
