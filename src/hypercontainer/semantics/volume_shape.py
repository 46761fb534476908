"""Volumes in the shape of ``docker volume inspect``, and directories of NFS servers by the options of Docker's driver
`local`.  The command line loads this.
"""

from __future__ import annotations

from hypercontainer.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

DRIVER = "local"
NFS_TYPES = ("nfs", "nfs4")
NFS_OPTIONS = ("o", "device")  # beside the type
_VERSION = ("nfsvers=", "vers=")
_SUCH_AS = "type=nfs, o=addr=SERVER,rw,nfsvers=4.2 and device=:/PATH"


def share(options: Mapping[str, str], what: str) -> dict[str, Any]:
    """The ``NfsShare`` of ``type``, ``o`` and ``device``; what stands in ``o`` the engine checks.  ``what`` names them
    for people."""
    host, path = split_place(options.get("device", ""))
    said = [word for word in options.get("o", "").split(",") if word]
    servers = [word.partition("=")[2] for word in said if word.startswith("addr=")]
    if not path or len(servers) > 1 or not (servers or host):
        raise InvalidArgument(
            f"{what}: a volume of type {options['type']} needs a server and a path", hint=_SUCH_AS
        )
    rest = [word for word in said if not word.startswith("addr=")]
    if options["type"] == "nfs4" and not any(word.startswith(_VERSION) for word in rest):
        rest.append("nfsvers=4")
    return made_share(servers[0] if servers else host, path, rest)


def made_share(server: str, path: str, words: list[str]) -> dict[str, Any]:
    made = {"kind": "nfs", "server": server, "path": path}
    return made | ({"options": ",".join(words)} if words else {})


def split_place(text: str) -> tuple[str, str]:
    """Of "SERVER:/PATH"; "" for one that is not said."""
    host, colon, path = text.partition(":/")
    return host.removeprefix("[").removesuffix("]"), f"/{path}" if colon else ""


def options(found: dict[str, Any]) -> dict[str, str]:
    """By which the same would be made again.  ``found``: a ``VolumeInfo``."""
    if served := found.get("nfs"):
        words = filter(None, (f"addr={served['server']}", served.get("options", "")))
        return {"device": f":{served['path']}", "o": ",".join(words), "type": "nfs"}
    return {"size": str(found["size_bytes"])} if found["size_bytes"] else {"type": "shared"}


def of_server(share: dict[str, Any]) -> str:
    """A directory of an NFS server's, for people."""
    server = f"[{share['server']}]" if ":" in share["server"] else share["server"]
    return f"{server}:{share['path']}"


def place(found: dict[str, Any]) -> str:
    """Where it is on the host: its disk, or its directory; or its server's."""
    served = found.get("nfs")
    return of_server(served) if served else str(found.get("disk", ""))


def usage(found: dict[str, Any]) -> dict[str, int]:
    return {"Size": found["used_bytes"], "RefCount": len(found["pods"])}


def volume(found: dict[str, Any]) -> dict[str, Any]:
    """``found``: a ``VolumeInfo``."""
    return {
        "CreatedAt": found["created"],
        "Driver": DRIVER,
        "Labels": found["labels"],
        "Mountpoint": place(found),
        "Name": found["name"],
        "Options": options(found),
        "Scope": "local",
    }
