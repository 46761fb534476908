"""`hyper context`: the files by which Docker's clients find this hyperd."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fake_hyperd import FakeHyperd

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]
INFO = "/v1/info"
HOST = "unix:///run/hyper/docker.sock"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hyperd: FakeHyperd) -> Path:
    """Docker's configuration; the folder that it is in is not there yet."""
    hyperd.answer("GET", INFO, {"DockerHost": HOST})
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "docker" / "config.json"


def meta(config: Path, name: str) -> Path:
    return config.parent / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"


def written(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_context_is_made_as_docker_makes_one(run: Run, capsys: Capture, config: Path) -> None:
    assert run("context", "create") == 0
    assert capsys.readouterr().out == "hyper\n"
    assert written(meta(config, "hyper")) == {
        "Name": "hyper",
        "Metadata": {"Description": "Hyper: a virtual machine for each container"},
        "Endpoints": {"docker": {"Host": HOST, "SkipTLSVerify": False}},
    }
    assert not config.exists()
    assert run("context", "create", "other") == 0
    assert written(meta(config, "other"))["Name"] == "other"


def test_one_over_tls_has_its_certificates(run: Run, capsys: Capture, config: Path, tmp_path: Path) -> None:
    words, files = ["--host", "tcp://far.example:2376"], ("ca", "cert", "key")
    for name in files:
        (tmp_path / name).write_text(f"{name} of mine")
        words += [f"--{name}", str(tmp_path / name)]
    assert run("context", "create", "far", *words) == 0
    host = written(meta(config, "far"))["Endpoints"]["docker"]["Host"]
    assert host == "tcp://far.example:2376"
    folder = Path(str(meta(config, "far").parent).replace("/meta/", "/tls/")) / "docker"
    assert {each.name: each.read_text() for each in folder.iterdir()} == {
        f"{name}.pem": f"{name} of mine" for name in files
    }
    assert {each.stat().st_mode & 0o777 for each in folder.iterdir()} == {0o600}
    assert run("context", "create", "far") == 0
    assert not folder.parent.exists()
    assert run("context", "use", "far", *words) == 0
    assert run("context", "rm", "far") == 0
    assert not folder.parent.exists()
    for wrong in (
        words[:2],
        words[2:],
        [*words[:-1], str(tmp_path / "nothing")],
        ["--host", "ssh://far", *words[2:]],
    ):
        assert run("context", "create", "far", *wrong) == 1
    assert not meta(config, "far").exists()


def test_use_and_rm_leave_the_rest_of_the_configuration(run: Run, capsys: Capture, config: Path) -> None:
    config.parent.mkdir()
    config.write_text('{"auths": {"r.io": {}}, "currentContext": "mine"}')
    assert run("context", "use") == 0
    assert written(config) == {"auths": {"r.io": {}}, "currentContext": "hyper"}
    assert meta(config, "hyper").exists()
    assert run("context", "rm") == 0
    assert capsys.readouterr() == ("hyper\nhyper\n", "")
    assert written(config) == {"auths": {"r.io": {}}}
    assert not meta(config, "hyper").parent.exists()
    assert run("context", "rm") == 1
    assert "there is no context hyper" in capsys.readouterr().err


def test_what_counts_before_a_context_is_said(
    run: Run, capsys: Capture, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    assert run("context", "use") == 0
    assert "DOCKER_HOST is set" in capsys.readouterr().err


def test_contexts_of_others_stay(run: Run, capsys: Capture, config: Path) -> None:
    theirs = meta(config, "prod")
    theirs.parent.mkdir(parents=True)
    theirs.write_text('{"Name": "prod", "Metadata": {}, "Endpoints": {"docker": {"Host": "ssh://prod"}}}')
    before = theirs.read_text()
    for verb in ("create", "use", "rm"):
        assert run("context", verb, "prod") == 1
        assert "context prod was not made by Hyper" in capsys.readouterr().err
    assert theirs.read_text() == before
    assert not config.exists()


@pytest.mark.parametrize("name", ["default", "a", "../x", "a/b", "", "_a", "a b", "ä1"])
def test_names_are_dockers(run: Run, capsys: Capture, config: Path, name: str) -> None:
    assert run("context", "create", name) == 1
    assert "invalid context name" in capsys.readouterr().err
    assert not config.parent.exists()


def test_show_prints_the_address(run: Run, capsys: Capture, config: Path) -> None:
    assert run("context", "show") == 0
    assert capsys.readouterr().out == f"{HOST}\n"


def test_where_dockers_api_is_not_served(
    run: Run, capsys: Capture, tmp_path: Path, hyperd: FakeHyperd
) -> None:
    hyperd.answer("GET", INFO, {"DockerHost": ""})
    assert run("context", "use") == 1
    assert "this hyperd does not serve Docker's API" in capsys.readouterr().err
    assert not (tmp_path / ".docker").exists()
