"""What ``[hypervisor.NAME]`` says of a libvirt; see ``hypervisor.kinds``."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass

from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor.driver import Lan
from hypercontainer.hypervisor.kinds import Reading, Settings

SYSTEM, SESSION = "qemu:///system", "qemu:///session"
# By a unix socket of this machine: descriptors are handed over it.
_URI = r"qemu(\+unix)?:///(system|session)(\?[^\0-\x20\x7f]{1,200})?"
_NAME = r"[A-Za-z0-9_.][A-Za-z0-9_. -]{0,100}"
_MACHINE = r"(pc-)?q35[A-Za-z0-9.-]{0,40}"


@dataclass(frozen=True)
class Asked:
    """``uri`` is libvirt's.  ``pool``: one of its storage pools, a directory, for kernels that QEMU cannot read where
    they are; "" for a folder of ours.  ``network``: one of its networks, for pods that are in their hypervisor's;
    ``lan`` all that is to be known of it, None for what libvirt says, of which ``addresses`` are for pods, "" for those
    that are free.  ``machine``: as libvirt calls it; ``program``: a QEMU, by name or path."""

    uri: str
    pool: str = ""
    network: str = ""
    addresses: str = ""
    lan: Lan | None = None
    machine: str = "q35"
    program: str = "qemu-system-x86_64"

    @property
    def system(self) -> bool:
        """Its QEMUs are not this process's user's."""
        return self.uri.partition("?")[0].endswith("/system")


def read(settings: Settings) -> Asked:
    """Raises ``InvalidArgument``."""
    reading = Reading(settings)
    uri = reading.text("uri", SYSTEM if os.geteuid() == 0 else SESSION, _URI)
    pool, network = reading.text("pool", "", _NAME), reading.text("network", "", _NAME)
    lan, addresses = reading.lan(), _block(reading.text("range"))
    machine = reading.text("machine", "q35", _MACHINE)
    program = reading.text("program", "qemu-system-x86_64")
    reading.done()
    return Asked(uri, pool, network, addresses, lan, machine, program)


def _block(text: str) -> str:
    try:
        return str(ipaddress.IPv4Network(text)) if text else ""
    except ValueError as error:
        raise InvalidArgument(f"range = {text!r}: {error}", hint="such as 192.168.122.192/26") from error
