"""hyper pull and push."""

from __future__ import annotations

from hypercontainer.cli.options import Call, Command, flag, refused, text
from hypercontainer.cli.progress import Display, follow
from hypercontainer.cli.pulling import credentials_for, pull
from hypercontainer.cli.session import tell
from hypercontainer.client.http import BrokenAnswer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ALL_TAGS = "one tag at a time"


def run_pull(call: Call) -> int:
    values = call.options
    from hypercontainer.image.reference import parse

    wanted = parse(call.arguments[0])
    quiet = values.flag("quiet")
    if not quiet and wanted.digest is None and not _has_tag(call.arguments[0]):
        tell(f"Using default tag: {wanted.tag}")
    image = pull(
        call.session.client,
        call.arguments[0],
        platform=values.text("platform") or None,
        quiet=quiet,
        whole=True,
    )
    if not quiet:
        if digest := wanted.digest or _digest(image, wanted.name, wanted.familiar_name()):
            tell(f"Digest: {digest}")
        tell(f"Status: Image is ready for {wanted.familiar()}")
    print(wanted.canonical)
    return 0


def _has_tag(reference: str) -> bool:
    return ":" in reference.rpartition("/")[2]


def _digest(image: dict[str, Any], *names: str) -> str:
    for item in image.get("repo_digests", ()):
        name, _, digest = item.rpartition("@")
        if name in names:
            return str(digest)
    return ""


def run_push(call: Call) -> int:
    from hypercontainer.image.reference import parse

    reference = call.arguments[0]
    wanted = parse(reference)
    body: dict[str, Any] = {"reference": reference}
    if credentials := credentials_for(reference):
        body["credentials"] = credentials
    quiet = call.options.flag("quiet")
    if not quiet:
        tell(f"The push refers to repository [{wanted.name}]")
    answer = follow(call.session.client.lines("images.push", body=body), Display(quiet=quiet))
    if not isinstance(answer, dict) or not isinstance(answer.get("digest"), str):
        raise BrokenAnswer("hyperd did not say what digest it pushed")
    if not quiet:
        tell(f"{wanted.tag or wanted.digest}: digest: {answer['digest']}")
    print(wanted.canonical if quiet else f"{wanted.name}@{answer['digest']}")
    return 0


_NO_TRUST = "accepted; signatures of Docker's Notary are not looked at"
PULL = Command(
    run_pull,
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    count=(1, 1),
    options=(
        refused("-a --all-tags", "", _ALL_TAGS),
        text("--platform", "OS/ARCH", "of an image with several"),
        flag("-q --quiet", "only the image's name"),
        flag("--disable-content-trust", _NO_TRUST),
    ),
    text="Credentials are those of hyper login or docker login. Progress goes to standard error.",
    examples=("hyper pull debian:12", "hyper pull localhost:5000/app@sha256:..."),
)
PUSH = Command(
    run_push,
    "[OPTIONS] NAME[:TAG]",
    count=(1, 1),
    options=(
        refused("-a --all-tags", "", _ALL_TAGS),
        flag("-q --quiet", "only the image's name"),
        flag("--disable-content-trust", _NO_TRUST),
        refused("--platform", "OS/ARCH", "an image here is of one platform"),
    ),
    examples=("hyper push localhost:5000/app:1",),
)
