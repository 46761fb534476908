#!/bin/sh
# In a dom0 (tests/vm/test_xen.py): hyperd, a container in a domain of Xen, its published port, and nothing of it left.
set -eu
export HYPER_CACHE=/root/cache HYPER_ROOT=/root/state HYPER_RUN=/run/hyper PYTHONPATH=/mnt/tree/src PYTHONDONTWRITEBYTECODE=1
mkdir "$HYPER_CACHE"
cp -r /mnt/out/kernel "$HYPER_CACHE"
python3 -m hypercontainer.daemon >/root/hyperd.log 2>&1 &
hyperd=$!
trap 'kill $hyperd; wait $hyperd || true; cat /root/hyperd.log' EXIT
until grep -q serves /root/hyperd.log; do # in two emulations that is longer than the client would wait for it
	kill -0 $hyperd
	sleep 0.2
done
hyper() { python3 -c 'import sys; from hypercontainer.cli.main import entry; sys.exit(entry())' "$@"; }
hyper load </mnt/out/busybox.tar
hyper run --hypervisor xen -d --name web -p 8081:80 -m 160m localhost/busybox:latest \
	sh -c 'mkdir /w; echo from a domain > /w/index.html; httpd -f -p 80 -h /w'
xl list | grep hyper-
python3 -c 'from urllib.request import urlopen; print(urlopen("http://127.0.0.1:8081/", timeout=60).read().decode())'
hyper rm -f web
left="$(xl list | tail -n +3; ls -A $HYPER_RUN/pods; losetup -a; dmsetup ls | grep hyper || true; ip -o link | grep vif || true)"
[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
