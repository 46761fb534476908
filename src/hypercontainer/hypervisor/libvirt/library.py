"""libvirt's Python library, which is there or is not: imported when it is needed, and what it says in our words."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from hypercontainer.errors import Conflict, HyperError, HypervisorError, NotFound, NotSupported, Unavailable

INSTALL_HINT = (
    "pip install libvirt-python, which wants libvirt-dev (Debian) or libvirt-devel, and a C compiler"
)
# The first whose monitor takes descriptors: virDomainQemuMonitorCommandWithFiles.
OLDEST = (8, 2)


def load() -> tuple[ModuleType, ModuleType]:
    """``libvirt`` and ``libvirt_qemu``.  Raises ``Unavailable``."""
    try:
        libvirt, qemu = importlib.import_module("libvirt"), importlib.import_module("libvirt_qemu")
    except ImportError as error:
        raise Unavailable(f"there is no libvirt for Python: {error}", hint=INSTALL_HINT) from error
    if version(libvirt.getVersion()) < OLDEST or not hasattr(qemu, "qemuMonitorCommandWithFiles"):
        raise Unavailable(
            "libvirt's library is older than " + ".".join(map(str, OLDEST)), hint="install a newer libvirt"
        )
    return libvirt, qemu


def version(number: int) -> tuple[int, int]:
    """From libvirt's 9000000 for 9.0.0."""
    return number // 1_000_000, number // 1_000 % 1_000


class Gone(HypervisorError):
    """libvirt has no such domain, or it does not run any more."""


class Severed(Unavailable):
    """The connection to libvirt is over, or there was none to be had."""

    @property
    def unsent(self) -> bool:
        """It was over before anything was asked."""
        return "client socket is closed" in self.message


def said(libvirt: Any, error: Any, what: str, uri: str) -> HyperError:
    """What ``error``, a ``libvirtError``, is of ours; ``what`` was tried by the libvirt at ``uri``."""
    code, words = error.get_error_code(), error.get_error_message() or str(error)
    domain = error.get_error_domain()
    text = f"{what}: libvirt says: {words}"
    if code in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
        return Gone(text)
    if code in (libvirt.VIR_ERR_AUTH_FAILED, libvirt.VIR_ERR_ACCESS_DENIED, libvirt.VIR_ERR_AUTH_CANCELLED):
        return Unavailable(text, hint=f"may this user manage VMs at {uri}? (group libvirt, polkit)")
    if code in (libvirt.VIR_ERR_NO_NETWORK, libvirt.VIR_ERR_NO_STORAGE_POOL):
        return NotFound(text, hint=f"is it one of those that {uri} has?")
    if code in (
        libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
        libvirt.VIR_ERR_NO_SUPPORT,
        libvirt.VIR_ERR_ARGUMENT_UNSUPPORTED,
    ):
        return NotSupported(text)
    if code == libvirt.VIR_ERR_DOM_EXIST or "already exists with uuid" in words:
        return Conflict(text, hint="give the pod another name, or that VM; Hyper leaves VMs of others alone")
    if code == libvirt.VIR_ERR_RPC or domain in (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE):
        return Severed(text, hint=reachable_hint(uri))
    if code == libvirt.VIR_ERR_SYSTEM_ERROR and ("socket" in words or "peer" in words):
        return Severed(text, hint=reachable_hint(uri))
    return HypervisorError(text)


def reachable_hint(uri: str) -> str:
    return f"does libvirt run, and may this user use it? virsh tells, for {uri}"
