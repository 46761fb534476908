"""Volumes with real guests that grow under who writes to them, are copied in and out of, and have snapshots."""

from __future__ import annotations

import os
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

import busybox_image
from audit import daemon_pid, kill_process
from hyper import Hyper

BUSYBOX = busybox_image.REFERENCE
# Each file whole at any moment: what is emptied first would be seen so now and then.
WRITES = (
    "i=0; while :; do i=$((i+1)); for f in a b; do echo $i >/d/new && mv /d/new /d/$f; done;"
    ' [ $i != 50 ] || echo "it writes"; done'
)
SIZE = "df -k /d | awk 'END {print $2}'"


def checked(disk: Path) -> None:
    done = subprocess.run(["e2fsck", "-fn", disk], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.each_driver
def test_a_volume_grows_under_who_writes_to_it(hyper: Hyper) -> None:
    disk = hyper.root / "volumes/v/disk.img"
    hyper("volume", "create", "--size", "64m", "v")
    hyper("volume", "resize", "v", "200m")  # of no use to anybody yet
    hyper("run", "-d", "--name", "c", "-v", "v:/d", BUSYBOX, "sh", "-c", WRITES)
    hyper.wait_for_log("c", b"it writes")
    sizes = [int(hyper.out("exec", "c", "sh", "-c", SIZE))]
    for size in ("1g", "11g"):  # more than one block of descriptors has room for
        hyper("volume", "resize", "v", size)
        sizes.append(int(hyper.out("exec", "c", "sh", "-c", SIZE)))
    assert sizes[0] > 180_000 and sizes[1] > 1_000_000 and sizes[2] > 11_000_000, sizes
    assert kill_process(hyper.vm_pid("c"))
    hyper("wait", "c")
    assert hyper.out("run", "--rm", "-v", "v:/d", BUSYBOX, "sh", "-c", SIZE) == str(sizes[2])
    checked(disk)
    assert disk.stat().st_blocks * 512 < 64 << 20
    refused = hyper("volume", "resize", "v", "1g", check=False)
    assert refused.returncode == 1 and b"does not get smaller" in refused.stderr
    hyper("rm", "c")
    hyper("volume", "rm", "v")


@pytest.mark.each_driver
def test_snapshots_of_a_volume_that_is_written_to(hyper: Hyper) -> None:
    """Each is clean, and no later write is in it without an earlier one."""
    folder = hyper.root / "volumes/v"
    hyper("volume", "create", "--size", "256m", "v")
    hyper("run", "-d", "--name", "c", "-v", "v:/d", BUSYBOX, "sh", "-c", WRITES)
    hyper.wait_for_log("c", b"it writes")
    hyper("volume", "snapshot", "create", "v", "one")
    hyper("volume", "clone", "v", "new")
    hyper("pause", "c")
    assert hyper.out("snapshot", "create", "v")
    hyper("unpause", "c")
    for disk in (*folder.glob("snapshots/*"), hyper.root / "volumes/new/disk.img"):
        checked(disk)
    assert len(hyper.out("snapshot", "ls", "-q", "v").split()) == 2
    refused = hyper("volume", "restore", "v", "one", check=False)
    assert b"in use by container c" in refused.stderr
    hyper("rm", "-f", "c")
    hyper("volume", "restore", "v", "one")
    for volume in ("v", "new"):
        first, second = hyper.out("run", "--rm", "-v", f"{volume}:/d", BUSYBOX, "cat", "/d/a", "/d/b").split()
        assert 50 <= int(second) <= int(first) <= int(second) + 1
    hyper("volume", "rm", "v", "new")


def test_files_go_in_and_out_of_a_volume(hyper: Hyper, tmp_path: Path) -> None:
    """Whether or not it is used; and no link in it leads out of it."""
    (tmp_path / "tree/deep").mkdir(parents=True)
    (tmp_path / "tree/deep/file").write_text("from here")
    hyper("volume", "create", "--size", "64m", "v")
    hyper("volume", "cp", str(tmp_path / "tree"), "v:/in")
    links = "ln -s / /d/up; ln -s /in/deep /d/abs; sleep 1000"
    hyper("run", "-d", "--name", "c", "-v", "v:/d", BUSYBOX, "sh", "-c", links)
    assert hyper.out("exec", "c", "cat", "/d/in/deep/file") == "from here"
    (tmp_path / "more").write_text("more")
    hyper("volume", "cp", str(tmp_path / "more"), "v:/abs/more")
    assert hyper.out("exec", "c", "cat", "/d/in/deep/more") == "more"
    out = hyper("volume", "cp", "v:/up/in/.", "-").stdout
    with tarfile.open(fileobj=BytesIO(out)) as tar:
        assert sorted(tar.getnames()) == [".", "./deep", "./deep/file", "./deep/more"]
    hyper("rm", "-f", "c")
    hyper("volume", "cp", "v:/in", str(tmp_path / "out"))
    assert (tmp_path / "out/deep/more").read_text() == "more"
    missing = hyper("volume", "cp", "v:/up/proc/version", str(tmp_path), check=False)
    assert missing.returncode == 1 and b"No such file" in missing.stderr
    hyper("volume", "rm", "v")


@pytest.mark.skipif(not os.environ.get("HYPER_SOAK"), reason="it waits for the guest's 30 seconds: make soak")
def test_a_guest_goes_on_by_itself_when_hyperd_is_killed(own_hyper: Hyper) -> None:
    """In the middle of a snapshot of a disk that takes long to copy; what there was of it is gone."""
    hyper = own_hyper
    hyper("volume", "create", "--size", "2g", "v")
    fill = "dd if=/dev/urandom of=/d/big bs=1M count=300 2>/dev/null; sync; echo filled; sleep 1000"
    hyper("run", "-d", "--name", "c", "-v", "v:/d", BUSYBOX, "sh", "-c", fill)
    hyper.wait_for_log("c", b"filled")
    folder = hyper.root / "volumes/v/snapshots"
    with hyper.popen(
        "snapshot", "create", "v", stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    ) as taking:
        hyper.until(lambda: list(folder.glob(".new-*")) or taking.poll() is not None, "a copy that is made")
        kill_process(daemon_pid(hyper))
    assert hyper.out("exec", "c", "sh", "-c", "echo x >/d/after && cat /d/after") == "x"
    assert list(folder.glob(".new-*")) == []
    hyper("rm", "-f", "c")
    checked(hyper.root / "volumes/v/disk.img")
