#!/bin/bash
# virtiofsd of QEMU 7.2 (Debian 12, qemu-system-common 1:7.2+dfsg-7+deb12u18+b3): `--version` as an ordinary user.
#
# Which virtiofsd a machine has, the one in C that came with QEMU before 8.0 or the one in Rust with other options, is asked
# with `--version`. One would guess that anybody may ask: it prints a text.
#
# Seen: a user who is in no other group than his own gets the version and status 0. A user with supplementary groups, which
# is every user of a desktop or of the group kvm, gets "setgroups() failed with error=1:Operation not permitted" and status 1:
# the groups are dropped before the options are read. So a test account shows nothing, and who takes "no version" for "the other
# virtiofsd" calls it with options that it does not have. Run as root, which changes to user 1000 for each try.
set -euo pipefail
version=1:7.2+dfsg-7+deb12u18+b3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
apt-get download -q "qemu-system-common=$version" > apt.log 2>&1 || { echo "SKIP: qemu-system-common $version is not to be had"; exit 0; }
dpkg -x qemu-system-common_*.deb root
ldd root/usr/lib/qemu/virtiofsd | grep "not found" && { echo "SKIP: its libraries are missing"; exit 0; }

ask() {
    setpriv --reuid 1000 --regid 1000 "$@" root/usr/lib/qemu/virtiofsd --version 2>&1 || echo "status $?"
}

alone=$(ask --clear-groups)
grouped=$(ask --groups 1000)
echo "in no other group:"; echo "$alone"
echo "in one more group:"; echo "$grouped"
[[ $alone == "virtiofsd version 7.2."* ]] || { echo "the first has changed" >&2; exit 1; }
[ "$grouped" = "setgroups() failed with error=1:Operation not permitted
status 1" ] || { echo "the second has changed" >&2; exit 1; }
