"""Listings: a table, a line of JSON for each row, or the user's template.

A row maps Docker's field names (``ID``, ``Names``) to text; the same names are the table's columns.
"""

from __future__ import annotations

import sys

from hypercontainer.cli.labels import LabelTitle
from hypercontainer.cli.options import UsageError, flag, many, text
from hypercontainer.cli.session import visible
from hypercontainer.client.wirejson import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hypercontainer.cli.options import Values

Row = dict[str, str]

MIN_CELL, GAP = 10, 3  # of Docker's table writer

FORMAT = text("--format", "TEMPLATE", "'table', 'table TEMPLATE', 'json', or a Go template such as '{{.ID}}'")
NO_TRUNC = flag("--no-trunc", "show whole IDs, commands and digests")
FILTER = many("-f --filter", "NAME=VALUE", "list only what matches")
QUIET = flag("-q --quiet", "IDs only")


def unescape(source: str) -> str:
    r"""``\t`` and ``\n`` as typed in a shell's quotes."""
    return source.replace("\\t", "\t").replace("\\n", "\n")


def filters_of(values: Values, more: Mapping[str, Sequence[str]] | None = None) -> str:
    """The API's ``filters`` of a query, with ``more`` of them; "" where there are none."""
    found = chosen_by(values, more)
    if not found:
        return ""
    return dumps(found)


def chosen_by(values: Values, more: Mapping[str, Sequence[str]] | None = None) -> dict[str, list[str]]:
    """What --filter says, by name, with ``more``."""
    found = {name: list(items) for name, items in (more or {}).items()}
    for item in values.many("filter"):
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise UsageError(f"bad format of filter {item!r}", hint="--filter NAME=VALUE")
        found.setdefault(name.strip().lower(), []).append(value)
    return found


def short_id(identifier: str, values: Values) -> str:
    """Twelve digits, or all with --no-trunc (of a digest too)."""
    if values.given("no-trunc") and values.flag("no-trunc"):
        return identifier
    return identifier.removeprefix("sha256:")[:12]


def image_text(name: str, values: Values) -> str:
    """A container's image: one whose name has gone is called by its ID."""
    return short_id(name, values) if name.startswith("sha256:") else name


def ellipsis(text_: str, width: int) -> str:
    return text_ if len(text_) <= width else text_[: width - 1] + "…"


def table(lines: Sequence[Sequence[str]]) -> str:
    """Aligned as Docker aligns: cells of at least ten, three spaces apart, the last one as it is."""
    lines = [[visible(cell) for cell in cells] for cells in lines]
    widths: list[int] = []
    for cells in lines:
        for place, cell in enumerate(cells[:-1]):
            if place == len(widths):
                widths.append(MIN_CELL)
            widths[place] = max(widths[place], len(cell) + GAP)
    return "".join(
        ("".join(map(str.ljust, cells[:-1], widths)) + cells[-1]).rstrip() + "\n" for cells in lines if cells
    )


class Listing:
    """``headers``: every field and its column's title; ``columns``: those of the plain table."""

    def __init__(self, headers: Mapping[str, str], columns: Sequence[str]) -> None:
        self.headers = headers
        self.columns = columns

    def render(self, rows: Iterable[Row], form: str, *, only: str | None = None) -> str:
        """``form`` as given to --format; ``only``: the field that --quiet reduces rows to."""
        if only is not None:
            return "".join(f"{row[only]}\n" for row in rows)
        if form == "json":
            from hypercontainer.cli.template_functions import to_json

            return "".join(f"{to_json(row)}\n" for row in rows)
        if form in ("", "table"):
            lines = [[self.headers[name] for name in self.columns]]
            return table(lines + [[row[name] for name in self.columns] for row in rows])
        return self._by_template(rows, unescape(form))

    def _by_template(self, rows: Iterable[Row], form: str) -> str:
        from hypercontainer.cli.template import compile_template

        source = form.removeprefix("table").lstrip(" ") if form.startswith("table ") else form
        render: Callable[[Row], str] = compile_template(source, status=1)
        if source is form:
            return "".join(f"{render(row)}\n" for row in rows)
        lines = [render(row) for row in rows]
        lines.insert(0, render({**self.headers, "Labels": LabelTitle(self.headers.get("Labels", ""))}))
        return table([line.split("\t") for line in lines])

    def show(self, rows: Iterable[Row], values: Values, *, only: str | None = None) -> None:
        quiet = only if only is not None and values.flag("quiet") else None
        sys.stdout.write(self.render(rows, values.text("format"), only=quiet))
