"""An image with a program that locks files, and what several VMs do with it to one directory at once."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

import busybox_image
from hyper import Hyper

SOURCE = Path(__file__).with_suffix(".c")


def work(rounds: int) -> str:
    """In /d, by the name that the shell is given: a counter under a lock; a line in one log; a file that comes into
    being whole or not at all."""
    return f"""
i=0
while [ $i -lt {rounds} ]; do
  for how in flock fcntl; do
    locker $how /d/lock.$how sh -c 'n=$(cat /d/count.'$how'); echo $((n + 1)) >/d/count.'$how || exit 1
  done
  echo "$1 $i" >>/d/log
  echo "$1 $i" >/d/new/tmp.$1 && mv /d/new/tmp.$1 "/d/new/$1.$i" || exit 1
  i=$((i + 1))
done
"""


def with_locker(hyper: Hyper, tmp_path: Path) -> str:
    """An image with a program that locks files."""
    build = ("musl-gcc", "-D_GNU_SOURCE", "-static", "-O2", "-o", str(tmp_path / "locker"), str(SOURCE))
    subprocess.run(build, check=True)
    out = io.BytesIO(busybox_image.layer())
    with tarfile.open(fileobj=out, mode="a") as tar:
        info = tarfile.TarInfo("bin/locker")
        program = (tmp_path / "locker").read_bytes()
        info.size, info.mode = len(program), 0o755
        tar.addfile(info, io.BytesIO(program))
    hyper("import", "-", "localhost/locker:1", stdin=out.getvalue())
    return "localhost/locker:1"
