#!/bin/bash
# Ceph's RBD: an image with the feature "exclusive-lock", written to by two storage daemons of QEMU's.
#
# One would guess that whoever writes first has the image for as long as it has it open, and that the second is refused, or waits.
#
# Seen: both write, in turns, with no error and no delay: librbd hands the lock to whoever asks for it, at each write (`rbd lock ls`
# shows the other owner each time). It keeps two from writing at the same moment, not two file systems from being mounted. It does
# wait, some 28 s, where the holder was killed: a client that ends without a word is kept for 30 s. One that is ended by SIGTERM
# lets go at once.
#
# Wants, of Debian 12: ceph-mon ceph-osd ceph-common qemu-system-common qemu-block-extra qemu-utils.
set -euo pipefail
dpkg-query -W -f '${Package} ${Version}\n' ceph-mon ceph-osd ceph-common librbd1 qemu-system-common qemu-block-extra
work=$(mktemp -d -p /dev/shm)
cd "$work"
running=()
end() { disown -a; kill -9 "${running[@]}" 2>/dev/null || true; rm -rf "$work"; }
trap end EXIT

port=$((20000 + RANDOM % 10000)) id=$(cat /proc/sys/kernel/random/uuid)
key() { { printf '\1\0\0\0\0\0\0\0\0\0\20\0'; head -c 16 /dev/urandom; } | base64; }
cat > keyring <<END
[mon.]
	key = $(key)
	caps mon = "allow *"
[client.admin]
	key = $(key)
	caps mon = "allow *"
	caps osd = "allow *"
[osd.0]
	key = $(key)
	caps mon = "allow profile osd"
	caps osd = "allow *"
END
cat > ceph.conf <<END
[global]
fsid = $id
mon_host = v2:127.0.0.1:$port
keyring = $work/keyring
mon_data = $work/mon
osd_data = $work/osd
run_dir = $work
admin_socket =
log_file =
osd_objectstore = memstore
osd_crush_chooseleaf_type = 0
osd_pool_default_size = 1
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_msgr1 = false
paxos_propose_interval = 0.01
END
export CEPH_CONF=$work/ceph.conf
mkdir mon osd
cp keyring osd/keyring
{
    monmaptool --create --fsid "$id" --addv a "[v2:127.0.0.1:$port]" monmap
    ceph-mon --mkfs -i a --monmap monmap --keyring keyring
} > log 2>&1
ceph-mon -f -i a >> log 2>&1 & running+=($!)
ceph-osd -i 0 --mkfs --osd-uuid "$id" --monmap monmap >> log 2>&1
printf 'osd new %s 0\nosd pool create disks 8\n' "$id" | ceph >> log 2>&1
ceph-osd -f -i 0 >> log 2>&1 & running+=($!)
rbd create --size 16M --image-feature exclusive-lock disks/one

serve() {
    qemu-storage-daemon --blockdev "driver=rbd,node-name=disk,pool=disks,image=one,conf=$CEPH_CONF,user=admin" \
        --nbd-server addr.type=unix,addr.path="$work/$1" --export nbd,id=e,node-name=disk,name=,writable=on \
        --pidfile "$work/$1.pid" & running+=($!)
    while [ ! -e "$work/$1.pid" ]; do sleep 0.1; done
}
write() { qemu-io -f raw -c 'write 0 4096' -c flush "nbd+unix:///?socket=$work/$1" > /dev/null; }
owner() { rbd lock ls disks/one | tail -n 1 | cut -d ' ' -f 1; }

serve a
serve b
write a; first=$(owner)
write b; second=$(owner)
write a; third=$(owner)
echo "owners of the exclusive lock, of three writes by two: $first $second $third"
[ "$first" != "$second" ] && [ "$first" = "$third" ] || { echo "this has changed" >&2; exit 1; }

kill "$(cat b.pid)"
write a
kill -9 "$(cat a.pid)"
serve c
began=$SECONDS
write c
echo "a write after the holder was killed took $((SECONDS - began)) s"
[ $((SECONDS - began)) -ge 15 ] || { echo "this has changed" >&2; exit 1; }
