"""hyper inspect."""

from __future__ import annotations

import sys

from hypercontainer.cli.listing import unescape
from hypercontainer.cli.options import Call, Command, UsageError, flag, refused, text
from hypercontainer.cli.template_functions import to_json
from hypercontainer.cli.wording import complain
from hypercontainer.client.api import RemoteError
from hypercontainer.errors import HyperError
from hypercontainer.semantics import image_shape, shape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _container(call: Call, name: str) -> dict[str, Any]:
    found = call.session.client.call("containers.inspect", name.removeprefix("/"))
    if not call.options.flag("size"):
        found["size_bytes"] = None
    return shape.container(found)


def _image(call: Call, name: str) -> dict[str, Any]:
    return image_shape.image(call.session.client.call("images.inspect", query={"ref": name}))


def _pod(call: Call, name: str) -> dict[str, Any]:
    return shape.pod(call.session.client.call("pods.inspect", name))


def _volume(call: Call, name: str) -> dict[str, Any]:
    from hypercontainer.cli.commands.volume import shaped

    return shaped(call.session.client.call("volumes.inspect", name))


def _network(call: Call, name: str) -> dict[str, Any]:
    from hypercontainer.semantics import network_shape

    everyone = call.options.given("verbose") and call.options.flag("verbose")
    return network_shape.network(call.session.client.call("networks.inspect", name), everyone=everyone)


KINDS: dict[str, Callable[[Call, str], dict[str, Any]]] = {
    "container": _container,
    "image": _image,
    "pod": _pod,
    "network": _network,
    "volume": _volume,
}


def _find(call: Call, kind: str, name: str) -> tuple[str, dict[str, Any]]:
    """Its kind and its document."""
    for each in (kind,) if kind else KINDS:
        try:
            return each, KINDS[each](call, name)
        except RemoteError as error:
            # A reference that no container could have is not the container call's to judge.
            if error.code not in ("not_found", "invalid_argument"):
                raise
            last = error
    if kind:
        raise last
    raise RemoteError(
        f"no such object: {name}",
        code="not_found",
        hint="hyper ps -a, hyper images, hyper pod ls, hyper network ls and hyper volume ls list them",
    )


def run(call: Call) -> int:
    family, space, _ = call.name.partition(" ")
    kind = family if space else call.options.text("type")
    if kind and kind not in KINDS:
        raise UsageError(
            f"{kind!r} is not a valid value for --type",
            hint="container, image, pod, network or volume",
            exit_status=1,
        )
    form = unescape(call.options.text("format"))
    render = _renderer(form) if form and form != "json" else None
    found, status = [], 0
    for name in call.arguments:
        try:
            found.append(_find(call, kind, name))
        except RemoteError as error:
            complain(error)
            status = 1
    documents = [document for _, document in found]
    if render is None:
        lines = [to_json(document) for document in documents] if form else [to_json(documents, indent=4)]
        sys.stdout.writelines(f"{line}\n" for line in lines)
        return status
    for each, document in found:
        try:
            sys.stdout.write(render(each, document) + "\n")
        except HyperError as error:  # of this one: the others are shown all the same
            complain(error)
            status = 1
    return status


def _renderer(form: str) -> Callable[[str, dict[str, Any]], str]:
    from hypercontainer.cli.template import compile_template
    from hypercontainer.semantics import kinds

    render = compile_template(form)
    return lambda kind, document: render(kinds.typed(document, getattr(kinds, kind.upper())))


_FORM = text("-f --format", "TEMPLATE", "'json' or a Go template such as '{{.State.ExitCode}}'")
INSPECT = Command(
    run,
    "[OPTIONS] NAME|ID...",
    count=(1, None),
    options=(
        _FORM,
        flag("-s --size", "the size of a container's writable disk too"),
        text("--type", "TYPE", "container, image, pod, network or volume"),
        refused("--platform", "OS/ARCH", "an image here is of one platform"),
    ),
    text="The keys are those of docker inspect; what concerns the virtual machine is under VM.",
    examples=(
        "hyper inspect web",
        "hyper inspect -f '{{.State.ExitCode}}' job",
        "hyper inspect --type image debian:12",
        "hyper pod inspect -f '{{.VM.MemoryMiB}}' shop",
    ),
)
OF_NETWORKS = Command(
    run,
    "[OPTIONS] NETWORK...",
    count=(1, None),
    options=(_FORM, flag("-v --verbose", "those too that are in it and do not run")),
    text="The keys are those of docker network inspect; under Containers stands a pod, by its ID, with its addresses.",
    examples=(
        "hyper network inspect back",
        "hyper network inspect -f '{{range .IPAM.Config}}{{.Subnet}}{{end}}' back",
    ),
)
