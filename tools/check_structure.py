"""Checks what a linter does not: which package may import which, and how long files and functions are.

usage: python tools/check_structure.py [ROOT]
Exit status 1 and a line per finding.  The import table below *is* the architecture, which
docs/architecture.md draws.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "hypercontainer"
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 40

# A package may import itself, `errors`, `contract`, and what stands here; a part knows only the parts it names.
ALLOWED: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "contract": frozenset(),
    "config": frozenset(),
    "linux": frozenset(),
    "kernel": frozenset({"config", "linux"}),
    "image": frozenset({"config", "linux"}),
    "rootfs": frozenset({"linux"}),
    "hypervisor": frozenset({"linux"}),
    "agent": frozenset({"linux"}),
    "podfile": frozenset(),
    "kube": frozenset(),
    "volume": frozenset({"linux"}),
    "semantics": frozenset({"agent", "config", "hypervisor", "image", "linux"}),
    "engine": frozenset(
        {"agent", "config", "hypervisor", "image", "kernel", "linux", "rootfs", "semantics", "volume"}
    ),
    "surfaces": frozenset({"config", "engine", "image", "kube", "semantics"}),
    "daemon": frozenset({"config", "engine", "hypervisor", "kernel", "linux", "surfaces"}),
    "client": frozenset({"config"}),
    "sdk": frozenset({"client", "config", "image", "podfile"}),
    "cli": frozenset({"client", "config", "image", "kernel", "linux", "podfile", "semantics"}),
}


def package_of(path: Path, source: Path) -> str:
    parts = path.relative_to(source / PACKAGE).parts
    return parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == PACKAGE:
                for alias in node.names:
                    yield node.lineno, f"{PACKAGE}.{alias.name}"
            else:
                yield node.lineno, node.module


def import_findings(path: Path, tree: ast.AST, source: Path) -> Iterator[str]:
    own = package_of(path, source)
    if own == "__init__":
        return
    if own not in ALLOWED:
        yield f"{path}: package {own!r} has no row in the import table"
        return
    allowed = ALLOWED[own] | {own, "errors", "contract", "__version__"}
    for line, module in imported(tree):
        parts = module.split(".")
        if parts[0] == PACKAGE and len(parts) > 1 and parts[1] not in allowed:
            yield f"{path}:{line}: {own} may not import {parts[1]}"


def function_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, without its docstring and without functions defined in it."""
    body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
    if not body:
        return 0
    total = (body[-1].end_lineno or 0) - body[0].lineno + 1
    for inner in ast.walk(node):
        if inner is not node and isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
            total -= (inner.end_lineno or 0) - inner.lineno + 1
    return total


def size_findings(path: Path, text: str, tree: ast.AST) -> Iterator[str]:
    lines = text.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{path}: {lines} lines, at most {MAX_FILE_LINES}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = function_lines(node)
            if length > MAX_FUNCTION_LINES:
                yield f"{path}:{node.lineno}: function {node.name} has {length} lines"


def c_findings(path: Path, text: str) -> Iterator[str]:
    """C as it is written here: a function's body is between a '{' and a '}' in column 0."""
    lines = text.splitlines()
    if len(lines) > MAX_FILE_LINES:
        yield f"{path}: {len(lines)} lines, at most {MAX_FILE_LINES}"
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            if number - start - 1 > MAX_FUNCTION_LINES + 10:  # C needs room for its checks
                head = re.sub(r"\s+", " ", lines[start - 2]).strip()
                yield f"{path}:{start}: function `{head}` has {number - start - 1} lines"
            start = None


def findings(root: Path) -> Iterator[str]:
    source = root / "src"
    for path in sorted(source.rglob("*.py")):
        text = path.read_text()
        tree = ast.parse(text)
        yield from import_findings(path, tree, source)
        yield from size_findings(path, text, tree)
    for folder in ("tests", "bench", "tools"):
        for path in sorted((root / folder).rglob("*.py")):
            text = path.read_text()
            yield from size_findings(path, text, ast.parse(text))
    for path in sorted((root / "guest").rglob("*.[ch]")):
        yield from c_findings(path, path.read_text())


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    found = list(findings(root))
    for line in found:
        print(line)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
