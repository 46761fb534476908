"""Errors in the command line's words, and that every field and remedy that is raised has such a word."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fake_hyperd import FakeHyperd
from hypercontainer.cli.commands.pod import CREATE as POD_CREATE
from hypercontainer.cli.commands.run import CREATE, RUN
from hypercontainer.cli.main import GLOBAL_OPTIONS
from hypercontainer.cli.options import Values
from hypercontainer.cli.reference import commands
from hypercontainer.cli.wording import command_of, flags_of, word
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.errors import Conflict, InvalidArgument, NotFound, Remedy

SOURCE = Path(__file__).parents[3] / "src/hypercontainer"
# No option says these: hyperd, a manifest, a podfile, a policy's file or an argument does.
WITHOUT_FLAG = {
    "command",
    "egress",
    "files",
    "image",
    "mode",
    "run_as_non_root",
    "services",
    "termination_message_path",
    "url",
}
Run = Callable[..., int]
Said = pytest.CaptureFixture[str]


def refused(hyperd: FakeHyperd, path: str, field: str, **more: Any) -> None:
    error = {"code": "invalid_argument", "message": f"{field}: 1 is out of range", "hint": "2 to 9", **more}
    hyperd.fail("POST", path, 400, details={"field": field}, **error)


@pytest.mark.parametrize(
    ("words", "path", "field", "flag"),
    [
        (("create", "--cpu-shares", "1", "x"), "/v1/containers", "cpu_shares", "--cpu-shares"),
        (("run", "-d", "-c", "1", "x"), "/v1/containers", "cpu_shares", "--cpu-shares"),
        (("create", "-c", "1", "x"), "/v1/containers", "cpu_shares", "--container"),
        (("create", "--cpu", "1", "x"), "/v1/containers", "cpus", "--cpu"),
        (("create", "--mount", "type=tmpfs,target=/t", "x"), "/v1/containers", "tmpfs", "--mount"),
        (("create", "x"), "/v1/containers", "tmpfs", "--tmpfs"),
        (("create", "x"), "/v1/containers", "termination_message_path", "termination_message_path"),
        (("import", "-c", "x", "-", "x"), "/v1/images/import", "change", "--change"),
        (("pod", "create", "--add-host", "a:b", "p"), "/v1/pods", "extra_hosts", "--add-host"),
        (("pod", "create", "p"), "/v1/pods", "read_only", "read_only"),
    ],
)
def test_a_field_is_the_flag_of_the_command(
    run: Run, hyperd: FakeHyperd, capsys: Said, words: tuple[str, ...], path: str, field: str, flag: str
) -> None:
    refused(hyperd, path, field)
    assert run(*words) == (125 if "run" in words else 1)
    assert capsys.readouterr().err == f"hyper: {flag}: 1 is out of range\n  hint: 2 to 9\n"


def test_a_podfile_has_no_flags(run: Run, hyperd: FakeHyperd, capsys: Said, tmp_path: Path) -> None:
    podfile = tmp_path / "p.json"
    podfile.write_text('{"containers": [{"image": "x"}]}')
    refused(hyperd, "/v1/pods", "extra_hosts")
    assert run("create", "--podfile", str(podfile)) == 1
    assert "hyper: extra_hosts: 1 is out of range\n" in capsys.readouterr().err


def test_remedies_are_commands(run: Run, hyperd: FakeHyperd, capsys: Said) -> None:
    remedies = [
        {"call": "containers.unpause", "of": "web", "aim": "", "options": {}},
        {"call": "containers.remove", "of": "web", "aim": "to have its name", "options": {"force": True}},
    ]
    hyperd.fail(
        "POST", "/v1/containers/web/start", 409, code="conflict", message="no", details={"remedies": remedies}
    )
    assert run("start", "web") == 1
    said = "hyper: no\n  hint: `hyper unpause web`, or `hyper rm --force web` to have its name\n"
    assert capsys.readouterr().err == said


def test_the_programs_own_errors_too(run: Run, capsys: Said) -> None:
    assert run("--config", "/none", "ps") == 1
    assert capsys.readouterr().err == "hyper: --config: there is no file /none\n"


@pytest.mark.parametrize(
    ("remedies", "hint", "said"),
    [
        ([Remedy("images.pull", "x", aim="to get it")], None, "`hyper pull x` to get it"),
        ([Remedy("system.prune")], "free some space", "free some space, e.g. with `hyper system prune`"),
        ([Remedy("pods.remove", "p")], None, "`hyper pod rm p`"),
        ([Remedy("pods.exec_create", "p")], None, "`hyper exec --vm p`"),
        ([Remedy("containers.create", options={"cpu_shares": 2})], None, "`hyper create --cpu-shares=2`"),
        ([Remedy("of_later.use", "p", aim="first")], None, "of_later.use p first"),
        ([], "do this", "do this"),
        ([], None, None),
    ],
)
def test_phrases(remedies: list[Remedy], hint: str | None, said: str | None) -> None:
    error = NotFound("no", hint=hint, remedies=remedies)
    word(error)
    assert error.hint == said


def test_what_is_no_fields_fault_stays() -> None:
    error = Conflict("cpus: no")
    word(error, [Values(RUN.options)])
    assert error.message == "cpus: no"
    other = InvalidArgument("no", field="cpus")
    word(other)
    assert other.message == "cpus: no"


def test_of_a_podfile_the_podfile_s_words() -> None:
    values = Values(RUN.options)
    values.put(next(option for option in RUN.options if option.name == "podfile"), "web.yaml")
    error = InvalidArgument("'sctp' is no protocol", field="ports", takes="tcp or udp")
    word(error, [values])
    assert error.message == "portmappings: 'sctp' is no protocol"


# ------------------------------------------------------------------------- what is raised, and what there is


def calls() -> Iterator[tuple[str, ast.Call]]:
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield str(path.relative_to(SOURCE)), node


def named(node: ast.Call, name: str) -> bool:
    return isinstance(node.func, ast.Name) and node.func.id == name


def literal(node: ast.Call, name: str) -> Any:
    value = next((one.value for one in node.keywords if one.arg == name), None)
    return value.value if isinstance(value, ast.Constant) else None


def test_every_remedy_has_a_command_with_its_options() -> None:
    known = dict(commands())
    found = [node for _, node in calls() if named(node, "Remedy") and node.args]
    raised = [node for node in found if isinstance(node.args[0], ast.Constant)]
    assert len(raised) > 8
    for node in raised:
        (call,) = [one.value for one in node.args[:1] if isinstance(one, ast.Constant)]
        command = command_of(str(call))
        name = " ".join(one for one in command.split() if not one.startswith("-"))
        assert name in known, call
        for options in (one.value for one in node.keywords if one.arg == "options"):
            assert isinstance(options, ast.Dict)
            for key in options.keys:
                assert isinstance(key, ast.Constant)
                (flag,) = flags_of(command, {str(key.value): True})
                assert flag.removeprefix("--") in {option.name for option in known[name].options}, flag


def test_every_field_that_is_raised_has_a_flag() -> None:
    """Of a container, in what makes one; of another call, in some command."""
    raised = {
        literal(node, "field")
        for where, node in calls()
        if not where.startswith(("cli/", "errors.py", "sdk/", "surfaces/"))
    }
    raised -= {None, *WITHOUT_FLAG}
    assert len(raised) > 8
    everywhere = [Values(GLOBAL_OPTIONS), *(Values(command.options) for _, command in commands())]
    for field in raised:
        if field in ContainerSpec.__struct_fields__:
            assert all(Values(command.options).option_of(field) for command in (RUN, CREATE)), field
        assert any(values.option_of(field) for values in everywhere), field


def test_options_name_fields_that_are_there() -> None:
    known = {*ContainerSpec.__struct_fields__, *PodSpec.__struct_fields__}
    for command in (RUN, CREATE, POD_CREATE):
        assert {field for option in command.options for field in option.fields} <= known
