"""The kind ``esx``: see ``hypervisor.kinds``."""

from __future__ import annotations

from hypercontainer.hypervisor.esx.driver import EsxDriver
from hypercontainer.hypervisor.esx.settings import take
from hypercontainer.hypervisor.kinds import Host, Settings


def make(name: str, settings: Settings, host: Host) -> EsxDriver:
    return EsxDriver(name, take(settings), host.state)
