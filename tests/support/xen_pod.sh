#!/bin/sh
# In a dom0 (tests/vm/test_xen.py): a pod of three in one domain, a volume that outlives it, a hyperd that is killed.
. /mnt/tree/tests/support/xen_daemon.sh
image=localhost/busybox:latest
is() { # is WORDS COMMAND...: the command says these
	wanted=$1
	shift
	found="$("$@")"
	[ "$found" = "$wanted" ] || { echo "\`$*\` says: $found, and not: $wanted"; exit 1; }
}
begin
hyper load </mnt/out/busybox.tar
hyper volume create --size 64m data
hyper pod create --hypervisor xen -m 160m shop
hyper create --pod shop --name writer -v data:/data $image sleep 1000000
hyper create --pod shop --name reader -v data:/data:ro $image sleep 1000000
hyper create --pod shop --name speaker $image sh -c 'echo speaks; exit 7'
hyper pod start shop
is 7 hyper wait speaker
is speaks hyper logs speaker
hyper exec writer sh -c 'echo of the writer > /data/word; sync'
is "of the writer" hyper exec reader cat /data/word
if hyper exec reader touch /data/mine; then echo "a volume that is read-only was written to"; exit 1; fi
before="$(xl list | grep -o 'hyper-[^ ]* *[0-9]*')"

kill -9 $hyperd
wait $hyperd || true
begin
is "$before" sh -c "xl list | grep -o 'hyper-[^ ]* *[0-9]*'"
is "running
running" hyper inspect -f '{{.State.Status}}' writer reader
is "of the writer" hyper exec reader cat /data/word
hyper exec writer sh -c 'echo after the kill > /data/word; sync'
is "after the kill" hyper exec reader cat /data/word
hyper pod rm -f shop
nothing_left

is "after the kill" hyper run --rm --hypervisor xen -m 160m -v data:/data $image cat /data/word
hyper volume rm data
nothing_left
echo all of it
