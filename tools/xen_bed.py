#!/usr/bin/env python3
"""Makes the bed of the tests of Xen: a Debian dom0 that has booted in QEMU's emulation, to be taken up as it stands.

usage: xen_bed.py               make it, where it is not there yet
       xen_bed.py COMMAND...    run a command in a dom0 of its own, where this tree is /mnt/tree

Debian 12's packages are fetched and unpacked by mmdebstrap, beside the Python libraries of this project's own
environment; the machine boots once, and what it has in memory is kept with its disk:

    $HYPER_CACHE/xen/KEY/     xen, vmlinuz, initrd, base.qcow2, disk.qcow2 (over base), memory

KEY is a hash of this file, of what is in tests/support/xen_dom0, and of the libraries' versions.  A directory appears
complete or not at all.
"""

from __future__ import annotations

import contextlib
import fcntl
import gzip
import hashlib
import json
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
TREE = HERE.parents[1]
sys.path.insert(0, str(TREE / "src"))

from hypercontainer.kernel import cache_dir  # noqa: E402
from hypercontainer.kernel.initrd import Entry, cpio  # noqa: E402

DOM0 = TREE / "tests/support/xen_dom0"
SUITE = "bookworm"
PACKAGES = (
    "linux-image-amd64 xen-hypervisor-4.17-amd64 xen-utils-4.17 xen-utils-common xenstore-utils python3 busybox-static "
    "dash bash coreutils kmod iproute2 util-linux mount dmsetup gawk sed grep findutils procps e2fsprogs libslirp0 "
    "nftables"
).split()
# What is kept of the kernel's modules, and of which others depend on them.
MODULES = "drivers/xen drivers/block drivers/virtio drivers/char drivers/md drivers/net/xen-netback".split()
MODULES += "net lib crypto".split()
MODULES += "fs/ext4 fs/jbd2 fs/overlayfs fs/erofs fs/9p fs/netfs fs/fscache arch/x86/crypto".split()
MODULES += [f"drivers/net/{name}.ko" for name in "tun veth dummy".split()] + ["fs/mbcache.ko", "drivers/dax"]
BOOT_MODULES = (
    "virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci virtio_blk crc16 mbcache jbd2"
)
BOOT_MODULES += " crc32c_generic libcrc32c ext4"
# Of the project's environment: what hyperd imports, and pytest.
LIBRARIES = ("hypercontainer", "pytest", "pytest-timeout", "hypothesis")
DISK_BYTES = 3 << 30
MEMORY_MIB, DOM0_MIB, CPUS = 2560, 1024, 2
XEN = f"dom0_mem={DOM0_MIB}M,max:{DOM0_MIB}M dom0_max_vcpus=1 console=com1 com1=115200"
LINUX = "root=/dev/vda rw console=hvc0 panic=-1 net.ifnames=0 mitigations=off"
CPU = "max,smap=off,smep=off,rdtscp=off"
BOOT_S = 300.0


class BedError(Exception):
    pass


def libraries() -> list[metadata.Distribution]:
    """With all that they need themselves, in order of their names."""
    from packaging.requirements import Requirement  # comes with pytest

    found: dict[str, metadata.Distribution] = {}
    wanted = list(LIBRARIES)
    while wanted:
        name = wanted.pop().lower().replace("_", "-")
        if name in found:
            continue
        found[name] = metadata.distribution(name)
        for line in found[name].requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                wanted.append(needed.name)
    found.pop("hypercontainer")  # which comes from the tree
    return [found[name] for name in sorted(found)]


def key() -> str:
    hashed = hashlib.sha256()
    for path in [HERE, *sorted(DOM0.iterdir())]:
        if path.is_file():
            hashed.update(path.read_bytes())
    for one in libraries():
        hashed.update(f"{one.name} {one.version}\n".encode())
    return hashed.hexdigest()[:16]


def folder() -> Path:
    """Of the bed that belongs to this tree; it need not be there."""
    return cache_dir() / "xen" / key()


def say(text: str) -> None:
    sys.stdout.write(f"xen: {text}\n")
    sys.stdout.flush()


def run(*argv: str | Path, **others: Any) -> str:
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [str(word) for word in argv], capture_output=True, text=True, **others
    )
    if done.returncode:
        raise BedError(f"`{argv[0]}` failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def unpacked(work: Path) -> Path:
    """The root of dom0, as a directory."""
    archive, root = work / "root.tar", work / "root"
    say(f"packages of {SUITE}")
    run(
        *("mmdebstrap", "--quiet", "--variant=extract", "--mode=root", f"--include={','.join(PACKAGES)}"),
        *(SUITE, archive),
    )
    root.mkdir()
    run("tar", "-xf", archive, "-C", root)
    archive.unlink()
    return root


def prune(root: Path) -> str:
    """The kernel's release; its modules are fewer."""
    (release,) = (path.name for path in (root / "lib/modules").iterdir())
    kernel = root / "lib/modules" / release / "kernel"
    for path in list(kernel.rglob("*.ko")):
        name = str(path.relative_to(kernel))
        if not name.startswith(tuple(MODULES)):
            path.unlink()
    run("chroot", root, "/sbin/depmod", release)
    for name in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache"):
        shutil.rmtree(root / name, ignore_errors=True)
    return release


def furnish(root: Path) -> None:
    """What maintainers' scripts would have made, the libraries, and our own."""
    (root / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
    )
    (root / "etc/group").write_text("root:x:0:\ntty:x:5:\nnogroup:x:65534:\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (root / "etc/resolv.conf").write_text("nameserver 192.0.2.1\n")
    for link, target in (("bin/sh", "dash"), ("usr/bin/awk", "gawk")):
        if not (root / link).exists():
            (root / link).symlink_to(target)
    for name in ("run", "lock"):
        shutil.rmtree(root / "var" / name, ignore_errors=True)
        (root / "var" / name).symlink_to("/run" if name == "run" else "/run/lock")
    (root / "opt/bed").mkdir(parents=True)
    run("ldconfig", "-r", root)
    site = root / "usr/lib/python3/dist-packages"
    for one in libraries():
        for file in one.files or ():
            source = Path(str(one.locate_file(file))).resolve()
            into = site / str(file)
            if ".." not in file.parts and source.is_file() and source.suffix != ".pyc":
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, into)
    run(sys.executable, "-m", "compileall", "-q", "-j2", site, root / "usr/lib/python3.11")


def initrd(root: Path, release: str) -> bytes:
    modules = root / "lib/modules" / release
    names = BOOT_MODULES.split()
    found = {path.name.removesuffix(".ko").replace("-", "_"): path for path in modules.rglob("*.ko")}
    entries = [
        Entry(name, stat.S_IFDIR | 0o755) for name in ("bin", "bed", "dev", "proc", "sys", "modules", "root")
    ]
    entries.append(Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    entries.append(Entry("bin/busybox", stat.S_IFREG | 0o755, (root / "bin/busybox").read_bytes()))
    there = [name for name in names if name in found]  # others are built in
    entries += [Entry(f"modules/{name}.ko", stat.S_IFREG | 0o644, found[name].read_bytes()) for name in there]
    entries += [
        Entry(f"bed/{path.name}", stat.S_IFREG | 0o755, path.read_bytes())
        for path in DOM0.iterdir()
        if path.is_file()
    ]
    init = "#!/bin/busybox sh\nB=/bin/busybox\n$B mount -t devtmpfs d /dev\n"
    init += "".join(f"$B insmod /modules/{name}.ko\n" for name in there)
    init += "i=0; while [ ! -b /dev/vda ] && [ $i -lt 100 ]; do $B sleep 0.1; i=$((i+1)); done\n"
    init += "$B mount -t ext4 /dev/vda /root\n$B mount -o move /dev /root/dev\n$B cp /bed/* /root/opt/bed/\n"
    init += "exec $B switch_root /root /opt/bed/init\n"
    entries.append(Entry("init", stat.S_IFREG | 0o755, init.encode()))
    return b"".join(cpio(entries))


def make_disk(work: Path, into: Path) -> None:
    root = unpacked(work)
    release = prune(root)
    furnish(root)
    (into / "initrd").write_bytes(initrd(root, release))
    shutil.copy(root / "boot" / f"vmlinuz-{release}", into / "vmlinuz")
    (packed,) = (root / "boot").glob("xen-*-amd64.gz")
    (into / "xen").write_bytes(gzip.decompress(packed.read_bytes()))
    shutil.rmtree(root / "boot")
    say("disk")
    raw = work / "disk.raw"
    with raw.open("wb") as file:
        file.truncate(DISK_BYTES)
    run("mke2fs", "-q", "-t", "ext4", "-d", root, "-E", "lazy_itable_init=1", raw)
    run("qemu-img", "convert", "-O", "qcow2", raw, into / "base.qcow2")
    raw.unlink()
    shutil.rmtree(root)
    run("qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", "base.qcow2", into / "disk.qcow2")


class Dom0:
    """The machine, and the way in: owns QEMU's process."""

    def __init__(self, bed: Path, disk: Path, work: Path, *, tree: Path, out: Path, resume: bool) -> None:
        """``work`` gets sockets and the console; dom0 may read ``tree`` and write to ``out``."""
        self.console = work / "console"
        self._work = work
        command = [
            *("qemu-system-x86_64", "-nodefaults", "-machine", "q35,accel=tcg", "-cpu", CPU),
            *("-m", str(MEMORY_MIB), "-smp", str(CPUS), "-display", "none", "-no-reboot"),
            *("-serial", f"file:{self.console}"),
            *("-kernel", str(bed / "xen"), "-append", XEN),
            *("-initrd", f"{bed / 'vmlinuz'} {LINUX},{bed / 'initrd'}"),
            *("-drive", f"file={disk},format=qcow2,if=none,id=disk,discard=unmap,cache=unsafe"),
            *("-device", "virtio-blk-pci,drive=disk"),
            *(
                "-device",
                "virtio-serial-pci",
                "-chardev",
                f"socket,id=bed,path={work / 'port'},server=on,wait=off",
            ),
            *("-device", "virtserialport,chardev=bed,name=bed"),
            *("-device", "virtio-rng-pci"),
            *("-fsdev", f"local,id=tree,path={tree},security_model=none,readonly=on"),
            *("-device", "virtio-9p-pci,fsdev=tree,mount_tag=tree"),
            *("-fsdev", f"local,id=out,path={out},security_model=none"),
            *("-device", "virtio-9p-pci,fsdev=out,mount_tag=out"),
            *("-qmp", f"unix:{work / 'qmp'},server=on,wait=off"),
        ]
        if resume:
            command += ["-incoming", f"exec:cat {bed / 'memory'}"]
        self._said = (work / "qemu.err").open("w+")
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._said, stderr=self._said
        )
        try:
            self._monitor = self._reached(work / "qmp")
            self._qmp = self._monitor.makefile("rw")
            json.loads(self._qmp.readline())
            self.ask("qmp_capabilities")
            self._port = self._reached(work / "port")
            self._lines = self._port.makefile("r")
        except BaseException:
            self.end()
            raise

    def _reached(self, path: Path) -> socket.socket:
        deadline = time.monotonic() + 20
        while True:
            client = socket.socket(socket.AF_UNIX)
            try:
                client.connect(str(path))
            except OSError:
                client.close()
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self._said.seek(0)
                    raise BedError(f"QEMU did not start: {self._said.read()[-500:]}") from None
                time.sleep(0.02)
            else:
                return client

    def ask(self, execute: str, **arguments: object) -> Any:
        self._qmp.write(json.dumps({"execute": execute, "arguments": arguments}) + "\n")
        self._qmp.flush()
        while True:
            answer = json.loads(self._qmp.readline())
            if "error" in answer:
                raise BedError(f"{execute}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def until(self, wanted: str, timeout_s: float) -> None:
        """Of the states of a migration."""
        deadline = time.monotonic() + timeout_s
        while (state := self.ask("query-migrate").get("status")) != wanted:
            if state in ("failed", "cancelled") or time.monotonic() > deadline:
                raise BedError(f"the machine's memory is {state} and not {wanted}")
            time.sleep(0.05)

    def until_ready(self) -> None:
        self._port.settimeout(BOOT_S)
        try:
            line = self._lines.readline()
        except TimeoutError:
            line = ""
        if "ready" not in line:
            raise BedError(f"dom0 did not boot: {self.console.read_text(errors='replace')[-1500:]}")

    def run(self, argv: Sequence[str], *, timeout_s: float = 60.0, shown: bool = False) -> tuple[int, str]:
        """(exit status, output) of a command there."""
        self._port.settimeout(timeout_s + 10)
        self._port.sendall(json.dumps({"argv": list(argv), "timeout": timeout_s}).encode() + b"\n")
        said: list[str] = []
        while True:
            line = self._lines.readline()
            if not line:
                raise BedError(f"dom0 is gone: {self.console.read_text(errors='replace')[-1500:]}")
            answer = json.loads(line)
            if "rc" in answer:
                return answer["rc"], "".join(said)
            said.append(answer.get("out", ""))
            if shown:
                sys.stdout.write(said[-1])
                sys.stdout.flush()

    def sh(self, script: str, *, timeout_s: float = 60.0, shown: bool = False) -> str:
        """The output; raises where it fails."""
        code, said = self.run(["sh", "-c", script], timeout_s=timeout_s, shown=shown)
        if code:
            raise BedError(f"`{script}` ended with {code}: {said[-3000:]}")
        return said

    def wake(self) -> None:
        """One that was taken up, which stands still: it goes on, its clock is right, and the directories are there."""
        self.until("completed", 60)
        self.ask("cont")
        self.sh(
            f"date -s @{time.time():.3f} >/dev/null; mkdir -p /mnt/tree /mnt/out;"
            "mount -t 9p -o trans=virtio,msize=262144,cache=loose,ro tree /mnt/tree;"
            "mount -t 9p -o trans=virtio,msize=262144 out /mnt/out"
        )

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        for one in ("_lines", "_port", "_qmp", "_monitor", "_said"):
            if hasattr(self, one):
                with contextlib.suppress(OSError):
                    getattr(self, one).close()


@contextlib.contextmanager
def dom0(tree: Path, out: Path) -> Iterator[Dom0]:
    """One of its own, from the bed, which must be there; what is written to its disk is nobody else's."""
    bed = folder()
    if not (bed / "memory").exists():
        raise BedError("there is no bed for Xen: `make setup-tests` makes it")
    with tempfile.TemporaryDirectory(prefix="xen-bed-") as name:
        work = Path(name)
        run("qemu-img", "create", "-f", "qcow2", "-F", "qcow2", "-b", bed / "disk.qcow2", work / "disk.qcow2")
        machine = Dom0(bed, work / "disk.qcow2", work, tree=tree, out=out, resume=True)
        try:
            machine.wake()
            yield machine
        finally:
            machine.end()


def boot(bed: Path, work: Path) -> None:
    say("first boot of dom0, about a minute")
    (work / "empty").mkdir()
    machine = Dom0(bed, bed / "disk.qcow2", work, tree=work / "empty", out=work / "empty", resume=False)
    try:
        machine.until_ready()
        machine.sh("xl list >/dev/null; sync", timeout_s=BOOT_S)
        machine.ask("stop")
        machine.ask("migrate-set-parameters", **{"max-bandwidth": 8 << 30})
        machine.ask("migrate", uri=f"exec:cat > {bed / 'memory'}")
        machine.until("completed", BOOT_S)
        machine.ask("quit")
        machine.process.wait(30)
    finally:
        machine.end()


def make() -> Path:
    bed = folder()
    bed.parent.mkdir(parents=True, exist_ok=True)
    with (bed.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (bed / "memory").exists():
            return bed
        with tempfile.TemporaryDirectory(prefix=".making-", dir=bed.parent) as name:
            work, made = Path(name), Path(name) / "bed"
            made.mkdir()
            make_disk(work, made)
            boot(made, work)
            made.rename(bed)
    return bed


def command(argv: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as out, dom0(TREE, Path(out)) as machine:
        code, _ = machine.run(["sh", "-c", " ".join(argv)], timeout_s=3600, shown=True)
        return code


def main() -> int:
    try:
        if sys.argv[1:]:
            return command(sys.argv[1:])
        say(str(make()))
    except (BedError, OSError) as error:
        sys.stderr.write(f"xen: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
