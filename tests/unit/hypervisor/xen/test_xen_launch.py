"""What a launch has written down by the time that xl begins, with an xl that refuses every domain; without Xen."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hypercontainer.errors import LaunchError
from hypercontainer.hypervisor.driver import VMRecord
from hypercontainer.hypervisor.run_dir import read_record
from hypercontainer.hypervisor.spec import Accelerator, Nic, Tap, VMSpec
from hypercontainer.hypervisor.xen import host, xl
from hypercontainer.hypervisor.xen.config import Mode
from hypercontainer.hypervisor.xen.driver import XenDriver
from hypercontainer.hypervisor.xen.store import Store


class EmptyStore(Store):
    def __init__(self) -> None:
        """Connected with nothing."""

    async def names(self, path: str) -> list[str]:
        return []

    async def close(self) -> None:
        pass


def test_a_record_names_the_taps_before_there_is_a_domain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By which whoever comes after a killed hyperd takes them out of their network, and a network is told of a VM."""
    tap = Tap(tmp_path / "net/keeper.sock", "tap0")
    nics = (Nic("52:54:00:00:00:01", tap),)
    run_dir = tmp_path / "run"
    spec = VMSpec(
        "a1", "a1", run_dir, tmp_path / "k", None, (), 64, 1, accelerator=Accelerator.OWN, nics=nics
    )
    seen: list[VMRecord | None] = []

    async def refuse(*arguments: str, **_: object) -> tuple[int, str]:
        if arguments[0] == "create":
            seen.append(read_record(run_dir))
        return (1, "no") if arguments[0] == "create" else (0, "")

    async def opened() -> Store:
        return EmptyStore()

    monkeypatch.setattr(host, "check", lambda: None)
    monkeypatch.setattr(Store, "open", opened)
    monkeypatch.setattr(xl, "run", refuse)
    with pytest.raises(LaunchError):
        asyncio.run(XenDriver("xen", tmp_path / "facts.json", Mode.PV).launch(spec))
    (record,) = seen
    assert record is not None and record.taps == spec.taps != ()
    assert not run_dir.exists()
