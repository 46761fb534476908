"""A public function, class or method that nothing in ``src`` uses.  A test is no use: what only a test calls is dead.

By name alone: any use of the name, of whatever object, counts, so that what overrides a base's or a Protocol's method
is used when that is.  A use inside the thing itself does not count, nor does the import of a name in a package's
``__init__``, which only hands it on.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

from structure.house import House, Module, inside
from structure.tables import CALLED_FROM_OUTSIDE, ENTRY_POINTS, NAMES_IN_STRINGS, PUBLIC, USED_ELSEWHERE

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def findings(house: House) -> Iterator[str]:
    modules = house.modules.values()
    uses: Counter[str] = Counter()
    for module in modules:
        uses.update(_uses(module.tree, hands_on=module.path.name == "__init__.py"))
    for place in NAMES_IN_STRINGS:
        if (named := house.at_place(place)) is not None:
            uses.update(_words(named.tree))
    for module in modules:
        if any(inside(module.name, package) for package in PUBLIC):
            continue
        for definition in _public(module):
            own = Counter(_uses(definition, hands_on=False))
            if uses[definition.name] <= own[definition.name]:
                yield f"{module.at(definition)}: nothing uses {definition.name}"


def _public(module: Module) -> Iterator[Definition]:
    """Functions and classes of the module, and methods and classes in these, without what others call."""
    waiting: list[ast.Module | ast.ClassDef] = [module.tree]
    while waiting:
        for node in waiting.pop().body:
            if isinstance(node, ast.ClassDef):
                waiting.append(node)
            if not isinstance(node, Definition) or node.name.startswith("_"):
                continue
            if node.name not in (*ENTRY_POINTS, *CALLED_FROM_OUTSIDE, *USED_ELSEWHERE):
                yield node


def _uses(tree: ast.AST, *, hands_on: bool) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.ImportFrom(names=names) if not hands_on:
                yield from (alias.name for alias in names)


def _words(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"\w+", node.value)
