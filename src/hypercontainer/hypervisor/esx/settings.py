"""What the configuration says of a vSphere, and its password, which is read when it is needed and kept nowhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor.driver import Lan
from hypercontainer.hypervisor.kinds import Reading

LINE_PORT = 13370  # where concentrators of serial ports are by custom
MAX_PASSWORD_BYTES = 4096
_HOST = r"[A-Za-z0-9.-]{1,253}|[0-9a-fA-F:.]{2,45}"
_NAME = r"[^\0-\x1f\x7f]{1,255}"
_THUMBPRINT = r"([0-9A-Fa-f]{2}:?){31}[0-9A-Fa-f]{2}"


@dataclass(frozen=True)
class Settings:
    """``host``: of vCenter, or of one ESXi host.  ``thumbprint``: the SHA-256 of its certificate, where no authority
    vouches for it.

    "" for ``datacenter``, ``cluster`` (or a host by its name) and ``datastore`` is the only one there is; for ``pool``
    the root's, for ``folder`` the datacenter's.  ``line_host``: this machine, as the hosts reach it; ``line_address``:
    where it listens.  ``line_pin``: whether the hosts are told its certificate's thumbprint.  ``images``: how many
    images are kept that no VM uses.  ``lan``: the port group that pods are in.
    """

    host: str
    user: str
    password_file: Path
    line_host: str
    port: int = 443
    ca: Path | None = None
    thumbprint: str = ""
    insecure: bool = False
    datacenter: str = ""
    cluster: str = ""
    pool: str = ""
    folder: str = ""
    datastore: str = ""
    line_port: int = LINE_PORT
    line_address: str = ""
    line_pin: bool = True
    line_certificate: Path | None = None
    line_key: Path | None = None
    images: int = 8
    lan: Lan | None = None

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


def take(table: Mapping[str, object]) -> Settings:
    """Raises ``InvalidArgument``, which names the key."""
    read = Reading(table)
    for key in ("host", "user", "password_file", "line_host"):
        read.needed(key)
    password = read.path("password_file")
    assert password is not None
    settings = Settings(
        host=read.text("host", pattern=_HOST),
        port=read.whole("port", 443, 1, 65535),
        user=read.text("user", pattern=_NAME),
        password_file=password,
        ca=read.path("ca"),
        thumbprint=read.text("thumbprint", pattern=_THUMBPRINT).replace(":", "").lower(),
        insecure=read.truth("insecure", False),
        datacenter=read.text("datacenter", pattern=_NAME),
        cluster=read.text("cluster", pattern=_NAME),
        pool=read.text("pool", pattern=_NAME),
        folder=read.text("folder", pattern=_NAME),
        datastore=read.text("datastore", pattern=_NAME),
        line_host=read.text("line_host", pattern=_HOST),
        line_port=read.whole("line_port", LINE_PORT, 1, 65535),
        line_address=read.text("line_address", pattern=_HOST),
        line_pin=read.truth("line_pin", True),
        line_certificate=read.path("line_certificate"),
        line_key=read.path("line_key"),
        images=read.whole("images", 8, 0, 1000),
        lan=read.lan(),
    )
    read.done()
    if sum(map(bool, (settings.ca, settings.thumbprint, settings.insecure))) > 1:
        raise InvalidArgument("only one of ca, thumbprint and insecure can be")
    if (settings.line_certificate is None) != (settings.line_key is None):
        raise InvalidArgument("line_certificate and line_key go together")
    return settings
