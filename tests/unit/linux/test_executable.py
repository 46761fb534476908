"""Programs that came without the right to be run."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from hypercontainer.errors import Unavailable
from hypercontainer.linux.executable import mended


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o755), (0o600, 0o700), (0o555, 0o555)])
def test_who_may_read_a_program_may_run_it(tmp_path: Path, before: int, after: int) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(before)
    assert mended(program) == program
    assert stat.S_IMODE(program.stat().st_mode) == after


def test_one_that_is_not_there_is_not_mended(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mended(tmp_path / "absent")


def test_somebody_elses_is_told_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "program"
    program.write_text("")
    program.chmod(0o644)

    def refuse(self: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(Unavailable, match="may not be run") as caught:
        mended(program)
    assert caught.value.hint == f"make it executable: chmod a+x {program}"
