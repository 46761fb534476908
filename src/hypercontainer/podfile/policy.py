"""A network policy as a file, YAML or JSON: its form; what it means is for hyperd to say.

Errors name the field and the line.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from hypercontainer.contract.policies import NetworkPolicy
from hypercontainer.errors import InvalidArgument
from hypercontainer.podfile.tree import Tree, parse

_STEP = re.compile(r"\.?([A-Za-z_]+)|\[([0-9]+)\]")


def read(text: str | bytes, *, where: str) -> NetworkPolicy:
    """``where`` names the file in messages."""
    try:
        return of(parse(text))
    except InvalidArgument as error:
        raise InvalidArgument(f"{place(where, text, error.field)}: {error.why}", hint=error.hint) from None


def of(tree: Tree) -> NetworkPolicy:
    """Of what was read already.  InvalidArgument, with the field."""
    if not isinstance(tree, dict):
        raise InvalidArgument("not a network policy: a mapping with `egress` is expected")
    try:
        return msgspec.convert(tree, NetworkPolicy, strict=False)
    except msgspec.ValidationError as error:
        why, _, path = str(error).partition(" - at `$")
        raise InvalidArgument(why[0].lower() + why[1:], field=path.rstrip("`").removeprefix(".")) from None


def place(where: str, text: str | bytes, field: str) -> str:
    """ "FILE, line 3 (egress[0].to)"."""
    if not field:
        return where
    line = _line(text, field)
    return f"{where}, line {line} ({field})" if line else f"{where} ({field})"


def _line(text: str | bytes, field: str) -> int:
    """Where the field, or what it would be in, is written; 0: nowhere."""
    import yaml  # it is only for who has an error

    try:
        node: Any = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        return 0
    line = 0
    for name, index in _STEP.findall(field):
        children = getattr(node, "value", None)
        if not isinstance(children, list):
            break
        if name:
            found = next(
                (pair for pair in children if isinstance(pair, tuple) and pair[0].value == name), None
            )
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif int(index) < len(children) and not isinstance(children[int(index)], tuple):
            node = children[int(index)]
            line = node.start_mark.line + 1
    return line
