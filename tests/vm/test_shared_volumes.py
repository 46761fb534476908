"""Volumes that several virtual machines write to at the same time, and volumes that become so."""

from __future__ import annotations

from pathlib import Path

import busybox_image
from audit import kill_process
from hyper import Hyper
from locker import with_locker, work

BUSYBOX = busybox_image.REFERENCE
ROUNDS = 10


def test_two_vms_write_to_one_volume(hyper: Hyper, tmp_path: Path) -> None:
    """No update is lost, whoever holds the lock; a VM that is killed lets go of it."""
    image = with_locker(hyper, tmp_path)
    hyper("volume", "create", "-o", "type=shared", "s")
    begin = (
        "mkdir /d/new; echo 0 | tee /d/count.flock >/d/count.fcntl; "
        "chown 70:71 /d/new; chmod 2770 /d/new; mkfifo /d/p"
    )
    hyper("run", "--rm", "-v", "s:/d", image, "sh", "-c", begin)
    for name in ("a", "b"):
        hyper("run", "-d", "--name", name, "-v", "s:/d", image, "sh", "-c", work(ROUNDS), "sh", name)
    for name in ("a", "b"):
        assert hyper.out("wait", name) == "0", hyper("logs", name)
    look = "cat /d/count.*; sort -u /d/log | wc -l; ls /d/new | wc -l; stat -c '%a %u:%g' /d/new /d/new/a.0; ls -l /d/p"
    seen = hyper.out("run", "--rm", "-v", "s:/d:ro", image, "sh", "-c", look).split("\n")
    assert seen[:6] == [*[str(2 * ROUNDS)] * 4, "2770 70:71", "644 0:71"]
    assert seen[6].startswith("prw")
    for number in ("1", "2"):
        assert hyper.out("run", "--rm", "-v", "s:/d", image, "locker", "map", "/d/mapped") == number
    hyper(
        "run",
        "-d",
        "--name",
        "c",
        "-v",
        "s:/d",
        image,
        *"locker fcntl /d/held sh -c".split(),
        "echo held; sleep 1000",
    )
    hyper.wait_for_log("c", b"held\n")
    told = "timeout 1 locker fcntl /d/held echo has; echo ended $?"
    assert hyper.out("run", "--rm", "-v", "s:/d", image, "sh", "-c", told) == "ended 143"
    waits = "locker try /d/held 2>/dev/null && exit 1; echo waits; locker fcntl /d/held echo has"
    hyper("run", "-d", "--name", "e", "-v", "s:/d", image, "sh", "-c", waits)
    hyper.wait_for_log("e", b"waits\n")
    assert kill_process(hyper.vm_pid("c"))
    assert hyper.out("wait", "e") == "0"
    assert hyper.out("logs", "e") == "waits\nhas"
    hyper("rm", "-f", "a", "b", "c", "e")
    hyper("volume", "rm", "s")


def test_a_volume_becomes_shared_where_two_want_it(hyper: Hyper) -> None:
    """As a compose file has it: all containers are made before the first is started."""
    for name in ("a", "b"):
        hyper(
            "create", "--name", name, "-v", "v:/d", BUSYBOX, "sh", "-c", f"echo {name} >/d/{name}; sleep 1000"
        )
    hyper("start", "a", "b")
    assert hyper.out("volume", "inspect", "-f", "{{.Options.type}}", "v") == "shared"
    seen = hyper.out("exec", "b", "sh", "-c", "until [ -s /d/a ]; do :; done; cat /d/a")
    assert seen == "a"
    hyper("rm", "-f", "a", "b")
    hyper("volume", "rm", "v")


def test_files_go_in_and_out_of_a_shared_volume(hyper: Hyper, tmp_path: Path) -> None:
    """Whether or not a VM has it; what is only for disks is refused by name."""
    (tmp_path / "f").write_text("x")
    hyper("volume", "create", "-o", "type=shared", "s")
    hyper("volume", "cp", str(tmp_path / "f"), "s:/f")
    hyper("run", "-d", "--name", "c", "-v", "s:/d", BUSYBOX, "sleep", "1000")
    assert hyper.out("exec", "c", "cat", "/d/f") == "x"
    hyper("volume", "cp", "s:/f", str(tmp_path / "back"))
    hyper("volume", "cp", str(tmp_path / "f"), "s:/g")
    assert (tmp_path / "back").read_text() == hyper.out("exec", "c", "cat", "/d/g") == "x"
    for command in ("resize s 1g", "snapshot create s", "restore s one", "clone s t"):
        refused = hyper("volume", *command.split(), check=False)
        assert b"volume s is shared" in refused.stderr, command
        assert b"`hyper volume convert --to=disk s`" in refused.stderr
    hyper("rm", "-f", "c")
    hyper("volume", "convert", "--to", "disk", "s")
    hyper("volume", "snapshot", "create", "s", "one")
    refused = hyper("volume", "convert", "s", check=False)
    assert b"volume s has 1 snapshots" in refused.stderr and b"`hyper snapshot rm s`" in refused.stderr
    hyper("volume", "rm", "s")


def test_what_is_in_a_volume_comes_along(hyper: Hyper) -> None:
    write = (
        "set -e; cd /d && echo x >f && chown 70:71 f && chmod 4750 f && ln f h && ln -s f l && "
        "mkdir -p a/b && chmod 1777 a && "
        "touch -d @1000000000 f && chown 5:6 . && chmod 2750 . && mkfifo p"
    )
    look = "cd /d && stat -c '%n %A %u:%g %h %s' . f h l a a/b p && stat -c %Y f && cat h"
    hyper("run", "--rm", "-v", "k:/d", BUSYBOX, "sh", "-c", write)
    before = hyper.out("run", "--rm", "-v", "k:/d", BUSYBOX, "sh", "-c", look)
    hyper("run", "-d", "--name", "w", "-v", "k:/d", BUSYBOX, "sleep", "1000")
    refused = hyper("volume", "convert", "k", check=False)
    assert b"volume k is in use by container w" in refused.stderr
    refused = hyper("run", "--rm", "-v", "k:/d", BUSYBOX, "true", check=False)
    assert b"`hyper volume convert k`" in refused.stderr
    hyper("rm", "-f", "w")
    for kind in ("shared", "disk"):
        hyper("volume", "convert", "--to", kind, "k")
        after = hyper.out("run", "--rm", "-v", "k:/d", BUSYBOX, "sh", "-c", look)
        assert without_sizes(after) == without_sizes(before), kind
    hyper("volume", "rm", "k")


def without_sizes(text: str) -> list[str]:
    """Of directories, which each file system has its own of."""
    return [line.rpartition(" ")[0] if " d" in line else line for line in text.split("\n")]
