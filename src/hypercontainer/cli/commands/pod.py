"""hyper pod: create and exists; what pods go through is in life.py."""

from __future__ import annotations

from hypercontainer.cli.container_options import MACHINE, NETWORK
from hypercontainer.cli.options import Call, Command, UsageError, flag, many, text
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


_POD_NETWORK = tuple(option for option in NETWORK if option.name not in ("publish-all", "expose"))
CREATE = Command(
    create,
    "[OPTIONS] [NAME]",
    count=(0, 1),
    options=(
        text("--name", "NAME", "the same as NAME"),
        text("-h --hostname", "NAME", "of the pod's virtual machine"),
        text("--domainname", "NAME", "inside"),
        many("-l --label", "NAME[=VALUE]", "attach a label"),
        many("--label-file", "FILE", "read labels from a file, a line each"),
        many("--annotation", "NAME=VALUE", "attach an annotation"),
        flag("--share-pid", "its containers share their process IDs"),
        text("--share", "NAMESPACES", "ipc, net and uts are always shared; 'pid' is as --share-pid"),
        flag("--replace", "remove a pod of this name first"),
        *_POD_NETWORK,
        text(
            "-m --memory",
            "SIZE",
            "of the virtual machine; as much as its containers may use, if it is not said",
        ),
        text("--cpus", "NUMBER", "processors of the virtual machine, such as 2 or 0.5"),
        text("--cpu", "NUMBER", "the same as --cpus"),
        text("--shm-size", "SIZE", "of /dev/shm"),
        many("--sysctl", "NAME=VALUE", "kernel parameter of the guest"),
        many("--storage-opt", "size=SIZE", "size of the disk that holds what the containers write"),
        *MACHINE,
    ),
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
