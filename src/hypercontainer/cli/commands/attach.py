"""hyper attach.

As docker attach does, it shows what the process writes from now on: what it wrote before is not repeated (the call's
``logs``), and ``hyper logs -f`` is there for it.  Docker has no flag for that either.
"""

from __future__ import annotations

from hypercontainer.cli.attachment import ALL_STREAMS, Attached, Terms
from hypercontainer.cli.commands.life import paused
from hypercontainer.cli.options import Call, Command, flag, text
from hypercontainer.contract.detach import DEFAULT as DETACH_DEFAULT
from hypercontainer.errors import Conflict


def run(call: Call) -> int:
    values, client = call.options, call.session.client
    (name,) = call.arguments
    found = client.call("containers.inspect", name)
    if found["state"] == "paused":
        raise paused(name)
    if found["state"] != "running":
        raise Conflict(f"container {name} is not running", hint=f"hyper start -a {name}")
    spec = found["spec"]
    with_input = spec["stdin_open"] and not values.flag("no-stdin")
    terms = Terms(
        tty=spec["tty"],
        streams=ALL_STREAMS if with_input else ALL_STREAMS - {"stdin"},
        detach_keys=values.text("detach-keys"),
        sig_proxy=values.flag("sig-proxy"),
    )
    query = {"stdin": with_input, "logs": False}
    return Attached(terms, name=name).run(*client.upgrade("containers.attach", name, query=query))


ATTACH = Command(
    run,
    "[OPTIONS] CONTAINER",
    count=(1, 1),
    options=(
        text("--detach-keys", "KEYS", "keys that leave the container running", DETACH_DEFAULT),
        flag("--no-stdin", "do not connect standard input"),
        flag("--sig-proxy", "pass signals on to the process (without a terminal)", default=True),
    ),
    text="Ctrl-P Ctrl-Q leaves a container with a terminal running.",
    examples=("hyper attach shell",),
)
