"""The command table, the help texts and their reference."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from hypercontainer.cli import table
from hypercontainer.cli.help import command_help
from hypercontainer.cli.options import REFUSED, Command
from hypercontainer.cli.reference import commands, reference

REPOSITORY = Path(__file__).parents[3]
COMMANDS = dict(commands())
DOCKERS = """run create start stop restart kill pause unpause wait rm attach exec logs ps inspect top stats port rename
images pull push load save import tag rmi history login logout info version events play down""".split()
PODS = "create ls inspect start stop restart kill pause unpause rm stats top logs wait exists".split()


def test_docs_are_those_of_the_table() -> None:
    assert (REPOSITORY / "docs/cli.md").read_text() == reference()


def test_every_verb_is_there() -> None:
    assert {*DOCKERS, "doctor"} <= set(table.verbs())
    assert {"df", "prune", "start", "stop"} <= set(table.FAMILIES["system"][1])
    assert {"ls", "fetch"} <= set(table.FAMILIES["kernel"][1])
    assert {"ls", "add", "delete"} <= set(table.FAMILIES["ports"][1])
    assert set(PODS) <= set(table.FAMILIES["pod"][1])
    for alias in ("kube play", "kube down", "kube generate", "generate kube"):
        assert table.find(alias.split())[1] is not None


@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=COMMANDS)
def test_help_has_usage_options_and_an_example(name: str, command: Command) -> None:
    text = command_help(name, command)
    assert text.startswith(f"Usage: hyper {name}")
    assert "\nExample" in text
    assert all(len(line) <= 120 for line in text.splitlines())
    for option in command.options:
        there = re.search(rf"--{option.name}(?![a-z-])", text.partition("Options:")[2])
        assert bool(there) == (option.kind != REFUSED), option


@pytest.mark.parametrize(("name", "command"), COMMANDS.items(), ids=COMMANDS)
def test_option_names_are_unique(name: str, command: Command) -> None:
    names = [option.name for option in command.options]
    letters = [option.short for option in command.options if option.short]
    assert len({*names, *letters}) == len(names) + len(letters), name


@pytest.mark.parametrize("flag", ["--help", "-h"])
@pytest.mark.parametrize("name", ["ps", "container ls", "image rm", "system df", "exec"])
def test_help_is_printed(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], name: str, flag: str
) -> None:
    assert run(*name.split(), flag) == 0
    assert capsys.readouterr().out.startswith(f"Usage: hyper {name} ")


def test_help_as_a_verb(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("help", "system", "df") == 0
    assert capsys.readouterr().out.startswith("Usage: hyper system df ")


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",), ("help",)])
def test_the_overview_names_every_command(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert run(*words) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {verb} " in shown for verb in [*table.verbs(), *table.FAMILIES])


@pytest.mark.parametrize(("family", "members"), table.FAMILIES.items())
def test_families_show_their_commands(
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    family: str,
    members: tuple[str, dict[str, object]],
) -> None:
    assert run(family) == 0
    shown = capsys.readouterr().out
    assert all(f"\n  {member} " in shown for member in members[1])


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("pss",), 1, "hyper: unknown command: hyper pss\n  hint: did you mean ps?\n"),
        (("qqqqq",), 1, "hyper: unknown command: hyper qqqqq\n  hint: hyper --help lists the commands\n"),
        (("container", "lss"), 1, "hyper: unknown command: hyper container lss\n  hint: did you mean ls?\n"),
        (("system", "--x"), 125, "hyper: unknown flag: --x\n  hint: hyper system --help\n"),
        (("--nope",), 125, "hyper: unknown flag: --nope\n"),
        (("ps", "--nope"), 125, "hyper: unknown flag: --nope\n  hint: see hyper ps --help\n"),
        (
            ("rm",),
            1,
            "hyper: hyper rm requires at least 1 argument\n  hint: usage: hyper rm [OPTIONS] CONTAINER...\n",
        ),
        (("run",), 1, "hyper: hyper run requires at least 1 argument\n"),
        (("ps", "x"), 1, "hyper: hyper ps takes no arguments\n"),
        (("run", "-v", "a:b", "x"), 125, "hyper: invalid mount 'a:b': 'b' is no absolute path below /\n"),
        (("run", "--volumes-from", "a", "x"), 125, "hyper: --volumes-from: name the volumes themselves"),
        (("run", "-p", "web.json", "x"), 125, "hyper: invalid port 'web.json'"),
        (
            ("run", "-p", "web.json"),
            125,
            "hyper: invalid port 'web.json': 'web.json' is no port and no range of ports\n  hint: a podfile runs with",
        ),
        (
            ("run", "-p", "20-10:80", "x"),
            125,
            "hyper: invalid port '20-10:80': '20-10' ends before it begins\n",
        ),
        (("create", "--podfile", "/none"), 1, "hyper: /none: No such file or directory\n"),
        (("run", "--podfile", "x", "image"), 125, "hyper: --podfile takes the place of an image: 'image'"),
        (("run", "--podfile", "x", "-e", "A=1"), 125, "hyper: --env does not go with --podfile\n"),
        (("create",), 1, "hyper: hyper create requires at least 1 argument\n  hint: usage: hyper create ["),
        (("pod", "stop"), 1, "hyper: hyper pod stop requires at least 1 argument\n"),
        (("pod", "stop", "-a", "x"), 1, "hyper: --all takes no names\n"),
        (("pod", "create", "--share", "user"), 125, "hyper: invalid --share 'user'\n"),
        (("volume", "create", "a/b"), 125, "hyper: invalid volume name 'a/b' in hyper volume create\n"),
        (("volume", "create", "-d", "nfs", "a"), 1, "hyper: --driver nfs: "),
        (("ports", "add", "web", "x"), 125, "hyper: invalid port 'x'"),
        (("play", "--format", "yaml", "/dev/null"), 1, "hyper: invalid --format 'yaml'\n"),
        (("pod", "psx"), 1, "hyper: unknown command: hyper pod psx\n"),
        (("ps", "--filter", "x"), 125, "hyper: bad format of filter 'x'\n"),
        (
            ("-H", "tcp://1.2.3.4:5", "ps"),
            1,
            "hyper: --host: 'tcp://1.2.3.4:5': only unix:///absolute/path is served\n",
        ),
        (("run", "--env-file", "/none", "x"), 125, "hyper: /none: No such file or directory\n"),
        (("load", "-i", "/none"), 1, "hyper: /none: No such file or directory\n"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_mistakes_are_one_line_and_a_hint(
    run: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    assert run(*words) == status
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(said)
    assert shown.err.count("\n") <= 2


def test_synonyms_lead_to_commands() -> None:
    for family, synonyms in table.SYNONYMS.items():
        assert set(synonyms.values()) <= set(table.FAMILIES[family][1])
    assert table.find(["container", "list", "-a"]) == ("container ls", ("ps", "PS"), ["-a"])
    assert table.find(["pod", "ps", "-q"]) == ("pod ls", ("pod_look", "LS"), ["-q"])


def test_completion_is_a_script_that_bash_takes(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    import subprocess

    assert run("completion", "bash") == 0
    script = capsys.readouterr().out
    probe = (
        script
        + """
        COMP_WORDS=(hyper r); COMP_CWORD=1; _hyper; echo "${COMPREPLY[*]}"
        COMP_WORDS=(hyper run --det); COMP_CWORD=2; _hyper; echo "${COMPREPLY[*]}"
        COMP_WORDS=(hyper system d); COMP_CWORD=2; _hyper; echo "${COMPREPLY[*]}"
        hyper() { echo "<$*>"; }
        COMP_WORDS=(hyper pod st); COMP_CWORD=2; _hyper; echo "${COMPREPLY[*]}"
        COMP_WORDS=(hyper pod create --share); COMP_CWORD=3; _hyper; echo "${COMPREPLY[*]}"
        COMP_WORDS=(hyper volume rm "<"); COMP_CWORD=3; _hyper; echo "${COMPREPLY[*]}"
        COMP_WORDS=(hyper pod logs "<"); COMP_CWORD=3; _hyper; echo "${COMPREPLY[*]}"
        COMP_WORDS=(hyper network rm "<"); COMP_CWORD=3; _hyper; echo "${COMPREPLY[*]}"
        COMP_WORDS=(hyper network disconnect "<"); COMP_CWORD=3; _hyper; echo "${COMPREPLY[*]}"
        COMP_WORDS=(hyper run --network ""); COMP_CWORD=3; _hyper; echo "${COMPREPLY[*]}"
        COMP_WORDS=(hyper run --net = no); COMP_CWORD=4; _hyper; echo "${COMPREPLY[*]}"
    """
    )
    done = subprocess.run(["bash", "-c", probe], capture_output=True, text=True, check=True, timeout=20)
    first, second, third, *pods = done.stdout.splitlines()
    assert first.split() == ["run", "restart", "rm", "rename", "rmi"]
    assert second.split() == ["--detach", "--detach-keys"]
    assert third.split() == ["df"]
    assert [line.split() for line in pods] == [
        ["stats", "start", "stop"],
        ["--share", "--share-pid"],
        ["<volume"],
        ["<pod"],
        ["<network"],
        ["<network", "<ps"],
        ["none", "user", "<network", "ls", "--format", "{{.Name}}>"],
        ["none"],
    ]
