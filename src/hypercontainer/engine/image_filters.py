"""What images can be filtered by, when they are listed and when those that nobody uses go, as Docker has it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from hypercontainer.contract.times import moment_ns
from hypercontainer.engine import filters, times
from hypercontainer.engine.expressions import glob
from hypercontainer.engine.filters import Filters, Question
from hypercontainer.errors import InvalidArgument
from hypercontainer.image.model import Image
from hypercontainer.image.reference import parse

REFERENCE = "reference"  # the one filter that also chooses among an image's names

Find = Callable[[str], Image]


def chosen(images: list[Image], wanted: Filters | None, find: Find) -> list[Image]:
    """With those of their names that were asked for.  ``find``: an image by its name or ID, NotFound."""
    patterns = [_pattern(value) for value in (wanted or {}).get(REFERENCE, ())]
    fits = filters.question("images", _readers(find), wanted)
    found = [image for image in images if fits(image)]
    if not patterns:
        return found
    return [named for image in found if (named := _named(image, patterns))]


def to_prune(wanted: Filters | None) -> Question[Image]:
    """Which of those that can go shall."""
    return filters.question("images that nobody uses", _MADE, wanted)


def _readers(find: Find) -> Mapping[str, filters.Reader[Image]]:
    named: dict[str, filters.Reader[Image]] = {
        "dangling": filters.truth(_dangling),
        "before": lambda value: _older(created_ns(find(value))),
        "since": lambda value: _newer(created_ns(find(value))),
        REFERENCE: lambda value: lambda image: True,  # `chosen` looks at each name
    }
    return _MADE | named


def _dangling(image: Image) -> bool:
    return image.dangling


def created_ns(image: Image) -> int:
    """0 where nobody has said."""
    try:
        return times.to_ns(image.created)
    except ValueError:
        return 0


def _older(than_ns: int) -> Question[Image]:
    return lambda image: created_ns(image) < than_ns


def _newer(than_ns: int) -> Question[Image]:
    return lambda image: created_ns(image) > than_ns


_MADE: dict[str, filters.Reader[Image]] = {
    "label": filters.labels(lambda image: image.config.labels),
    "label!": filters.without_labels(lambda image: image.config.labels),
    "until": lambda value: _older(moment_ns(value, time.time_ns())),
}


def _pattern(value: str) -> Callable[[str], bool]:
    """Whether a name is meant: with its tag or digest or without, as people type it or whole."""
    try:
        pattern = glob(value)
    except ValueError as error:
        raise InvalidArgument(f"filter {REFERENCE}: {value[:80]!r} {error}") from None

    def fits(name: str) -> bool:
        reference = parse(name)
        forms = (reference.familiar(), reference.familiar_name(), reference.canonical, reference.name)
        return any(map(pattern.found_in, forms))

    return fits


def _named(image: Image, patterns: list[Callable[[str], bool]]) -> Image | None:
    """With its names that fit alone; None where none does."""

    def fitting(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if any(fits(name) for fits in patterns))

    tags, digests = fitting(image.references), fitting(image.repo_digests)
    return replace(image, references=tags, repo_digests=digests) if tags or digests else None
