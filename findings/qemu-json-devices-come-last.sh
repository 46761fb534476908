#!/bin/bash
# QEMU 7.2 (Debian 12): devices of a command line that gives some as key=value and some as JSON.
#
# `-device` takes both forms since 6.2. One would guess that devices are made in the order in which they stand, as before, so that
# the first one without an address has the first free slot of its bus: a guest names its disks and interfaces by that.
#
# Seen: all that are key=value are made first, and then all that are JSON. Whoever adds one device in the other form (libvirt writes
# JSON; what passes through its qemu:commandline is often key=value) moves the guest's others. Addresses that are given are kept.
#
# Wants, of Debian 12: qemu-system-x86.
set -euo pipefail
dpkg-query -W -f '${Package} ${Version}\n' qemu-system-x86

places() { # of the devices, as the bus has them
	printf '%s\n' '{"execute": "qmp_capabilities"}' '{"execute": "query-pci"}' '{"execute": "quit"}' |
		qemu-system-x86_64 -nodefaults -display none -machine pc,accel=tcg -S -qmp stdio "$@" |
		python3 -c '
import json, sys

for line in sys.stdin:
    answer = json.loads(line).get("return")
    if isinstance(answer, list):
        print(" ".join(one["qdev_id"] for one in sorted(answer[0]["devices"], key=lambda one: one["slot"]) if one["qdev_id"]))
'
}

same=$(places -device virtio-rng-pci,id=first -device virtio-balloon-pci,id=second)
mixed=$(places -device '{"driver": "virtio-rng-pci", "id": "first"}' -device virtio-balloon-pci,id=second)
echo "one form: $same; first in JSON: $mixed"
[ "$same / $mixed" = "first second / second first" ] || { echo "this has changed" >&2; exit 1; }
