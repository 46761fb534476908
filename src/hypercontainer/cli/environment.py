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
    for line in text.splitlines():
        stripped = line.lstrip()
        if stripped and not stripped.startswith("#"):
            yield stripped


def _resolved(items: Sequence[str], environ: Mapping[str, str], what: str) -> Iterator[str]:
    for item in items:
        name, equals, _ = item.partition("=")
        if not name or any(letter.isspace() for letter in name):
            raise UsageError(f"invalid {what} {item!r}: a name has no space and is not empty")
        if equals:
            yield item
        elif name in environ:
            yield f"{name}={environ[name]}"


def environment(items: Sequence[str], files: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """``NAME=value`` for the API: files first, so that -e wins; a bare name that is not set here is left out."""
    wanted = [line for path in files for line in _lines(path, "environment file")]
    found: dict[str, str] = {}
    for pair in _resolved([*wanted, *items], environ, "environment variable"):
        name, _, value = pair.partition("=")
        found[name] = value
    return [f"{name}={value}" for name, value in found.items()]


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
