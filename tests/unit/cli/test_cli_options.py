"""Options as Docker's users type them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.cli.container_options import RUN_OPTIONS
from hypercontainer.cli.options import (
    Command,
    HelpWanted,
    UsageError,
    Values,
    check_count,
    flag,
    many,
    parse,
    refused,
    text,
)
from hypercontainer.errors import NotSupported

OPTIONS = (
    flag("-i --interactive", ""),
    flag("-t --tty", ""),
    flag("--rm", ""),
    flag("--proxy", "", default=True),
    text("--name", "NAME", ""),
    text("-n --tail", "N", "", "all"),
    many("-p --publish", "PORT", ""),
    many("-e --env", "ENV", ""),
    refused("-v --volume", "MOUNT", "not yet"),
    refused("--oom", "", "never"),
)


def given_to(*words: str, interspersed: bool = True) -> tuple[Values, list[str]]:
    return parse(OPTIONS, words, interspersed=interspersed)


def test_clusters_and_attached_values() -> None:
    values, rest = given_to("-it", "-p8080:80", "-p", "90:90", "--publish=1:1", "-p=2:2", "-itn5", "image")
    assert values.flag("interactive")
    assert values.flag("tty")
    assert values.many("publish") == ["8080:80", "90:90", "1:1", "2:2"]
    assert values.text("tail") == "5"
    assert rest == ["image"]


@pytest.mark.parametrize("word", ["--rm", "--rm=true", "--rm=1", "--rm=T"])
def test_booleans_that_are_true(word: str) -> None:
    assert given_to(word)[0].flag("rm")


@pytest.mark.parametrize("word", ["--rm=false", "--rm=0", "--rm=F"])
def test_booleans_that_are_false(word: str) -> None:
    assert not given_to("--rm", word)[0].flag("rm")


def test_a_boolean_takes_no_word() -> None:
    values, rest = given_to("--rm", "false")
    assert values.flag("rm")
    assert rest == ["false"]


def test_the_last_value_counts_and_defaults_stand_behind() -> None:
    values, _ = given_to("--name", "a", "--name=b", "--proxy=false")
    assert values.text("name") == "b"
    assert values.text("tail") == "all"
    assert not values.flag("proxy")
    assert values.given("name")
    assert not values.given("tail")


def test_an_empty_value_is_a_value() -> None:
    values, rest = given_to("--name=", "--name", "", "x")
    assert values.given("name")
    assert values.text("name") == ""
    assert rest == ["x"]


def test_interspersed_and_not() -> None:
    words = ("--rm", "image", "--name", "x", "-it")
    values, rest = given_to(*words)
    assert (rest, values.text("name")) == (["image"], "x")
    values, rest = given_to(*words, interspersed=False)
    assert rest == ["image", "--name", "x", "-it"]
    assert not values.given("name")


def test_two_dashes_end_the_options() -> None:
    assert given_to("--rm", "--", "--name", "x")[1] == ["--name", "x"]
    assert given_to("a", "--", "-it", interspersed=True)[1] == ["a", "-it"]
    assert given_to("--", "image", "--", "x", interspersed=False)[1] == ["image", "--", "x"]


def test_a_dash_is_an_argument_and_a_value_may_look_like_an_option() -> None:
    values, rest = given_to("-", "--name", "--rm", "-e", "-x")
    assert rest == ["-"]
    assert values.text("name") == "--rm"
    assert values.many("env") == ["-x"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--bad",), "unknown flag: --bad"),
        (("--nam", "x"), "unknown flag: --nam"),
        (("-x",), "unknown shorthand flag: 'x' in -x"),
        (("-itx",), "unknown shorthand flag: 'x' in -itx"),
        (("--name",), "flag needs an argument: --name"),
        (("-p",), "flag needs an argument: 'p' in -p"),
        (("--rm=maybe",), "invalid argument 'maybe' for --rm: true or false"),
    ],
)
def test_what_is_wrong_is_said(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        given_to(*words)
    assert caught.value.message == message
    assert caught.value.exit_status == 125


def test_near_names_are_offered() -> None:
    with pytest.raises(UsageError) as caught:
        given_to("--publsh", "1")
    assert caught.value.hint == "did you mean --publish?"


@pytest.mark.parametrize("words", [("-v", "a:b"), ("--volume=a",), ("-va:b",), ("--oom",), ("-itv", "x")])
def test_a_refused_option_names_itself_and_the_reason(words: tuple[str, ...]) -> None:
    with pytest.raises(NotSupported, match=r"--volume: not yet|--oom: never"):
        given_to(*words)


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("-ith",), ("x", "--help")])
def test_help(words: tuple[str, ...]) -> None:
    with pytest.raises(HelpWanted):
        given_to(*words)


def test_run_has_its_own_h() -> None:
    values, _ = parse(RUN_OPTIONS, ("-h", "box", "image"), interspersed=False)
    assert values.text("hostname") == "box"


def test_numbers() -> None:
    assert given_to()[0].number("name") is None
    assert given_to("-n", "-5")[0].number("tail") == -5
    with pytest.raises(UsageError, match="not a number"):
        given_to("-n", "five")[0].number("tail")


@pytest.mark.parametrize(
    ("count", "arguments", "message"),
    [
        ((1, 1), 0, "hyper x requires exactly 1 argument"),
        ((1, None), 0, "hyper x requires at least 1 argument"),
        ((2, None), 1, "hyper x requires at least 2 arguments"),
        ((0, 0), 1, "hyper x takes no arguments"),
        ((0, 1), 2, "hyper x takes at most 1 argument"),
    ],
)
def test_numbers_of_arguments(count: tuple[int, int | None], arguments: int, message: str) -> None:
    command = Command(lambda _call: 0, "X", count=count, examples=("x",))
    with pytest.raises(UsageError) as caught:
        check_count("x", command, ["a"] * arguments)
    assert caught.value.message == message
    assert caught.value.exit_status == 1
    check_count("x", command, ["a"] * count[0])


@given(
    st.lists(
        st.sampled_from(
            ["-i", "-it", "--rm", "--name", "x", "--", "-", "-e", "-p1", "--bad", "", "-h", "--name="]
        )
    )
)
def test_any_words_parse_or_are_refused(words: list[str]) -> None:
    for interspersed in (True, False):
        try:
            _, rest = given_to(*words, interspersed=interspersed)
        except (UsageError, HelpWanted):
            continue
        assert len(rest) <= len(words)


def test_no_two_options_of_run_have_one_name() -> None:
    names = [option.name for option in RUN_OPTIONS]
    letters = [option.short for option in RUN_OPTIONS if option.short]
    assert len(set(names)) == len(names)
    assert len(set(letters)) == len(letters)
