"""hyper build."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from contextlib import ExitStack

from hypercontainer.cli import building, terminal
from hypercontainer.cli.building import Agents, Output
from hypercontainer.cli.commands.archive import Target
from hypercontainer.cli.options import Call, Command, UsageError, flag, many, refused, text
from hypercontainer.cli.pulling import is_there, pull
from hypercontainer.cli.session import tell
from hypercontainer.cli.signals import ENDING, Interrupted, SignalReader
from hypercontainer.client.context import URLS, Context
from hypercontainer.client.stream import Detached, Stream
from hypercontainer.errors import HyperError, InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

STDIN = "-"
PATIENCE = 2  # this many signals to end, and the client leaves a build that does not


def run(call: Call) -> int:
    values, path = call.options, call.arguments[0]
    output = building.output(values.many("output"))
    if output.path == "-" and os.isatty(1):
        raise UsageError("cowardly refusing to write an archive to a terminal", hint="redirect it")
    agents = Agents(values.many("ssh"), os.environ)
    spec = building.spec(values, agents, os.environ) | {"output": output.asked}
    pieces = _context(spec, path, values.text("file"))
    _fetch_images(call, spec)
    build = _Building(call, spec, output, agents)
    status = build.run(pieces)
    if status:
        return status
    if output.kind == "image":
        _tell_image(call, build.image, spec.get("tags", []))
    return 0


def _context(spec: dict[str, Any], path: str, file: str) -> Iterator[bytes] | None:
    """What says the Dockerfile goes into the specification; what is to be sent, None where nothing is."""
    if path.startswith(URLS):
        spec |= {"remote": path, "dockerfile_path": file}
        return None
    if path == STDIN:
        raw = sys.stdin.buffer.read()
        from hypercontainer.client.archived import archive_of, dockerfile_of

        if (archive := archive_of(raw)) is None:
            spec["dockerfile"] = raw.decode(errors="surrogateescape")
            return iter((bytes(1024),))
        spec |= dockerfile_of(archive, file)
        return iter((archive,))
    given = sys.stdin.read() if file == STDIN else None
    context = Context(path, "" if file == STDIN else file, given)
    spec |= context.asked()
    return context.pieces()


def _fetch_images(call: Call, spec: dict[str, Any]) -> None:
    """Those that the Dockerfile names: hyperd gets them, with this user's credentials, and the builder of hyperd."""
    if spec.get("dockerfile") is None:
        return
    from hypercontainer.image.dockerfile import images

    client, found = call.session.client, []
    for name in images(spec["dockerfile"], spec["args"]):
        try:
            if spec.get("pull") or not is_there(client, name, None):
                quiet = spec["progress"] == "quiet"
                pull(client, name, platform=spec.get("platform"), quiet=quiet)
            found.append(name)
        except (
            HyperError
        ) as error:  # perhaps it is no image at all, and if it is, the builder says what is missing
            tell(f"hyper: {name}: {error}")
    spec["images"] = found


def _tell_image(call: Call, image: str, tags: list[str]) -> None:
    if file := call.options.text("iidfile"):
        with open(file, "w") as written:
            written.write(image)
    if call.options.flag("quiet"):
        print(image)
    else:
        tell(f"Built {image[:19]}{''.join(f', {tag}' for tag in tags)}")


class _Building:
    """One build of this client's.  ``image``: its ID, once it is there."""

    def __init__(self, call: Call, spec: dict[str, Any], output: Output, agents: Agents) -> None:
        self._client = call.session.client
        self._spec, self._output, self._agents = spec, output, agents
        self._failed, self._endings = "", 0
        self._problem: Exception | None = None
        self.image = ""

    def run(self, pieces: Iterator[bytes] | None) -> int:
        wanted = (*ENDING, signal.SIGWINCH)
        with SignalReader(wanted) as signals, ExitStack() as stack:
            taken = stack.enter_context(_result(self._output))
            source = stack.enter_context(_Fed(pieces)) if pieces is not None else None
            self._stream = Stream(
                *self._client.upgrade("images.build", body=self._spec),
                stdin=source.fd if source is not None else None,
                stdout=taken.fd,
                stderr=2,
                wakeup=signals.fd,
                on_control=self._controlled,
                on_signal=self._signalled,
            )
            try:
                status = self._stream.run()
            except Detached:
                status = 1
            except Interrupted as interrupted:
                return interrupted.exit_status
            if source is not None and source.problem is not None:
                raise source.problem
            if self._failed:
                tell(f"hyper: {self._failed}")
            taken.take(status)
            self.image = taken.text
            return status

    def _controlled(self, name: str, value: Any) -> None:
        if name == "failed":
            self._failed = str(value)
        elif name == "created":
            for ssh, path in self._agents.sockets.items():
                lent = self._client.upgrade("images.lend_agent", str(value["id"]), query={"ssh": ssh})
                _lend(lent, path)

    def _signalled(self, number: int) -> None:
        if number == signal.SIGWINCH:
            if now := terminal.size():
                self._stream.resize(*now)
            return
        self._endings += 1
        if self._endings >= PATIENCE:
            raise Interrupted(number)
        self._stream.signal("INT")


def _lend(lent: tuple[Any, bytes], agent: str) -> None:
    """In threads, which end with the build's connection."""
    from hypercontainer.client.lending import Lender

    near, far = socket.socketpair()
    stream = Stream(*lent, stdin=far.fileno(), stdout=far.fileno())

    def carry() -> None:
        try:
            stream.run()
        except (HyperError, Detached, OSError):
            pass
        finally:
            far.close()

    def speak() -> None:
        try:
            Lender(near, agent).run()
        except (HyperError, OSError):
            pass
        finally:
            near.close()

    for work in (carry, speak):
        threading.Thread(target=work, name="ssh agent", daemon=True).start()


class _Fed:
    """Pieces as a pipe, which a thread fills.  ``problem``: why it has not come to their end."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.problem: Exception | None = None

    def __enter__(self) -> _Fed:
        self.fd, writing = os.pipe()
        threading.Thread(target=self._feed, args=(writing,), name="context", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def _feed(self, writing: int) -> None:
        try:
            with open(writing, "wb", buffering=0) as file:
                for piece in self._pieces:
                    view = memoryview(piece)
                    while view:
                        view = view[file.write(view) :]
        except BrokenPipeError:  # the build is over
            pass
        except (OSError, HyperError) as error:
            self.problem = error


class _Result:
    """Where the result goes: ``fd`` takes it, ``take`` says that it is whole or (status) that it is none."""

    text = ""
    fd: int

    def __enter__(self) -> _Result:
        return self

    def __exit__(self, *_: object) -> None: ...

    def take(self, status: int) -> None: ...


class _Text(_Result):
    """An ID."""

    def __init__(self) -> None:
        self._reading, self.fd = os.pipe()

    def __exit__(self, *_: object) -> None:
        for fd in (self._reading, self.fd):
            os.close(fd)

    def take(self, status: int) -> None:
        if not status:
            self.text = os.read(self._reading, 4096).decode().strip()


class _File(_Result):
    def __init__(self, path: str) -> None:
        self._target = Target("" if path == "-" else path)
        self.fd, self._whole = self._target.fd, False

    def __exit__(self, *_: object) -> None:
        self._target.__exit__(None if self._whole else Exception)

    def take(self, status: int) -> None:
        self._whole = not status


class _Directory(_Result):
    """An archive is laid into it as it comes."""

    def __init__(self, path: str) -> None:
        self._reading, self.fd = os.pipe()
        self._path, self._problem = path, ""
        self._open = True
        self._work = threading.Thread(target=self._lay, name="output", daemon=True)
        self._work.start()

    def __exit__(self, *_: object) -> None:
        self._end()

    def take(self, status: int) -> None:
        self._end()
        if not status and self._problem:
            raise InvalidArgument(f"{self._path}: {self._problem}")

    def _end(self) -> None:
        if self._open:
            self._open = False
            os.close(self.fd)
            self._work.join()

    def _lay(self) -> None:
        from hypercontainer.cli.trees import unpacked

        with open(self._reading, "rb") as archive:
            try:
                if archive.peek(1):  # nothing comes of a build that failed
                    os.makedirs(self._path, exist_ok=True)  # noqa: PTH103
                    unpacked(archive, self._path, lambda path: path)
                while archive.read(1 << 16):
                    pass
            except (OSError, HyperError) as error:
                self._problem = str(error)


def _result(output: Output) -> _Result:
    kinds: dict[str, Callable[[], _Result]] = {
        "image": _Text,
        "local": lambda: _Directory(output.path),
    }
    return kinds.get(output.kind, lambda: _File(output.path))()


BUILD = Command(
    run,
    "[OPTIONS] PATH|URL|-",
    count=(1, 1),
    options=(
        many("-t --tag", "NAME[:TAG]", "a name for the image"),
        text("-f --file", "FILE", "the Dockerfile, in place of PATH/Dockerfile; - is standard input"),
        text("--target", "STAGE", "build this stage"),
        many("--build-arg", "NAME[=VALUE]", "a value for an ARG; without one, of the environment"),
        many("--label", "NAME=VALUE", "a label of the image"),
        text("--platform", "OS/ARCH", "build for this platform, in place of this machine's"),
        flag("--no-cache", "make every step anew"),
        many("--no-cache-filter", "STAGE", "make the steps of this stage anew"),
        flag("--pull", "look whether registries have newer base images"),
        many("--secret", "id=NAME[,src=FILE|,env=NAME]", "a secret for RUN --mount=type=secret"),
        many("--ssh", "default|ID[=SOCKET|KEY]", "an SSH agent, or a key, for RUN --mount=type=ssh"),
        many(
            "-o --output",
            "DIRECTORY|type=TYPE,dest=PATH",
            "where the result goes: image, local, tar, oci, docker",
        ),
        text("--progress", "HOW", "auto, plain, tty, quiet or rawjson", "auto"),
        flag("-q --quiet", "only the image's ID"),
        text("--iidfile", "FILE", "write the image's ID here"),
        text("--network", "MODE", "of RUN: default or none"),
        many("--add-host", "NAME:ADDRESS", "a name that RUN knows"),
        text("--shm-size", "SIZE", "of /dev/shm in RUN"),
        many("--ulimit", "NAME=SOFT[:HARD]", "a limit for RUN"),
        flag("--load", "as is done anyway"),
        refused("--push", "", "push it afterwards: hyper push NAME"),
        refused("--cache-from", "SOURCE", "the builder's cache is a volume of its own"),
        refused("--cache-to", "TARGET", "the builder's cache is a volume of its own"),
        refused("--build-context", "NAME=VALUE", "one context at a time; FROM takes images that are here"),
        refused("--builder", "NAME", "there is one; [build] in the configuration says which image it is"),
    ),
    text=(
        "Docker's builder does it, in a virtual machine of its own whose cache is the volume hyper-build-cache; it is\n"
        "stopped when nobody has built for a while. Images that the Dockerfile names are those of hyper images, or\n"
        "are pulled. Of PATH what .dockerignore names is not sent. - is a tar, or a Dockerfile without a context."
    ),
    examples=(
        "hyper build -t shop:1 .",
        "hyper build --target test --build-arg VERSION=2 -f docker/Dockerfile .",
        "hyper build --secret id=npm,src=$HOME/.npmrc --ssh default -t shop .",
        "hyper build -o out --target binaries .",
        "hyper build -o type=oci,dest=shop.tar . && hyper load -i shop.tar",
    ),
)
