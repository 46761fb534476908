"""hyper run, create and start."""

from __future__ import annotations

import contextlib
import os

from hypercontainer.cli import terminal
from hypercontainer.cli.attachment import ALL_STREAMS, Attached, Terms
from hypercontainer.cli.commands.life import each
from hypercontainer.cli.container_options import CREATE_OPTIONS, RUN_OPTIONS, TIMINGS
from hypercontainer.cli.container_spec import container_spec
from hypercontainer.cli.options import Call, Command, UsageError, flag, refused, text
from hypercontainer.cli.ports import parse_publish
from hypercontainer.cli.pulling import with_image
from hypercontainer.cli.session import tell
from hypercontainer.cli.signals import raise_interrupts
from hypercontainer.client.api import RemoteError
from hypercontainer.contract.detach import DEFAULT as DETACH_DEFAULT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hypercontainer.cli.options import Values
    from hypercontainer.cli.timings import Timings
    from hypercontainer.client.api import Client


class IdFile:
    """--cidfile: a new file that gets the ID; removed again where there is none to write."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._fd = -1
        if file:
            raise_interrupts()
            try:
                self._fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                raise UsageError(
                    f"container ID file found, make sure the other container isn't running or delete {file}"
                ) from None

    def write(self, identifier: str) -> None:
        if self._fd >= 0:
            os.write(self._fd, identifier.encode("ascii"))
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> IdFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            os.unlink(self._file)  # noqa: PTH108


class Untimed:
    """In place of `Timings` where nobody asked for them: its module is not loaded then."""

    def lap(self, name: str) -> None:
        pass

    def tell(self, answer: dict[str, Any] | None) -> None:
        pass


def _timer(values: Values, *, attached: bool) -> Timings | Untimed:
    if not values.flag("timings"):
        return Untimed()
    if not attached:
        raise UsageError(
            "--timings needs an attached run", hint="`hyper events` shows the stages of every start"
        )
    from hypercontainer.cli.timings import Timings, process_age_s

    return Timings(process_age_s())


def _streams(values: Values) -> frozenset[str]:
    named = frozenset(stream.lower() for stream in values.many("attach"))
    if unknown := named - ALL_STREAMS:
        hint = "stdin, stdout or stderr"
        if min(unknown).startswith("-"):
            hint = f"it takes {hint}; without -a and -d, a run is attached to what is written"
        raise UsageError(f"invalid --attach {min(unknown)!r}", hint=hint)
    if named and values.flag("detach"):
        raise UsageError("conflicting options: cannot specify both --attach and --detach")
    streams = named or ALL_STREAMS
    return streams if values.flag("interactive") else streams - {"stdin"}


def _spec(call: Call, *, attached: bool) -> dict[str, Any]:
    spec = container_spec(call.options, call.arguments[0], call.arguments[1:])
    if attached and call.options.flag("interactive"):
        spec["stdin_once"] = True
    return spec


def _warn(created: dict[str, Any]) -> None:
    for warning in created.get("warnings", ()):
        tell(f"WARNING: {warning}")


def _create(call: Call, spec: dict[str, Any], file: IdFile) -> str:
    client = call.session.client
    created = with_image(
        client,
        spec,
        quiet=call.options.flag("quiet"),
        act=lambda wanted: client.act("containers.create", body=wanted),
    )
    _warn(created)
    file.write(created["id"])
    return str(created["id"])


def _check_image(call: Call) -> None:
    if not call.arguments:
        for item in call.options.many("publish"):  # of a podfile's name, as the original Hyper had it
            parse_publish(item)
        command = RUN if call.name.endswith("run") else CREATE
        raise UsageError(
            f"hyper {call.name} requires at least 1 argument",
            hint=f"usage: hyper {call.name} {command.arguments}",
            exit_status=1,
        )


def _join_pod(call: Call, spec: dict[str, Any]) -> None:
    if spec.get("pod", "").startswith(("new:", "container:")):
        from hypercontainer.cli.pod_spec import settle_pod

        settle_pod(call.session.client, spec)


def create(call: Call) -> int:
    if call.options.given("podfile"):
        from hypercontainer.cli.commands.podfile import create as create_pod

        return create_pod(call)
    _check_image(call)
    with IdFile(call.options.text("cidfile")) as file:
        spec = _spec(call, attached=True)
        _join_pod(call, spec)
        print(_create(call, spec, file))
    return 0


def run(call: Call) -> int:
    values = call.options
    if values.given("podfile"):
        from hypercontainer.cli.commands.podfile import run as run_pod

        return run_pod(call)
    _check_image(call)
    timer = _timer(values, attached=not values.flag("detach"))
    streams = _streams(values)
    spec = _spec(call, attached=not values.flag("detach"))
    if values.flag("detach"):
        with IdFile(values.text("cidfile")) as file:
            _join_pod(call, spec)
            identifier = _create(call, spec, file)
        _start_detached(call.session.client, identifier, auto_remove=values.flag("rm"))
        print(identifier)
        return 0
    terms = Terms(
        tty=values.flag("tty"),
        streams=streams,
        detach_keys=values.text("detach-keys"),
        sig_proxy=values.flag("sig-proxy"),
    )
    if terms.tty and (now := terminal.size()):
        spec["rows"], spec["columns"] = now
    return _run_attached(call, spec, terms, timer)


def _run_attached(call: Call, spec: dict[str, Any], terms: Terms, timer: Timings | Untimed) -> int:
    client = call.session.client
    with IdFile(call.options.text("cidfile")) as file:

        def created(answer: dict[str, Any]) -> None:
            timer.lap("create")
            _warn(answer)
            file.write(answer["id"])

        def act(wanted: dict[str, Any]) -> int:
            timer.lap("image")
            attached = Attached(terms, on_created=created)
            status = attached.run(*client.upgrade("containers.run", body=wanted))
            timer.tell(attached.timings)
            return status

        timer.lap("command line")
        _join_pod(call, spec)
        return with_image(client, spec, quiet=call.options.flag("quiet"), act=act)


def _start_detached(client: Client, identifier: str, *, auto_remove: bool) -> None:
    try:
        client.act("containers.start", identifier)
    except RemoteError:
        if auto_remove:
            with contextlib.suppress(RemoteError):  # the failed start is what matters
                client.act("containers.remove", identifier, query={"force": True})
        raise


def start(call: Call) -> int:
    values, client = call.options, call.session.client
    attached = values.flag("attach") or values.flag("interactive")
    timer = _timer(values, attached=attached)
    if not attached:
        return each(call.arguments, lambda name: client.act("containers.start", name))
    if len(call.arguments) > 1:
        raise UsageError("you cannot start and attach multiple containers at once", exit_status=1)
    (name,) = call.arguments
    timer.lap("command line")
    found = client.call("containers.inspect", name)
    if found["state"] == "running":
        raise UsageError(f"container {name} is running already", hint=f"hyper attach {name}", exit_status=1)
    streams = ALL_STREAMS if values.flag("interactive") else ALL_STREAMS - {"stdin"}
    terms = Terms(
        tty=found["spec"]["tty"],
        streams=streams,
        detach_keys=values.text("detach-keys"),
        sig_proxy=values.flag("sig-proxy"),
    )
    connection = client.upgrade("containers.attach", name, query={"stdin": "stdin" in streams, "logs": False})
    timer.lap("attach")
    client.act("containers.start", name)
    joined = Attached(terms, name=name)
    status = joined.run(*connection)
    timer.tell(joined.timings)
    return status


_TEXT = """Options end at IMAGE: what follows is the container's command and its arguments.
The exit status is the command's; 125 when hyper itself fails, 126 when the command cannot be executed,
127 when it is not found, 128+N when signal N ended it.

With --podfile there is no IMAGE: the pod of that file runs, and what its containers write is shown until all have
ended; the exit status is that of the first that failed. Its images and files are fetched with the rights of who runs
this command. The first interrupt stops the pod, the second kills it."""

RUN = Command(
    run,
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    count=(0, None),
    options=RUN_OPTIONS,
    interspersed=False,
    text=_TEXT,
    examples=(
        "hyper run --rm -it debian:12 bash",
        "hyper run -d --name web -e A=b -m 256m --cpus 2 -p 8080:80 nginx",
        "echo hello | hyper run --rm -i busybox cat",
        "hyper run --rm --platform linux/arm64 busybox uname -m",
        "hyper run -d --secret-header api.example.com:Authorization=env:TOKEN worker",
        "hyper run -d --pod shop -v data:/data --name cache redis",
        "hyper run --rm --mount type=image,source=models/small:1,target=/model llm",
        "hyper run --rm --mount type=disk,source=./old.vdi,target=/old,readonly busybox ls /old",
        "hyper run -d --mount type=disk,source=/dev/vg/data,target=/var/lib/data db",
        "hyper run -d --mount type=nfs,source=nas.lan:/export/media,target=/media,readonly jellyfin",
        "hyper run -d --mount type=nbd,source=nbds://disks.lan/data,tls-certificates=/etc/disks,target=/data db",
        "hyper run -d --mount type=rbd,source=disks/data,target=/data db",
        "hyper run -d --add-host db:host-gateway --host-loopback 5432 app",
        "hyper run -d --network cni:lan -p 8080:80 nginx",
        "hyper run --rm --podfile web.json",
    ),
)
CREATE = Command(
    create,
    "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    count=(0, None),
    options=CREATE_OPTIONS,
    interspersed=False,
    text="With --podfile there is no IMAGE, and the pod's ID is printed.",
    examples=("hyper create --name job debian:12 true", "hyper create -c shop --name cache redis"),
)
_NO_CHECKPOINTS = "no state of a running container is kept; hyper pause lets it stand still"
START = Command(
    start,
    "[OPTIONS] CONTAINER...",
    count=(1, None),
    options=(
        flag("-a --attach", "connect its standard output and error"),
        flag("-i --interactive", "connect its standard input too"),
        text("--detach-keys", "KEYS", "keys that leave the container running", DETACH_DEFAULT),
        flag("--sig-proxy", "pass signals on to the process", default=True),
        TIMINGS,
        refused("--checkpoint", "NAME", _NO_CHECKPOINTS),
        refused("--checkpoint-dir", "DIRECTORY", _NO_CHECKPOINTS),
    ),
    examples=("hyper start web", "hyper start -ai shell"),
)
