"""hyper images --tree: as Docker 28 draws it.

An image here is of one platform, and its manifest is its only branch.
"""

from __future__ import annotations

from hypercontainer.cli.units import decimal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

TITLES = ("IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA")
NUMBERS = (2, 3)  # of the columns, those that stand at the right
UNTAGGED = "<untagged>"
BRANCH = "└─ "
ID_DIGITS = 12
GAP = "   "


def tree(images: Sequence[dict[str, Any]]) -> str:
    """DISK USAGE is what an image takes unpacked and as it came, CONTENT SIZE the latter; U: a container uses it."""
    lines = [TITLES, *(line for image in images for line in _lines(image))]
    widths = [max(len(line[place]) for line in lines) for place in range(len(TITLES))]
    return "".join(f"{_aligned(line, widths)}\n" for line in lines)


def _lines(image: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    from hypercontainer.image.reference import parse

    *others, last = [parse(name).familiar() for name in image["references"]] or [UNTAGGED]
    for name in others:
        yield (name, *[""] * (len(TITLES) - 1))
    content = image["content_bytes"]
    used = "U" if image["containers"] else ""
    sizes = (decimal_size(image["size_bytes"] + content), decimal_size(content), used)
    yield (last, _short(image["id"]), *sizes)
    platform = "/".join(filter(None, (image["os"], image["architecture"], image["variant"])))
    yield (BRANCH + platform, _short(image["manifest_digest"]), *sizes)


def _short(digest: str) -> str:
    return digest.partition(":")[2][:ID_DIGITS]


def _aligned(line: tuple[str, ...], widths: Sequence[int]) -> str:
    cells = (
        cell.rjust(width) if place in NUMBERS else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    return GAP.join(cells).rstrip()
