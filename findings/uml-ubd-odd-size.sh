#!/bin/bash
# User Mode Linux (Debian's user-mode-linux 6.1um4 and busybox-static 1.35): a disk whose file is no multiple of 512 bytes.
#
# A file of 1000 bytes is a disk of two sectors, 1024 bytes. One would guess that the 24 bytes beyond the file's end are zero, as
# with a loop device's or an emulator's padding, and as the driver means it: it fills what a read did not bring.
#
# Seen: the 24 bytes are the file's first. After a short read the driver reads again for the rest, at the place where it began
# and not where it stopped, and what that brings is taken for the disk's end. A file system image or an archive of any size
# but whole sectors ends in a copy of other data, and not the same copy for each size of the request.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq user-mode-linux=6.1um4+b13 busybox-static=1:1.35.0-4+deb12u1+b1 2>/dev/null
for package in *.deb; do dpkg -x "$package" tree; done
seen=$(python3 - <<'PY'
import os
import subprocess

INIT = b"""#!/bin/busybox sh
/bin/busybox echo "beyond the end:" $(/bin/busybox dd if=/dev/ubda bs=1000 skip=1 2>/dev/null | /bin/busybox od -An -tu1)
/bin/busybox poweroff -f
"""


def entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    whole = name.encode() + b"\0"
    numbers = (1, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(whole), 0)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + whole
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


with open("initrd", "wb") as out, open("tree/bin/busybox", "rb") as busybox:
    out.write(entry("dev", 0o40755) + entry("dev/console", 0o20600, device=(5, 1)))
    out.write(entry("dev/ubda", 0o60600, device=(98, 0)) + entry("bin", 0o40755))
    out.write(entry("bin/busybox", 0o100755, busybox.read()) + entry("init", 0o100755, INIT) + entry("TRAILER!!!", 0))
with open("disk", "wb") as disk:
    disk.write(bytes(range(1, 201)) * 5)
guest = subprocess.run(
    ["tree/usr/bin/linux.uml", "mem=64M", "initrd=initrd", "quiet", "con=null", "con0=null,fd:1", "console=tty0"]
    + ["ubd0rd=disk", f"uml_dir={os.getcwd()}/"],
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env={"HOME": os.getcwd(), "TMPDIR": os.getcwd()},
    timeout=60,
)
print(*(line for line in guest.stdout.splitlines() if line.startswith("beyond")))
PY
)
echo "$seen"
[ "$seen" = "beyond the end: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24" ] || { echo "this has changed" >&2; exit 1; }
