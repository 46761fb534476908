# Sourced by scripts in a dom0 (tests/vm/test_xen.py): `begin` starts hyperd, `hyper` asks it, `nothing_left` looks for what is Xen's.
set -eu
export HYPER_CACHE=/root/cache HYPER_ROOT=/root/state HYPER_RUN=/run/hyper PYTHONPATH=/mnt/tree/src PYTHONDONTWRITEBYTECODE=1
[ -d "$HYPER_CACHE/kernel" ] || { mkdir -p "$HYPER_CACHE"; cp -r /mnt/out/kernel "$HYPER_CACHE"; }
hyperd=
trap '[ -z "$hyperd" ] || { kill $hyperd; wait $hyperd || true; }; cat /root/hyperd.log' EXIT
begin() {
	python3 -m hypercontainer.daemon >/root/hyperd.log 2>&1 &
	hyperd=$!
	until grep -q serves /root/hyperd.log; do # in two emulations that is longer than the client would wait for it
		kill -0 $hyperd
		sleep 0.2
	done
}
hyper() { python3 -c 'import sys; from hypercontainer.cli.main import entry; sys.exit(entry())' "$@"; }
domains() { xl list | tail -n +3; }
nothing_left() {
	left="$(domains; ls -A $HYPER_RUN/pods; losetup -a; dmsetup ls | grep hyper- || true; ip -o link | grep vif || true)"
	[ -z "$left" ] || { echo "left behind: $left"; exit 1; }
}
