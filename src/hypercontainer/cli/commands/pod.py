"""hyper pod: create and exists; what pods go through is in life.py."""

from __future__ import annotations

from hypercontainer.cli.container_options import POD_OPTIONS
from hypercontainer.cli.options import Call, Command, UsageError
from hypercontainer.cli.pod_spec import pod_spec
from hypercontainer.cli.session import tell
from hypercontainer.client.api import RemoteError


def create(call: Call) -> int:
    values, client = call.options, call.session.client
    name = values.text("name") or (call.arguments[0] if call.arguments else "")
    if call.arguments and name != call.arguments[0]:
        raise UsageError("conflicting names: --name and NAME differ", exit_status=1)
    spec = pod_spec(values, name)
    if values.flag("replace"):
        if not name:
            raise UsageError("--replace needs the pod's name", exit_status=1)
        try:
            client.call("pods.remove", name, query={"force": True}, timeout_s=None)
        except RemoteError as error:
            if error.code != "not_found":
                raise
    created = client.act("pods.create", body=spec)
    for warning in created.get("warnings", ()):
        tell(f"WARNING: {warning}")
    print(created["id"])
    return 0


def exists(call: Call) -> int:
    try:
        call.session.client.call("pods.inspect", call.arguments[0])
    except RemoteError as error:
        if error.code != "not_found":
            raise
        return 1
    return 0


CREATE = Command(
    create,
    "[OPTIONS] [NAME]",
    count=(0, 1),
    options=POD_OPTIONS,
    text="""A pod is one virtual machine for several containers, which reach one another on localhost. It begins empty;
hyper create --pod and hyper run --pod put containers into it.""",
    examples=(
        "hyper pod create -p 8080:80 shop",
        "hyper run -d --pod shop --name cache redis",
        "hyper pod create --share-pid --memory 1g --label tier=back jobs",
    ),
)
EXISTS = Command(
    exists,
    "POD",
    count=(1, 1),
    text="The exit status is 0 where it does, 1 where it does not.",
    examples=("hyper pod exists shop || hyper pod create shop",),
)
