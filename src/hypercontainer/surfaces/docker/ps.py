"""A container's processes as ps(1) shows them, by the options of it that can be answered from outside."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from hypercontainer.contract.answers import Process
from hypercontainer.errors import InvalidArgument


@dataclass(frozen=True)
class Around:
    """What the columns are counted against: now, and the memory that there is."""

    now: datetime
    memory_bytes: int


Show = Callable[[Process, Around], str]


class Column(NamedTuple):
    title: str
    show: Show


def _seconds(seconds: int) -> str:
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock


def _begun(process: Process, around: Around) -> datetime:
    return datetime.fromisoformat(process.started).astimezone(around.now.tzinfo)


def _elapsed_s(process: Process, around: Around) -> int:
    return max(0, int((around.now - _begun(process, around)).total_seconds()))


def _cpu_time(process: Process, _: Around) -> str:
    return _seconds(process.cpu_ns // 10**9)


def _short_cpu_time(process: Process, _: Around) -> str:
    minutes, seconds = divmod(process.cpu_ns // 10**9, 60)
    return f"{minutes}:{seconds:02d}"


def _elapsed(process: Process, around: Around) -> str:
    text = _seconds(_elapsed_s(process, around))
    return text.removeprefix("00:")


def _start(process: Process, around: Around) -> str:
    begun = _begun(process, around)
    if begun.date() == around.now.date():
        return begun.strftime("%H:%M")
    return begun.strftime("%b%d") if begun.year == around.now.year else str(begun.year)


def _long_start(process: Process, around: Around) -> str:
    return _begun(process, around).strftime("%a %b %e %H:%M:%S %Y")


def _cpu_percent(process: Process, around: Around) -> float:
    elapsed_ns = (around.now - _begun(process, around)).total_seconds() * 1e9
    return 100 * process.cpu_ns / elapsed_ns if elapsed_ns > 0 else 0.0


def _memory_percent(process: Process, around: Around) -> str:
    return f"{100 * process.rss_bytes / max(1, around.memory_bytes):.1f}"


def _user(process: Process, _: Around) -> str:
    """Of the container's users only root's name is known everywhere."""
    return "root" if process.uid == 0 else str(process.uid)


def _state(process: Process, _: Around) -> str:
    return process.state + ("l" if process.threads > 1 else "")


# Names, title, and what stands below it.
_TABLE: tuple[tuple[str, str, Show], ...] = (
    ("pid", "PID", lambda process, _: str(process.pid)),
    ("tgid", "TGID", lambda process, _: str(process.pid)),
    ("ppid", "PPID", lambda process, _: str(process.ppid)),
    ("uid", "UID", lambda process, _: str(process.uid)),
    ("euid", "EUID", lambda process, _: str(process.uid)),
    ("ruid", "RUID", lambda process, _: str(process.uid)),
    ("user uname", "USER", _user),
    ("euser", "EUSER", _user),
    ("ruser", "RUSER", _user),
    ("comm ucomm", "COMMAND", lambda process, _: process.name),
    ("ucmd", "CMD", lambda process, _: process.name),
    ("args command", "COMMAND", lambda process, _: process.command),
    ("cmd", "CMD", lambda process, _: process.command),
    ("rss rssize", "RSS", lambda process, _: str(process.rss_bytes // 1024)),
    ("rsz", "RSZ", lambda process, _: str(process.rss_bytes // 1024)),
    ("vsz vsize", "VSZ", lambda process, _: str(process.virtual_bytes // 1024)),
    ("time cputime", "TIME", _cpu_time),
    ("bsdtime", "TIME", _short_cpu_time),
    ("etime", "ELAPSED", _elapsed),
    ("etimes", "ELAPSED", lambda process, around: str(_elapsed_s(process, around))),
    ("stime", "STIME", _start),
    ("start_time bsdstart", "START", _start),
    ("start", "STARTED", _start),
    ("lstart", "STARTED", _long_start),
    ("stat", "STAT", _state),
    ("s state", "S", lambda process, _: process.state),
    ("tty tt", "TT", lambda process, _: process.tty),
    ("tname", "TTY", lambda process, _: process.tty),
    ("c", "C", lambda process, around: str(int(_cpu_percent(process, around)))),
    ("pcpu %cpu", "%CPU", lambda process, around: f"{_cpu_percent(process, around):.1f}"),
    ("pmem %mem", "%MEM", _memory_percent),
    ("nlwp", "NLWP", lambda process, _: str(process.threads)),
    ("thcount", "THCNT", lambda process, _: str(process.threads)),
)
COLUMNS = {name: Column(title, show) for names, title, show in _TABLE for name in names.split()}


def _usual(names: str, **titles: str) -> list[Column]:
    """``titles``: where they are others than usual."""
    return [COLUMNS[name]._replace(title=titles.get(name, COLUMNS[name].title)) for name in names.split()]


PLAIN = _usual("pid tname time ucmd")
PLAIN_BSD = _usual("pid tname stat bsdtime command")
FULL = _usual("user pid ppid c stime tname time cmd", user="UID")
OF_USERS = _usual("user pid %cpu %mem vsz rss tname stat start_time bsdtime command")

# Letters that choose processes, which are those of the container here, or the width; and f and u, the usual columns.
_UNIX, _BSD = frozenset("eAadwf"), frozenset("axwu")


def columns(options: str) -> list[Column]:
    """What is asked for by ps's options; InvalidArgument for what there is no answer to."""
    try:
        words = shlex.split(options)
    except ValueError as error:
        raise InvalidArgument(f"ps_args: {error}") from None
    wanted: list[Column] = []
    usual = PLAIN
    while words:
        letters, format_ = _letters(words.pop(0))
        if format_ is not None:
            if not (text := format_ or (words.pop(0) if words else "")):
                raise InvalidArgument("ps_args: -o has to be followed by the columns")
            wanted += _formatted(text)
        if "f" in letters:
            usual = FULL
        elif "u" in letters:
            usual = OF_USERS
        elif "x" in letters and usual is PLAIN:
            usual = PLAIN_BSD
    return wanted or usual


def _letters(word: str) -> tuple[str, str | None]:
    """Its letters, and what stands behind "o" where that is among them: the format, or "" where it is the next word."""
    if word.startswith("--format"):
        return "", word.removeprefix("--format").removeprefix("=")
    bare = word.removeprefix("-")
    letters, o, format_ = bare.partition("o")
    bsd = bare == word or letters in ("aux", "ax")  # which ps itself takes with a dash, too
    if not bare or set(letters) - (_BSD if bsd else _UNIX):
        raise InvalidArgument(
            f"ps_args: {word[:80]!r} cannot be answered from outside the container",
            hint="-ef, aux, and -o with the columns that are wanted can",
        )
    return letters, format_ if o else None


def _formatted(text: str) -> list[Column]:
    """As "pid,user=WHO": what stands behind "=" is the last one's title, whatever is in it."""
    named, equals, title = text.partition("=")
    found = []
    for name in named.replace(",", " ").split():
        if name not in COLUMNS:
            raise InvalidArgument(
                f"ps_args: unknown column {name[:80]!r}", hint=f"there are {', '.join(sorted(COLUMNS))}"
            )
        found.append(COLUMNS[name])
    if not found:
        raise InvalidArgument("ps_args: -o has to be followed by the columns")
    if equals:
        found[-1] = found[-1]._replace(title=title)
    return found


def table(processes: Sequence[Process], options: str, around: Around) -> tuple[list[str], list[list[str]]]:
    """Titles, and a row for each process."""
    chosen = columns(options)
    rows = [[column.show(process, around) for column in chosen] for process in processes]
    return [column.title for column in chosen], rows
