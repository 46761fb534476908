#!/bin/bash
# User Mode Linux (Debian's user-mode-linux 6.1um4 and busybox-static 1.35): a serial line on a descriptor, and bytes that are
# there before the guest opens it.
#
# The host side writes its first words into a socket, starts the guest with ssl0=fd:N, and the guest reads /dev/ttyS0. One
# would guess that it finds them: a pipe or a socket keeps what nobody has read yet, and a 16550 of an emulator, which does
# lose it, is another thing.
#
# Seen: the guest waits as if nobody had written. The line's descriptor is watched by signals (SIGIO) from the moment when the
# guest opens it, and no signal comes for what came before. The bytes are not lost: as soon as anything else on any of the
# guest's descriptors causes a signal (here a line on its console), they are read. So whether a host that
# speaks first is heard depends on whether the guest prints something at the right time.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq user-mode-linux=6.1um4+b13 busybox-static=1:1.35.0-4+deb12u1+b1 2>/dev/null
for package in *.deb; do dpkg -x "$package" tree; done
seen=$(python3 - <<'PY'
import os
import socket
import subprocess

INIT = b"""#!/bin/busybox sh
exec 5<>/dev/ttyS0
read -t 2 first <&5 || first=nothing
echo and now
read -t 2 second <&5 || second=nothing
/bin/busybox echo "at once: $first, after printing: $second"
/bin/busybox poweroff -f
"""


def entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    whole = name.encode() + b"\0"
    numbers = (1, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(whole), 0)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + whole
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


with open("initrd", "wb") as out, open("tree/bin/busybox", "rb") as busybox:
    out.write(entry("dev", 0o40755) + entry("dev/console", 0o20600, device=(5, 1)))
    out.write(entry("dev/ttyS0", 0o20600, device=(4, 64)) + entry("bin", 0o40755))
    out.write(entry("bin/busybox", 0o100755, busybox.read()) + entry("init", 0o100755, INIT) + entry("TRAILER!!!", 0))
here, there = socket.socketpair()
here.sendall(b"hello\n")
guest = subprocess.run(
    ["tree/usr/bin/linux.uml", "mem=64M", "initrd=initrd", "quiet", "con=null", "con0=null,fd:1", "console=tty0"]
    + [f"ssl0=fd:{there.fileno()}", f"uml_dir={os.getcwd()}/"],
    pass_fds=[there.fileno()],
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env={"HOME": os.getcwd(), "TMPDIR": os.getcwd()},
    timeout=60,
)
print(*(line for line in guest.stdout.splitlines() if line.startswith("at once")))
PY
)
echo "$seen"
[ "$seen" = "at once: nothing, after printing: hello" ] || { echo "this has changed" >&2; exit 1; }
