"""How long files and functions are: of Python everywhere, of C in the guest."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from structure.house import House, Module
from structure.tables import MAX_C_FUNCTION_LINES, MAX_FILE_LINES, MAX_FUNCTION_LINES


def findings(house: House) -> Iterator[str]:
    for module in [*house.modules.values(), *house.others()]:
        yield from _python(module)
    for path in sorted((house.root / "guest").rglob("*.[ch]")):
        yield from _c(path, path.read_text())


def _python(module: Module) -> Iterator[str]:
    lines = module.text.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{module.path}: {lines} lines, at most {MAX_FILE_LINES}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = _function_lines(node)
            if length > MAX_FUNCTION_LINES:
                yield f"{module.at(node)}: function {node.name} has {length} lines"


def _function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, without its docstring and without functions defined in it."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    if not body:
        return 0
    total = (body[-1].end_lineno or 0) - body[0].lineno + 1
    for inner in ast.walk(node):
        if inner is not node and isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            total -= (inner.end_lineno or 0) - inner.lineno + 1
    return total


def _c(path: Path, text: str) -> Iterator[str]:
    """C as it is written here: a function's body is between a '{' and a '}' in column 0."""
    lines = text.splitlines()
    if len(lines) > MAX_FILE_LINES:
        yield f"{path}: {len(lines)} lines, at most {MAX_FILE_LINES}"
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            if number - start - 1 > MAX_C_FUNCTION_LINES:
                head = re.sub(r"\s+", " ", lines[start - 2]).strip()
                yield f"{path}:{start}: function `{head}` has {number - start - 1} lines"
            start = None
