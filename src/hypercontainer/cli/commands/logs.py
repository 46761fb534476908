"""hyper logs."""

from __future__ import annotations

import os

from hypercontainer.cli.options import Call, Command, UsageError, flag, text
from hypercontainer.cli.units import moment
from hypercontainer.client.api import decode, remote_error
from hypercontainer.client.http import BrokenAnswer, broken_frame
from hypercontainer.contract.frames import CONTROL, STDERR, STDOUT, FrameReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hypercontainer.cli.options import Values


def _write_all(fd: int, data: memoryview) -> None:
    while data:
        data = data[os.write(fd, data) :]


def log_query(values: Values) -> dict[str, object]:
    tail = values.text("tail")
    number = tail.removeprefix("-")
    if tail != "all" and not (number.isascii() and number.isdigit()):
        raise UsageError(f"invalid --tail {tail!r}", hint="a number of lines, or all")
    return {
        "follow": values.flag("follow"),
        "timestamps": values.flag("timestamps"),
        "since": moment(values.text("since"), "--since"),
        "until": moment(values.text("until"), "--until"),
        "tail": None if tail == "all" or tail.startswith("-") else tail,
    }


def run(call: Call) -> int:
    (name,) = call.arguments
    query = log_query(call.options)
    response = call.session.client.open("containers.logs", name, query=query, timeout_s=None)
    reader = FrameReader(broken_frame)
    try:
        for piece in response.chunks():
            for channel, payload in reader.feed(piece):
                if channel in (STDOUT, STDERR):
                    _write_all(channel, payload)  # the channels' numbers are the descriptors'
                elif channel == CONTROL:
                    message = decode(payload)
                    if isinstance(message, dict) and "error" in message:
                        raise remote_error(message["error"])
    finally:
        response.close()
    if not reader.clean:
        raise BrokenAnswer(f"the logs of {name} end in the middle of a frame")
    return 0


LOG_OPTIONS = (
    flag("-f --follow", "go on with what comes"),
    text(
        "--since",
        "TIME",
        "only what is newer: local time or with a zone, Unix seconds, or how long ago, such as 1h30m",
    ),
    text("--until", "TIME", "only what is older"),
    text("-n --tail", "N", "only the last N lines; all, if N is negative", "all"),
    flag("-t --timestamps", "the time before each line"),
)
_DETAILS = flag("--details", "no effect: logs here keep no labels or variables")
LOGS = Command(
    run,
    "[OPTIONS] CONTAINER",
    count=(1, 1),
    options=(*LOG_OPTIONS, _DETAILS),
    examples=("hyper logs -f web", "hyper logs --tail 20 --since 10m web"),
)
