"""hyper cp."""

from __future__ import annotations

import io
import os
import stat
import sys
from binascii import a2b_base64 as b64decode

from hypercontainer.cli.commands.archive import sender, write_out
from hypercontainer.cli.copying import Place, first_name, parsed, plan, renamed, split
from hypercontainer.cli.options import Call, Command, UsageError, flag
from hypercontainer.cli.units import decimal_size
from hypercontainer.client.api import RemoteError
from hypercontainer.client.wirejson import loads
from hypercontainer.errors import HyperError, InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket  # noqa: N812
    from collections.abc import Callable, Iterator
    from typing import Any

STDIN = STDOUT = "-"
LINKS_MAX = 10  # of this machine, at the end of a target's path


def run(call: Call) -> int:
    return copied_by(call, "containers")


def copied_by(call: Call, kind: str) -> int:
    """``kind``: what stands before the colon, as the API's calls begin."""
    (container, source), (into, target) = map(parsed, call.arguments)
    if container and into:
        raise UsageError(
            f"copying between {kind} is not supported",
            hint=f"{call.name} ONE:PATH - | {call.name} - OTHER:DIRECTORY",
            exit_status=1,
        )
    if not container and not into:
        raise UsageError("one of both is to be NAME:PATH", exit_status=1)
    if container:
        copied = _out(_Remote(call, kind, container), source, target)
    else:
        copied = _in(_Remote(call, kind, into), source, target)
    if copied is not None and not call.options.flag("quiet"):
        where = call.arguments[1]
        print(f"Successfully copied {decimal_size(copied)} to {where}", file=sys.stderr)
    return 0


class _Remote:
    """What has the files: a container, or a volume."""

    def __init__(self, call: Call, kind: str, name: str) -> None:
        self.call, self.kind, self.name = call, kind, name
        self.client = call.session.client

    def route(self, method: str) -> str:
        return f"{self.kind}.{method}"

    def follows(self) -> bool:
        return self.call.options.flag("follow-link")


# ------------------------------------------------------------------------------------- out of a container


def _out(remote: _Remote, source: str, target: str) -> int | None:
    if target == STDOUT and os.isatty(1):
        raise UsageError("cowardly refusing to copy to a terminal", hint="redirect it", exit_status=1)
    query = {"path": source, "follow": remote.follows()}
    sys.stdout.flush()
    response = remote.client.open(remote.route("pack"), remote.name, query=query, timeout_s=None)
    try:
        if target == STDOUT:
            write_out(response, 1)
            return None
        facts = loads(b64decode(response.headers["hyper-path-facts"]))
        place = Place(source, there=True, is_directory=stat.S_ISDIR(facts["mode"]))
        whither = plan(place, _local_target(target))
        from hypercontainer.cli.trees import unpacked

        archive = io.BufferedReader(_Reading(response.chunks()))
        return unpacked(archive, whither.directory, lambda path: renamed(path, whither.name))
    finally:
        response.close()


class _Reading(io.RawIOBase):
    """Pieces as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _local_target(path: str) -> Place:
    """Of a link, what it leads to, whether or not something is there."""
    slash = path[len(path.rstrip("/")) :]
    for _ in range(LINKS_MAX):
        bare = path.rstrip("/") or "/"
        try:
            facts = os.lstat(bare)
        except FileNotFoundError:
            break
        if not stat.S_ISLNK(facts.st_mode):
            return Place(path, there=True, is_directory=stat.S_ISDIR(facts.st_mode))
        behind = os.readlink(bare)
        path = (behind if behind.startswith("/") else f"{split(bare)[0]}/{behind}") + slash
    above = split(path)[0]
    if not os.path.isdir(above):  # noqa: PTH112
        raise NotFound(f"no such directory: {above}")
    return Place(path, there=False, is_directory=False)


# ------------------------------------------------------------------------------------- into a container


def _in(remote: _Remote, source: str, target: str) -> int | None:
    place = _remote_target(remote, target)
    if source == STDIN:
        if not place.is_directory:
            raise InvalidArgument(f"{remote.name}:{target} is no directory: an archive is laid into one")
        archive = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115
        _send(remote, place.path, sender(archive))
        return None
    follow, source = remote.follows(), _absolute(source)
    facts = os.stat(source) if follow or source.endswith(("/", "/.")) else os.lstat(source)
    whither = plan(Place(source, there=True, is_directory=stat.S_ISDIR(facts.st_mode)), place)
    tree = _Tree(source, whither.name or first_name(source), follow=follow)
    try:
        _send(remote, whither.directory, sender(io.BufferedReader(_Reading(tree.pieces()))))
    except HyperError:
        if tree.problem is not None:
            raise tree.problem from None
        raise
    return tree.sent


def _absolute(path: str) -> str:
    """With what says that it is a directory, or what is in one."""
    end = "/." if path == "." or path.endswith("/.") else "/" if path.endswith("/") else ""
    whole = os.path.abspath(path)  # noqa: PTH100 - which follows no link
    return whole + end if whole != "/" else "/"


def _send(remote: _Remote, directory: str, upload: Callable[[Socket], None]) -> None:
    query: dict[str, Any] = {"path": directory}
    if remote.kind == "containers":  # a volume has no user
        query["own"] = remote.call.options.flag("archive")
    remote.client.open(
        remote.route("unpack"), remote.name, query=query, timeout_s=None, upload=upload
    ).close()


class _Tree:
    """Of this machine, on its way.  ``problem``: why it was not read to its end."""

    def __init__(self, path: str, name: str, *, follow: bool) -> None:
        self._path, self._name, self._follow = path, name, follow
        self.sent = 0
        self.problem: OSError | None = None

    def pieces(self) -> Iterator[bytes]:
        from hypercontainer.client.packing import packed

        try:
            for piece in packed(self._path, self._name, follow=self._follow):
                self.sent += len(piece)
                yield piece
        except OSError as error:
            self.problem = error
            raise


def _remote_target(remote: _Remote, path: str) -> Place:
    """Of a link, what it leads to."""
    slash = path[len(path.rstrip("/")) :]

    def stat_path(place: str) -> Any:
        return remote.client.call(remote.route("stat_path"), remote.name, query={"path": place})

    try:
        facts = stat_path(path.rstrip("/") or "/")
        if leads_to := facts["leads_to"]:
            path = leads_to + slash
            facts = stat_path(leads_to)
    except RemoteError as error:
        if error.code != NotFound.code:
            raise
        remote.client.call(remote.route("inspect"), remote.name)  # or it is the container that is not there
        return Place(path, there=False, is_directory=False)
    return Place(path, there=True, is_directory=stat.S_ISDIR(facts["mode"]))


CP = Command(
    run,
    "[OPTIONS] CONTAINER:PATH PATH|- | PATH|- CONTAINER:PATH",
    count=(2, 2),
    options=(
        flag("-a --archive", "what is copied in belongs to the container's user"),
        flag("-L --follow-link", "of a link, copy what it leads to"),
        flag("-q --quiet", "do not say how much was copied"),
    ),
    text=(
        "As docker cp, of containers that run and that do not: a stopped one's files are reached in a VM in which\n"
        "none of its programs runs. A directory is laid into one that is there, and becomes one that is not; with\n"
        "/. at its end it is what is in it. - is an archive (tar) on standard input or output. A path in a container\n"
        "begins at its root."
    ),
    examples=(
        "hyper cp web:/etc/nginx/nginx.conf .",
        "hyper cp ./site/. web:/usr/share/nginx/html",
        "hyper cp web:/var/log - | tar -tv",
    ),
)
