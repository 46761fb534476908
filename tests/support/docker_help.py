"""What docker's command line says that it has: each command, by all of its names, and its options."""

from __future__ import annotations

import re
from collections.abc import Container, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from docker_clients import Clients

_COMMAND = re.compile(r"  ([a-z][a-z0-9-]*)\*? {2,}\S")
_OPTION = re.compile(r" {2,6}(?:-(\w), )?--([a-z][a-z0-9-]*)(?: (\S+))?(?: {2,}|$)")
_OF_SWARM = "Swarm Commands"
# Behind the first word that is no option of these, all is the container's.
_FOREIGN = ("container run", "container create", "container exec")
Path = tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """``paths``: its names, ("container", "ls") and ("ps",); ``options``: by the long name, whether it takes a value;
    ``letters``: their short names; ``inner``: the commands below it."""

    paths: tuple[Path, ...]
    options: dict[str, bool]
    letters: dict[str, str]
    inner: tuple[str, ...]

    @property
    def name(self) -> str:
        """That of the management commands."""
        return max((" ".join(path) for path in self.paths), key=lambda name: name.count(" "))

    def used(self, words: Sequence[str]) -> Iterator[str]:
        """The options among the words behind its name."""
        waits = False
        for word in words:
            if waits:
                waits = False
            elif word == "--" or (not word.startswith("-") and self.name in _FOREIGN):
                return
            elif word.startswith("--"):
                name, equals, _ = word[2:].partition("=")
                yield name
                waits = self.options.get(name, False) and not equals
            elif word.startswith("-"):
                waits = yield from self._together(word[1:])

    def _together(self, letters: str) -> Generator[str, None, bool]:
        """-aq, or -n1; whether its value is the next word."""
        for place, letter in enumerate(letters):
            name = self.letters.get(letter, letter)
            yield name
            if self.options.get(name):
                return place == len(letters) - 1
        return False


def _asked(clients: Clients, path: Path) -> Command:
    """Without its plugins, each of which would be started every time."""
    said = clients.out(*path, "--help", more={"DOCKER_CONFIG": str(clients.folder)})
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in said.splitlines():
        if line and not line.startswith(" "):
            lines = sections.setdefault(line.rstrip(":"), [])
        else:
            lines.append(line)
    aliases = " ".join(sections.get("Aliases", ())).split(",")
    options = [match for line in sections.get("Options", ()) if (match := _OPTION.match(line))]
    below = [line for title, lines in sections.items() if title.endswith("Commands") for line in lines]
    ours = [line for line in below if line not in sections.get(_OF_SWARM, ())]
    return Command(
        tuple({path: None, **{tuple(name.split()[1:]): None for name in aliases if name.strip()}}),
        {match[2]: bool(match[3]) for match in options},
        {match[1]: match[2] for match in options if match[1]},
        tuple(match[1] for line in ours if (match := _COMMAND.match(line))),
    )


def commands(clients: Clients, leave: Container[str]) -> dict[Path, Command]:
    """By each name, all that do something themselves, but ``leave``, what is below that, and the swarm's."""
    found: dict[Path, Command] = {}
    level: list[Path] = [()]
    with ThreadPoolExecutor() as pool:
        while level:
            asked = [*pool.map(lambda path: _asked(clients, path), level)]
            found |= {path: command for command in asked if not command.inner for path in command.paths}
            below = [(*command.paths[0], name) for command in asked for name in command.inner]
            level = [path for path in below if path not in found and " ".join(path) not in leave]
    return found
