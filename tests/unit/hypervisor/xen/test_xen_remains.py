"""What is removed of a VM by its record, with a store that is a dictionary; without Xen."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hypercontainer.hypervisor.driver import VMRecord
from hypercontainer.hypervisor.spec import Accelerator
from hypercontainer.hypervisor.xen import blocks, devices, domains, xl
from hypercontainer.hypervisor.xen.store import Store

OURS, ANOTHERS = "0f5b2c34-6a7d-4e8f-9012-3456789abcde", "0f5b2c34-6a7d-4e8f-9012-3456789abcdf"


class Kept(Store):
    """Paths with values."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    async def read(self, path: str) -> str | None:
        return self.values.get(path)

    async def names(self, path: str) -> list[str]:
        below = [each.removeprefix(f"{path}/") for each in self.values if each.startswith(f"{path}/")]
        return list(dict.fromkeys(each.partition("/")[0] for each in below))

    async def write(self, path: str, value: str) -> None:
        self.values[path] = value

    async def give(self, path: str, owner: int, reader: int) -> None:
        self.values[path] = ""

    async def remove(self, path: str) -> None:
        for each in [each for each in self.values if each == path or each.startswith(f"{path}/")]:
            del self.values[each]


def test_what_is_in_the_store_goes_with_a_domain_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose number nobody knows any more; and what others have stays, also what is not ours at all."""

    async def none(*_: str, **__: object) -> tuple[int, str]:
        return 0, ""

    async def case() -> list[str]:
        store = Kept()
        for domain, uuid in ((7, OURS), (8, ANOTHERS)):
            for device in (devices.line(domain), devices.nic(domain, 0, "52:54:00:00:00:01")):
                await domains.make(store, device, uuid)
        await store.write(f"{devices.backs(devices.NIC, 9)}/0/state", "4")
        record = VMRecord("xen", "a1", "a1", Path("/r"), Accelerator.OWN, foreign={domains.UUID: OURS})
        await domains.remove(record, store, xl.Listing(), None)
        return [path for path in store.values if path.startswith(devices.BACKS)]

    monkeypatch.setattr(xl, "run", none)
    monkeypatch.setattr(blocks, "detach", lambda vm: None)
    left = asyncio.run(case())
    assert {path.removeprefix(devices.BACKS).split("/")[1] for path in left} == {"8", "9"}
    assert {path.removeprefix(devices.BACKS).split("/")[0] for path in left} == {devices.CONSOLE, devices.NIC}
