"""Text to a tree of lists, mappings, strings, booleans and nothing, within bounds.

A scalar stays the text that was typed (``0644``, ``1.10``, ``128``): what reads a field knows what it should be.  So
YAML's guesses change nothing, and only its plain ``null`` is understood here.  Text that begins with ``{`` is JSON,
and where that fails YAML's flow style, which takes comments and a last comma.  Errors carry no place in the tree;
the parser's line is in the message.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hypercontainer.errors import InvalidArgument

Tree = str | bool | None | list["Tree"] | dict[str, "Tree"]

MAX_TEXT_BYTES = 8 * 1024 * 1024
MAX_NODES = 100_000  # with what aliases stand for counted each time
MAX_DEPTH = 32
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_CORE = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(_CORE + name for name in ("str", "int", "float", "bool", "map", "seq", "null"))


def parse(text: str | bytes) -> Tree:
    tree = _tree(_decoded(text))
    _check_size(tree)
    return tree


def _tree(decoded: str) -> Tree:
    if not decoded.lstrip().startswith("{"):
        return _Yaml(decoded).document()
    try:
        return _json(decoded)
    except json.JSONDecodeError as error:
        try:
            return _Yaml(decoded).document()
        except _NotYaml:
            raise InvalidArgument(
                f"not JSON: {error.msg}: line {error.lineno}, column {error.colno}"
            ) from None


def shown(text: object, limit: int = 60) -> str:
    """What a user typed, for a message: quoted, without control characters, not long."""
    text = str(text)
    return repr(text if len(text) <= limit else text[: limit - 3] + "...")


def _decoded(text: str | bytes) -> str:
    if len(text) > MAX_TEXT_BYTES:
        raise InvalidArgument(
            f"more than {MAX_TEXT_BYTES >> 20} MiB", hint="name large files by a uri, or put them in a volume"
        )
    try:
        if isinstance(text, str):
            text.encode()  # no halves of surrogate pairs
            return text.removeprefix("\ufeff")
        return text.decode("utf-8-sig")
    except UnicodeError:
        raise InvalidArgument("not UTF-8 text") from None


# ----------------------------------------------------------------------------------------------------- JSON


def _json(text: str) -> Tree:
    try:
        tree: Tree = json.loads(
            text,
            object_pairs_hook=_mapping,
            parse_int=str,
            parse_float=str,
            parse_constant=str,
        )
    except RecursionError:
        raise _too_deep() from None
    return tree


def _mapping(pairs: list[tuple[str, Tree]]) -> dict[str, Tree]:
    mapping: dict[str, Tree] = {}
    for key, value in pairs:
        if key in mapping:
            raise InvalidArgument(f"the key {shown(key)} is there twice")
        mapping[key] = value
    return mapping


def _check_size(tree: Tree) -> None:
    """What YAML's aliases stand for is counted, and as deep as it comes to be."""
    count = 0
    level: list[Tree] = [tree]
    for _ in range(MAX_DEPTH):
        count += len(level)
        if count > MAX_NODES:
            raise _too_large()
        level = [child for node in level for child in _children(node)]
        if not level:
            return
    raise _too_deep()


def _children(node: Tree) -> Iterator[Tree]:
    if isinstance(node, dict):
        yield from node.values()
    elif isinstance(node, list):
        yield from node


def _too_large() -> InvalidArgument:
    return InvalidArgument(f"more than {MAX_NODES} values")


def _too_deep() -> InvalidArgument:
    return InvalidArgument(f"lists and mappings more than {MAX_DEPTH} deep")


# ----------------------------------------------------------------------------------------------------- YAML


class _NotYaml(InvalidArgument):
    pass


class _Yaml:
    """Builds the tree from the parser's events, so that bounds hold before anything large exists."""

    def __init__(self, text: str) -> None:
        import yaml  # a podfile in JSON does not need it

        self._yaml = yaml
        self._events = self._guarded(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        self._count = 0
        self._anchors: dict[str, tuple[Tree, int]] = {}  # and how many nodes it is

    def _guarded(self, events: Iterator[Any]) -> Iterator[Any]:
        try:
            yield from events
        except self._yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = f": line {mark.line + 1}, column {mark.column + 1}" if mark else ""
            raise _NotYaml(f"not YAML: {error.problem or error.context}{place}") from None
        except (self._yaml.YAMLError, ValueError, RecursionError) as error:
            raise _NotYaml(f"not YAML: {shown(error, 200)}") from None

    def document(self) -> Tree:
        tree: Tree = None
        documents = 0
        for event in self._events:
            if isinstance(event, self._yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise InvalidArgument("more than one document", hint="a podfile is one pod")
                tree = self._node(next(self._events), 0)
        return tree

    def _node(self, event: Any, depth: int) -> Tree:
        self._count += 1
        if self._count > MAX_NODES:
            raise _too_large()
        if depth >= MAX_DEPTH:
            raise _too_deep()
        if isinstance(event, self._yaml.AliasEvent):
            return self._alias(event)
        self._check_tag(event)
        before = self._count
        tree: Tree
        if isinstance(event, self._yaml.ScalarEvent):
            tree = None if event.implicit[0] and event.value in _NULLS else event.value
        elif isinstance(event, self._yaml.SequenceStartEvent):
            tree = self._sequence(depth)
        else:
            tree = self._pairs(depth)
        if event.anchor:
            self._anchors[event.anchor] = (tree, self._count - before + 1)
        return tree

    def _alias(self, event: Any) -> Tree:
        if event.anchor not in self._anchors:  # or within itself
            raise InvalidArgument(f"the alias *{event.anchor} names no anchor before it")
        tree, nodes = self._anchors[event.anchor]
        self._count += nodes
        if self._count > MAX_NODES:
            raise _too_large()
        return tree

    def _check_tag(self, event: Any) -> None:
        if event.tag not in (None, "!") and event.tag not in _PLAIN_TAGS:
            raise InvalidArgument(f"the YAML tag {shown(event.tag)} is not read")

    def _sequence(self, depth: int) -> Tree:
        items: list[Tree] = []
        while not isinstance(event := next(self._events), self._yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return items

    def _pairs(self, depth: int) -> Tree:
        pairs: list[tuple[str, Tree]] = []
        while not isinstance(event := next(self._events), self._yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            if not isinstance(key, str):
                raise InvalidArgument(f"a key is no text: line {event.start_mark.line + 1}")
            if key == "<<":
                raise InvalidArgument("YAML's merge key << is not read", hint="write the fields out")
            pairs.append((key, self._node(next(self._events), depth + 1)))
        return _mapping(pairs)
