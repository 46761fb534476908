"""All that Docker's command line (28.2) has is there, or refused by name with what does the same."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from fake_hyperd import FakeHyperd
from hypercontainer.cli import table
from hypercontainer.cli.container_options import CREATE_OPTIONS, RUN_OPTIONS, WITHOUT_EFFECT
from hypercontainer.cli.container_spec import container_spec
from hypercontainer.cli.missing import MISSING
from hypercontainer.cli.options import REFUSED, Command, UsageError, parse
from hypercontainer.errors import NotSupported

Run = Callable[..., int]

# `docker --help` and `docker FAMILY --help`.
COMMANDS = """
run exec ps build pull push images login logout search version info builder checkpoint container context image
manifest network plugin system trust volume config node secret service stack swarm attach commit cp create diff
events export history import inspect kill load logs pause port rename restart rm rmi save start stats stop tag top
unpause update wait compose buildx
""".split()
FAMILIES = {
    "builder": "build prune",
    "checkpoint": "create ls rm",
    "container": "attach commit cp create diff exec export inspect kill logs ls pause port prune rename restart rm run"
    " start stats stop top unpause update wait list ps",
    "context": "create export import inspect ls rm show update use",
    "image": "build history import inspect load ls prune pull push rm save tag",
    "manifest": "annotate create inspect push rm",
    "network": "connect create disconnect inspect ls prune rm",
    "plugin": "create disable enable inspect install ls push rm set upgrade",
    "system": "df events info prune",
    "trust": "key signer inspect revoke sign",
    "volume": "create inspect ls prune rm update",
    "swarm": "ca init join join-token leave unlock unlock-key update",
}
ALL = [*([one] for one in COMMANDS), *([one, two] for one, twos in FAMILIES.items() for two in twos.split())]
OPTIONS = dict(
    line.split(": ") for line in (Path(__file__).parent / "docker-28-options.txt").read_text().splitlines()
)
# Other work has these in hand.
OPEN = {("volume prune", "--filter")}


def command_of(words: list[str]) -> Command:
    _, place, _ = table.find(words)
    assert place is not None
    found = getattr(import_module(f"hypercontainer.cli.commands.{place[0]}"), place[1])
    assert isinstance(found, Command)
    return found


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_is_there_or_says_what_does_the_same(
    run: Run, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    try:
        table.find(words)
    except KeyError:
        assert run(*words, "x", "--flag") == 1
        said = capsys.readouterr().err
        assert said.startswith(f"hyper: hyper {words[0]}")
        assert "unknown" not in said
        assert "did you mean" not in said
        assert "\n  hint: " in said
        if " ".join(words) in MISSING:
            assert run("help", *words) == 1
            assert run(*words, "--help") == 1
            assert capsys.readouterr().err == said * 2


def test_nothing_that_is_there_is_called_missing() -> None:
    assert not MISSING.keys() & {*table.verbs(), *table.FAMILIES}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_there_or_refused_with_a_reason(name: str) -> None:
    known = {f"--{option.name}": option for option in command_of(name.split()).options}
    for flag in OPTIONS[name].split():
        if (name, flag) not in OPEN:
            assert flag in known, flag
            assert known[flag].kind != REFUSED or len(known[flag].help) > 10


@pytest.mark.parametrize(
    ("typed", "meant"), [("list", "hyper ps"), ("ls", "hyper ps"), ("--rmm", "did you mean --rm?")]
)
def test_what_is_typed_for_something_else(
    run: Run, capsys: pytest.CaptureFixture[str], typed: str, meant: str
) -> None:
    words = ["run", typed] if typed.startswith("-") else [typed]
    assert run(*words) in (1, 125)
    assert meant in capsys.readouterr().err.partition("hint: ")[2]


@pytest.mark.parametrize("flag", ["-v", "--version"])
def test_the_version_is_one_line_without_hyperd(
    run: Run, capsys: pytest.CaptureFixture[str], flag: str
) -> None:
    assert run(flag) == 0
    out = capsys.readouterr().out
    assert out.startswith("Hyper version ")
    assert out.count("\n") == 1


def spec_of(*words: str) -> dict[str, Any]:
    values, arguments = parse(RUN_OPTIONS, (*words, "image"), interspersed=False)
    return container_spec(values, arguments[0], arguments[1:])


@pytest.mark.parametrize(
    "words",
    [
        "--memory-swap 1g",
        "--memory-swap=-1",
        "--memory-swappiness 60",
        "--memory-reservation 64m",
        "--kernel-memory 1g",
        "--cpuset-cpus 0-3,5",
        "--cpuset-mems 0",
        "--ipc private",
        "--ipc shareable",
        "--ipc=",
        "--uts=",
        "--userns host",
        "--cgroupns private",
        "--isolation default",
        "--security-opt apparmor=unconfined",
        "--security-opt label=disable",
        "--security-opt label:disable",
    ],
)
def test_what_changes_nothing_in_a_virtual_machine_is_taken(words: str) -> None:
    assert spec_of(*words.split()) == {"image": "image"}


def test_what_changes_nothing_says_so_in_the_help() -> None:
    for option in WITHOUT_EFFECT:
        assert "no effect" in option.help or "anyway" in option.help or "every container" in option.help
        assert option in CREATE_OPTIONS


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("--memory-swap much", UsageError),
        ("--memory-reservation -1", UsageError),
        ("--memory-swappiness 101", UsageError),
        ("--cpuset-cpus 3-0", UsageError),
        ("--cpuset-cpus a", UsageError),
        ("--ipc often", UsageError),
        ("--ipc host", NotSupported),
        ("--ipc container:web", NotSupported),
        ("--uts host", NotSupported),
        ("--uts web", UsageError),
        ("--userns web", UsageError),
        ("--cgroupns host", NotSupported),
        ("--isolation hyperv", NotSupported),
        ("--security-opt apparmor=mine", NotSupported),
        ("--security-opt label=level:s0", NotSupported),
        ("--cpu-quota 50000 --cpus 1", UsageError),
        ("--cpu-quota 10", UsageError),
        ("--cpu-quota 50000 --cpu-period 1", UsageError),
    ],
)
def test_values_that_cannot_be_are_refused_all_the_same(words: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        spec_of(*words.split())


@pytest.mark.parametrize(
    ("words", "cpus"),
    [
        ("--cpu-quota 50000", 0.5),
        ("--cpu-quota 50000 --cpu-period 20000", 2.5),
        ("--cpu-quota -1", None),
        ("--cpu-period 20000", None),
    ],
)
def test_a_quota_is_so_many_processors(words: str, cpus: float | None) -> None:
    assert spec_of(*words.split()).get("cpus") == cpus


PROCESS = {
    "pid": 7,
    "ppid": 1,
    "uid": 0,
    "user": "root",
    "cpu_ns": 61_000_000_000,
    "rss_bytes": 4096,
    "started": "2026-01-01T11:57:00Z",
    "state": "S",
    "tty": "",
    "command": "sleep 9",
}


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        (["-o", "pid,cmd"], ["PID       CMD", "7         sleep 9"]),
        (["-eo", "pid=,user=WHO"], ["          WHO", "7         root"]),
        (["-opid", "-o", "time"], ["PID       TIME", "7         00:01:01"]),
    ],
)
def test_top_shows_the_columns_that_ps_would(
    hyperd: FakeHyperd, run: Run, capsys: pytest.CaptureFixture[str], words: list[str], lines: list[str]
) -> None:
    hyperd.answer("GET", "/v1/containers/web/top", {"processes": [PROCESS]})
    assert run("top", "web", *words) == 0
    assert capsys.readouterr().out.splitlines() == lines


def test_top_has_its_own_columns_without_a_choice(
    hyperd: FakeHyperd, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    hyperd.answer("GET", "/v1/containers/web/top", {"processes": [PROCESS]})
    assert run("top", "web") == run("top", "web", "-ef") == run("top", "web", "aux") == 0
    shown = capsys.readouterr().out
    assert shown[: len(shown) // 3] * 3 == shown
    assert run("top", "web", "-o", "nice") == run("top", "web", "--forest") == 1


@pytest.mark.parametrize("tail", ["-1", "-20", "all"])
def test_a_tail_below_nothing_is_all(hyperd: FakeHyperd, run: Run, tail: str) -> None:
    hyperd.raw("GET", "/v1/containers/web/logs", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert run("logs", "--details", "--tail", tail, "web") == 0
    assert "tail" not in hyperd.requests[-1].target
