"""Writes the options of a new container that the SDK takes, src/hypercontainer/sdk/container_options.py.

usage: python tools/make_options.py [--check]

They are ContainerSpec's fields, but those that `sdk/options.py` leaves out or takes in a form of its own.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections import abc
from collections.abc import Iterator
from pathlib import Path

from make_sync import tidy

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from hypercontainer.contract import egress, networks, policies, probes, spec, volumes  # noqa: E402
from hypercontainer.sdk import options  # noqa: E402

TARGET = ROOT / "src/hypercontainer/sdk/container_options.py"
HOMES = (
    abc,
    egress,
    probes,
    volumes,
    networks,
    policies,
    spec,
    options,
)  # where types come from: the first that knows one
HEAD = '''"""What may be said of a new container beside its image and command, in a call.

Made of contract/spec.py and sdk/options.py by tools/make_options.py; change it there.
"""

from __future__ import annotations

from typing import TypedDict

{imports}


class ContainerOptions(TypedDict, total=False):
    """See docs/sdk.md.

    ``ports``: port in the container (80, "53/udp") -> port of the host (0: any free one; a range such as
    "8000-8009": the first that is free), or (address, port).
    ``network``: a network's name, several, or a ``Join`` that says more of a place in one.
    ``volumes``: path in the container -> name of a volume, "/directory" of the host, or a source of
    ``hypercontainer.contract.volumes``.  ``files``: path -> content.  ``restart``: "always", "on-failure:3", ...
    Sizes: bytes, or "256m".  The rest is as in ContainerSpec.
    """

'''


def fields() -> Iterator[tuple[str, str]]:
    """(name, type) of ContainerSpec's, as its source has them, those of its bases first."""
    for base in reversed(spec.ContainerSpec.__mro__):
        if base.__module__ == spec.__name__:
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            assert isinstance(definition, ast.ClassDef)
            for node in definition.body:
                if isinstance(node, ast.AnnAssign):
                    yield ast.unparse(node.target), _said(node.annotation)


def _said(kind: ast.expr) -> str:
    """The type of what a program says: what it leaves out is None, and a tuple may be any sequence."""
    if isinstance(kind, ast.BinOp) and ast.unparse(kind.right) == "None":
        kind = kind.left
    if ast.unparse(kind) == "dict[str, str]":
        return "Pairs"
    if isinstance(kind, ast.Subscript) and ast.unparse(kind.value) == "tuple":
        assert isinstance(kind.slice, ast.Tuple)
        return f"Sequence[{ast.unparse(kind.slice.elts[0])}]"
    return ast.unparse(kind)


def rows() -> Iterator[tuple[str, str]]:
    """(option, type)"""
    forms = {form.field: (option, form.type) for option, form in options.FORMS.items()}
    for name, kind in fields():
        if name in forms:
            yield forms[name]
        elif name not in options.LEFT_OUT:
            yield name, kind


def imports(types: Iterator[str]) -> Iterator[str]:
    nodes = (node for text in types for node in ast.walk(ast.parse(text, mode="eval")))
    for name in sorted({node.id for node in nodes if isinstance(node, ast.Name)}):
        home = next((module for module in HOMES if hasattr(module, name)), None)
        if home:
            yield f"from {home.__name__} import {name}"


def made() -> str:
    head = HEAD.format(imports="\n".join(imports(kind for _, kind in rows())))
    return tidy(head + "".join(f"    {option}: {kind}\n" for option, kind in rows()), TARGET.name)


def main() -> int:
    text = made()
    if sys.argv[1:] == ["--check"]:
        if stale := TARGET.read_text() != text:
            sys.stderr.write("sdk/container_options.py is not what make_options.py makes\n")
        return stale
    TARGET.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
