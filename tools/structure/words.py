"""Below the surfaces nobody speaks of a flag or a command: who asks may be a client, a manifest or another program.

Ours are the flags that the command line declares; other programs' are no business of this rule.  Comments may say
what they like: nobody is answered with them.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from structure.house import House
from structure.tables import COMMAND_LINE, COMMAND_TABLE, FAMILIES, OTHER_PROGRAMS, SPEAKERS, VERBS

DECLARATION = re.compile(r"(-\w )?--[a-z][a-z0-9-]*")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
COMMAND = re.compile(r"(?<![\w-])hyper ([a-z]+)\b")


def findings(house: House) -> Iterator[str]:
    flags, commands = _flags(house), _commands(house)
    for module in house.modules.values():
        if module.room in SPEAKERS:
            continue
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
                continue
            said = [word for word in FLAG.findall(node.value) if word in flags]
            said += [f"hyper {verb}" for verb in COMMAND.findall(node.value) if verb in commands]
            for words in dict.fromkeys(said):
                if (house.place(module), words) not in OTHER_PROGRAMS:
                    yield f"{module.at(node)}: speaks of `{words}`"


def _flags(house: House) -> set[str]:
    """The first argument of the calls that declare options: "-e --env"."""
    found = set()
    for module in house.modules.values():
        if module.room != COMMAND_LINE:
            continue
        for node in ast.walk(module.tree):
            match node:
                case ast.Call(args=[ast.Constant(value=str(names)), *_]) if DECLARATION.fullmatch(names):
                    found.add(names.split()[-1])
    return found


def _commands(house: House) -> set[str]:
    table = house.at_place(COMMAND_TABLE)
    if table is None:
        return set()
    found: set[str] = set()
    for node in table.tree.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Dict() as value) if name == FAMILIES:
                found.update(_keys(value))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.Dict() as value) if name == VERBS:
                for group in value.values:
                    assert isinstance(group, ast.Dict), "a group of verbs"
                    found.update(_keys(group))
    return found


def _keys(table: ast.Dict) -> Iterator[str]:
    for key in table.keys:
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            yield key.value
