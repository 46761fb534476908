"""hyper images, tag, rmi and history."""

from __future__ import annotations

from hypercontainer.cli.labels import Labels
from hypercontainer.cli.listing import (
    FILTER,
    FORMAT,
    NO_TRUNC,
    QUIET,
    Listing,
    Row,
    ellipsis,
    filters_of,
    short_id,
)
from hypercontainer.cli.options import Call, Command, UsageError, flag, refused
from hypercontainer.cli.units import ago, decimal_size, local_time
from hypercontainer.errors import HyperError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from hypercontainer.cli.options import Values

NONE = "<none>"

USUAL = "amd64"  # as linux.architectures has it, which takes time to import
IMAGES_LISTING = Listing(
    {
        "Repository": "REPOSITORY",
        "Tag": "TAG",
        "Digest": "DIGEST",
        "ID": "IMAGE ID",
        "CreatedSince": "CREATED",
        "CreatedAt": "CREATED AT",
        "Size": "SIZE",
        "VirtualSize": "SIZE",
        "Containers": "CONTAINERS",
        "Labels": "LABELS",
        "Platform": "PLATFORM",
        "ArtifactType": "ARTIFACT TYPE",
    },
    ("Repository", "Tag", "ID", "CreatedSince", "Size"),
)
HISTORY_LISTING = Listing(
    {
        "ID": "IMAGE",
        "CreatedSince": "CREATED",
        "CreatedAt": "CREATED AT",
        "CreatedBy": "CREATED BY",
        "Size": "SIZE",
        "Comment": "COMMENT",
    },
    ("ID", "CreatedSince", "CreatedBy", "Size", "Comment"),
)
CREATED_BY_WIDTH = 45


def split_reference(reference: str) -> tuple[str, str]:
    """Repository and tag, the repository as people type it; a digest is no tag."""
    from hypercontainer.image.reference import parse

    found = parse(reference)
    return found.familiar_name(), found.tag or NONE


def _names(image: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(repository, tag, digest) for each line of the listing."""
    digests = {}
    for item in image.get("repo_digests", ()):
        repository, _, digest = item.rpartition("@")
        digests[split_reference(repository)[0]] = digest
    if not image["references"]:
        for repository, digest in digests.items():
            yield repository, NONE, digest
    for reference in image["references"]:
        repository, tag = split_reference(reference)
        yield repository, tag, digests.get(repository, NONE)
    if not image["references"] and not digests:
        yield NONE, NONE, NONE


def rows(image: dict[str, Any], values: Values) -> Iterator[Row]:
    for repository, tag, digest in _names(image):
        size = decimal_size(image["size_bytes"]) + (" (coming)" if image.get("coming") else "")
        yield {
            "Repository": repository,
            "Tag": tag,
            "Digest": digest,
            "ID": short_id(image["id"], values),
            "CreatedSince": ago(image["created"]) or "N/A",
            "CreatedAt": local_time(image["created"]),
            "Size": size,
            "VirtualSize": size,
            "Containers": str(image.get("containers", 0)),
            "Labels": Labels(image.get("labels", {})),
            "Platform": "/".join(
                filter(None, (image.get("os"), image.get("architecture"), image.get("variant")))
            ),
            "ArtifactType": image.get("artifact_type", ""),
        }


def images(call: Call) -> int:
    values = call.options
    if values.flag("tree"):
        _check_tree(values)
    found = call.session.client.call("images.find", query={"filters": _image_filters(call)})["images"]
    if values.flag("tree"):
        from hypercontainer.cli.commands.image_tree import tree

        print(tree(found), end="")
        return 0
    columns = list(IMAGES_LISTING.columns)
    if values.flag("digests"):
        columns.insert(2, "Digest")
    if any(image.get("artifact_type") for image in found):
        columns.append("ArtifactType")
    if any(image.get("architecture", USUAL) not in ("", USUAL) for image in found):
        columns.append("Platform")
    listing = Listing(IMAGES_LISTING.headers, columns)
    lines = [row for image in found for row in rows(image, values)]
    if values.flag("quiet"):
        lines = list({row["ID"]: row for row in lines}.values())
    listing.show(lines, values, only="ID")
    return 0


def _check_tree(values: Values) -> None:
    for option in ("quiet", "no-trunc", "digests", "format"):
        if values.given(option):
            raise UsageError(f"--{option} does not go with --tree", hint="leave one of them out")


def _image_filters(call: Call) -> str:
    return filters_of(call.options, {"reference": call.arguments} if call.arguments else {})


def tag(call: Call) -> int:
    source, target = call.arguments
    call.session.client.act("images.tag", body={"source": source, "target": target})
    return 0


def remove(call: Call) -> int:
    client, status = call.session.client, 0
    for reference in call.arguments:
        query = {"ref": reference, "force": call.options.flag("force")}
        try:
            answer = client.act("images.remove", query=query)
        except HyperError as error:
            from hypercontainer.cli.wording import complain

            complain(error)
            if not (call.options.flag("force") and error.code == "not_found"):
                status = 1
            continue
        for line in answer["removed"]:
            print(f"Untagged: {line['untagged']}" if line.get("untagged") else f"Deleted: {line['deleted']}")
    return status


def history(call: Call) -> int:
    values = call.options
    lines = call.session.client.call("images.history", query={"ref": call.arguments[0]})["history"]
    human = values.flag("human")

    def row(line: dict[str, Any]) -> Row:
        made_by = " ".join(line["created_by"].split())
        return {
            "ID": short_id(line["id"], values) or "<missing>",
            "CreatedSince": (ago(line["created"]) or "N/A") if human else line["created"],
            "CreatedAt": line["created"],
            "CreatedBy": made_by if values.flag("no-trunc") else ellipsis(made_by, CREATED_BY_WIDTH),
            "Size": decimal_size(line["size_bytes"]) if human else str(line["size_bytes"]),
            "Comment": line["comment"],
        }

    HISTORY_LISTING.show([row(line) for line in lines], values, only="ID")
    return 0


_ONE_PLATFORM = "an image here is of one platform"
IMAGES = Command(
    images,
    "[OPTIONS] [REPOSITORY[:TAG]]",
    count=(0, 1),
    options=(
        flag("-a --all", "accepted; images without a name are always shown"),
        flag("--digests", "show digests"),
        FILTER,
        FORMAT,
        NO_TRUNC,
        QUIET,
        flag("--tree", "draw each image with its manifest, what both take, and U where a container uses it"),
    ),
    text="""REPOSITORY[:TAG] may be a pattern; * and ? do not go beyond a slash. Only names that it matches are shown.

What each is for is shown too where one of them is for another architecture than amd64.

Filters: before, since (an image), until (a time), dangling (true or false), label and label! (KEY[=VALUE]), reference
(a pattern).""",
    examples=(
        "hyper images",
        "hyper images 'ghcr.io/*/app'",
        "hyper images --format '{{.Repository}}:{{.Tag}}'",
        "hyper images -q -f dangling=true",
        "hyper images --tree",
    ),
)
TAG = Command(
    tag, "SOURCE[:TAG] TARGET[:TAG]", count=(2, 2), examples=("hyper tag debian:12 localhost:5000/debian:12",)
)
RMI = Command(
    remove,
    "[OPTIONS] IMAGE...",
    count=(1, None),
    options=(
        flag("-f --force", "also one with several names"),
        flag("--no-prune", "accepted; parents are no images here"),
        refused("--platform", "OS/ARCH", _ONE_PLATFORM),
    ),
    examples=("hyper rmi debian:12",),
)
HISTORY = Command(
    history,
    "[OPTIONS] IMAGE",
    count=(1, 1),
    options=(
        FORMAT,
        flag("-H --human", "sizes and times for people", default=True),
        refused("--platform", "OS/ARCH", _ONE_PLATFORM),
        NO_TRUNC,
        QUIET,
    ),
    examples=("hyper history debian:12",),
)
