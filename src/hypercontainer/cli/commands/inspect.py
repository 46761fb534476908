"""hyper inspect."""

from __future__ import annotations

import sys

from hypercontainer.cli.listing import unescape
from hypercontainer.cli.options import Call, Command, UsageError, flag, refused, text
from hypercontainer.client.api import RemoteError
from hypercontainer.semantics import shape as docker_shape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _container(call: Call, name: str) -> dict[str, Any]:
    found = call.session.client.call("containers.inspect", name.removeprefix("/"))
    if not call.options.flag("size"):
        found["size_bytes"] = None
    return docker_shape.container(found)


def _image(call: Call, name: str) -> dict[str, Any]:
    return docker_shape.image(call.session.client.call("images.inspect", query={"ref": name}))


def _pod(call: Call, name: str) -> dict[str, Any]:
    return docker_shape.pod(call.session.client.call("pods.inspect", name))


def _volume(call: Call, name: str) -> dict[str, Any]:
    from hypercontainer.cli.commands.volume import shaped

    return shaped(call.session.client.call("volumes.inspect", name))


KINDS: dict[str, tuple[Callable[[Call, str], dict[str, Any]], ...]] = {
    "": (_container, _image, _pod, _volume),
    "container": (_container,),
    "image": (_image,),
    "pod": (_pod,),
    "volume": (_volume,),
}


def _find(call: Call, kind: str, name: str) -> dict[str, Any]:
    for look in KINDS[kind]:
        try:
            return look(call, name)
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
        hint="hyper ps -a, hyper images, hyper pod ls and hyper volume ls list them",
    )


def run(call: Call) -> int:
    import json

    family, space, _ = call.name.partition(" ")
    kind = family if space else call.options.text("type")
    if kind not in KINDS:
        raise UsageError(
            f"{kind!r} is not a valid value for --type", hint="container, image, pod or volume", exit_status=1
        )
    form = call.options.text("format")
    render = None
    if form and form != "json":
        from hypercontainer.cli.template import compile_template

        render = compile_template(unescape(form))
    found, status = [], 0
    for name in call.arguments:
        try:
            found.append(_find(call, kind, name))
        except RemoteError as error:
            from hypercontainer.cli.wording import complain

            complain(error)
            status = 1
    if render is not None:
        sys.stdout.writelines(f"{render(value)}\n" for value in found)
    elif form == "json":
        sys.stdout.writelines(
            json.dumps(value, ensure_ascii=False, separators=(",", ":")) + "\n" for value in found
        )
    else:
        sys.stdout.write(json.dumps(found, indent=4, ensure_ascii=False) + "\n")
    return status


INSPECT = Command(
    run,
    "[OPTIONS] NAME|ID...",
    count=(1, None),
    options=(
        text("-f --format", "TEMPLATE", "'json' or a Go template such as '{{.State.ExitCode}}'"),
        flag("-s --size", "the size of a container's writable disk too"),
        text("--type", "TYPE", "container, image, pod or volume"),
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
