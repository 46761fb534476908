#!/bin/bash
# containernetworking-plugins 1.9.1 (Debian sid): GC, which CNI 1.1 has for what crashed runtimes have left.
#
# One would guess that plugins that say they speak 1.1.0 take away what is of no attachment that they are told of: host-local
# the addresses, bridge what it made for them.
#
# Seen: GC is accepted, exit status 0, and nothing happens; the address stays taken. None of the plugins has a function for
# it, and what has none succeeds. Who wants to clean up has to keep the results of ADD, and ask for DEL.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$(dirname "$0")/.."
read -r package _ version _ < <(python3 tools/suites.py containernetworking-plugins --suite sid)
dpkg -x "$package" "$folder/unpacked"
# host-local makes nothing in the namespace, and need not have one that is another than its own.
export CNI_NETNS_OVERRIDE=true
export CNI_PATH=$folder/unpacked/usr/lib/cni CNI_CONTAINERID=pod CNI_IFNAME=eth0 CNI_NETNS=/proc/self/ns/net
leases=$folder/leases
told='{"cniVersion": "1.1.0", "name": "net", "type": "host-local", "cni.dev/valid-attachments": [], "ipam":
  {"type": "host-local", "dataDir": "'$leases'", "ranges": [[{"subnet": "10.1.0.0/24"}]]}}'
ask() { CNI_COMMAND=$1 "$CNI_PATH/host-local" <<<"$told" >"$folder/said" || { cat "$folder/said"; exit 1; }; }
leases() { find "$leases/net" -name '10.*' -printf '%f '; }
ask ADD
seen="after ADD: $(leases)"
ask GC
seen="$seen; after GC of all: $(leases)"
ask DEL
seen="$seen; after DEL: $(leases)"
echo "version $version, $seen"
[ "$seen" = "after ADD: 10.1.0.2 ; after GC of all: 10.1.0.2 ; after DEL: " ] || { echo "this has changed" >&2; exit 1; }
