"""Environment variables and labels as they are typed and as files have them."""

from __future__ import annotations

from hypercontainer.cli.options import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAX_FILE_BYTES = 4 * 1024 * 1024


def _lines(path: str, what: str) -> Iterator[str]:
    """Lines that say something: not empty, not a comment; leading space does not count."""
    with open(path, "rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{what} {path}: more than {MAX_FILE_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{what} {path}: not UTF-8: {error.reason} at byte {error.start}") from None
    for line in text.split(
        "\n"
    ):  # alone, or behind a carriage return: whatever else is in a line is a value's
        stripped = line.removesuffix("\r").lstrip()
        if stripped and not stripped.startswith("#"):
            name = stripped.partition("=")[0]
            if not name or any(letter.isspace() for letter in name):
                raise UsageError(f"{what} {path}: {stripped[:60]!r}: a name has no space and is not empty")
            yield stripped


def environment(items: Sequence[str], files: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """``NAME=value`` for the API, or ``NAME``, which takes the image's away: a bare -e that is not set here.  Files
    first, so that -e wins; in them, a bare name that is not set here says nothing."""
    found: dict[str, str] = {}
    wanted = [(line, False) for path in files for line in _lines(path, "environment file")]
    for item, removes in (*wanted, *((item, True) for item in items)):
        name, equals, _ = item.partition("=")
        if not name:
            raise UsageError(f"invalid environment variable {item!r}: its name is empty")
        if equals:
            found[name] = item
        elif name in environ:
            found[name] = f"{name}={environ[name]}"
        elif removes:
            found[name] = name
    return list(found.values())


def pairs(items: Sequence[str], files: Sequence[str] = (), *, what: str = "label") -> dict[str, str]:
    """Labels and their like; one without a value is empty."""
    wanted = [line for path in files for line in _lines(path, f"{what} file")]
    found = {}
    for item in [*wanted, *items]:
        name, _, value = item.partition("=")
        if not name:
            raise UsageError(f"invalid {what} {item!r}: no name")
        found[name] = value
    return found
