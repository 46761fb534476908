"""Command lines that take a program's privileges away before it runs.

A launcher runs in the process that becomes the program, so that pid and session stay what they are:

1. ``sh`` waits at a gate, descriptor 3, until its parent has put it in its cgroup and written down that it exists.
   The end of the pipe without a word - the parent died - ends it, so no process is ever running unrecorded;
2. it forbids core dumps, leaves this process's directory, and becomes ``setpriv``;
3. which drops uid, gid, groups and capabilities, sets no-new-privs, and becomes the program.

The script is constant and its arguments are positional: nothing is ever pasted into shell text.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

GATE_OPEN = b"go\n"

# `exec 3<&-` keeps the gate from the program.  Exit status 125: never got as far as the program.
_SCRIPT = (
    'read -r word <&3 && [ "$word" = go ] || exit 125; exec 3<&-; ulimit -c 0; umask 077; '
    'cd "$1" || exit 125; shift; unset PWD OLDPWD; exec "$@"'
)


def gated(directory: Path, argv: Sequence[str]) -> list[str]:
    """``argv`` behind the gate, with ``directory`` as its working directory."""
    return ["/bin/sh", "-c", _SCRIPT, "hyper-launch", str(directory), *argv]


def setpriv_path() -> str | None:
    """``setpriv`` of util-linux, which lies outside an ordinary PATH on some systems."""
    return shutil.which("setpriv", path="/usr/bin:/bin:/usr/sbin:/sbin")


def unprivileged(
    setpriv: str,
    argv: Sequence[str],
    *,
    root: bool,
    uid: int | None = None,
    groups: Sequence[int] = (),
    bind_low_ports: bool = False,
) -> list[str]:
    """``argv`` with no way to more privileges than its uid has (setpriv(1)).

    With ``root`` (the caller is root) it also gets ``uid`` as uid and gid, only ``groups`` besides, and no
    capabilities, whichever uid it has - but the one to bind ports below 1024 where ``bind_low_ports`` says so.
    """
    prefix = [setpriv, "--no-new-privs"]
    if root:
        if uid is not None:
            prefix += ["--reuid", str(uid), "--regid", str(uid)]
        prefix += ["--groups", ",".join(map(str, groups))] if groups else ["--clear-groups"]
        keep = ",+net_bind_service" if bind_low_ports else ""
        prefix += [f"--bounding-set=-all{keep}", f"--inh-caps=-all{keep}", f"--ambient-caps=-all{keep}"]
    return [*prefix, "--", *argv]


def unprivileged_port_start() -> int:
    """The first port that anybody may bind (``net.ipv4.ip_unprivileged_port_start``, ip-sysctl)."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024
