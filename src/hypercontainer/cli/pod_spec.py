"""What a pod is asked for on a command line, and its images."""

from __future__ import annotations

from hypercontainer.cli.container_options import POD_OPTIONS
from hypercontainer.cli.container_spec import machine, network, resources
from hypercontainer.cli.environment import pairs
from hypercontainer.cli.options import UsageError, Values
from hypercontainer.cli.pulling import is_there, pull, with_volumes
from hypercontainer.cli.session import tell
from hypercontainer.client.api import RemoteError
from hypercontainer.errors import NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from hypercontainer.client.api import Client

    T = TypeVar("T")

# A pod's, which its containers have too: what a container's options say of them, they say of the container.
_EACH_ITS_OWN = frozenset(("name", "labels", "annotations", "memory_bytes", "cpus"))


def pod_spec(values: Values, name: str) -> dict[str, Any]:
    """A PodSpec without containers (contract/spec.py), as plain JSON values; only what was said."""
    spec = values.fields()
    if name:
        spec["name"] = name
    if labels := pairs(values.many("label"), values.many("label-file")):
        spec["labels"] = labels
    if annotations := pairs(values.many("annotation"), what="annotation"):
        spec["annotations"] = annotations
    if values.flag("share-pid") or _shares_pids(values.text("share")):
        spec["share_pids"] = True
    for part in (network, resources, machine):
        spec |= part(values)
    if "pod" in spec:
        raise NotSupported(
            "--network: a pod is a virtual machine of its own, and has no other's network",
            hint="--network NAME puts both into one network; --pod puts a container into a pod",
        )
    return spec


def _shares_pids(text: str) -> bool:
    """podman's list of namespaces: those that a pod always shares may be in it."""
    names = set(filter(None, text.removeprefix("+").split(",")))
    if unknown := names - {"ipc", "net", "uts", "pid"}:
        raise UsageError(
            f"invalid --share {min(unknown)!r}", hint="ipc, net and uts are always shared; pid may be"
        )
    return "pid" in names


def settle_pod(client: Client, spec: dict[str, Any]) -> None:
    """Where ``spec`` says "new:NAME", makes that pod, and ``spec`` keeps what is the container's own; where it says
    "container:NAME", that container's pod is meant."""
    kind, _, name = spec["pod"].partition(":")
    if kind == "container":
        spec["pod"] = client.call("containers.inspect", name)["pod"]
        return
    if not name:
        raise UsageError("--pod new: needs a name", hint="--pod new:NAME")
    fields = {field for option in POD_OPTIONS for field in option.fields} - _EACH_ITS_OWN
    wanted = {field: spec.pop(field) for field in fields & spec.keys()}
    client.act("pods.create", body={"name": name, **wanted})
    spec["pod"] = name


def with_images(
    client: Client, spec: dict[str, Any], *, quiet: bool, act: Callable[[dict[str, Any]], T]
) -> T:
    """`pulling.with_image` for all of a pod's containers."""
    containers = [with_volumes(client, each, quiet=quiet) for each in spec.get("containers", ())]
    shared = with_volumes(client, spec, quiet=quiet)
    local = {**shared, "containers": [{**container, "pull": "never"} for container in containers]}
    policies: dict[
        tuple[str, str | None], str
    ] = {}  # of two that differ, "always" counts first, "never" last
    for container in containers:
        wanted = (container["image"], container.get("platform"))
        policy = container.get("pull") or "missing"
        policies[wanted] = min(policy, policies.get(wanted, policy))
    for (image, platform), policy in policies.items():
        if policy == "always":
            pull(client, image, platform=platform, quiet=quiet, artifacts=False)
    try:
        return act(local)
    except RemoteError as error:
        if error.code != "not_found":
            raise
        missing = [w for w, policy in policies.items() if policy == "missing" and not is_there(client, *w)]
        if not missing:
            raise
    for image, platform in missing:
        tell(f"Unable to find image {image!r} locally")
        pull(client, image, platform=platform, quiet=quiet, artifacts=False)
    return act(local)
