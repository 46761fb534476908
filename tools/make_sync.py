"""Writes the blocking classes, src/hypercontainer/sdk/sync, from the asynchronous ones, sdk/aio.

usage: python tools/make_sync.py [--check]

Every public method of a class Async* becomes one with the same signature and documentation that runs it through the
portal.  ``await`` and ``async`` go from the examples; AsyncGenerator becomes Generator, AsyncX becomes X.  A class that
others are made from (AsyncLife) becomes a generic one, of whichever of them it holds.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/hypercontainer/sdk/aio"
TARGET = ROOT / "src/hypercontainer/sdk/sync"
RUFF = Path(sys.executable).with_name("ruff")
HANDWRITTEN = {"__init__", "__repr__"}
RENAMED = {
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}

# (await x).y, with brackets in x
AWAITED = re.compile(r"\(await ((?:[^()]|\((?:[^()]|\([^()]*\))*\))*)\)(?=[.\[])")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def blocking(text: str) -> str:
    """Source or documentation without what only asynchronous programs say."""
    text = re.sub(r"\bAsyncGenerator\[(\w+), None\]", r"Generator[\1, None, None]", text)
    text = re.sub(r"\bAsync([A-Z])", r"\1", text)
    text = AWAITED.sub(r"\1", text)
    text = re.sub(r"\b(async|await) ", "", text)
    return text.replace("aclosing(", "closing(")


class Module:
    """``bases``: the names of the asynchronous classes that others are made from."""

    def __init__(self, path: Path, bases: frozenset[str]) -> None:
        self.path = path
        self.bases = bases
        self.text = path.read_text()
        self.lines = self.text.splitlines()
        self.tree = ast.parse(self.text)
        self.classes = [
            node
            for node in self.tree.body
            if isinstance(node, ast.ClassDef) and node.name.startswith("Async")
        ]

    def _source(self, first: int, last: int) -> str:
        return "\n".join(self.lines[first - 1 : last])

    def imports(self) -> str:
        found = [n for n in self.tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
        return "\n".join(line for node in found for line in _imported(node))

    def local_names(self) -> list[str]:
        """Public names of the module that signatures may use."""
        names = [
            target.id
            for node in self.tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        ]
        names += [
            node.name
            for node in self.tree.body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("Async")
        ]
        return [name for name in names if not name.startswith("_")]

    def generate(self) -> str:
        doc = blocking(ast.get_docstring(self.tree) or "")
        stem = self.path.stem
        parts = [
            f'"""{doc}\n\nMade of sdk/aio/{stem}.py by tools/make_sync.py; change it there.\n"""',
            "# ruff: noqa: A002, RUF100, E501",
            self.imports(),
            "from collections.abc import Generator",
            "from typing import TypeVar",
            "from hypercontainer.sdk.portal import Facade, Portal",
            f"from hypercontainer.sdk.aio import {stem} as aio",
        ]
        if names := self.local_names():
            parts.append(f"from hypercontainer.sdk.aio.{stem} import {', '.join(names)}")
        for node in self.classes:
            if node.name in self.bases:
                parts.append(f'Held = TypeVar("Held", bound=aio.{node.name})')
            parts.append(self._class(node))
        return "\n".join(parts) + "\n"

    def _class(self, node: ast.ClassDef) -> str:
        name = blocking(node.name)
        base = next((blocking(ast.unparse(base)) for base in node.bases), "Facade")
        held = "Held" if node.name in self.bases else f"aio.{node.name}"
        head = [f"class {name}({base}[{held}]):", *self._doc(node, 4), ""]
        if name == "Client":
            head.append(textwrap.indent(self._init(node), "    "))
        head += [
            textwrap.indent(self._method(method, name), "    ")
            for method in node.body
            if isinstance(method, Function) and self._wanted(method)
        ]
        return "\n".join(head)

    @staticmethod
    def _wanted(method: Function) -> bool:
        return method.name in RENAMED or not (method.name.startswith("_") or method.name in HANDWRITTEN)

    def _doc(self, node: Function | ast.ClassDef, indent: int) -> Iterator[str]:
        """As it stands in the source, so that escapes stay what they are."""
        first = node.body[0]
        if ast.get_docstring(node) is not None:
            text = textwrap.dedent(self._source(first.lineno, first.end_lineno or 0))
            yield textwrap.indent(blocking(text), " " * indent)

    def _signature(self, method: Function) -> str:
        first = method.body[0]
        text = textwrap.dedent(self._source(method.lineno, first.lineno - 1))
        text = blocking(text.rstrip())
        return re.sub(r"\bdef \w+", f"def {RENAMED.get(method.name, method.name)}", text, count=1)

    def _init(self, node: ast.ClassDef) -> str:
        (init,) = [m for m in node.body if isinstance(m, ast.FunctionDef) and m.name == "__init__"]
        body = f"super().__init__(Portal(), aio.{node.name}({_arguments(init)}))"
        return "\n".join([self._signature(init), textwrap.indent(body, "    ")])

    def _method(self, method: Function, owner: str) -> str:
        returned = ast.unparse(method.returns) if method.returns else "None"
        prefix = "@property\n" if any(ast.unparse(d) == "property" for d in method.decorator_list) else ""
        signature = prefix + self._signature(method)
        body = "\n".join(_body(method, returned, owner, is_property=bool(prefix)))
        return "\n".join([signature, *self._doc(method, 4), textwrap.indent(body, "    "), ""])


def _imported(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Asynchronous classes have their counterparts; all else is imported from where it was."""
    if isinstance(node, ast.Import) or not (node.module or "").startswith("hypercontainer.sdk.aio"):
        yield ast.unparse(node)
        return
    for alias in node.names:
        module = node.module or ""
        if alias.name.startswith("Async"):
            module = module.replace("sdk.aio", "sdk.sync")
        yield f"from {module} import {blocking(alias.name)}"


def _arguments(method: Function) -> str:
    given = method.args
    words = [a.arg for a in given.posonlyargs + given.args if a.arg != "self"]
    words += [f"*{given.vararg.arg}"] if given.vararg else []
    words += [f"{a.arg}={a.arg}" for a in given.kwonlyargs]
    words += [f"**{given.kwarg.arg}"] if given.kwarg else []
    return ", ".join(words)


def _body(method: Function, returned: str, owner: str, *, is_property: bool) -> Iterator[str]:
    inner = f"self._async.{method.name}" + ("" if is_property else f"({_arguments(method)})")
    if method.name == "__aenter__":
        yield f"self._portal.call({inner})"
        yield "return self"
    elif method.name == "__aiter__":
        yield "return self"
    elif method.name == "__anext__":
        yield "return self._portal.next(self._async)"
    elif owner == "Client" and method.name in ("close", "__aexit__"):
        yield f"self._portal.end({inner})"
    elif returned.startswith("AsyncGenerator"):
        yield f"return self._portal.iterate({inner})"
    else:
        called = f"self._portal.call({inner})" if isinstance(method, ast.AsyncFunctionDef) else inner
        wrapped = f"{blocking(returned)}(self._portal, {called})" if returned.startswith("Async") else called
        yield wrapped if returned == "None" else f"return {wrapped}"


def made() -> dict[str, str]:
    """File name -> text, of every module with a class that is wanted."""
    paths = sorted(SOURCE.glob("*.py"))
    trees = [ast.parse(path.read_text()) for path in paths]
    classes = [node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)]
    bases = frozenset(
        ast.unparse(base) for node in classes if node.name.startswith("Async") for base in node.bases
    )
    modules = [Module(path, bases) for path in paths]
    return {m.path.name: tidy(m.generate(), m.path.name) for m in modules if m.classes}


def tidy(text: str, name: str) -> str:
    for words in (["check", "--fix-only", "-q", "--select", "F401,F811,I"], ["format", "-q"]):
        command: list[str | Path] = [RUFF, *words, "--stdin-filename", str(TARGET / name), "-"]
        text = subprocess.run(
            command, input=text, capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
    return text


def main() -> int:
    texts = made()
    if sys.argv[1:] == ["--check"]:
        stale = [name for name, text in texts.items() if (TARGET / name).read_text() != text]
        sys.stderr.write("".join(f"sdk/sync/{name} is not what make_sync.py makes\n" for name in stale))
        return bool(stale)
    for name, text in texts.items():
        (TARGET / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
