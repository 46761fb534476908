"""What ``cp`` copies to where: Docker's rules, which it shares with no other ``cp``.  Pure.

A path ends in a directory's name, in a file's, or in "/." (what is in the directory).  What is there at the target
decides whether the source is laid into it, takes its place, or gets a new name.
"""

from __future__ import annotations

from dataclasses import dataclass

from hypercontainer.errors import Conflict, NotFound

ITSELF = "."  # what entries of an archive begin with whose source is a directory's content


@dataclass(frozen=True)
class Place:
    """``path`` with what it ends in; ``there``: something is; of a link, what it leads to."""

    path: str
    there: bool
    is_directory: bool

    @property
    def says_directory(self) -> bool:
        return self.path.endswith(("/", "/."))


@dataclass(frozen=True)
class Plan:
    """An archive whose entries begin with ``name`` is laid into ``directory``; "" in place of a name: as it is."""

    directory: str
    name: str = ""


def plan(source: Place, target: Place) -> Plan:
    """``source`` is there.  Conflict, NotFound in Docker's words where it does not go."""
    if source.says_directory and not source.is_directory:
        raise Conflict(f"not a directory: {source.path}")
    if target.there and target.is_directory:
        return Plan(target.path)
    if target.there and target.says_directory:
        raise Conflict(f"not a directory: {target.path}")
    if target.there and source.is_directory:
        raise Conflict(f"cannot copy a directory to the file {target.path}")
    of_content = target.path.endswith("/.")
    if not target.there and (of_content or (target.says_directory and not source.is_directory)):
        raise NotFound(f"no such directory: {target.path}")
    return Plan(*split(target.path))


def split(path: str) -> tuple[str, str]:
    """(directory, last name), without what says that it is a directory."""
    while path.endswith(("/", "/.")) and path != "/":
        path = path.removesuffix(".").rstrip("/") or "/"
    folder, slash, name = path.rpartition("/")
    return folder or slash or ".", name


def first_name(path: str) -> str:
    """What entries of an archive of this path begin with."""
    last = path.rstrip("/").rpartition("/")[2]
    return last if last not in ("", "..") else ITSELF


def renamed(path: str, name: str) -> str:
    """Of an entry, whose first name becomes ``name`` ("": stays)."""
    _, slash, rest = path.partition("/")
    return f"{name}{slash}{rest}" if name else path


def parsed(argument: str) -> tuple[str, str]:
    """(container, path) of "CONTAINER:PATH"; ("", path) of a path of this machine, as which what begins with "/" or "."
    is taken."""
    container, colon, path = argument.partition(":")
    if not colon or argument.startswith(("/", ".")):
        return "", argument
    return container, path if path.startswith("/") else f"/{path}"
