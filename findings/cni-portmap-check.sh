#!/bin/bash
# containernetworking-plugins 1.1.1 (Debian bookworm): CHECK by portmap, of a port that is published without an address of the host.
#
# One would guess that CHECK right after ADD, with the same words and the result that ADD was told of, finds all in order.
#
# Seen: of a pod that has an address of IPv4 alone it fails, "could not check ipv6 dnat: chain ... not found": ADD has made no
# rule of IPv6, rightly, and CHECK wants one. That the port is published on 0.0.0.0 changes nothing. 1.9.1 finds all in order.
# Wants root, and changes only a network namespace of its own.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && apt-get download -qq containernetworking-plugins=1.1.1+ds1-3+b5 2>"$folder/log") || { cat "$folder/log" >&2; exit 1; }
dpkg -x "$folder"/*.deb "$folder/unpacked"
cat >"$folder/try" <<'TRY'
ip link set lo up
unshare --net sleep 60 &
pod=$!
trap 'kill $pod' EXIT
until [ "$(readlink /proc/$pod/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do :; done
export CNI_PATH=$1/unpacked/usr/lib/cni CNI_CONTAINERID=pod CNI_IFNAME=eth0 CNI_NETNS=/proc/$pod/ns/net
made=$(CNI_COMMAND=ADD "$CNI_PATH/bridge" <<<'{"cniVersion": "1.0.0", "name": "net", "type": "bridge", "isGateway": true, "ipam":
  {"type": "host-local", "dataDir": "'$1/leases'", "ranges": [[{"subnet": "10.1.0.0/24"}]]}}')
told='{"cniVersion": "1.0.0", "name": "net", "type": "portmap", "prevResult": '$made',
  "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}}'
CNI_COMMAND=ADD "$CNI_PATH/portmap" <<<"$told" >/dev/null && echo "ADD succeeds"
CNI_COMMAND=CHECK "$CNI_PATH/portmap" <<<"$told" | grep -o "could not check ipv6 dnat"
TRY
seen=$(unshare --net bash "$folder/try" "$folder")
echo "$seen"
[ "$seen" = "ADD succeeds
could not check ipv6 dnat" ] || { echo "this has changed" >&2; exit 1; }
