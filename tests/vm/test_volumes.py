"""Volumes with real guests: images' own, those that nobody has named, and one that several virtual machines have."""

from __future__ import annotations

import io
import tarfile

import busybox_image
from audit import kill_process
from hyper import Hyper

BUSYBOX = busybox_image.REFERENCE


def declaring(hyper: Hyper) -> str:
    """An image with a directory that it declares a volume, and one that it only declares."""
    out = io.BytesIO(busybox_image.layer())
    with tarfile.open(fileobj=out, mode="a") as tar:
        for name, kind, mode in (("data", tarfile.DIRTYPE, 0o750), ("data/file", tarfile.REGTYPE, 0o640)):
            info = tarfile.TarInfo(name)
            info.type, info.mode, info.uid, info.gid = kind, mode, 70, 71
            tar.addfile(info)
    hyper("import", "-c", "VOLUME /data /new", "-", "localhost/declaring:1", stdin=out.getvalue())
    return "localhost/declaring:1"


def test_an_images_volumes_and_those_that_nobody_has_named(hyper: Hyper) -> None:
    image = declaring(hyper)
    look = "stat -c '%a %u:%g %n' /data /data/* /new; echo x >/data/mine && echo y >/new/mine"
    seen = "750 70:71 /data\n640 70:71 /data/file\n755 0:0 /new"
    assert hyper.out("run", "--rm", "--read-only", image, "sh", "-c", look) == seen
    assert hyper.out("volume", "ls", "-q") == ""
    hyper("run", "--name", "c", image, "sh", "-c", look)
    hyper("start", "-a", "c")  # what is there stays
    assert hyper.out("logs", "c").endswith(
        "755 0:0 /new\n750 70:71 /data\n640 70:71 /data/file\n644 0:0 /data/mine\n755 0:0 /new"
    )
    left = hyper.out("inspect", "-f", "{{range .Mounts}}{{.Name}}\n{{end}}", "c").split()
    hyper("rm", "c")
    assert sorted(hyper.out("volume", "ls", "-q").split()) == sorted(left)
    assert hyper.out("run", "--rm", "-v", f"{left[0]}:/d", BUSYBOX, "cat", "/d/mine") == "x"
    hyper("volume", "prune", "-f")
    assert hyper.out("volume", "ls", "-q") == ""


def test_a_volume_that_several_read(hyper: Hyper) -> None:
    """A new one is empty for whoever asks; it is read by any number, also when the VM that wrote to it was killed."""
    write = ("sh", "-c", 'test -z "$(ls -A /d)" && echo x >/d/f; sync; echo written; sleep 1000')
    hyper("run", "-d", "--name", "w", "-v", "v:/d", BUSYBOX, *write)
    hyper.wait_for_log("w", b"written\n")
    refused = hyper("run", "--rm", "-v", "v:/d:ro", BUSYBOX, "true", check=False)
    assert refused.returncode == 125
    assert b"volume v is in use by container w, which writes to it" in refused.stderr
    assert b"qemu" not in refused.stderr.lower()
    assert kill_process(hyper.vm_pid("w"))
    hyper("wait", "w")
    # The first replays the journal, and is gone when the next ones come.
    assert hyper.out("run", "--rm", "-v", "v:/d:ro", BUSYBOX, "cat", "/d/f") == "x"
    hyper("run", "-d", "--name", "r", "-v", "v:/d:ro", BUSYBOX, "sleep", "1000")
    assert hyper.out("run", "--rm", "-v", "v:/d:ro", BUSYBOX, "ls", "-A", "/d") == "f"
    refused = hyper("run", "--rm", "-v", "v:/d", BUSYBOX, "true", check=False)
    assert b"volume v is in use by container r, which reads it" in refused.stderr
    hyper("rm", "-f", "r", "w")
    hyper("volume", "rm", "v")
