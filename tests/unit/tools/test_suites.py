"""tools/suites.py, with apt played by scripts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SUITES = Path(__file__).resolve().parents[3] / "tools/suites.py"
APT_GET = r"""
case "$*" in
indextargets*) echo http://mirror/debian/ ;;
*update) echo update >> "$HERE/updates"; [ ! -e "$HERE/offline" ] || { echo "E: no route" >&2; exit 100; }
    for word; do case $word in Dir::Etc::SourceList=*) cp "${word#*=}" "$HERE/sources" ;; esac; done ;;
*download*) for word; do :; done; echo "$word" >> "$HERE/downloads"; : > "${word%%=*}_1_all.deb" ;;
*" source "*) for word; do :; done; echo "$word" >> "$HERE/downloads"; mkdir thing-unpacked; : > thing.dsc ;;
esac
"""
APT_CACHE = r"""
case "$*" in
*search*) echo search >> "$HERE/searches"; echo "thing-1 - an older one"; echo "thing-2 - a newer one" ;;
*madison*) cat <<END
   thing-1 | 1.10-1 | http://mirror/debian sid/main amd64 Packages
   thing-2 | 2.9-1 | http://mirror/debian trixie/main amd64 Packages
   thing-2 | 2:2.10-1 | http://mirror/debian sid/main amd64 Packages
   thing-2 | 9-1 | http://mirror/debian sid/main Sources
END
    ;;
esac
"""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name, text in (("apt-get", APT_GET), ("apt-cache", APT_CACHE)):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / name).chmod(0o755)
    return tmp_path


def ask(here: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{here}:{os.environ['PATH']}",
        "HYPER_CACHE": str(here / "cache"),
        "HERE": str(here),
    }
    return subprocess.run(
        [sys.executable, SUITES, *words], env=environment, capture_output=True, text=True, timeout=60
    )


def test_the_newest_is_fetched_once(here: Path) -> None:
    kept = here / "cache/packages/thing-2_2%3a2.10-1.deb"
    for _ in range(2):
        done = ask(here, "thing-[0-9]", "--suite", "trixie", "--suite", "sid")
        assert (done.stdout, done.stderr) == (f"{kept} thing-2 2:2.10-1 sid\n", "")
    assert kept.exists()
    assert (here / "downloads").read_text() == "thing-2=2:2.10-1\n"
    sources = (here / "sources").read_text().splitlines()
    assert [line.split()[-2:] for line in sources] == [["trixie", "main"], ["sid", "main"]]
    assert sorted(os.listdir(here / "cache/packages")) == ["apt", kept.name]
    assert (here / "updates").read_text().split() == ["update"]
    assert (here / "searches").read_text().split() == ["search"]  # which takes seconds with the real one


def test_lists_of_another_day_or_of_other_suites_are_asked_for_anew(here: Path) -> None:
    for _ in range(2):  # those of each are kept beside one another
        ask(here, "thing-[0-9]", "--suite", "sid")
        ask(here, "thing-[0-9]", "--suite", "trixie")
    assert (here / "updates").read_text().split() == ["update"] * 2
    os.utime(here / "cache/packages/apt/trixie/updated", (0, 0))
    ask(here, "thing-[0-9]", "--suite", "trixie")
    assert (here / "updates").read_text().split() == ["update"] * 3
    assert (here / "searches").read_text().split() == ["search"] * 3


def test_without_a_mirror_what_was_kept_serves(here: Path) -> None:
    (here / "offline").touch()
    done = ask(here, "thing-[0-9]")
    assert (done.returncode, done.stdout) == (1, "")
    assert "thing-[0-9]: `apt-get` failed: E: no route" in done.stderr
    (here / "cache/packages/thing-1_1.9-1.deb").touch()
    (here / "cache/packages/thing-1_1.10-1.deb").touch()
    (here / "cache/packages/other_3.deb").touch()
    done = ask(here, "thing-[0-9]")
    assert done.stdout == f"{here / 'cache/packages/thing-1_1.10-1.deb'} thing-1 1.10-1 kept\n"


def test_what_no_suite_has_is_said(here: Path) -> None:
    (here / "apt-cache").write_text("#!/bin/sh\n")
    done = ask(here, "nothing", "--suite", "sid")
    assert (done.returncode, done.stderr) == (1, "nothing: no package of that name in any of the suites\n")


def test_a_source_is_unpacked_once_for_each_version(here: Path) -> None:
    script = "import suites; print(suites.fetch_source('thing', '1.2-3', 'trixie'))"
    environment = {
        "PATH": f"{here}:{os.environ['PATH']}",
        "HYPER_CACHE": str(here / "cache"),
        "HERE": str(here),
    }
    for _ in range(2):
        told = subprocess.run(
            [sys.executable, "-c", script],
            env=environment | {"PYTHONPATH": str(SUITES.parent)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert told.stdout == f"{here}/cache/packages/source/thing_1.2-3\n"
    assert Path(told.stdout.strip()).is_dir()
    assert (here / "downloads").read_text() == "thing=1.2-3\n"
    assert (here / "sources").read_text().startswith("deb-src ")
