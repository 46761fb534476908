"""Several hyperds on one machine, and one of an ordinary user."""

from __future__ import annotations

import os
from pathlib import Path

import busybox_image
from hyper import Hyper
from hyper import hyper as hyper_context
from ordinary_user import UID, OrdinaryHyper, ordinary_hyper

BUSYBOX = busybox_image.REFERENCE


def owner(pid: int) -> int:
    return Path(f"/proc/{pid}").stat().st_uid


def test_two_hyperds_know_nothing_of_each_other(hyper: Hyper) -> None:
    hyper("run", "-d", "--name", "c", BUSYBOX, "sleep", "1000")
    with hyper_context() as other:
        assert other.daemon_pid() != hyper.daemon_pid()
        assert other.out("ps", "-aq") == other.out("images", "-q") == ""
        other("load", stdin=busybox_image.archive([busybox_image.layer()]))
        other("run", "-d", "--name", "c", BUSYBOX, "sleep", "1000")
        assert owner(other.vm_pid("c")) != owner(hyper.vm_pid("c"))
        hyper("rm", "-f", "c")
        assert other.out("exec", "c", "echo", "mine") == "mine"
    assert hyper.out("run", "--rm", BUSYBOX, "echo", "still here") == "still here"


def test_an_ordinary_user() -> None:
    with ordinary_hyper() as hyper:
        hyper("load", stdin=busybox_image.archive([busybox_image.layer()]))
        assert hyper.out("run", "--rm", BUSYBOX, "id", "-u") == "0"  # in there
        hyper("run", "-d", "--name", "c", "-p", "127.0.0.1::8000", BUSYBOX, "httpd", "-f", "-p", "8000")
        assert owner(hyper.daemon_pid()) == owner(hyper.vm_pid("c")) == UID
        assert hyper.out("port", "c").startswith("8000/tcp -> 127.0.0.1:")
        assert hyper.out("exec", "c", "echo", "hello") == "hello"
        hyper("stop", "-t", "0", "c")
        hyper("start", "c")
        assert {path.stat().st_uid for path in hyper.root.rglob("*")} == {UID}
        info = hyper.out("info")
        assert "Rootless: yes" in info
        assert "Not limited: memory: " in info  # said, where this user was given no cgroup
        hyper("rm", "-f", "c")
        shares_a_directory(hyper)


def shares_a_directory(hyper: OrdinaryHyper) -> None:
    """As an ordinary user has it: root's in the guest, their own outside."""
    (shared := hyper.base / "home/shared").mkdir()
    (shared / "theirs").write_text("from the host\n")
    for path in (shared, shared / "theirs"):
        os.chown(path, UID, UID)
    script = "cat /d/theirs; echo more >> /d/theirs; echo x > /d/made; stat -c %u:%g /d/theirs /d/made"
    said = hyper.out("run", "--rm", "-v", f"{shared}:/d", BUSYBOX, "sh", "-c", script)
    assert said == "from the host\n0:0\n0:0"
    assert (shared / "theirs").read_text() == "from the host\nmore\n"
    assert {path.stat().st_uid for path in shared.iterdir()} == {UID}
    assert "directories of the host: virtiofsd serves them" in hyper("doctor", check=False).stdout.decode()
