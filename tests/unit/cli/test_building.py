"""`hyper build` as it is typed."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from hypercontainer.cli import building
from hypercontainer.cli.options import UsageError


def test_outputs() -> None:
    for typed, wanted in {
        "out": ("local", "out"),
        "-": ("tar", "-"),
        "type=tar,dest=a.tar": ("tar", "a.tar"),
        "type=tar": ("tar", "-"),
        "type=local,dest=out": ("local", "out"),
        "type=oci,dest=x": ("oci", "x"),
        "type=image": ("image", ""),
    }.items():
        made = building.output([typed])
        assert (made.kind, made.path) == wanted, typed
    assert building.output([]).asked == "image" and building.output(["out"]).asked == "tar"
    for typed in ("type=registry", "type=local", "type=tar,dest=a,compression=zstd", "dest=a", "type"):
        if "=" in typed:
            with pytest.raises(UsageError, match="--output"):
                building.output([typed])
    with pytest.raises(UsageError, match="several"):
        building.output(["a", "b"])


def test_secrets(tmp_path: Path) -> None:
    (tmp_path / "s").write_bytes(b"hello")
    wanted = {"id": "a", "content": "aGVsbG8="}
    for typed in (
        f"id=a,src={tmp_path}/s",
        f"type=file,id=a,source={tmp_path}/s",
        "id=a,env=A",
        "type=env,id=a",
    ):
        assert building.secret(typed, {"A": "hello", "a": "hello"}) == wanted
    assert building.secret("id=a", {"a": "hello"}) == wanted
    for typed in (
        "src=x",
        "id=a,src=/nowhere/x",
        "id=a,env=NO",
        "a",
        "id=a,env=A,src=x",
        "id=a,more=x",
        "type=x,id=a",
    ):
        with pytest.raises(UsageError, match="secret"):
            building.secret(typed, {"A": "hello"})


def test_agents(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"k")
    with socket.socket(socket.AF_UNIX) as agent:
        agent.bind(str(tmp_path / "agent"))
        found = building.Agents(
            ["default", f"other={tmp_path}/agent", f"k={tmp_path}/key"],
            {"SSH_AUTH_SOCK": f"{tmp_path}/agent"},
        )
    assert found.sockets == {"default": f"{tmp_path}/agent", "other": f"{tmp_path}/agent"}
    assert found.keys == [{"id": "k", "content": "aw=="}]
    for typed in ("default", "=x", "a=/nowhere/x"):
        with pytest.raises(UsageError, match="--ssh"):
            building.Agents([typed], {})


def test_tables() -> None:
    assert building.table(["A=b=c", "B", "C="], "--build-arg", {"B": "x"}) == {"A": "b=c", "B": "x", "C": ""}
    assert building.table(["B"], "--build-arg", {}) == {}
    assert building.table(["B"], "--label") == {"B": ""}
    with pytest.raises(UsageError, match="--label"):
        building.table(["=x"], "--label")
