"""Which images a Dockerfile names, so that those that are here can be given to the builder.

Not a parser of Dockerfiles, which the builder is: what cannot be told from the text is left to it.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_HEREDOC = re.compile(r"<<(-?)\s*([\"']?)([A-Za-z_][A-Za-z0-9_.]*)\2")
_DIRECTIVE = re.compile(r"#\s*([A-Za-z]+)\s*=\s*(\S+)\s*")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-+])([^}]*))?\})")
_FROM_OF_MOUNT = re.compile(r"--mount=\S*?\bfrom=([^,\s]+)")
_FROM_OF_COPY = re.compile(r"--from=(\S+)")
_HEREDOC_TAKERS = frozenset({"RUN", "COPY", "ADD"})


def images(text: str, args: Mapping[str, str]) -> list[str]:
    """Names of images and what may be some, each once; ``args`` as the build has them."""
    values: dict[str, str] = {}
    stages: set[str] = set()
    found: dict[str, None] = {}
    for word, rest in _instructions(text):
        if word == "ARG" and not stages:
            for each in rest.split():
                name, _, default = each.partition("=")
                values[name] = args.get(name, _expanded(default.strip("\"'"), values) or "")
        elif word == "FROM":
            words = [each for each in rest.split() if not each.startswith("--")]
            if not words:
                continue
            base = _expanded(words[0], values)
            if base and base.lower() not in {*stages, "scratch"}:
                found[base] = None
            stages.add(words[2].lower() if len(words) > 2 and words[1].lower() == "as" else "")
        else:
            pattern = _FROM_OF_MOUNT if word == "RUN" else _FROM_OF_COPY
            for said in pattern.findall(rest) if word in _HEREDOC_TAKERS else ():
                source = _expanded(said.strip("\"'"), values)
                if source and source.lower() not in stages and not source.isdigit():
                    found[source] = None
    return list(found)


def _expanded(word: str, values: Mapping[str, str]) -> str | None:
    """None where something in it is not known."""

    def value(match: re.Match[str]) -> str:
        known = values.get(match[1] or match[2])
        if match[3] in ("-", ":-"):
            return known or match[4]
        if match[3] in ("+", ":+"):
            return match[4] if known else ""
        if not known:
            raise KeyError(match[0])
        return known

    try:
        return _VARIABLE.sub(value, word)
    except KeyError:
        return None


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    """(word in capitals, the rest), lines that go on joined, without comments and without here-documents."""
    escape, lines, begun = "\\", iter(text.removeprefix("\ufeff").splitlines()), False
    whole = ""
    for line in lines:
        said = line.strip()
        if not begun and (directive := _DIRECTIVE.fullmatch(said)):
            escape = directive[2] if directive[1].lower() == "escape" else escape
            continue
        begun = True
        if said.startswith("#") or not said:
            continue
        if said.endswith(escape):
            whole += said[:-1] + " "
            continue
        word, _, rest = (whole + said).partition(" ")
        whole = ""
        yield word.upper(), rest.strip()
        if word.upper() in _HEREDOC_TAKERS:
            for tabs, _, end in _HEREDOC.findall(rest):
                for inner in lines:
                    if (inner.lstrip("\t") if tabs else inner) == end:
                        break
    if whole:
        word, _, rest = whole.partition(" ")
        yield word.upper(), rest.strip()
