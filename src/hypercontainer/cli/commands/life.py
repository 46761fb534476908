"""What containers and pods go through after they are made: stop, restart, kill, pause, unpause, wait, rm, rename, and
a pod's start.  (A container's start may attach to it: run.py.)

A command is named as the call that it makes, but for ``rm``; the family says on what ("pod stop").
"""

from __future__ import annotations

from hypercontainer.cli.options import Call, Command, UsageError, flag, refused, text
from hypercontainer.client.api import LIFECYCLE_TIMEOUT_S
from hypercontainer.errors import Conflict, HyperError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

AT_ONCE = 50  # calls to hyperd
_ALIVE = ("starting", "running", "paused", "stopping")
_MEANT_BY_ALL = {"stop": _ALIVE, "kill": _ALIVE, "pause": ("running",), "unpause": ("paused",)}


def each(
    names: Iterable[str], act: Callable[[str], object], *, missing_ok: bool = False, at_once: bool = False
) -> int:
    """Acts on every name and prints it (or the answer); one that fails does not keep the others from it.

    ``missing_ok``: what does not exist is told, and no failure.  ``at_once``: none waits for another's end; what is
    printed stays in the order of the names.
    """
    names, status = list(names), 0
    if at_once and len(names) > 1:
        act = _at_once(names, act)
    for name in names:
        try:
            answer = act(name)
        except HyperError as error:
            from hypercontainer.cli.wording import complain

            complain(error)
            if not (missing_ok and error.code == "not_found"):
                status = 1
        else:
            print(name if answer is None else answer, flush=True)
    return status


def _at_once(names: Sequence[str], act: Callable[[str], object]) -> Callable[[str], object]:
    """Begins all of them, ``AT_ONCE`` at a time; what it gives waits for one.  Their threads end with the command."""
    from queue import SimpleQueue
    from threading import BoundedSemaphore, Thread

    room = BoundedSemaphore(AT_ONCE)
    outcomes: dict[str, SimpleQueue[tuple[object, BaseException | None]]] = {}

    def begin(name: str) -> None:
        with room:
            try:
                outcome: tuple[object, BaseException | None] = (act(name), None)
            except BaseException as error:
                outcome = (None, error)
        outcomes[name].put(outcome)

    def finish(name: str) -> object:
        answer, error = outcomes[name].get()
        outcomes[name].put((answer, error))  # a name may be there twice
        if error is not None:
            raise error
        return answer

    for name in dict.fromkeys(names):
        outcomes[name] = SimpleQueue()
        Thread(target=begin, args=(name,), name=f"call on {name}", daemon=True).start()
    return finish


def paused(container: str) -> Conflict:
    return Conflict(f"container {container} is paused", hint=f"hyper unpause {container}")


def _of_pods(call: Call) -> bool:
    return call.name.startswith("pod ")


def _verb(call: Call) -> str:
    return call.name.rpartition(" ")[2]


def _names(call: Call) -> list[str]:
    """Those of the command line, or with --all the names of all pods that the verb is for."""
    if not _of_pods(call):
        return call.arguments
    if not call.options.flag("all"):
        if not call.arguments:
            raise UsageError(
                f"hyper {call.name} requires at least 1 argument",
                hint="a pod's name, or --all",
                exit_status=1,
            )
        return call.arguments
    if call.arguments:
        raise UsageError("--all takes no names", exit_status=1)
    states = _MEANT_BY_ALL.get(_verb(call))
    found = call.session.client.call("pods.find")["pods"]
    return [pod["name"] for pod in found if states is None or pod["state"] in states]


def _each(
    call: Call,
    body: object = None,
    *,
    timeout_s: float | None = LIFECYCLE_TIMEOUT_S,
    at_once: bool = False,
) -> int:
    client, name = call.session.client, f"{'pods' if _of_pods(call) else 'containers'}.{_verb(call)}"
    if _of_pods(call):
        timeout_s = None  # hyperd keeps the times that its containers have
    return each(
        _names(call), lambda one: client.call(name, one, body=body, timeout_s=timeout_s), at_once=at_once
    )


def act(call: Call) -> int:
    return _each(call)


def start(call: Call) -> int:
    """As long as it takes: hyperd keeps the times that init containers have."""
    return _each(call, timeout_s=None)


def stop(call: Call) -> int:
    """And restart.  hyperd keeps the time that the user, or the container, gives the process to end."""
    body: dict[str, object] = {**_timeout(call)}
    if call.options.given("signal"):
        body["signal"] = call.options.text("signal")
    return _each(call, body, timeout_s=None, at_once=True)


def _timeout(call: Call) -> dict[str, object]:
    for name in ("timeout", "time"):
        if call.options.given(name):
            return {"timeout_s": call.options.number(name)}
    return {}


def kill(call: Call) -> int:
    return _each(call, {"signal": call.options.text("signal")}, at_once=True)


def wait(call: Call) -> int:
    client = call.session.client

    def one(name: str) -> int:
        if _of_pods(call):
            answer = client.call("pods.wait", name, timeout_s=None)
        else:
            query = {"condition": call.options.text("condition")}
            answer = client.call("containers.wait", name, query=query, timeout_s=None)
        return int(answer["exit_status"])

    return each(call.arguments, one, at_once=True)


def remove(call: Call) -> int:
    client, name = call.session.client, "pods.remove" if _of_pods(call) else "containers.remove"
    query = {"force": call.options.flag("force")}
    if not _of_pods(call):
        query["volumes"] = call.options.flag("volumes")
    return each(
        _names(call),
        lambda one: client.call(name, one, query=query, timeout_s=None),
        missing_ok=call.options.flag("force"),
        at_once=True,
    )


def rename(call: Call) -> int:
    old, new = call.arguments
    if not new:
        raise UsageError("the new name is empty", exit_status=1)
    call.session.client.act("containers.rename", old, body={"name": new})
    return 0


_MANY = (1, None)
_TIME = (
    text("-t --timeout", "SECONDS", "before the container is killed; -1 waits for ever"),
    text("--time", "SECONDS", "the same as --timeout"),
)
_SIGNAL = text("-s --signal", "SIGNAL", "name or number", "KILL")
_FIRST = text("-s --signal", "SIGNAL", "to send first, in place of the container's own")
_FORCE = flag("-f --force", "kill it first if it runs; what does not exist is no failure")
STOP = Command(
    stop,
    "[OPTIONS] CONTAINER...",
    count=_MANY,
    options=(_FIRST, *_TIME),
    examples=("hyper stop web", "hyper stop -t 30 web db"),
)
RESTART = Command(
    stop,
    "[OPTIONS] CONTAINER...",
    count=_MANY,
    options=(_FIRST, *_TIME),
    examples=("hyper restart web", "hyper restart -s INT -t 30 web"),
)
KILL = Command(
    kill,
    "[OPTIONS] CONTAINER...",
    count=_MANY,
    options=(_SIGNAL,),
    text="By KILL and by its stop signal (by any, where none was chosen) its restart policy ends too.",
    examples=("hyper kill web", "hyper kill -s HUP web"),
)
PAUSE = Command(act, "CONTAINER...", count=_MANY, examples=("hyper pause web",))
UNPAUSE = Command(act, "CONTAINER...", count=_MANY, examples=("hyper unpause web",))
WAIT = Command(
    wait,
    "[OPTIONS] CONTAINER...",
    count=_MANY,
    options=(text("--condition", "CONDITION", "not-running, next-exit, removed or healthy", "not-running"),),
    text="One that ends before it is healthy, and one that nobody asks for its health, is an error.",
    examples=("hyper wait job", "hyper wait --condition healthy db"),
)
RM = Command(
    remove,
    "[OPTIONS] CONTAINER...",
    count=_MANY,
    options=(
        _FORCE,
        flag("-v --volumes", "with its volumes that nobody has named"),
        refused("-l --link", "", "links between containers are not supported"),
    ),
    examples=("hyper rm web", "hyper rm -fv db", "hyper rm -f $(hyper ps -aq)"),
)
RENAME = Command(rename, "CONTAINER NEW-NAME", count=(2, 2), examples=("hyper rename web old-web",))

# Of pods

_ANY = (0, None)
_ALL = flag("-a --all", "all of them")
_POD_TIME = text(
    "-t --time", "SECONDS", "for its containers to end, before they are killed; else 10, or as it says itself"
)
POD_START = Command(
    start, "[OPTIONS] POD...", count=_ANY, options=(_ALL,), examples=("hyper pod start shop",)
)
POD_STOP = Command(
    stop,
    "[OPTIONS] POD...",
    count=_ANY,
    options=(_ALL, _POD_TIME),
    examples=("hyper pod stop shop", "hyper pod stop -t 5 --all"),
)
POD_RESTART = Command(
    stop,
    "[OPTIONS] POD...",
    count=_ANY,
    options=(_ALL, _POD_TIME),
    examples=("hyper pod restart shop",),
)
POD_KILL = Command(
    kill,
    "[OPTIONS] POD...",
    count=_ANY,
    options=(_ALL, _SIGNAL),
    examples=("hyper pod kill shop", "hyper pod kill -s HUP shop"),
)
POD_PAUSE = Command(
    act,
    "[OPTIONS] POD...",
    count=_ANY,
    options=(_ALL,),
    text="The virtual machine stands still as a whole.",
    examples=("hyper pod pause shop",),
)
POD_UNPAUSE = Command(
    act, "[OPTIONS] POD...", count=_ANY, options=(_ALL,), examples=("hyper pod unpause shop",)
)
POD_RM = Command(
    remove,
    "[OPTIONS] POD...",
    count=_ANY,
    options=(_ALL, _FORCE),
    text="Its containers go with it; named volumes stay.",
    examples=("hyper pod rm shop", "hyper pod rm -f shop"),
)
POD_WAIT = Command(
    wait,
    "POD...",
    count=_MANY,
    text="Prints the status of the first container that failed, or 0, once all have ended for good.",
    examples=("hyper pod wait jobs",),
)
