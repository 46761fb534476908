"""Ceph: a user's key, as keyrings have it, and what librados is told of a cluster.  Pure.

Sources: Ceph's documentation, "User Management" and "Configuring Ceph"; src/common/options of Ceph 16.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

# A monitor that is there and lets somebody in does so at once; one of several that is not there costs 3 s.
CONNECT_S = 10
_SECTION = re.compile(r"\[(.*)\]")
_KEY = re.compile(r"key\s*=\s*\"?([A-Za-z0-9+/]{16,400}={0,2})\"?")
_ALONE = re.compile(r"[A-Za-z0-9+/]{16,400}={0,2}")


def key(content: bytes, user: str) -> str | None:
    """Of ``user``, in base64: of a keyring, or of a file that has nothing but the key; None where it has none."""
    lines = [line.strip() for line in content.decode(errors="replace").splitlines() if line.strip()]
    if len(lines) == 1 and _ALONE.fullmatch(lines[0]):
        return lines[0]
    found, section = None, ""
    for line in lines:
        if match := _SECTION.fullmatch(line):
            section = match[1]
        elif section == f"client.{user}" and (match := _KEY.fullmatch(line)):
            found = match[1]
    return found


def configuration(monitors: Iterable[str], key: str, patience_s: int) -> bytes:
    """Of librados.  ``monitors`` in numbers; ``patience_s``: so long is waited for an answer to what is asked."""
    lines = [
        "[global]",
        f"mon_host = {','.join(monitors)}",
        "auth_client_required = cephx",
        f"key = {key}",
        f"client_mount_timeout = {CONNECT_S}",
        f"rados_osd_op_timeout = {patience_s}",
        "",
    ]
    return "\n".join(lines).encode()
