"""What the networks of guests are told of the host while they run, each by files in its run directory."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from hypercontainer.hypervisor.resolver import Resolver
from hypercontainer.hypervisor.run_dir import RunDir


class Told(Resolver):
    """Also which TCP ports of the host's loopback address are offered to guests, at their gateways."""

    def __init__(self) -> None:
        super().__init__()
        self._ports: Collection[int] = ()

    def offer(self, ports: Collection[int]) -> None:
        self._ports = ports
        for run in self._runs.values():
            self._tell(run)

    def follow(self, run: RunDir) -> None:
        super().follow(run)
        if run.path in self._runs:
            self._tell(run)

    def _tell(self, run: RunDir) -> None:
        with contextlib.suppress(OSError):  # the VM is just going
            put_offers(run, self._ports)


def put_offers(run: RunDir, ports: Collection[int]) -> None:
    """Whole, whoever reads it meanwhile."""
    new = run.offers.with_suffix(".new")
    new.write_text("".join(f"{port}\n" for port in sorted(ports)))
    new.chmod(0o644)
    new.replace(run.offers)
