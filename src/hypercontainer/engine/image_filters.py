"""What images can be filtered by, as `docker images` has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from hypercontainer.engine import filters
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


def _readers(find: Find) -> Mapping[str, filters.Reader[Image]]:
    return {
        "dangling": filters.truth(lambda image: image.dangling),
        "label": filters.labels(lambda image: image.config.labels),
        "before": lambda value: _older(find(value)),
        "since": lambda value: _newer(find(value)),
        REFERENCE: lambda value: lambda image: True,  # `chosen` looks at each name
    }


def _older(than: Image) -> Question[Image]:
    return lambda image: image.created < than.created


def _newer(than: Image) -> Question[Image]:
    return lambda image: image.created > than.created


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
