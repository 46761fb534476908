"""What is asked of hyperd itself."""

from __future__ import annotations

from hypercontainer.surfaces.docker import versions
from hypercontainer.surfaces.docker.call import Call, found
from hypercontainer.surfaces.http.answers import Reply

_NOT_KEPT = (("Cache-Control", "no-cache, no-store, must-revalidate"), ("Pragma", "no-cache"))
BUILDER = "2"  # BuildKit, over /grpc and /session


async def ping(call: Call) -> Reply:
    said = (
        ("Builder-Version", BUILDER),
        ("Swarm", "inactive"),
        ("Content-Type", "text/plain; charset=utf-8"),
    )
    return Reply(200, (*said, *_NOT_KEPT), b"" if call.method == "HEAD" else b"OK")


async def version(call: Call) -> Reply:
    return found(
        {"ApiVersion": versions.words(versions.NEWEST), "MinAPIVersion": versions.words(versions.LEAST)}
    )
