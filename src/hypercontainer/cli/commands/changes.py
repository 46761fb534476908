"""hyper diff and commit."""

from __future__ import annotations

from hypercontainer.cli.options import Call, Command, flag, many, text
from hypercontainer.client.api import LIFECYCLE_TIMEOUT_S

LETTERS = {"added": "A", "modified": "C", "deleted": "D"}


def diff(call: Call) -> int:
    answer = call.session.client.call("containers.changes", call.arguments[0], timeout_s=LIFECYCLE_TIMEOUT_S)
    for change in answer["changes"]:
        print(LETTERS[change["kind"]], _printable(change["path"]))
    return 0


def _printable(path: str) -> str:
    """A name that a container has chosen says nothing to a terminal."""
    return "".join(each if each.isprintable() else "?" for each in path)


def commit(call: Call) -> int:
    values = call.options
    body = {
        "container": call.arguments[0],
        "reference": call.arguments[1] if len(call.arguments) > 1 else None,
        "change": values.many("change"),
        "message": values.text("message"),
        "author": values.text("author"),
        "pause": values.flag("pause") and not values.flag("no-pause"),
    }
    print(call.session.client.call("containers.commit", body=body, timeout_s=None)["id"])
    return 0


DIFF = Command(
    diff,
    "CONTAINER",
    count=(1, 1),
    text=(
        "A is what it has added, C what it has changed, D what it has deleted of its image's files. What is mounted\n"
        "in it, volumes and /dev, is not looked at. A stopped container's files are reached in a VM in which none of\n"
        "its programs runs."
    ),
    examples=("hyper diff web",),
)
COMMIT = Command(
    commit,
    "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]",
    count=(1, 2),
    options=(
        text("-a --author", "NAME", "who has made it"),
        many("-c --change", "INSTRUCTION", "apply a line of a Dockerfile"),
        text("-m --message", "TEXT", "for the image's history"),
        flag("-p --pause", "let a container that runs stand still meanwhile", default=True),
        flag("--no-pause", "let it run on"),
    ),
    text=(
        "What the container has written becomes a layer over those of its image; how it was run becomes how the image\n"
        "is run. Volumes are no part of it."
    ),
    examples=(
        "hyper commit web localhost:5000/web:patched",
        "hyper commit -m 'with curl' -c 'CMD [\"/bin/sh\"]' box tools",
    ),
)
