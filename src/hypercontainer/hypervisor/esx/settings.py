"""What the configuration's table for vSphere may say, checked key by key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from hypercontainer.errors import InvalidArgument

LINE_PORT = 13370  # where concentrators of serial ports are by custom
MAX_PASSWORD_BYTES = 4096
_HOST = re.compile(r"[A-Za-z0-9.-]{1,253}|[0-9a-fA-F:.]{2,45}")
_THUMBPRINT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 255 or not value.isprintable():
        raise ValueError("a text is wanted")
    return value


def host(value: object) -> str:
    if not isinstance(value, str) or not _HOST.fullmatch(value):
        raise ValueError("a name or an address is wanted, without a port")
    return value


def port(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 65536:
        raise ValueError("a port is wanted")
    return value


def count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 1000:
        raise ValueError("a number from 0 to 1000 is wanted")
    return value


def truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false is wanted")
    return value


def absolute(value: object) -> Path:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError("an absolute path is wanted")
    return Path(value)


def thumbprint(value: object) -> str:
    plain = value.replace(":", "").lower() if isinstance(value, str) else ""
    if not _THUMBPRINT.fullmatch(plain):
        raise ValueError("the SHA-256 of a certificate is wanted, in hexadecimal")
    return plain


def _key(take: Callable[[object], object], default: object) -> Any:
    return field(default=default, metadata={"take": take})


@dataclass(frozen=True)
class Settings:
    """``host``: of vCenter, or of one ESXi host.  ``thumbprint``: of its certificate, where no authority vouches for it.

    "" for ``datacenter``, ``cluster`` (or a host by its name), ``datastore`` and ``network`` is the only one there is;
    for ``pool`` the root's, for ``folder`` the datacenter's.  ``line_host``: this machine, as the hosts reach it;
    ``line_address``: where it listens.  ``line_pin``: whether the hosts are told its certificate's thumbprint.
    ``images``: how many images are kept that no VM uses.
    """

    host: str = _key(host, "")
    user: str = _key(text, "")
    password_file: Path = _key(absolute, Path())
    port: int = _key(port, 443)
    ca: Path | None = _key(absolute, None)
    thumbprint: str = _key(thumbprint, "")
    insecure: bool = _key(truth, False)
    datacenter: str = _key(text, "")
    cluster: str = _key(text, "")
    pool: str = _key(text, "")
    folder: str = _key(text, "")
    datastore: str = _key(text, "")
    network: str = _key(text, "")
    line_host: str = _key(host, "")
    line_port: int = _key(port, LINE_PORT)
    line_address: str = _key(host, "")
    line_pin: bool = _key(truth, True)
    line_certificate: Path | None = _key(absolute, None)
    line_key: Path | None = _key(absolute, None)
    images: int = _key(count, 8)

    @property
    def where(self) -> str:
        return f"vSphere at {self.host}"

    def password(self) -> str:
        """Raises ``InvalidArgument``: of what is wrong with the file, and never of what is in it."""
        try:
            with self.password_file.open("rb") as file:
                found = file.read(MAX_PASSWORD_BYTES).decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no text"
            raise InvalidArgument(f"password_file {self.password_file}: {why}") from error
        if not found:
            raise InvalidArgument(f"password_file {self.password_file}: it is empty")
        return found


_NEEDED = ("host", "user", "password_file", "line_host")


def take(name: str, table: Mapping[str, object]) -> Settings:
    """Of the table [hypervisor.``name``].  Raises ``InvalidArgument``, which names the key."""
    where, known = f"[hypervisor.{name}]", {each.name: each.metadata["take"] for each in fields(Settings)}
    taken = {}
    for key, value in table.items():
        if key not in known:
            raise InvalidArgument(f"{where}: unknown key {key!r}", hint=f"known are {', '.join(known)}")
        try:
            taken[key] = known[key](value)
        except ValueError as error:
            raise InvalidArgument(f"{where}: {key}: {error}") from error
    for key in _NEEDED:
        if key not in taken:
            raise InvalidArgument(f"{where}: {key} is missing")
    if sum(map(bool, (taken.get("ca"), taken.get("thumbprint"), taken.get("insecure")))) > 1:
        raise InvalidArgument(f"{where}: one of ca, thumbprint and insecure")
    if ("line_certificate" in taken) != ("line_key" in taken):
        raise InvalidArgument(f"{where}: line_certificate and line_key go together")
    return Settings(**taken)
