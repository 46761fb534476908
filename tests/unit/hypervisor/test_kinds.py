"""Drivers by what the configuration says of them."""

from __future__ import annotations

import logging
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from fake_driver import FakeDriver
from hypercontainer.contract.networks import Subnet
from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor import kinds
from hypercontainer.hypervisor.driver import Lan
from hypercontainer.hypervisor.kinds import Host, Reading, make_all

HOST = Host(Path("/facts"), Path("/state"))
TAKEN = frozenset({"qemu", "uml"})


class Point:
    def __init__(self, name: str, make: Any) -> None:
        self.name, self._make = name, make

    def load(self) -> Any:
        return self._make


def toy(name: str, settings: kinds.Settings, host: Host) -> FakeDriver:
    reading = Reading(settings)
    where = reading.text("where", "here")
    reading.done()
    made = FakeDriver()
    made.name = f"{name} {where} {host.state}"
    return made


def needy(name: str, settings: kinds.Settings, host: Host) -> FakeDriver:
    Reading(settings).needed("host")
    return FakeDriver()


def broken(name: str, settings: kinds.Settings, host: Host) -> FakeDriver:
    raise RuntimeError("no good")


@pytest.fixture(autouse=True)
def _outside(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Point("toy", toy), Point("needy", needy), Point("broken", broken)]
    monkeypatch.setattr(metadata, "entry_points", lambda *, group: found if group == kinds.GROUP else [])
    monkeypatch.setattr(kinds, "OURS", ())


def test_a_kind_that_needs_nothing_is_there_and_one_that_is_broken_is_said(caplog: Any) -> None:
    with caplog.at_level(logging.ERROR):
        assert [driver.name for driver in make_all({}, HOST, TAKEN)] == ["toy here /state/toy"]
    assert "the driver broken, which is not of this project, is passed over: no good" in caplog.text


def test_several_of_a_kind_have_names_of_their_own() -> None:
    made = make_all({"a": {"driver": "toy", "where": "x"}, "toy": {}, "needy": {"host": "h"}}, HOST, TAKEN)
    assert [driver.name for driver in made] == ["a x /state/a", "toy here /state/toy", "fake"]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"qemu": {}}, r"\[hypervisor.qemu\]: is no table of its own"),
        ({"nope": {}}, r"\[hypervisor.nope\]: there is no driver 'nope'"),
        ({"a": {"driver": 3}}, "there is no driver 3"),
        ({"a": {"driver": "toy", "wher": "x"}}, r"\[hypervisor.a\]: unknown key 'wher'"),
        ({"toy": {"where": 3}}, r"\[hypervisor.toy\]: where = 3"),
        ({"needy": {}}, r"\[hypervisor.needy\]: host is missing"),
    ],
)
def test_a_table_that_is_no_good(tables: Any, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        make_all(tables, HOST, TAKEN)


def test_values_are_read_as_what_they_are_to_be() -> None:
    table = {"t": "x", "n": 3, "b": True, "p": "/p", "c": "two"}
    read = Reading(table)
    assert (read.text("t"), read.whole("n", 1, 1, 9), read.truth("b", False)) == ("x", 3, True)
    assert (read.path("p"), read.one_of("c", "one", "one", "two"), read.path("q")) == (
        Path("/p"),
        "two",
        None,
    )
    read.done()
    for wrong in (
        lambda: Reading({"t": ""}).text("t", "d"),
        lambda: Reading({"t": "a\nb"}).text("t"),
        lambda: Reading({"n": True}).whole("n", 1, 0, 9),
        lambda: Reading({"n": 10}).whole("n", 1, 0, 9),
        lambda: Reading({"b": 1}).truth("b", False),
        lambda: Reading({"p": "rel"}).path("p"),
        lambda: Reading({"c": "three"}).one_of("c", "one", "one", "two"),
    ):
        with pytest.raises(InvalidArgument):
            wrong()


LAN: dict[str, Any] = {
    "network": "br0",
    "subnet": "192.0.2.0/24",
    "gateway": "192.0.2.1",
    "range": "192.0.2.8/29",
}


def test_a_network_that_exists() -> None:
    read = Reading(LAN | {"dns": ("192.0.2.1",)})
    assert read.lan() == Lan("br0", Subnet("192.0.2.0/24", "192.0.2.1", "192.0.2.8/29"), ("192.0.2.1",))
    read.done()
    assert Reading({"network": "br0"}).lan() is None
    for wrong in (
        {"subnet": "192.0.2.1/24"},
        {"gateway": "198.51.100.1"},
        {"range": "192.0.0.0/16"},
        {"dns": "x"},
    ):
        with pytest.raises(InvalidArgument):
            Reading(LAN | wrong).lan()
