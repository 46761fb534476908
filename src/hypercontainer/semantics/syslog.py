"""Output of containers as messages of syslog: which server, and how a line is written for it.  Pure.

Source: RFC 3164 and RFC 5424; syslog(3) for the names of facilities.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from hypercontainer.contract.spec import Syslog
from hypercontainer.errors import InvalidArgument, NotSupported

PORT: Final = 514
LOCAL: Final = "/dev/log"
INFO, ERROR = 6, 3  # severities
_MONTHS: Final = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_FACILITIES: Final = {
    name: number
    for number, name in enumerate(
        "kern user mail daemon auth syslog lpr news uucp cron authpriv ftp".split()
        + [""] * 4
        + [f"local{number}" for number in range(8)]
    )
    if name
}
_FORMATS: Final = ("", "rfc3164", "rfc5424", "rfc5424micro")
_FIELD: Final = re.compile(r"\{\{ *\.(\w+) *\}\}")
_TAG_FIELDS: Final = ("ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName")
_TAG_MAX: Final = 128


@dataclass(frozen=True)
class Server:
    """``kind``: udp, tcp, unix or unixgram; ``host`` of the first two, ``path`` of the others."""

    kind: str
    host: str = ""
    port: int = PORT
    path: str = ""

    @property
    def is_stream(self) -> bool:
        return self.kind in ("tcp", "unix")

    def __str__(self) -> str:
        return f"{self.kind}://{self.path or f'{self.host}:{self.port}'}"


def server(config: Syslog) -> Server:
    if not config.address:
        return Server("unixgram", path=LOCAL)
    try:
        parts = urlsplit(config.address)
        host, port = parts.hostname or "", parts.port or PORT
    except ValueError:
        raise _bad(config.address) from None
    if parts.scheme in ("unix", "unixgram") and parts.path.startswith("/") and "\0" not in parts.path:
        return Server(parts.scheme, path=parts.path)
    if parts.scheme == "tcp+tls":
        raise NotSupported(f"syslog address {config.address[:80]}: there is no TLS to it")
    if parts.scheme not in ("udp", "tcp") or not host or parts.path not in ("", "/"):
        raise _bad(config.address)
    return Server(parts.scheme, host, port)


def _bad(address: str) -> InvalidArgument:
    return InvalidArgument(
        f"syslog address {address[:80]!r}",
        field="log",
        takes="udp://HOST[:PORT], tcp://HOST[:PORT], unix:///PATH or unixgram:///PATH",
    )


def check(config: Syslog) -> None:
    """InvalidArgument and NotSupported, which name what is wrong."""
    server(config)
    _facility(config)
    if config.format not in _FORMATS:
        raise InvalidArgument(
            f"syslog format {config.format[:40]!r}", field="log", takes="rfc3164, rfc5424 or rfc5424micro"
        )
    tag(config, dict.fromkeys(_TAG_FIELDS, ""))


def _facility(config: Syslog) -> int:
    text = config.facility
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 3 else _FACILITIES.get(text, -1)
    if not 0 <= number <= 23:
        raise InvalidArgument(
            f"syslog facility {text[:40]!r}", field="log", takes=f"{', '.join(_FACILITIES)} or a number"
        )
    return number


def tag(config: Syslog, facts: Mapping[str, str]) -> str:
    """``facts``: by the names that a tag may have."""

    def known(match: re.Match[str]) -> str:
        if match[1] not in facts:
            raise InvalidArgument(
                f"syslog tag: there is no {match[0][:40]}", field="log", takes=", ".join(_TAG_FIELDS)
            )
        return facts[match[1]]

    made = _FIELD.sub(known, config.tag or "{{.ID}}")
    if "{{" in made:
        raise InvalidArgument("syslog tag: of templates there are names alone", field="log")
    return "".join(c if c.isprintable() and c != " " else "_" for c in made)[:_TAG_MAX]


def writer(config: Syslog, called: str, *, host: str, pid: int) -> Callable[[int, int, bytes], bytes]:
    """What makes a message of a severity, a time in nanoseconds and a line.  ``called``: the tag."""
    facility = _facility(config) * 8

    def rfc5424(severity: int, time_ns: int, line: bytes) -> bytes:
        fraction = f".{time_ns % 10**9 // 1000:06d}" if config.format == "rfc5424micro" else ""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time_ns // 10**9)) + f"{fraction}+00:00"
        return f"<{facility + severity}>1 {at} {host or '-'} {called} {pid} {called} - ".encode() + line

    def rfc3164(severity: int, time_ns: int, line: bytes) -> bytes:
        at = time.localtime(time_ns // 10**9)
        stamp = f"{_MONTHS[at.tm_mon - 1]} {at.tm_mday:2d} {time.strftime('%H:%M:%S', at)}"
        source = f"{host} " if config.format else ""
        return f"<{facility + severity}>{stamp} {source}{called}[{pid}]: ".encode() + line

    return rfc5424 if config.format.startswith("rfc5424") else rfc3164
