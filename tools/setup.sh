#!/bin/bash
# Installs what Hyper needs on Debian.  Called by the Makefile; each step says what it does and is quick when done before.
#
#   tools/setup.sh packages run|test|cross|kernel-build|wheel   distribution packages that are missing
#   tools/setup.sh python PYTHON                     .venv with this project in it
#   tools/setup.sh libvirt                           libvirt's Python library, which is built against libvirt-dev
#   tools/setup.sh docker                            Debian's dockerd and Docker's clients, unpacked in the cache: the tests compare with it
#   tools/setup.sh kernel [ARCHITECTURE]...          Debian's packaged kernel, unless the project's own was built
set -euo pipefail
cd "$(dirname "$0")/.."

RUN="qemu-system-x86 libslirp-dev libglib2.0-dev pkg-config musl-tools gcc make libc6-dev linux-libc-dev busybox-static util-linux"
TEST="buildah curl bubblewrap containernetworking-plugins podman docker-registry skopeo erofs-utils squashfs-tools apache2-utils openssl mmdebstrap tmux binutils attr acl qemu-utils iptables iproute2 nftables libdevmapper1.02.1 e2fsprogs dpkg-dev libpcre2-dev iperf3 qemu-system-arm qemu-system-misc qemu-system-ppc qemu-user qemu-block-extra isolinux syslinux-common nbdkit nbd-server tgt ceph-mon ceph-osd ceph-common nfs-ganesha nfs-ganesha-vfs rpcbind cryptsetup-bin libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients libvirt-dev dnsmasq-base golang-go golang-github-vmware-govmomi-dev"
# For the guest's init, of other architectures.
CROSS="gcc-aarch64-linux-gnu gcc-riscv64-linux-gnu gcc-powerpc64le-linux-gnu gcc-s390x-linux-gnu linux-libc-dev-arm64-cross linux-libc-dev-riscv64-cross linux-libc-dev-ppc64el-cross linux-libc-dev-s390x-cross dpkg-dev"
KERNEL_BUILD="linux-source-6.1 gcc make patch flex bison bc libelf-dev xz-utils lz4"
WHEEL="dpkg-dev libglib2.0-dev libpcre2-dev binutils"

say() { printf 'setup: %s\n' "$*"; }

packages() {
    local wanted missing=() name
    case $1 in
        run) wanted=$RUN ;;
        test) wanted=$TEST ;;
        cross) wanted=$CROSS ;;
        kernel-build) wanted=$KERNEL_BUILD ;;
        wheel) wanted=$WHEEL ;;
        *) echo "unknown set of packages: $1" >&2; exit 2 ;;
    esac
    for name in $wanted; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || true)" = installed ] || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${#missing[@]} packages: ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq ||
        say "apt-get update failed; going on with the lists that are there"
    # A service that a package would start is not wanted: the tests start their own.
    local log; log=$(mktemp)
    if ! as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        echo "setup: these packages could not be installed: ${missing[*]}" >&2
        exit 1
    fi
    rm -f "$log"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else
        echo "setup: root is needed for: $*" >&2
        exit 1
    fi
}

make_venv() {
    local python=$1
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "setup: $python is older than Python 3.11; name another with make PYTHON=..." >&2
        exit 1
    }
    if [ ! -x .venv/bin/pip ]; then
        say "making .venv with $("$python" --version)"
        rm -rf .venv
        if ! "$python" -m venv .venv >/dev/null 2>&1; then
            # Debian's own Python comes without ensurepip.
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
            rm -rf .venv
            "$python" -m venv .venv
        fi
    fi
    say "installing this project and the libraries it uses into .venv"
    .venv/bin/pip install -qq --disable-pip-version-check -r requirements.txt
    .venv/bin/pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
    .venv/bin/python -m compileall -q src/hypercontainer
    command_script hyper hypercontainer.cli.main
    command_script hyperd hypercontainer.daemon.main
}

# pip's own scripts import a regular expression engine before they begin, at a third of an interpreter's start.
command_script() {
    printf '#!%s\nimport sys\n\nfrom %s import entry\n\nsys.exit(entry())\n' "$PWD/.venv/bin/python" "$2" >".venv/bin/$1"
    chmod +x ".venv/bin/$1"
}

# Unpacked beside the system and not installed, since its packages would start a service and change the firewall.
docker() {
    local cache=${HYPER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hyper} work
    [ ! -x "$cache/docker/usr/sbin/dockerd" ] || return 0
    ! command -v dockerd >/dev/null || return 0
    say "unpacking Debian's dockerd into $cache/docker"
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/docker.XXXXXX")
    if (cd "$work" && apt-get download -qq docker.io containerd runc >/dev/null 2>"$work/log" &&
        for package in *.deb; do dpkg -x "$package" unpacked || exit 1; done) &&
        mv -T "$work/unpacked" "$cache/docker"; then
        rm -rf "$work"
    else
        say "dockerd could not be had; tests/compat is skipped ($(tail -n 1 "$work/log"))"
        rm -rf "$work"
    fi
}

# Optional, and so not among what is installed first.
libvirt() {
    .venv/bin/python -c 'import libvirt' 2>/dev/null || {
        say "building libvirt's Python library"
        .venv/bin/pip install -qq --disable-pip-version-check libvirt-python==9.0.0
    }
}

kernel() {
    .venv/bin/python tools/fetch_kernel.py "$@"
}

case ${1:-} in
    packages) packages "$2" ;;
    python) make_venv "$2" ;;
    libvirt) libvirt ;;
    docker) docker; .venv/bin/python tools/fetch_clients.py >/dev/null ;;
    kernel) shift; kernel "$@" ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
