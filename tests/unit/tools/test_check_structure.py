"""Every rule of ``tools/check_structure.py``: a small house that breaks it, and the same house mended."""

from __future__ import annotations

from pathlib import Path

import pytest

import check_structure
from structure import tables
from structure.house import House

CLI = {
    "cli/options.py": "def text(names): ...\n",
    "cli/container_options.py": 'from hypercontainer.cli.options import text\n\nMEMORY = text("-m --memory")\n',
    "cli/table.py": (
        "VERBS: dict[str, dict[str, str]] = {'Containers': {'start': 'START'}}\n"
        "FAMILIES: dict[str, str] = {'pod': 'Manage pods'}\n"
    ),
}


def found(tmp_path: Path, rule: str, files: dict[str, str]) -> list[str]:
    """What the rule says of a package of these files, without the path of it."""
    package = tmp_path / "src/hypercontainer"
    for place, text in files.items():
        path = package / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for folder in path.relative_to(package).parents:
            (package / folder / "__init__.py").touch()
    return [line.removeprefix(f"{package}/") for line in check_structure.RULES[rule](House(tmp_path))]


class TestImports:
    @pytest.mark.parametrize(
        "line",
        [
            "from hypercontainer.engine import state\n",
            "from hypercontainer.engine.state import Store\n",
            "import hypercontainer.engine.state\n",
            "def late():\n    from hypercontainer.engine.state import Store\n",
            "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from hypercontainer.engine.state import Store\n",
            "from ..engine import state\n",
        ],
    )
    def test_a_package_knows_only_those_of_its_row(self, tmp_path: Path, line: str) -> None:
        files = {"engine/state.py": "class Store: ...\n", "semantics/docker.py": line}
        at = line.count("\n", 0, line.index("hypercontainer") if "hypercontainer" in line else 0) + 1
        assert found(tmp_path, "imports", files) == [
            f"semantics/docker.py:{at}: semantics may not import engine"
        ]

    def test_those_of_its_row_and_everybodys_are_free(self, tmp_path: Path) -> None:
        line = "from hypercontainer import __version__\nfrom hypercontainer.image.store import A, contract\n"
        files = {
            "__init__.py": "__version__ = '1'\n",
            "errors.py": "",
            "contract/spec.py": "from hypercontainer import errors\n",
            "image/store.py": "from hypercontainer.contract import spec\nimport hypercontainer.errors\n",
            "semantics/docker.py": line
            + "import os, json.decoder\nfrom hypercontainer.semantics import docker\n",
        }
        assert found(tmp_path, "imports", files) == []

    def test_a_leaf_knows_nobody(self, tmp_path: Path) -> None:
        files = {"contract/spec.py": "", "errors.py": "from hypercontainer.contract import spec\n"}
        assert found(tmp_path, "imports", files) == ["errors.py:1: errors may not import contract"]

    def test_a_package_without_a_row_is_told(self, tmp_path: Path) -> None:
        told = found(tmp_path, "imports", {"misc/__init__.py": ""})
        assert told == ["misc/__init__.py: package 'misc' has no row in the import table"]

    @pytest.mark.parametrize(
        ("lower", "upper"),
        [
            ("engine/sandbox/disks.py", "engine/container/run.py"),
            ("engine/sandbox/disks.py", "engine/pod/pod.py"),
            ("engine/state.py", "engine/log/reader.py"),
            ("engine/container/run.py", "engine/directory.py"),
            ("engine/log/reader.py", "engine/network/user.py"),  # two rooms of one storey
            ("surfaces/http/pipes.py", "surfaces/hyper/server.py"),
        ],
    )
    def test_a_room_knows_only_lower_storeys(self, tmp_path: Path, lower: str, upper: str) -> None:
        name = "hypercontainer." + upper.removesuffix(".py").replace("/", ".")
        room = [Path(path).parts[1].removesuffix(".py") for path in (lower, upper)]
        house = Path(lower).parts[0]
        told = found(tmp_path, "imports", {upper: "", lower: f"import {name}\n"})
        assert told == [f"{lower}:1: {house}'s {room[0]} may not import {room[1]}"]

    def test_a_room_knows_lower_storeys_and_itself(self, tmp_path: Path) -> None:
        files = {
            "engine/state.py": "from hypercontainer.engine import times\n",
            "engine/times.py": "",
            "engine/sandbox/disks.py": "from hypercontainer.engine import state\n",
            "engine/pod/pod.py": "from hypercontainer.engine.sandbox import disks\n",
            "engine/pod/run.py": "from hypercontainer.engine.pod import pod\n",
            "engine/__init__.py": "from hypercontainer.engine.pod import run\n",
        }
        assert found(tmp_path, "imports", files) == []

    def test_a_room_without_a_row_is_told(self, tmp_path: Path) -> None:
        told = found(tmp_path, "imports", {"engine/misc.py": ""})
        assert told == ["engine/misc.py: 'misc' has no row in the storeys of engine"]

    def test_every_package_of_the_tree_has_a_row_and_every_row_a_package(self) -> None:
        package = House(Path(__file__).parents[3]).package
        there = {
            path.stem
            for path in package.iterdir()
            if not path.stem.startswith("_") and path.suffix != ".typed"
        }
        assert there == set(tables.ALLOWED)


class TestCircles:
    def test_a_circle_is_told_with_its_way_and_its_members(self, tmp_path: Path) -> None:
        files = {
            "engine/pod.py": "from hypercontainer.engine import run\n",
            "engine/run.py": "def late():\n    from hypercontainer.engine.care import Care\n",
            "engine/care.py": "if TYPE_CHECKING:\n    from hypercontainer.engine.pod import Pod\n",
            "engine/apart.py": "from hypercontainer.engine import pod\n",
        }
        [told] = found(tmp_path, "circles", files)
        assert told == (
            "engine/care.py: a circle of 3 modules"
            " (engine.care -> engine.pod -> engine.run -> engine.care): engine.care, engine.pod, engine.run"
        )

    def test_two_ways_to_one_place_are_no_circle(self, tmp_path: Path) -> None:
        files = {
            "engine/pod.py": "from hypercontainer.engine import run, care\n",
            "engine/run.py": "from hypercontainer.engine.care import Care\n",
            "engine/care.py": "",
        }
        assert found(tmp_path, "circles", files) == []


class TestWords:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("raise_it('--memory: too little')\n", "--memory"),
            ("raise_it(f'{1} is too little for --memory={2}')\n", "--memory"),
            ('"""What `hyper start` does."""\n', "hyper start"),
            ("HINT = 'hyper pod rm web'\n", "hyper pod"),
        ],
    )
    def test_below_the_surfaces_nobody_names_a_flag_or_a_command(
        self, tmp_path: Path, text: str, words: str
    ) -> None:
        told = found(tmp_path, "words", {**CLI, "engine/pod.py": text})
        assert told == [f"engine/pod.py:1: speaks of `{words}`"]
        assert found(tmp_path, "words", {"engine/pod.py": "pass\n", "surfaces/hyper/faults.py": text}) == []

    @pytest.mark.parametrize(
        "text",
        [
            "# what --memory gives\n",
            "ARGUMENTS = ['setpriv', '--reuid', '7']\n",  # not ours
            "'----memory--'\n",
            "'the hyper people start'\n",
            "'hyperd start'\n",
        ],
    )
    def test_other_words_are_free(self, tmp_path: Path, text: str) -> None:
        assert found(tmp_path, "words", {**CLI, "engine/pod.py": text}) == []

    def test_another_programs_flag_may_have_the_name_of_one_of_ours(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = {**CLI, "linux/process.py": "ARGUMENTS = ['sort', '--memory']\n"}
        assert found(tmp_path, "words", files) == ["linux/process.py:1: speaks of `--memory`"]
        monkeypatch.setitem(tables.OTHER_PROGRAMS, ("linux/process.py", "--memory"), "sort")
        assert found(tmp_path, "words", files) == []


class TestUnused:
    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("def ping(): ...\n", "ping"),
            ("async def ping(): ...\n", "ping"),
            ("class Ping: ...\n", "Ping"),
            ("class _Agent:\n    def ping(self): ...\n", "ping"),
            ("def ping(n): return ping(n - 1)\n", "ping"),  # only by itself
        ],
    )
    def test_what_nobody_uses_is_told(self, tmp_path: Path, text: str, name: str) -> None:
        (tmp_path / "tests").mkdir()
        (tmp_path / "tests/test_agent.py").write_text(f"from hypercontainer.agent.session import {name}\n")
        handed_on = f"from hypercontainer.agent.session import {name}\n__all__ = ['{name}']\n"
        files = {"agent/__init__.py": handed_on, "agent/session.py": text}
        [told] = found(tmp_path, "unused", files)
        assert told.endswith(f": nothing uses {name}")

    @pytest.mark.parametrize(
        "use",
        [
            "from hypercontainer.agent.session import ping\n",
            "from hypercontainer.agent import session\n\nsession.ping()\n",
            "def _answer(agent): return agent.ping\n",
            "def _answer(agent: ping): ...\n",
        ],
    )
    def test_any_use_of_the_name_will_do(self, tmp_path: Path, use: str) -> None:
        session = "def ping(): ...\nclass _Fast:\n    def ping(self): ...\n"
        assert found(tmp_path, "unused", {"agent/session.py": session, "engine/_pod.py": use}) == []

    def test_a_routes_words_are_uses(self, tmp_path: Path) -> None:
        files = {"engine/pod.py": "class _Pod:\n    def unpause(self): ...\n", "contract/routes.py": ""}
        assert found(tmp_path, "unused", files) == ["engine/pod.py:2: nothing uses unpause"]
        assert found(tmp_path, "unused", {"contract/routes.py": "ROUTES = ('pods.unpause',)\n"}) == []

    @pytest.mark.parametrize(
        ("place", "text"),
        [
            ("sdk/aio/client.py", "class AsyncClient: ...\n"),
            ("cli/main.py", "def entry(): ...\n"),
            (
                "agent/channel.py",
                "class _Channel:\n    def pause_writing(self): ...\n    def __len__(self): ...\n",
            ),
            ("agent/session.py", "def _ping(): ...\n"),
        ],
    )
    def test_what_is_used_from_outside_is_free(self, tmp_path: Path, place: str, text: str) -> None:
        assert found(tmp_path, "unused", {place: text}) == []


class TestPaths:
    @pytest.mark.parametrize(
        "text", ["get('/v1/pods')\n", "get(f'/v1/pods/{1}')\n", '"""`GET /v1/pods`"""\n']
    )
    def test_a_path_stands_with_its_route(self, tmp_path: Path, text: str) -> None:
        [told] = found(tmp_path, "paths", {"sdk/aio/pods.py": text})
        assert told.startswith("sdk/aio/pods.py:1: the path /v1/pods")
        assert found(tmp_path, "paths", {"sdk/aio/pods.py": "", "contract/routes.py": text}) == []

    def test_other_servers_have_one_too(self, tmp_path: Path) -> None:
        text = "HUB = 'https://index.docker.io/v1/'\nAPI = '/v10/pods'\n"
        assert found(tmp_path, "paths", {"image/credentials.py": text}) == []


class TestSizes:
    def test_files_and_functions_have_their_bounds(self, tmp_path: Path) -> None:
        long = "def f():\n    '''Doc.'''\n" + "    pass\n" * (tables.MAX_FUNCTION_LINES + 1)
        assert found(tmp_path, "sizes", {"engine/pod.py": long}) == [
            "engine/pod.py:1: function f has 41 lines"
        ]
        assert found(tmp_path, "sizes", {"engine/pod.py": long.removesuffix("    pass\n")}) == []
        told = found(tmp_path, "sizes", {"engine/pod.py": "pass\n" * (tables.MAX_FILE_LINES + 1)})
        assert told == ["engine/pod.py: 501 lines, at most 500"]

    def test_a_function_inside_another_has_its_own_account(self, tmp_path: Path) -> None:
        inner = "    def g():\n" + "        pass\n" * tables.MAX_FUNCTION_LINES
        assert found(tmp_path, "sizes", {"engine/pod.py": "def f():\n    pass\n" + inner}) == []

    def test_tests_and_the_guests_c_have_them_too(self, tmp_path: Path) -> None:
        for place, text in {
            "tests/test_it.py": "pass\n" * (tables.MAX_FILE_LINES + 1),
            "guest/init/main.c": "int main(void)\n{\n" + "\t;\n" * (tables.MAX_C_FUNCTION_LINES + 1) + "}\n",
        }.items():
            (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place).write_text(text)
        assert found(tmp_path, "sizes", {}) == [
            f"{tmp_path}/tests/test_it.py: 501 lines, at most 500",
            f"{tmp_path}/guest/init/main.c:2: function `int main(void)` has 51 lines",
        ]


class TestTheCommand:
    def test_one_rule_can_be_asked_alone(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        found(tmp_path, "imports", {"engine/misc.py": "def unused(): ...\n"})
        assert check_structure.main([str(tmp_path)]) == 1
        assert len(capsys.readouterr().out.splitlines()) == 2
        assert check_structure.main([str(tmp_path), "--only", "unused"]) == 1
        assert capsys.readouterr().out.endswith(": nothing uses unused\n")
        assert check_structure.main([str(tmp_path), "--only", "sizes"]) == 0
        assert capsys.readouterr().out == ""
