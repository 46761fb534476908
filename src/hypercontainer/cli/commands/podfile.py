"""hyper run and create of a podfile.

It is read here, with the user's own rights: hyperd gets the pod's specification and never opens a file or an address
that a podfile names.
"""

from __future__ import annotations

import os
import sys

from hypercontainer.cli.options import Call, UsageError
from hypercontainer.cli.pod_output import PodOutput, show
from hypercontainer.cli.pod_spec import with_images
from hypercontainer.cli.session import tell
from hypercontainer.cli.signals import ENDING, SignalReader
from hypercontainer.client.api import RemoteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

    from hypercontainer.client.api import Client

_HINTS = {"attach": "without -d, what its containers write is shown; hyper attach NAME takes one of them"}
_BESIDE = frozenset(("podfile", "detach", "rm", "quiet", "name", "label", "pull", "no-template"))


def read_text(path: str, what: str, most_bytes: int) -> bytes:
    """Of "-", standard input."""
    if path == "-":
        if sys.stdin is None:
            raise UsageError(f"there is no standard input to read the {what} from")
        data = sys.stdin.buffer.read(most_bytes + 1)
    else:
        with open(path, "rb") as file:
            data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise UsageError(f"{what} {path}: more than {most_bytes} bytes")
    return data


def _spec(call: Call) -> dict[str, Any]:
    """The PodSpec as plain JSON values."""
    values = call.options
    if call.arguments:
        raise UsageError(f"--podfile takes the place of an image: {call.arguments[0]!r} is too much")
    if other := sorted(set(values.names()) - _BESIDE):
        hint = _HINTS.get(other[0], "the podfile says it")
        raise UsageError(f"--{other[0]} does not go with --podfile", hint=hint)
    path = values.text("podfile")

    import msgspec

    from hypercontainer.cli.environment import pairs
    from hypercontainer.podfile import read
    from hypercontainer.podfile.fetching import Fetcher
    from hypercontainer.podfile.tree import MAX_TEXT_BYTES

    text = read_text(path, "podfile", MAX_TEXT_BYTES)
    where = "standard input" if path == "-" else path
    found, warnings = read(text, where=where, fetch=Fetcher())
    for warning in warnings:
        tell(f"WARNING: {warning}")
    spec: dict[str, Any] = msgspec.to_builtins(found)
    if values.given("name"):
        spec["name"] = values.text("name")
    spec["labels"] = {**spec["labels"], **pairs(values.many("label"))}
    if values.flag("no-template"):
        spec["template"] = False
    if values.given("pull"):
        spec["containers"] = [{**one, "pull": values.text("pull")} for one in spec["containers"]]
    return spec


def _create(call: Call, spec: dict[str, Any]) -> dict[str, Any]:
    client = call.session.client
    created: dict[str, Any] = with_images(
        client,
        spec,
        quiet=call.options.flag("quiet"),
        act=lambda wanted: client.act("pods.create", body=wanted),
    )
    for one in (created, *created["containers"]):
        for warning in one.get("warnings", ()):
            tell(f"WARNING: {warning}")
    return created


def create(call: Call) -> int:
    spec = _spec(call)
    print(_create(call, {**spec, "auto_remove": call.options.flag("rm")})["id"])
    return 0


def run(call: Call) -> int:
    spec, client = _spec(call), call.session.client
    detached, remove = call.options.flag("detach"), call.options.flag("rm")
    # Attached, the pod is removed from here: what its containers wrote must still be there to be read.
    created = _create(call, {**spec, "auto_remove": detached and remove})
    pod = str(created["id"])
    try:
        if detached:
            client.call("pods.start", pod, timeout_s=None)
            print(pod)
            return 0
        status = _attached(client, created)
    except BaseException:
        if remove:
            _remove(client, pod)
        raise
    if remove:
        _remove(client, pod)
    return status


def _remove(client: Client, pod: str) -> None:
    try:
        client.call("pods.remove", pod, query={"force": True}, timeout_s=None)
    except RemoteError as error:
        if error.code != "not_found":
            tell(f"hyper: {error.message}")


def _attached(client: Client, created: dict[str, Any]) -> int:
    pod = str(created["id"])
    with Stopper(client, pod):
        client.call("pods.start", pod, timeout_s=None)
        names = [one["name"] for one in created["containers"]]
        output = PodOutput(names, bare=len(names) == 1)
        show(client.lines("pods.logs", pod, query={"follow": True}), output)
        answer = client.call("pods.wait", pod, timeout_s=None)
    if answer["error"]:
        tell(f"hyper: pod {created['name']}: {answer['error']}")
    return int(answer["exit_status"])


class Stopper:
    """In its context, the first signal that would end this command stops the pod, and every further one kills it.

    So the command itself ends as always: when the pod has.
    """

    def __init__(self, client: Client, pod: str) -> None:
        self._client = client
        self._pod = pod
        self._signals = SignalReader(ENDING)

    def __enter__(self) -> None:
        from threading import Thread

        self._signals.__enter__()
        self._end, self._ending = os.pipe2(os.O_CLOEXEC)
        self._threads = [Thread(target=self._watch, daemon=True)]
        self._threads[0].start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._ending)
        self._threads[0].join()
        os.close(self._end)
        self._signals.__exit__(kind, error, trace)

    def _watch(self) -> None:
        from select import POLLIN, poll
        from threading import Thread

        poller = poll()
        poller.register(self._signals.fd, POLLIN)
        poller.register(self._end, POLLIN)
        while not any(fd == self._end for fd, _ in poller.poll()):
            for _ in os.read(self._signals.fd, 64):
                tell("Killing the pod" if len(self._threads) > 1 else "Stopping the pod; once more kills it")
                verb = "kill" if len(self._threads) > 1 else "stop"
                self._threads.append(Thread(target=self._act, args=(verb,), daemon=True))
                self._threads[-1].start()

    def _act(self, verb: str) -> None:
        body = {"signal": "KILL"} if verb == "kill" else {}
        try:
            self._client.call(f"pods.{verb}", self._pod, body=body, timeout_s=None)
        except RemoteError as error:
            tell(f"hyper: {error.message}")
