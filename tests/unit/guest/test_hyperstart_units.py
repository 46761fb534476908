"""hyperstart's own C tests, under ASan and UBSan, and a short seeded run of its fuzzer."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[3] / "guest/init"
MESSAGES = Path(__file__).parents[2] / "golden/wire/messages.txt"
NAMES = ("wire", "user", "place", "stream", "session", "container", "hearing", "name", "line")


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("hyperstart")
    subprocess.run(
        ["nice", "make", "-s", "-j2", "-C", SOURCES, "tests", f"TESTS={directory}"],
        check=True,
        timeout=240,
    )
    return directory


def run(*argv: str | Path) -> None:
    done = subprocess.run(
        [str(word) for word in argv], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_units(programs: Path, tmp_path: Path, name: str) -> None:
    arguments = {"wire": [MESSAGES], "place": [tmp_path], "session": [tmp_path], "name": [tmp_path]}.get(
        name, []
    )
    run(programs / f"test_{name}", *arguments)


@pytest.mark.parametrize("name", ["wire", "stream", "session", "line"])
def test_units_where_the_highest_byte_comes_first(big_endian: Path, tmp_path: Path, name: str) -> None:
    """What goes over the wire has one order of bytes, whatever the machine's."""
    arguments = {"wire": [MESSAGES], "session": [tmp_path]}.get(name, [])
    run("qemu-s390x", big_endian / f"test_{name}", *arguments)


@pytest.mark.parametrize("seed", range(4))
def test_fuzz(programs: Path, tmp_path: Path, seed: int) -> None:
    run(programs / "fuzz_session", tmp_path, str(seed), "1500")


def test_every_test_is_run(programs: Path) -> None:
    assert {path.stem for path in (SOURCES / "test").glob("test_*.c")} == {f"test_{name}" for name in NAMES}


def test_program_is_static_small_and_reproducible(tmp_path: Path) -> None:
    outs = []
    for name in ("one", "two"):
        out = tmp_path / name / "hyperstart"
        subprocess.run(["make", "-s", "-C", SOURCES, f"OUT={out}"], check=True, timeout=240)
        outs.append(out.read_bytes())
    assert outs[0] == outs[1]
    assert len(outs[0]) < 224 * 1024
    assert b"/lib64/ld-" not in outs[0]
    version = subprocess.run(
        [tmp_path / "one/hyperstart", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("hyperstart ")
    assert "wire version 1" in version.stdout
    refused = subprocess.run([tmp_path / "one/hyperstart"], capture_output=True, text=True, timeout=10)
    assert refused.returncode == 2
    assert "--serve" in refused.stderr
