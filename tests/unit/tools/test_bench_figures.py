"""What `make bench` makes of what it has measured, and of what other programs say."""

from __future__ import annotations

import itertools

import pytest

from bench import rates
from bench.measure import Row, figures_in_turns, percentile, table
from bench.network_names import Asked, answered
from bench.network_turnover import elements
from bench.rates import patient, rate, requests_a_second

AB = """
Complete requests:      4000
{more}Keep-Alive requests:    3964
Failed requests:        {failed}
Requests per second:    46806.62 [#/sec] (mean)
"""


@pytest.mark.parametrize(
    ("value", "at_least", "held"),
    [(0.9, True, True), (0.8, True, False), (0.9, False, True), (1.0, False, False)],
)
def test_a_promise_is_held_from_its_side(value: float, at_least: bool, held: bool) -> None:
    assert Row("it", value, "", 0.9, at_least=at_least).held is held


def test_a_table_says_which_side_that_is() -> None:
    rows = [
        Row("much", 3, "Gbit/s", 2, at_least=True),
        Row("little", 3, "s", 2),
        Row("anything", 3, ""),
    ]
    assert [line.split() for line in table(rows).splitlines()[1:]] == [
        ["much", "3.000", "Gbit/s", "least", "2.000", "Gbit/s", "yes"],
        ["little", "3.000", "s", "2.000", "s", "NO"],
        ["anything", "3", "-", "-"],
    ]


def test_figures_are_taken_in_turns_after_a_round_that_does_not_count() -> None:
    count = itertools.count()
    assert figures_in_turns(2, {"a": lambda: next(count), "b": lambda: next(count)}) == {
        "a": [2, 4],
        "b": [3, 5],
    }


def test_turns_that_go_back_and_forth() -> None:
    count = itertools.count()
    taken = figures_in_turns(2, {"a": lambda: next(count), "b": lambda: next(count)}, back_and_forth=True)
    assert taken == {"a": [3, 4], "b": [2, 5]}


@pytest.mark.parametrize(
    ("percent", "wanted"), [(0, 1), (1, 1), (50, 50), (50.5, 51), (99, 99), (99.5, 100), (100, 100)]
)
def test_so_many_of_a_hundred_are_no_more(percent: float, wanted: float) -> None:
    assert percentile(range(100, 0, -1), percent) == wanted


def test_the_rate_that_iperf3_says() -> None:
    assert rate('{"end": {"sum_received": {"bits_per_second": 5e9}}}') == 5


@pytest.mark.parametrize(
    "said",
    ['{"error": "unable to connect"}', "", '{"end": {}}', "{}", "[]", '{"end": {"sum_received": null}}'],
)
def test_an_iperf3_that_says_none(said: str) -> None:
    with pytest.raises(AssertionError, match="iperf3"):
        rate(said)


def test_a_busy_server_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "PAUSE_S", 0)
    said = iter(['{"error": "the server is busy running a test"}'] * 3 + ['{"error": "no route"}'])
    with pytest.raises(AssertionError, match="no route"):
        patient(lambda: rate(next(said)))


def test_the_requests_that_ab_says() -> None:
    assert requests_a_second(AB.format(failed=0, more="")) == 46806.62


@pytest.mark.parametrize(
    "said",
    [AB.format(failed=12, more=""), AB.format(failed=0, more="Non-2xx responses:      4000\n"), ""],
)
def test_an_ab_whose_requests_are_not_answered(said: str) -> None:
    with pytest.raises(AssertionError, match="ab"):
        requests_a_second(said)


def test_elements_of_sets_and_maps_are_told_apart_by_whose_they_are() -> None:
    rules = {
        "nftables": [
            {"metainfo": {}},
            {"table": {"name": "hyper"}},
            {"set": {"table": "hyper", "name": "macs", "elem": [{"concat": ["t-1", "52:54:00:00:00:01"]}]}},
            {"map": {"table": "hyper", "name": "any4", "elem": [["tcp", "10.0.0.2"]]}},
            {"set": {"table": "hyper", "name": "internal"}},
        ]
    }
    assert elements(rules) == {
        'hyper macs {"concat": ["t-1", "52:54:00:00:00:01"]}',
        'hyper any4 ["tcp", "10.0.0.2"]',
    }


def test_of_answers_the_turns_medians_are_told_and_all_that_are_amiss() -> None:
    turns = [
        Asked([1.0] * 99 + [slowest], 0.05, cores, {"lost": 1, "wrong": 0})
        for slowest, cores in ((9.0, 0.1), (3.0, 0.2), (2.0, 0.3))
    ]
    took, amiss, processor = answered(turns, turns)
    assert (took.value, took.held, "2000 a second" in took.name) == (1, True, True)
    assert (amiss.value, amiss.held, amiss.against) == (3, False, "3 lost, 0 wrong")
    assert (processor.value, processor.against) == (0.2, "100 us each")
