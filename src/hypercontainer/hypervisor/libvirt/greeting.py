"""What is done with each new connection, and what a domain says of itself: in a thread, for these calls block."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypercontainer.hypervisor.libvirt import library
from hypercontainer.hypervisor.libvirt.domain import MARK_NS, Mark, read_mark

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Facts:
    """Of a libvirt: ``confined`` is by what it shuts its QEMUs in (apparmor, selinux), "" for a user's rights alone."""

    version: str
    confined: str


def greet(connection: Any, state: Path) -> Facts:
    """Ends what is nobody's of the driver whose folder is ``state``.  Raises ``libvirtError``."""
    sweep(connection, state)
    major, minor = library.version(connection.getLibVersion())
    # Of the description of the host, which says the same, libvirt makes two seconds' work each time.
    model = connection.getSecurityModel()[0]
    return Facts(f"{major}.{minor}", "" if model in ("none", "dac") else model)


def mark_of(domain: Any) -> Mark | None:
    """None for somebody else's.  Raises ``libvirtError`` where that cannot be asked."""
    libvirt, _ = library.load()
    try:
        return read_mark(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, MARK_NS))
    except libvirt.libvirtError as error:
        if error.get_error_code() in (libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN):
            return None
        raise


def sweep(connection: Any, state: Path) -> None:
    """Ends domains of ours without a run directory: whoever launched them has given them up, and a launch under way has
    one."""
    libvirt, _ = library.load()
    for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
        mark = mark_of(domain)
        if mark is not None and mark.state == str(state) and abandoned(mark):
            log.warning("domain %s, which nobody has any more, is ended", domain.name())
            with contextlib.suppress(libvirt.libvirtError):
                domain.destroy()


def abandoned(mark: Mark) -> bool:
    return not Path(mark.run_dir).exists()


def destroy(connection: Any, uuid: str, state: Path) -> None:
    """Ends the domain, if it is ours; nothing happens where it is gone.  Raises ``libvirtError``."""
    libvirt, _ = library.load()
    try:
        domain = connection.lookupByUUIDString(uuid)
        mark = mark_of(domain)
        if mark is not None and mark.state == str(state):
            domain.destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
            raise


def create(connection: Any, names: Sequence[str], xml: Callable[[str], str], state: Path) -> Any:
    """Starts a domain of the first of the ``names`` that none of ours has, and holds it before its first instruction.
    One of ours that is nobody's any more makes room.  Raises ``libvirtError``, also for a name that a foreign domain
    has."""
    libvirt, _ = library.load()
    flags = libvirt.VIR_DOMAIN_START_PAUSED
    for name in names:
        try:
            return connection.createXML(xml(name), flags)
        except libvirt.libvirtError:
            there = _ours(connection, name, state)
            if there is None or (name == names[-1] and not abandoned(there[1])):
                raise
            if abandoned(there[1]):
                with contextlib.suppress(libvirt.libvirtError):  # it may be about to end
                    there[0].destroy()
                return connection.createXML(xml(name), flags)
    raise AssertionError("there is a last name")


def _ours(connection: Any, name: str, state: Path) -> tuple[Any, Mark] | None:
    """The domain of this name, where it is one of ours."""
    libvirt, _ = library.load()
    with contextlib.suppress(libvirt.libvirtError):
        there = connection.lookupByName(name)
        mark = mark_of(there)
        if mark is not None and mark.state == str(state):
            return there, mark
    return None
