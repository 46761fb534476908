"""The sources as the rules see them: parsed, by dotted name, with their imports resolved.  Nothing is imported.

An import counts wherever it stands: at the top, in a function, under ``TYPE_CHECKING``.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PACKAGE = "hypercontainer"
OTHER_FOLDERS = ("tests", "bench", "tools")


@dataclass(frozen=True)
class Module:
    """``name`` is dotted; a package's ``__init__`` has the package's own."""

    path: Path
    name: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The part of the house it is in: the first folder below ``hypercontainer``, or the module itself."""
        return room_of(self.name, PACKAGE)

    def at(self, node: ast.AST) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


def room_of(name: str, package: str) -> str:
    """``room_of("a.b.c", "a")`` is "b"; the package's own ``__init__`` is in the room "__init__"."""
    below = name.removeprefix(package).removeprefix(".")
    return below.split(".", maxsplit=1)[0] or "__init__"


def inside(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def read(path: Path, name: str = "") -> Module:
    text = path.read_text()
    return Module(path, name, text, ast.parse(text))


@dataclass(frozen=True)
class House:
    root: Path

    @property
    def package(self) -> Path:
        return self.root / "src" / PACKAGE

    @cached_property
    def modules(self) -> dict[str, Module]:
        """Those of ``src``, by name."""
        found = {}
        for path in sorted(self.package.rglob("*.py")):
            parts = path.relative_to(self.package.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found[name] = read(path, name)
        return found

    def others(self) -> Iterator[Module]:
        for folder in OTHER_FOLDERS:
            for path in sorted((self.root / folder).rglob("*.py")):
                yield read(path)

    def place(self, module: Module) -> str:
        """Its path below the package: "contract/routes.py"."""
        return module.path.relative_to(self.package).as_posix()

    def at_place(self, place: str) -> Module | None:
        return next((module for module in self.modules.values() if self.place(module) == place), None)

    def imports(self, module: Module) -> Iterator[tuple[ast.stmt, str]]:
        """Each import of one of our modules: the statement, and the module's name."""
        for node in ast.walk(module.tree):
            for name in self._named(module, node):
                target = self._module_of(name)
                if target is not None:
                    assert isinstance(node, ast.stmt)
                    yield node, target

    def _named(self, module: Module, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                own = module.name.split(".")
                above = node.level - (module.path.name == "__init__.py")
                base = ".".join([*own[: len(own) - above], *filter(None, [base])])
            yield from (f"{base}.{alias.name}" for alias in node.names)

    def _module_of(self, name: str) -> str | None:
        """``name`` may be that of something in the module."""
        if name in self.modules:
            return name
        holder = name.rpartition(".")[0]
        return holder if holder in self.modules else None
