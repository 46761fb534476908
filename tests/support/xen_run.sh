#!/bin/sh
# In a dom0 (tests/vm/test_xen.py): hyperd, a container in a domain of Xen, its published port, and nothing of it left.
. /mnt/tree/tests/support/xen_daemon.sh
begin
hyper load </mnt/out/busybox.tar
hyper run --hypervisor xen -d --name web -p 8081:80 -m 160m localhost/busybox:latest \
	sh -c 'mkdir /w; echo from a domain > /w/index.html; httpd -f -p 80 -h /w'
domains | grep hyper-
python3 -c 'from urllib.request import urlopen; print(urlopen("http://127.0.0.1:8081/", timeout=60).read().decode())'
hyper rm -f web
nothing_left
