"""A path of the native API is written once, with its route; everybody else names the route."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from structure.house import House
from structure.tables import PATHS

# Not behind a host's name: other servers have a /v1/ too.
PATH = re.compile(r"(?<![\w.])/v1\b[\w/-]*")


def findings(house: House) -> Iterator[str]:
    for module in house.modules.values():
        if house.place(module) in PATHS:
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for path in PATH.findall(node.value):
                    yield f"{module.at(node)}: the path {path} belongs in contract/routes.py"
