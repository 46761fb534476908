#!/bin/bash
# User Mode Linux (Debian's user-mode-linux 6.1um4 and busybox-static 1.35): what a guest has synced to a disk.
#
# The driver of its disks tells the block layer that a disk has a cache that has to be flushed, and has a function for it, which
# calls fdatasync on the disk's file. One would guess that an fsync in the guest ends in one on the host, and reports its error.
#
# Seen: there is none. Here the host refuses fsync and fdatasync to the guest's kernel (a seccomp filter answers EIO; that it does
# is shown by a program of the host's), and the guest's `dd conv=fsync` succeeds. Requests are carried out piece by piece, and a flush has no
# pieces. What a database in the guest takes for safe lies in the host's page cache.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq user-mode-linux=6.1um4+b13 busybox-static=1:1.35.0-4+deb12u1+b1 2>/dev/null
for package in *.deb; do dpkg -x "$package" tree; done
seen=$(python3 - <<'PY'
import ctypes
import os
import struct
import subprocess

INIT = b"""#!/bin/busybox sh
/bin/busybox dd if=/dev/zero of=/dev/ubda bs=4096 count=16 conv=fsync 2>/dev/null
/bin/busybox echo "in the guest: status $?"
/bin/busybox poweroff -f
"""


def entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    whole = name.encode() + b"\0"
    numbers = (1, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(whole), 0)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + whole
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def without_sync() -> None:
    """fsync (74) and fdatasync (75) of x86-64 answer EIO (5)."""
    load, equal, back = 0x20, 0x15, 0x06
    steps = [(load, 0, 0, 0), (equal, 1, 0, 74), (equal, 0, 1, 75), (back, 0, 0, 0x50005), (back, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None).prctl
    assert prctl(38, 1, 0, 0, 0) == 0  # no new privileges
    assert prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0) == 0  # seccomp, filter


with open("initrd", "wb") as out, open("tree/bin/busybox", "rb") as busybox:
    out.write(entry("dev", 0o40755) + entry("dev/console", 0o20600, device=(5, 1)) + entry("dev/zero", 0o20666, device=(1, 5)))
    out.write(entry("dev/ubda", 0o60600, device=(98, 0)) + entry("bin", 0o40755))
    out.write(entry("bin/busybox", 0o100755, busybox.read()) + entry("init", 0o100755, INIT) + entry("TRAILER!!!", 0))
with open("disk", "wb") as disk:
    disk.truncate(1 << 20)
host = subprocess.run(
    ["tree/bin/busybox", "dd", "if=/dev/zero", "of=control", "bs=4096", "count=1", "conv=fsync"],
    stderr=subprocess.DEVNULL,
    preexec_fn=without_sync,
)
guest = subprocess.run(
    ["tree/usr/bin/linux.uml", "mem=64M", "initrd=initrd", "quiet", "con=null", "con0=null,fd:1", "console=tty0"]
    + ["ubd0=disk", f"uml_dir={os.getcwd()}/"],
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env={"HOME": os.getcwd(), "TMPDIR": os.getcwd()},
    timeout=60,
    preexec_fn=without_sync,
)
print(f"on the host: status {host.returncode},", *(line for line in guest.stdout.splitlines() if line.startswith("in the")))
PY
)
echo "$seen"
[ "$seen" = "on the host: status 1, in the guest: status 0" ] || { echo "this has changed" >&2; exit 1; }
