"""Where names have led pods: the kernel lets them out there, each for a while.

Calls block for a tenth of a millisecond or so, and are made where the answer is passed on, so that the way is open when
the pod hears of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypercontainer.network.netlink import Netlink
from hypercontainer.network.nft import Batch, Table
from hypercontainer.network.parts import Lead


class KernelNaming:
    """``Naming``; owner of its socket.  ``routed`` is the table."""

    def __init__(self, kernel: Netlink, routed: Table) -> None:
        self._kernel, self._routed = kernel, routed

    def close(self) -> None:
        self._kernel.close()

    def lead(self, leads: Iterable[Lead], lifetime_s: float) -> None:
        batch = Batch()
        for name, elements in _by_set(leads).items():
            batch.renew(self._routed, name, elements, lifetime_s=lifetime_s)
        self._commit(batch)

    def forget(self, leads: Iterable[Lead]) -> None:
        batch = Batch()
        for name, elements in _by_set(leads).items():
            batch.forget(self._routed, name, elements)
        self._commit(batch)

    def _commit(self, batch: Batch) -> None:
        if batch.messages:
            batch.commit(self._kernel, "where names lead")


def _by_set(leads: Iterable[Lead]) -> dict[str, list[Sequence[object]]]:
    found: dict[str, list[Sequence[object]]] = {}
    for each in leads:
        name, element = each.element
        found.setdefault(name, []).append(element)
    return found
