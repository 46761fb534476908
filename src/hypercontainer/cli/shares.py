"""Directories of NFS servers as they are typed, by Docker's options of a volume or by ``--mount type=nfs``, and what
the API is asked for (contract/volumes.py).  What stands in the options hyperd checks."""

from __future__ import annotations

from hypercontainer.cli.options import UsageError
from hypercontainer.errors import InvalidArgument
from hypercontainer.semantics import volume_shape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OF_NFS = ("source", "target", "readonly", "subpath", "options")


def by_options(options: dict[str, str], what: str) -> dict[str, Any]:
    """Of ``type``, ``o`` and ``device``, as Docker's `local` driver takes them.  ``what`` names them for people."""
    try:
        return volume_shape.share(options, what)
    except InvalidArgument as error:
        raise UsageError(error.message, hint=error.hint) from None


def by_mount(values: dict[str, str], typed: str) -> dict[str, Any]:
    """Of ``--mount type=nfs``."""
    host, path = volume_shape.split_place(values.get("source", ""))
    if not host or not path:
        raise UsageError(f"invalid --mount {typed!r}: type nfs needs a source", hint="source=SERVER:/PATH")
    words = [word for word in values.get("options", "").split(",") if word]
    return volume_shape.made_share(host, path, words)
