"""hyper top."""

from __future__ import annotations

import sys

from hypercontainer.cli.listing import table
from hypercontainer.cli.options import Call, Command
from hypercontainer.cli.units import parse_time
from hypercontainer.errors import NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TITLES = ("USER", "PID", "PPID", "STAT", "RSS", "STIME", "TTY", "TIME", "CMD")


def row(process: dict[str, Any]) -> tuple[str, ...]:
    from time import localtime, strftime

    started = parse_time(process["started"])
    seconds = process["cpu_ns"] // 1_000_000_000
    return (
        process["user"] or str(process["uid"]),
        str(process["pid"]),
        str(process["ppid"]),
        process["state"],
        str(process["rss_bytes"] // 1024),
        strftime("%H:%M", localtime(started)) if started is not None else "?",
        process["tty"] or "?",
        f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}",
        process["command"],
    )


def run(call: Call) -> int:
    name, options = call.arguments[0], call.arguments[1:]
    if options:
        raise NotSupported(
            f"top {name} {' '.join(options)}: options for ps are not passed on", hint="hyper exec ... ps"
        )
    processes = call.session.client.call("containers.top", name)["processes"]
    sys.stdout.write(table([TITLES, *(row(process) for process in processes)]))
    return 0


TOP = Command(
    run,
    "CONTAINER",
    count=(1, None),
    text="Process IDs are the container's own; RSS is in KiB.",
    examples=("hyper top web",),
)
