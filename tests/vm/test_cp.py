"""Files of containers, in and out: of one that runs, of one that does not, and of one that nobody has started."""

from __future__ import annotations

import os
import random
import subprocess
import tarfile
from pathlib import Path

import pytest

import busybox_image
from audit import kill_process
from free_port import free_port
from hyper import Hyper
from until import until

BUSYBOX = busybox_image.REFERENCE
SLEEP = ("sh", "-c", "sleep 100000")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    chosen, made = random.Random(3), tmp_path / "tree"
    (made / "deep/er").mkdir(parents=True)
    for number in range(60):
        (made / f"deep/{number}").write_bytes(chosen.randbytes(chosen.choice([0, 511, 512, 70_000])))
    (made / "deep/er/link").symlink_to("../1")
    (made / "again").hardlink_to(made / "deep/2")
    (made / "deep/3").chmod(0o4755)
    with (made / "holes").open("wb") as file:
        file.truncate(300 << 20)
        file.seek(100 << 20)
        file.write(b"middle")
    for each in (made / "deep/4", made / "deep/er"):
        os.utime(each, (1, 1_600_000_000))
    return made


def facts(root: Path) -> list[tuple[object, ...]]:
    return [
        (
            str(path.relative_to(root)),
            (what := path.lstat()).st_mode,
            what.st_size,
            int(what.st_mtime),
            what.st_nlink,
            path.read_bytes() if path.is_file() and what.st_size < 1 << 20 else None,
        )
        for path in sorted(root.rglob("*"))
    ]


def test_a_tree_goes_in_and_comes_out_as_it_was(hyper: Hyper, tree: Path, tmp_path: Path) -> None:
    hyper("run", "-d", "--name", "box", BUSYBOX, *SLEEP)
    hyper("cp", str(tree), "box:/in")
    assert hyper("exec", "box", "cat", "/in/again").stdout == (tree / "again").read_bytes()
    hyper("cp", "box:/in", str(tmp_path / "out"))
    assert facts(tmp_path / "out") == facts(tree)
    assert (tmp_path / "out/holes").stat().st_blocks < 2048, "holes stay holes"
    hyper("stop", "-t", "0", "box")
    hyper("cp", "box:/in/.", str(tmp_path / "later"))
    assert facts(tmp_path / "later") == facts(tree)


def test_one_that_does_not_run_is_not_started_for_it(hyper: Hyper, tmp_path: Path) -> None:
    """Not a program of its image runs: it says so in a file when it does.  Its port is somebody else's meanwhile."""
    publish = f"127.0.0.1:{free_port()}:80"
    said = "echo run >> /runs; sleep 100000"
    hyper("create", "--name", "box", "-v", "/data", "-p", publish, BUSYBOX, "sh", "-c", said)
    hyper("run", "-d", "--name", "other", "-p", publish, BUSYBOX, *SLEEP)
    (tmp_path / "file").write_text("from here")
    hyper("cp", str(tmp_path / "file"), "box:/data/file")
    hyper("cp", "box:/data/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "from here"
    assert "No such file" in hyper("cp", "box:/runs", str(tmp_path), check=False).stderr.decode()
    assert hyper.inspect("box")["State"]["Status"] == "created"
    hyper("rm", "-f", "other")
    hyper("start", "box")
    hyper.until(lambda: hyper("exec", "box", "cat", "/runs", check=False).stdout, "its own program")
    assert hyper.out("exec", "box", "cat", "/runs", "/data/file") == "run\nfrom here"


def test_archives_on_standard_input_and_output(hyper: Hyper, tree: Path, tmp_path: Path) -> None:
    hyper("create", "--name", "box", BUSYBOX, *SLEEP)
    archive = subprocess.run(["tar", "-c", "--sparse", "-C", tree, "."], capture_output=True, check=True)
    hyper("cp", "-", "box:/tmp", stdin=archive.stdout)
    out = hyper("cp", "box:/tmp/deep", "-").stdout
    (tmp_path / "out.tar").write_bytes(out)
    with tarfile.open(tmp_path / "out.tar") as opened:
        assert {"deep", "deep/er/link", "deep/59"} < set(opened.getnames())
    refused = hyper("cp", "-", "box:/etc/passwd", stdin=archive.stdout, check=False)
    assert refused.returncode and "no directory" in refused.stderr.decode()
    damaged = hyper("cp", "-", "box:/tmp", stdin=archive.stdout[:5000], check=False)
    assert damaged.returncode and "ends in the middle" in damaged.stderr.decode()


def test_a_full_disk_is_said_and_a_pod_goes_on(hyper: Hyper, tmp_path: Path) -> None:
    hyper("run", "-d", "--name", "box", "--tmpfs", "/small:size=1m", BUSYBOX, *SLEEP)
    (tmp_path / "big").write_bytes(os.urandom(3 << 20))
    full = hyper("cp", str(tmp_path / "big"), "box:/small", check=False)
    assert full.returncode and "No space left on device" in full.stderr.decode()
    hyper("exec", "box", "true")


def test_hyperd_is_killed_in_the_middle(hyper: Hyper, tmp_path: Path) -> None:
    """The container is as it was, nothing is left of the VM, and the next copy works."""
    hyper("create", "--name", "box", BUSYBOX, *SLEEP)
    reading, writing = os.pipe()
    copying = subprocess.Popen(
        hyper.argv("cp", "box:/", "-"), env=hyper.environment, stdout=writing, stderr=subprocess.DEVNULL
    )
    os.close(writing)
    assert os.read(reading, 512)
    kill_process(hyper.daemon_pid())
    os.close(reading)
    copying.wait(30)
    assert hyper.inspect("box")["State"]["Status"] == "created"
    until(lambda: not list((hyper.run_dir / "pods").iterdir()), "the end of its VM")
    hyper("cp", "box:/bin/busybox", str(tmp_path / "busybox"))
    assert (tmp_path / "busybox").stat().st_size > 1000
