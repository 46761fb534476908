"""The host's limit of mappings is raised by who may, told by who may not, and left alone where it is enough."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from hypercontainer.hypervisor.uml import maps


@pytest.fixture
def count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "max_map_count"
    path.write_text("65530\n")
    monkeypatch.setattr(maps, "COUNT", path)
    return path


def said(caplog: pytest.LogCaptureFixture) -> str:
    return " ".join(record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING)


@pytest.mark.parametrize("uid", [0, 1000])
def test_what_is_enough_is_left_alone(
    count: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, uid: int
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    maps.enough_for("small", 255)
    assert count.read_text() == "65530\n"
    count.write_text("9000000\n")
    maps.enough_for("large", 1 << 20)
    assert count.read_text() == "9000000\n"
    count.unlink()
    maps.enough_for("somewhere else", 1 << 20)
    assert not said(caplog)


def test_root_raises_it(
    count: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    maps.enough_for("larger", 512)
    assert maps.most() == maps.ENOUGH
    assert not said(caplog)


def test_others_are_told(
    count: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    maps.enough_for("larger", 512)
    assert count.read_text() == "65530\n"
    assert "VM larger: a process in it that touches more than 255 MiB at random" in said(caplog)
    assert maps.REMEDY in said(caplog)


def test_a_root_that_may_not_is_told_too(
    count: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    def read_only(self: Path, text: str) -> int:
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "write_text", read_only)
    maps.enough_for("larger", 512)
    assert "VM larger" in said(caplog)
