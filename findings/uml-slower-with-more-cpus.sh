#!/bin/bash
# User Mode Linux (Debian's user-mode-linux 6.1um4 and busybox-static 1.35): what its guests' system calls cost on a host with one
# CPU for it, and on one with a second CPU that has nothing to do.
#
# The guest has one processor, and copies one byte at a time from /dev/zero to /dev/null. One would guess that a CPU more for
# the host's side of it does no harm.
#
# Seen, on an idle host with two CPUs: held on one of them (taskset) the same copy takes a fraction of the time. The kernel
# and the process that it runs are two processes that wait for each other in turn, so that never more than one of them runs. The host
# wakes the other one on the CPU that is idle, and rousing that costs more than the switch that it saves. The idler the host,
# the slower the guest.
set -euo pipefail
first=$(python3 -c 'import os; print(min(os.sched_getaffinity(0)))')
[ "$(nproc)" -gt 1 ] || { echo "not to be seen on a host with one CPU"; exit 0; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download -qq user-mode-linux=6.1um4+b13 busybox-static=1:1.35.0-4+deb12u1+b1 2>/dev/null
for package in *.deb; do dpkg -x "$package" tree; done
python3 - <<'PY'
INIT = b"""#!/bin/busybox sh
exec 2>&1
/bin/busybox time -p /bin/busybox dd if=/dev/zero of=/dev/null bs=1 count=30000
/bin/busybox poweroff -f
"""


def entry(name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    whole = name.encode() + b"\0"
    numbers = (1, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(whole), 0)
    head = b"070701" + b"".join(b"%08x" % number for number in numbers) + whole
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


with open("initrd", "wb") as out, open("tree/bin/busybox", "rb") as busybox:
    out.write(entry("dev", 0o40755) + entry("bin", 0o40755))
    for name, minor in (("console", 1), ("null", 3), ("zero", 5)):
        out.write(entry(f"dev/{name}", 0o20666, device=(5 if name == "console" else 1, minor)))
    out.write(entry("bin/busybox", 0o100755, busybox.read()) + entry("init", 0o100755, INIT) + entry("TRAILER!!!", 0))
PY
copied() { # the seconds that the guest says it took
    HOME=$work TMPDIR=$work timeout 60 "$@" tree/usr/bin/linux.uml mem=64M initrd=initrd quiet con=null con0=null,fd:1 \
        console=tty0 "uml_dir=$work/" </dev/null 2>/dev/null | sed -n 's/^real \([0-9.]*\).*/\1/p'
}
for turn in 1 2 3; do
    copied env >>any
    copied taskset -c "$first" >>one
done
any=$(sort -n any | sed -n 2p) one=$(sort -n one | sed -n 2p)
echo "30,000 bytes, one by one: $any s on whichever CPU, $one s on one"
python3 -c "import sys; sys.exit(float('$any') < 1.5 * float('$one'))" || { echo "this has changed, or the host is busy" >&2; exit 1; }
