"""hyper exec."""

from __future__ import annotations

import os

from hypercontainer.cli import terminal
from hypercontainer.cli.attachment import ALL_STREAMS, Attached, Terms
from hypercontainer.cli.container_options import EXEC_OPTIONS
from hypercontainer.cli.environment import environment
from hypercontainer.cli.options import Call, Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def exec_spec(call: Call) -> dict[str, Any]:
    values = call.options
    spec: dict[str, Any] = {"command": call.arguments[1:]}
    for name, to in (("workdir", "working_dir"), ("user", "user")):
        if values.given(name):
            spec[to] = values.text(name)
    for name, to in (
        ("tty", "tty"),
        ("interactive", "stdin"),
        ("detach", "detach"),
        ("privileged", "privileged"),
    ):
        if values.flag(name):
            spec[to] = True
    if env := environment(values.many("env"), values.many("env-file"), os.environ):
        spec["env"] = env
    if values.flag("tty") and (now := terminal.size()):
        spec["rows"], spec["columns"] = now
    return spec


def _created(call: Call, spec: dict[str, Any]) -> str:
    client, name = call.session.client, call.arguments[0]
    if not call.options.flag("vm"):
        return str(client.act("containers.exec_create", name, body=spec)["id"])
    from hypercontainer.cli.pods import on_pod_of

    return str(on_pod_of(client, name, lambda pod: client.act("pods.exec_create", pod, body=spec))["id"])


def run(call: Call) -> int:
    values, client = call.options, call.session.client
    container = call.arguments[0]
    spec = exec_spec(call)
    if values.flag("detach"):
        spec.pop("stdin", None)
        identifier = _created(call, spec)
        client.act("containers.exec_start", identifier)
        return 0
    terms = Terms(
        tty=values.flag("tty"),
        streams=ALL_STREAMS if values.flag("interactive") else ALL_STREAMS - {"stdin"},
        detach_keys=values.text("detach-keys"),
        sig_proxy=False,  # as with Docker: an interrupted client leaves the process
    )
    identifier = _created(call, spec)
    return Attached(terms, name=container).run(*client.upgrade("containers.exec_start", identifier))


EXEC = Command(
    run,
    "[OPTIONS] CONTAINER|POD COMMAND [ARG...]",
    count=(2, None),
    options=EXEC_OPTIONS,
    interspersed=False,
    text="""The exit status is the command's; 126 when it cannot be executed, 127 when it is not found.
With --vm the command runs beside the containers, in the virtual machine of a pod or of a container.""",
    examples=(
        "hyper exec web cat /proc/1/comm",
        "hyper exec -it web sh",
        "hyper exec --vm shop cat /proc/mounts",
    ),
)
