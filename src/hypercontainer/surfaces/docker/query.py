"""A request's query as Docker's clients send it: true and false in a dozen spellings, filters in two shapes."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

import msgspec

from hypercontainer.errors import InvalidArgument

FIELDS_MAX = 1000
WITHOUT = "label!"
_FALSE = frozenset({"", "0", "no", "false", "none"})


class Query:
    """The first value of a name counts, as with Docker; names that nobody asks for are passed over."""

    def __init__(self, text: str) -> None:
        try:
            self._given = parse_qs(text, keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
        except ValueError as error:
            raise InvalidArgument(f"invalid query: {error}") from None

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def text(self, name: str, default: str = "") -> str:
        return self._given.get(name, [default])[0]

    def many(self, name: str) -> list[str]:
        return self._given.get(name, [])

    def flag(self, name: str, default: bool = False) -> bool:
        """Everything is true but a few words; the default where the name is not given."""
        return self.text(name).lower() not in _FALSE if name in self._given else default

    def number(self, name: str) -> int | None:
        """None where it is not given, or empty."""
        if not (text := self.text(name)):
            return None
        try:
            return int(text)
        except ValueError:
            raise InvalidArgument(
                f"invalid value {text[:80]!r} for {name}: a whole number is wanted"
            ) from None

    def filters(self, *, pruning: bool = False) -> dict[str, tuple[str, ...]]:
        """``{"label": {"a=b": true}}`` of Go's clients, ``{"label": ["a=b"]}`` of others.  ``pruning``: which alone
        knows those without a label."""
        if not (text := self.text("filters")):
            return {}
        try:
            given = msgspec.json.decode(text, type=dict[str, dict[str, bool] | list[str]])
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise InvalidArgument("invalid filter: a JSON object of lists is wanted") from None
        if WITHOUT in given and not pruning:
            raise InvalidArgument(f"invalid filter '{WITHOUT}'", hint="it is of prune")
        return {name: _values(values) for name, values in given.items()}


def _values(values: Mapping[str, bool] | list[str]) -> tuple[str, ...]:
    return (
        tuple(value for value, wanted in values.items() if wanted)
        if isinstance(values, Mapping)
        else tuple(values)
    )
