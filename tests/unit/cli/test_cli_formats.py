"""What --format makes of hyperd's answers: Docker's documents, and nothing that a terminal obeys."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fake_hyperd import FakeHyperd
from terminal import Terminal

Run = Callable[..., int]
Launch = Callable[..., subprocess.Popen[bytes]]
Spawn = Callable[..., subprocess.CompletedProcess[bytes]]
Capture = pytest.CaptureFixture[str]

HOSTILE = "\x1b]0;mine\x07\x1b[2J\x9b5m"


def event(action: str, identifier: str = "0123456789ab", **attributes: str) -> dict[str, Any]:
    return {
        "time": "2026-01-31T10:00:00.000000007Z",
        "type": "container",
        "action": action,
        "id": identifier,
        "attributes": attributes,
    }


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


def test_an_event_without_an_attribute_has_no_value_for_it(
    hyperd: FakeHyperd, run: Run, capsys: Capture
) -> None:
    hyperd.lines("GET", "/v1/events", event("die", exitCode="3"), event("start"))
    assert run("events", "--format", "{{.Action}} {{.Actor.Attributes.exitCode}}") == 0
    assert capsys.readouterr().out == "die 3\nstart <no value>\n"


def test_an_event_that_a_template_is_not_for_does_not_end_the_others(
    hyperd: FakeHyperd, run: Run, capsys: Capture
) -> None:
    hyperd.lines("GET", "/v1/events", event("a"), event("b", "0"), event("c"))
    assert run("events", "--format", "{{.Action}} {{slice .Actor.ID 0 5}}") == 1
    shown = capsys.readouterr()
    assert shown.out == "a 01234\nc 01234\n"
    assert "out of range" in shown.err


def test_a_field_that_no_event_has_is_said_before_any_comes(
    hyperd: FakeHyperd, run: Run, capsys: Capture
) -> None:
    assert run("events", "--format", "{{.Nope}}") == 64
    assert hyperd.requests == []
    assert "no field 'Nope'" in capsys.readouterr().err


def test_events_have_dockers_fields(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    hyperd.lines("GET", "/v1/events", event("die", image="debian", name="web"))
    hyperd.lines("GET", "/v1/events", event("die", image="debian"), {**event("create"), "type": "volume"})
    assert run("events", "--format", "json") == 0
    assert capsys.readouterr().out == (
        '{"status":"die","id":"0123456789ab","from":"debian","Type":"container","Action":"die",'
        '"Actor":{"ID":"0123456789ab","Attributes":{"image":"debian","name":"web"}},'
        '"scope":"local","time":1769853600,"timeNano":1769853600000000007}\n'
    )
    assert run("events", "--format", "{{.Status}} {{.ID}} {{.From}} {{.Time}} {{.TimeNano}} {{.Scope}}") == 0
    assert capsys.readouterr().out == (
        "die 0123456789ab debian 1769853600 1769853600000000007 local\n   1769853600 1769853600000000007 local\n"
    )


def volume(name: str) -> dict[str, Any]:
    labels = {"a": HOSTILE}
    return {"name": name, "created": "", "size_bytes": 1, "used_bytes": 0, "pods": [], "labels": labels}


def test_inspect_shows_those_that_a_template_is_for(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    for name in ("v", "volume"):
        hyperd.answer("GET", f"/v1/volumes/{name}", volume(name))
    assert run("volume", "inspect", "-f", "{{slice .Name 0 4}} {{.Labels.none}}", "v", "volume") == 1
    shown = capsys.readouterr()
    assert shown.out == "volu <no value>\n"
    assert "out of range" in shown.err


@pytest.mark.parametrize(
    "words",
    [
        ("events",),
        ("events", "--format", "{{.Actor.Attributes.label}}"),
        ("events", "--format", "json"),
        ("volume", "ls", "--format", "{{.Labels}}"),
        ("volume", "ls", "--format", "json"),
        ("volume", "inspect", "v"),
        ("volume", "inspect", "-f", "{{.Labels.a}}", "v"),
    ],
)
def test_a_terminal_is_ordered_nothing(
    hyperd: FakeHyperd, terminal: Terminal, launch: Launch, words: tuple[str, ...]
) -> None:
    hyperd.lines("GET", "/v1/events", event("start", label=HOSTILE))
    hyperd.answer("GET", "/v1/volumes", {"volumes": [volume("v")]})
    hyperd.answer("GET", "/v1/volumes/v", volume("v"))
    process = launch(*words, **terminal.options())
    assert process.wait(20) == 0
    shown = terminal.read_until(b"5m")
    assert b"\x1b" not in shown
    assert b"\x9b" not in shown and "\x9b".encode() not in shown


def test_who_is_no_terminal_gets_every_byte(hyperd: FakeHyperd, spawn: Spawn) -> None:
    hyperd.lines("GET", "/v1/events", event("start", label=HOSTILE))
    assert spawn("events", "--format", "{{.Actor.Attributes.label}}").stdout == f"{HOSTILE}\n".encode()


@pytest.mark.parametrize(
    ("words", "path"),
    [
        (("logs", "web"), "/v1/containers/web/logs"),
        (("pod", "logs", "web"), "/v1/pods/web/logs"),
        (("events",), "/v1/events"),
    ],
)
def test_times_are_of_the_users_zone(
    hyperd: FakeHyperd, spawn: Spawn, words: tuple[str, ...], path: str
) -> None:
    hyperd.answer("GET", "/v1/pods/web", {"containers": []})
    hyperd.lines("GET", path)
    spawn(
        *words,
        "--since",
        "2026-01-31T05:00:00",
        "--until",
        "2026-01-31T06:00",
        env={**os.environ, "TZ": "America/New_York"},
    )
    asked = hyperd.asked("GET", path).target
    assert asked.endswith("since=1769853600.000000000&until=1769857200.000000000")


@pytest.mark.parametrize("words", [("logs", "web"), ("pod", "logs", "web"), ("events",)])
@pytest.mark.parametrize("option", ["--since", "--until"])
def test_what_is_no_time_is_said_without_a_pattern(
    hyperd: FakeHyperd, run: Run, capsys: Capture, words: tuple[str, ...], option: str
) -> None:
    assert run(*words, option, "1d") == 1
    assert capsys.readouterr().err.splitlines()[0] == f"hyper: {option}: '1d' is no time and no duration"
    assert not hyperd.requests
