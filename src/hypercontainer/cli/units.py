"""Times and sizes, as Docker's users read and write them."""

from __future__ import annotations

from time import time

from hypercontainer.cli.options import UsageError
from hypercontainer.contract.sizes import size_bytes


def bytes_of(text: str, what: str) -> int:
    """``256m``, ``1.5g``, ``64KiB`` or plain bytes; powers of 1024."""
    try:
        return size_bytes(text)
    except ValueError:
        raise UsageError(
            f"invalid size {text!r} for {what}", hint="such as 256m, 1g or plain bytes"
        ) from None


def _scaled(count: float, base: int, units: tuple[str, ...], digits: int) -> str:
    value = float(count)
    unit = units[0]
    for unit in units:
        if abs(value) < base or unit == units[-1]:
            break
        value /= base
    short = f"{value:.{digits}g}"
    return (f"{value:.0f}" if "e" in short else short) + unit


def decimal_size(count: int) -> str:
    """Powers of 1000 with three digits: ``4.26MB``, as in ``docker images``."""
    return _scaled(count, 1000, ("B", "kB", "MB", "GB", "TB", "PB"), 3)


def binary_size(count: int) -> str:
    """Powers of 1024 with four digits: ``57.5MiB``, as in ``docker stats``."""
    return _scaled(count, 1024, ("B", "KiB", "MiB", "GiB", "TiB", "PiB"), 4)


def moment(text: str, option: str) -> str:
    """Unix seconds, for hyperd, of what the user says of a time: here, since it is the user's zone and clock that
    count.  "" for ""."""
    if not text:
        return ""
    from time import time_ns

    from hypercontainer.contract import times

    try:
        return times.wire(text, time_ns())
    except ValueError as error:
        raise UsageError(f"{option}: {text!r} {error}", hint=times.A_MOMENT, exit_status=1) from None


def nanoseconds(text: str) -> int:
    """Since 1970, of a time as hyperd tells it; 0 where there is none."""
    whole = parse_time(text[:19])
    return 0 if whole is None else int(whole) * 1_000_000_000 + int(text[20:29].rstrip("Z").ljust(9, "0"))


def parse_time(text: str) -> float | None:
    """Unix seconds of an RFC 3339 time; None for "" and for the year 1."""
    if not text or text.startswith("0001-"):
        return None
    from calendar import timegm

    try:
        year, month, day = (int(part) for part in text[:10].split("-"))
        hour, minute, second = (int(part) for part in text[11:19].split(":"))
        seconds = timegm((year, month, day, hour, minute, second))
        rest = text[19:]
        fraction = 0.0
        if rest.startswith("."):
            digits = (
                rest[1:].rstrip("Zz") if rest[-1:] in "Zz" else rest[1:].partition("+")[0].partition("-")[0]
            )
            fraction = float(f"0.{digits}")
            rest = rest[1 + len(digits) :]
        if rest and rest not in ("Z", "z"):
            sign = -1 if rest[0] == "+" else 1
            hours, _, minutes = rest[1:].partition(":")
            seconds += sign * (int(hours) * 3600 + int(minutes or 0) * 60)
    except (ValueError, IndexError):
        return None
    return seconds + fraction


def human_duration(seconds: float) -> str:
    """``About a minute``, ``3 hours``: Docker's steps and words."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    for limit, size, word in ((48, 1, "hours"), (24 * 7 * 2, 24, "days"), (24 * 30 * 2, 24 * 7, "weeks")):
        if hours < limit:
            return f"{hours // size} {word}"
    if hours < 24 * 365 * 2:
        return f"{hours // (24 * 30)} months"
    return f"{int(seconds / 3600) // (24 * 365)} years"


def ago(text: str, now: float | None = None) -> str:
    """``3 minutes ago`` for an RFC 3339 time; "" where there is none."""
    then = parse_time(text)
    if then is None:
        return ""
    return f"{human_duration(max(0.0, (time() if now is None else now) - then))} ago"


def local_time(text: str) -> str:
    """``2024-05-01 12:00:00 +0200 CEST``, as Docker shows times in CreatedAt."""
    then = parse_time(text)
    if then is None:
        return ""
    from time import localtime, strftime

    return strftime("%Y-%m-%d %H:%M:%S %z %Z", localtime(then))
