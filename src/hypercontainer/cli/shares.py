"""Directories of NFS servers as they are typed, by Docker's options of a volume or by ``--mount type=nfs``, and what
the API is asked for (contract/volumes.py).  What stands in the options hyperd checks."""

from __future__ import annotations

from hypercontainer.cli.options import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TYPES = ("nfs", "nfs4")
OF_NFS = ("source", "target", "readonly", "subpath", "options")
_VERSION = ("nfsvers=", "vers=")
_BY_OPTIONS = "type=nfs, o=addr=SERVER,rw,nfsvers=4.2 and device=:/PATH"


def by_options(options: dict[str, str], what: str) -> dict[str, Any]:
    """Of ``type``, ``o`` and ``device``, as Docker's `local` driver takes them.  ``what`` names them for people."""
    host, path = _place(options.get("device", ""))
    said = [word for word in options.get("o", "").split(",") if word]
    servers = [word.partition("=")[2] for word in said if word.startswith("addr=")]
    if not path or len(servers) > 1 or not (servers or host):
        raise UsageError(
            f"{what}: a volume of type {options['type']} needs a server and a path", hint=_BY_OPTIONS
        )
    rest = [word for word in said if not word.startswith("addr=")]
    if options["type"] == "nfs4" and not any(word.startswith(_VERSION) for word in rest):
        rest.append("nfsvers=4")
    return _share(servers[0] if servers else host, path, rest)


def by_mount(values: dict[str, str], typed: str) -> dict[str, Any]:
    """Of ``--mount type=nfs``."""
    host, path = _place(values.get("source", ""))
    if not host or not path:
        raise UsageError(f"invalid --mount {typed!r}: type nfs needs a source", hint="source=SERVER:/PATH")
    return _share(host, path, [word for word in values.get("options", "").split(",") if word])


def as_options(share: dict[str, Any]) -> dict[str, str]:
    """Docker's, of what the API tells."""
    words = filter(None, (f"addr={share['server']}", share.get("options", "")))
    return {"device": f":{share['path']}", "o": ",".join(words), "type": "nfs"}


def _place(text: str) -> tuple[str, str]:
    """ "" for a server, or a path, that is not said."""
    host, colon, path = text.partition(":/")
    return host.removeprefix("[").removesuffix("]"), f"/{path}" if colon else ""


def _share(server: str, path: str, options: list[str]) -> dict[str, Any]:
    made = {"kind": "nfs", "server": server, "path": path}
    return made | ({"options": ",".join(options)} if options else {})
