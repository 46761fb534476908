"""CNI's network configurations: files in a directory, checked and made one form.  Pure, but for reading them.

A file has a list of plugins (``plugins``) or is the only one's itself; of two with the same name the first file counts,
in the order of the files' names.  One that cannot be used is no failure of the others.

Source: the CNI specification 1.1.0, section 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from hypercontainer.errors import InvalidArgument, NotFound

SUFFIXES = (".conflist", ".conf", ".json")
VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")  # from the oldest on
FILE_BYTES = 1 << 20
FILES = 256
PLUGINS = 32
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
NAME_MAX = 255
_TYPE = re.compile(r"[A-Za-z0-9_.\-]+")

Tree = dict[str, Any]


@dataclass(frozen=True)
class NetworkConfig:
    """``plugins`` as they stand in the file, in their order; ``version``: by which all of them are spoken to."""

    name: str
    version: str
    plugins: tuple[Tree, ...]
    checked: bool = True  # CHECK may be asked
    collected: bool = True  # GC may be asked
    path: str = ""
    written_ns: int = 0  # the file was, since the epoch

    @property
    def what(self) -> str:
        return f"network cni:{self.name}"

    @property
    def capabilities(self) -> frozenset[str]:
        """What its plugins can be told of one pod: of all of them."""
        return frozenset(name for plugin in self.plugins for name in declared(plugin))

    def since(self, version: str) -> bool:
        """Whether it speaks this version or a later one."""
        return VERSIONS.index(self.version) >= VERSIONS.index(version)

    @property
    def tree(self) -> Tree:
        """As a file would have it."""
        flags = {"disableCheck": not self.checked, "disableGC": not self.collected}
        said = {name: True for name, value in flags.items() if value}
        return {"cniVersion": self.version, "name": self.name, **said, "plugins": list(self.plugins)}


@dataclass(frozen=True)
class Found:
    """What a directory has; ``problems``: of files that cannot be used."""

    configs: tuple[NetworkConfig, ...]
    problems: tuple[str, ...]

    def get(self, name: str, directory: Path) -> NetworkConfig:
        """NotFound, with what there is, and what is wrong with the rest."""
        for config in self.configs:
            if config.name == name:
                return config
        known = ", ".join(f"cni:{each.name}" for each in self.configs)
        why = "; ".join(self.problems)
        raise NotFound(
            f"there is no network cni:{name[:NAME_MAX]}: no configuration in {directory} has this name"
            + (f" ({why})" if why else ""),
            hint=f"there are {known}" if known else f"put one there: {directory}/NAME.conflist",
        )


def declared(plugin: Tree) -> frozenset[str]:
    """The capabilities that a plugin's configuration says it has."""
    said = plugin.get("capabilities")
    return (
        frozenset(name for name, has in said.items() if has is True)
        if isinstance(said, dict)
        else frozenset()
    )


def find(directory: Path) -> Found:
    """All of a directory, which may not be there."""
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix in SUFFIXES)
    except FileNotFoundError:
        return Found((), ())
    except OSError as error:
        return Found((), (f"{directory}: {error.strerror}",))
    return _collected(paths[:FILES])


def _collected(paths: Iterable[Path]) -> Found:
    configs: dict[str, NetworkConfig] = {}
    problems = []
    for path in paths:
        try:
            config = replace(parse(_read(path), str(path)), written_ns=path.stat().st_mtime_ns)
        except OSError as error:
            problems.append(f"{path}: {error.strerror}")
        except InvalidArgument as error:
            problems.append(error.message)
        else:
            configs.setdefault(config.name, config)
    return Found(tuple(configs.values()), tuple(problems))


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(FILE_BYTES + 1)
    if len(data) > FILE_BYTES:
        raise InvalidArgument(f"{path}: it is larger than {FILE_BYTES} bytes")
    return data


def parse(data: bytes, path: str) -> NetworkConfig:
    """InvalidArgument, which names the file."""
    try:
        tree = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidArgument(f"{path}: it is no JSON: {error}") from None
    if not isinstance(tree, dict):
        raise InvalidArgument(f"{path}: it is no JSON object")
    name = tree.get("name")
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > NAME_MAX:
        raise InvalidArgument(f"{path}: its name is none: letters, digits, _, . and -")
    return NetworkConfig(
        name,
        _version(tree, path),
        _plugins(tree, path),
        checked=tree.get("disableCheck") not in (True, "true"),
        collected=tree.get("disableGC") not in (True, "true"),
        path=path,
    )


def _version(tree: Tree, path: str) -> str:
    """The newest that both sides speak, of those that it names."""
    several = tree.get("cniVersions")
    said = [*(several if isinstance(several, list) else []), tree.get("cniVersion", "0.1.0")]
    known = [each for each in VERSIONS if each in said]
    if not known:
        said_one = str(said[-1])[:40]
        raise InvalidArgument(
            f"{path}: its cniVersion is {said_one}", hint=f"these are spoken: {', '.join(VERSIONS)}"
        )
    return known[-1]


def _plugins(tree: Tree, path: str) -> tuple[Tree, ...]:
    plugins = tree.get("plugins", [tree])
    if not isinstance(plugins, list) or not 1 <= len(plugins) <= PLUGINS:
        raise InvalidArgument(f"{path}: plugins: a list of 1 to {PLUGINS} is wanted")
    for plugin in plugins:
        kind = plugin.get("type") if isinstance(plugin, dict) else None
        if not isinstance(kind, str) or not _TYPE.fullmatch(kind) or kind.strip(".") == "":
            raise InvalidArgument(f"{path}: a plugin's type is no program's name")
    return tuple(plugins)
