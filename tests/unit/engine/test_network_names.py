"""Who is called what: asked by pods of one network and of several, by those beside, and by nobody."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from hypercontainer.engine.network.names import Known, Names
from hypercontainer.engine.state import Attachment

WEB, DB, BOTH, INSIDE = "a1" * 32, "b2" * 32, "c3" * 32, "d4" * 32
STRANGER = "10.9.9.9"


def place(network: str, host: int, *aliases: str, six: bool = False) -> Attachment:
    number = {"front": 1, "Back": 2, "internal": 3}[network]
    return Attachment(
        network=network,
        network_id=f"{number}" * 64,
        address=f"10.{number}.0.{host}/24",
        address6=f"fd0{number}::{host}/64" if six else "",
        aliases=aliases,
    )


@dataclass
class Stage:
    attached: dict[str, tuple[Attachment, ...]] = field(
        default_factory=lambda: {
            WEB: (place("front", 2, "site", six=True),),
            DB: (place("Back", 3, "store"),),
            BOTH: (place("front", 4, "shared", "App.Example"), place("Back", 4, "store")),
            INSIDE: (place("internal", 5),),
        }
    )
    known: dict[str, Known] = field(
        default_factory=lambda: {
            WEB: Known(("web", "nginx"), ("192.0.2.53", "2001:db8::53")),
            DB: Known(("db", "DB-Primary")),
            BOTH: Known(("both",)),
        }
    )

    def __post_init__(self) -> None:
        self.names = Names(
            lambda: self.attached, lambda pod: self.known.get(pod, Known()), lambda network: network[0] == "3"
        )


@pytest.fixture
def stage() -> Stage:
    return Stage()


ASKER = {WEB: "10.1.0.2", DB: "10.2.0.3", BOTH: "10.1.0.4", INSIDE: "10.3.0.5"}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("web", ["10.1.0.2", "fd01::2"]),
        ("nginx", ["10.1.0.2", "fd01::2"]),
        ("site", ["10.1.0.2", "fd01::2"]),
        (WEB[:12], ["10.1.0.2", "fd01::2"]),
        ("web.front", ["10.1.0.2", "fd01::2"]),
        (f"{WEB[:12]}.front", ["10.1.0.2", "fd01::2"]),
        ("both", ["10.1.0.4"]),
        ("shared.front", ["10.1.0.4"]),
        ("app.example", ["10.1.0.4"]),
        ("app.example.front", ["10.1.0.4"]),
        ("both.back", None),  # it is not in that one
        ("store", None),
        ("db", None),
        ("web.back", None),
        ("web.front.front", None),
        (WEB[:11], None),
        (WEB, None),
        ("", None),
        (".front", None),
        ("front", None),
        ("example", None),
    ],
)
def test_of_its_own_network_a_pod_hears_every_name(stage: Stage, name: str, found: list[str] | None) -> None:
    assert stage.names.lookup(ASKER[WEB], name) == found


@pytest.mark.parametrize("asker", ["10.1.0.4", "10.2.0.4"])
def test_who_is_in_several_hears_the_names_of_all_whichever_it_asks_in(stage: Stage, asker: str) -> None:
    lookup = stage.names.lookup
    assert lookup(asker, "web") == ["10.1.0.2", "fd01::2"]
    assert lookup(asker, "db") == ["10.2.0.3"]
    assert lookup(asker, "db.back") == ["10.2.0.3"]
    assert lookup(asker, "both") == ["10.1.0.4", "10.2.0.4"]
    assert lookup(asker, "both.front") == ["10.1.0.4"]
    assert lookup(asker, "both.back") == ["10.2.0.4"]


def test_an_alias_of_two_pods_leads_to_both(stage: Stage) -> None:
    assert stage.names.lookup(ASKER[DB], "store") == ["10.2.0.3", "10.2.0.4"]
    assert stage.names.lookup(ASKER[DB], "store.back") == ["10.2.0.3", "10.2.0.4"]


def test_names_are_found_in_small_letters_however_they_were_given(stage: Stage) -> None:
    assert stage.names.lookup(ASKER[DB], "db-primary") == ["10.2.0.3"]
    assert stage.names.lookup(ASKER[DB], "db-primary.back") == ["10.2.0.3"]


def test_a_name_that_a_pod_has_twice_leads_there_once(stage: Stage) -> None:
    stage.attached[WEB] = (place("front", 2, "web", "WEB", "Nginx"),)
    assert stage.names.lookup(ASKER[WEB], "web") == ["10.1.0.2"]
    assert stage.names.lookup(ASKER[WEB], "nginx") == ["10.1.0.2"]


def test_by_its_address_of_ipv6_a_pod_asks_as_well(stage: Stage) -> None:
    assert stage.names.lookup("fd01::2", "both") == ["10.1.0.4"]


@pytest.mark.parametrize("asker", [STRANGER, "", "127.0.0.1", "10.1.0.1"])
def test_who_is_nobody_hears_nothing(stage: Stage, asker: str) -> None:
    names = stage.names
    assert names.lookup(asker, "web") is None
    assert names.reverse(asker, "10.1.0.2") is None
    assert not names.may_forward(asker, "example.com")
    assert names.servers(asker) is None


@pytest.mark.parametrize(
    ("asker", "address", "name"),
    [
        (WEB, "10.1.0.4", "both.front"),
        (WEB, "10.1.0.2", "web.front"),
        (WEB, "fd01::2", "web.front"),
        (WEB, "10.2.0.4", None),  # the same pod, in a network that is not the asker's
        (WEB, "10.2.0.3", None),
        (DB, "10.2.0.4", "both.Back"),
        (BOTH, "10.2.0.3", "db.Back"),
        (BOTH, "10.1.0.2", "web.front"),
        (INSIDE, "10.3.0.5", f"{INSIDE[:12]}.internal"),
        (INSIDE, "10.1.0.2", None),
        (WEB, "10.1.0.1", None),
        (WEB, STRANGER, None),
        (WEB, "", None),
    ],
)
def test_names_of_addresses(stage: Stage, asker: str, address: str, name: str | None) -> None:
    assert stage.names.reverse(ASKER[asker], address) == name


def test_others_are_asked_for_who_has_a_way_out(stage: Stage) -> None:
    assert [stage.names.may_forward(ASKER[pod], "example.com") for pod in (WEB, BOTH, INSIDE)] == [
        True,
        True,
        False,
    ]
    stage.attached[INSIDE] = (place("internal", 5), place("front", 5))
    stage.names.changed()
    assert stage.names.may_forward("10.3.0.5", "example.com")


def test_a_pod_has_its_own_servers_asked(stage: Stage) -> None:
    assert stage.names.servers(ASKER[WEB]) == [("192.0.2.53", 53), ("2001:db8::53", 53)]
    assert stage.names.servers(ASKER[DB]) is None


def test_what_changes_is_found_once_it_is_told(stage: Stage) -> None:
    names = stage.names
    assert names.lookup(ASKER[WEB], "later") is None
    stage.attached[DB] = (place("front", 7),)
    stage.known[DB] = Known(("later",))
    names.changed()
    assert names.lookup(ASKER[WEB], "later") == ["10.1.0.7"]
    assert names.lookup(ASKER[BOTH], "db") is None
    del stage.attached[DB]
    names.changed()
    assert names.lookup(ASKER[WEB], "later") is None
    assert names.lookup("10.1.0.7", "web") is None
