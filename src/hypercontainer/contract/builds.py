"""What a user asks of a builder: wire form of ``images.build``.

The build then is as a program: its input is the context, a tar, its error output what the builder says of its work, and
its output the image's ID in a line, or an archive (``output``).
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from hypercontainer.contract.calls import Cells, Name, Request

SECRET_MAX_BYTES = 500 * 1024  # BuildKit's own limit
Text = Annotated[str, Meta(max_length=1 << 20)]
Word = Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")]
FileName = Annotated[str, Meta(pattern=r"^(?!\.\.?$)[^/\x00]+$", max_length=200)]


class BuildSecret(Struct, frozen=True, forbid_unknown_fields=True):
    """``id`` is what ``RUN --mount=type=secret`` names; it is kept in the builder's memory while it builds."""

    id: Word
    content: Annotated[bytes, Meta(max_length=SECRET_MAX_BYTES)]


class BuildSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """``dockerfile``: its text, ``dockerfile_name`` what it is called in messages, ``ignore`` the text of an ignore
    file of its own.  ``remote``: a URL that is the context, and then there is no input.  ``images``: those of hyperd's
    store that the builder gets before it begins, by the names by which the Dockerfile may name them; what one in a
    context that is sent names is looked for by hyperd itself.

    ``ssh``: IDs of agents, which are lent by ``images.lend_agent``; ``ssh_keys``: by ID, private keys.
    ``output``: "image" puts it into the store, under ``tags``; the others are archives: "tar" of its files, "oci" and
    "docker" of the image.
    """

    dockerfile: Text | None = None  # None: it is in the context
    dockerfile_name: FileName = "Dockerfile"
    dockerfile_path: str = ""  # in the context; "": Dockerfile
    ignore: Text | None = None
    remote: Annotated[
        str, Meta(pattern=r"^((https?|git|ssh)://|git@|github\.com/)[^\x00]+$|^$", max_length=4096)
    ] = ""
    images: Annotated[tuple[Name, ...], Meta(max_length=64)] = ()
    tags: tuple[Name, ...] = ()
    target: str = ""
    args: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    platform: str | None = None
    no_cache: bool = False
    no_cache_filter: tuple[Word, ...] = ()
    pull: bool = False
    network: Literal["", "default", "none", "host"] = ""
    extra_hosts: tuple[Word, ...] = ()  # "name:address"
    shm_size_bytes: int | None = None
    ulimits: tuple[Word, ...] = ()  # "nofile=1024:2048"
    secrets: Annotated[tuple[BuildSecret, ...], Meta(max_length=64)] = ()
    ssh: Annotated[tuple[Word, ...], Meta(max_length=8)] = ()
    ssh_keys: Annotated[tuple[BuildSecret, ...], Meta(max_length=8)] = ()
    output: Literal["image", "tar", "oci", "docker"] = "image"
    progress: Literal["plain", "tty", "quiet", "rawjson"] = "plain"
    rows: Cells = 0
    columns: Cells = 0


class LendQuery(Request, frozen=True):
    """``ssh``: which of the build's agents."""

    ssh: Word = "default"
