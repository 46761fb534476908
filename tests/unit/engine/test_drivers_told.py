"""What `hyper info` and `hyper doctor` say of drivers whose hypervisors are here, are not, or are silent."""

from __future__ import annotations

import asyncio

import pytest

from fake_driver import FakeDriver
from hypercontainer.contract.answers import Check
from hypercontainer.engine.service import drivers
from hypercontainer.errors import HypervisorError, Unavailable
from hypercontainer.hypervisor import driver
from hypercontainer.hypervisor.driver import Capabilities


class Named(FakeDriver):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


class Absent(Named):
    def check_installed(self) -> None:
        raise Unavailable("no xl in PATH", hint="install it")

    async def diagnose(self) -> list[driver.Check]:
        self.check_installed()
        raise AssertionError


class Silent(Named):
    async def capabilities(self) -> Capabilities:
        await asyncio.Event().wait()
        raise AssertionError

    async def diagnose(self) -> list[driver.Check]:
        await asyncio.Event().wait()
        raise AssertionError


class Refusing(Named):
    async def capabilities(self) -> Capabilities:
        raise HypervisorError("the password is wrong")

    async def diagnose(self) -> list[driver.Check]:
        raise HypervisorError("the password is wrong", hint="say the right one")


def test_each_is_told_with_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "ANSWER_S", 0.05)
    all_there = [Named("good"), Absent("absent"), Silent("silent"), Refusing("locked")]
    said = asyncio.run(drivers.told(all_there))
    assert said == ("good 1", "silent (does not answer)", "locked (the password is wrong)")


def test_of_several_of_a_kind_each_is_told_by_its_name() -> None:
    for many, whose in ((False, ""), (True, "second: ")):
        found = asyncio.run(drivers.checks(Named("second"), wanted=True, one_of_many=many))
        plain = asyncio.run(FakeDriver().diagnose())
        assert [check.name for check in found] == [whose + check.name for check in plain] != []


def test_what_nobody_asked_for_is_not_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drivers, "DIAGNOSIS_S", 0.05)
    for wanted, ok in ((True, False), (False, None)):
        checks = [
            check
            for each in (Absent("absent"), Silent("silent"), Refusing("locked"))
            for check in asyncio.run(drivers.checks(each, wanted=wanted))
        ]
        assert checks == [
            Check("absent", ok, "no xl in PATH", "install it"),
            Check("silent", ok, "it does not answer within 0.05 s", ""),
            Check("locked", ok, "the password is wrong", "say the right one"),
        ]
