"""hyper top."""

from __future__ import annotations

import sys

from hypercontainer.cli.listing import table
from hypercontainer.cli.options import Call, Command, UsageError
from hypercontainer.cli.units import parse_time
from hypercontainer.errors import NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TITLES = ("USER", "PID", "PPID", "STAT", "RSS", "STIME", "TTY", "TIME", "CMD")
# ps's names of these columns, for `-o`.
_NAMES = {
    "USER": "user uid euser",
    "PID": "pid",
    "PPID": "ppid",
    "STAT": "stat s state",
    "RSS": "rss rsz",
    "STIME": "stime start",
    "TTY": "tty tt tname",
    "TIME": "time cputime",
    "CMD": "cmd args command comm",
}
_PLACES = {name: place for place, title in enumerate(TITLES) for name in _NAMES[title].split()}
_ALL = frozenset(("-e", "-f", "-ef", "-A", "aux", "-aux", "ax", "-ax", "ef", "-w", "-ww"))


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


def columns(options: list[str]) -> list[tuple[int, str]]:
    """(place in a row, title) of those that ps's options ask for: `-o pid,cmd`, `-eo pid=,cmd=WHAT`, or all."""
    chosen: list[tuple[int, str]] = []
    rest = list(options)
    while rest:
        word = rest.pop(0)
        if word in _ALL:
            continue
        before, letter, listed = word.partition("o")
        if not letter or before not in ("-", "-e", "-A", "", "-ax", "ax"):
            raise NotSupported(
                f"top: {word}: the processes are listed by the guest's init, not by ps",
                hint="-o PID,PPID,USER,STAT,RSS,STIME,TTY,TIME,CMD; or hyper exec ... ps",
            )
        listed = listed or (rest.pop(0) if rest else "")
        chosen += [_column(part) for part in listed.replace(",", " ").split()]
    return chosen or list(enumerate(TITLES))


def _column(part: str) -> tuple[int, str]:
    name, equals, title = part.partition("=")
    if name.lower() not in _PLACES:
        raise UsageError(f"top -o: there is no column {name!r}", hint=", ".join(_PLACES), exit_status=1)
    place = _PLACES[name.lower()]
    return place, title if equals else TITLES[place]


def run(call: Call) -> int:
    name, wanted = call.arguments[0], columns(call.arguments[1:])
    processes = call.session.client.call("containers.top", name)["processes"]
    lines = [[row(process)[place] for place, _ in wanted] for process in processes]
    sys.stdout.write(table([[title for _, title in wanted], *lines]))
    return 0


TOP = Command(
    run,
    "CONTAINER [PS-OPTIONS]",
    count=(1, None),
    interspersed=False,
    text="""Process IDs are the container's own; RSS is in KiB. Of the options of ps(1), -o chooses columns; -e, -f, aux
and their like show all, as it is anyway.""",
    examples=("hyper top web", "hyper top web -o pid,cmd"),
)
