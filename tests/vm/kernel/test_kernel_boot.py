"""Boots each kernel that is there under software emulation and has it try what containers need of it."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from hypercontainer.hypervisor.qemu.machines import MACHINES
from hypercontainer.kernel import Kernel, KernelStore, build_initrd, cache_dir, command_line

pytestmark = pytest.mark.vm

DEADLINE_S = 90
# What Debian's cloud kernel has not, or not among the modules that a guest loads.
DEBIAN_LACKS = {
    *("9p", "filesystem-9p", "nftables", "iptables", "conntrack", "socket-vsock", "virtio-mem"),
    "overlay-acl",  # our patch to overlayfs
    *("link-bridge", "link-veth", "link-dummy", "link-tun"),
}
LACKS: dict[str, set[str]] = {"own": set(), "debian": DEBIAN_LACKS}


def kernels() -> dict[str, Kernel]:
    """The kernel that guests get by default, and the one they would get without it."""
    found: dict[str, Kernel] = {}
    for kernel in KernelStore(cache_dir()).list():
        found.setdefault(kernel.source, kernel)
    return found


KERNELS = kernels()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Init, and what its disks hold."""
    directory = tmp_path_factory.mktemp("kernel")
    source = Path(__file__).with_name("probe.c")
    run("gcc", "-static", "-Os", "-s", "-Wall", "-Wextra", "-o", directory / "init", source)
    content = directory / "content"
    (content / "directory").mkdir(parents=True)
    (content / "file").write_text("content")
    os.setxattr(content / "file", "user.note", b"yes")
    run("mkfs.erofs", "--quiet", directory / "erofs", content)
    run(
        "mksquashfs",
        content,
        directory / "squashfs",
        "-quiet",
        "-no-progress",
        "-noI",
        "-noD",
        "-noF",
        "-noX",
    )
    partition = b"\0" * 4 + b"\x83" + b"\0" * 3
    table = b"".join(
        partition + start.to_bytes(4, "little") + (8).to_bytes(4, "little") for start in (8, 16)
    ) + bytes(32)
    (directory / "parts").write_bytes(bytes(446) + table + b"\x55\xaa" + bytes(32 << 9))
    (directory / "plugged").write_bytes(bytes(1 << 20))
    return directory


def run(*argv: str | Path) -> None:
    subprocess.run([str(word) for word in argv], check=True, stdout=subprocess.DEVNULL)


def qemu_argv(kernel: Kernel, initrd: Path, work: Path, ext4: Path, monitor: int) -> list[str]:
    argv = [
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *(
            "-machine",
            MACHINES["amd64"].options,
            "-accel",
            "tcg",
            "-cpu",
            "max",
            "-m",
            "256",
            "-smp",
            "2",
            "-bios",
            "qboot.rom",
        ),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        *("-chardev", f"socket,id=monitor,fd={monitor}", "-mon", "chardev=monitor,mode=control"),
        *("-kernel", str(kernel.path), "-initrd", str(initrd)),
        *("-append", " ".join(command_line(kernel, emulated=True, console=True, extra=()))),
        *("-device", "virtio-serial-pci", "-chardev", "null,id=agent"),
        *("-device", "virtserialport,nr=1,chardev=agent,name=agent"),
        *("-device", "virtio-rng-pci", "-device", "virtio-balloon-pci,free-page-reporting=on"),
        *("-netdev", "user,id=net,restrict=on", "-device", "virtio-net-pci,netdev=net,romfile="),
        *("-fsdev", f"local,id=shared,path={work / 'content'},security_model=none,readonly=on"),
        *("-device", "virtio-9p-pci,fsdev=shared,mount_tag=shared"),
        *(
            "-device",
            "virtio-scsi-pci",
            "-drive",
            f"if=none,id=scsi,format=raw,readonly=on,file={work / 'erofs'}",
        ),
        *("-device", "scsi-hd,drive=scsi"),
        *("-device", "pcie-root-port,id=slot1,chassis=1,slot=1"),
        *("-blockdev", f"driver=raw,node-name=plugged,file.driver=file,file.filename={work / 'plugged'}"),
    ]
    return argv + disk_argv(work, ext4)


def disk_argv(work: Path, ext4: Path) -> list[str]:
    argv: list[str] = []
    disks = {"erofs": work / "erofs", "squashfs": work / "squashfs", "parts": work / "parts", "ext4": ext4}
    for name, file in disks.items():
        readonly = "off" if name == "ext4" else "on"
        argv += ["-drive", f"if=none,id={name},format=raw,readonly={readonly},file={file},file.locking=off"]
        argv += ["-device", f"virtio-blk-pci,drive={name},serial={name}"]
    return argv


def plug_disk(monitor: socket.socket) -> None:
    device = {
        "driver": "virtio-blk-pci",
        "id": "plugged",
        "drive": "plugged",
        "serial": "plugged",
        "bus": "slot1",
    }
    with monitor.makefile("rw") as stream:
        stream.readline()
        for command, arguments in (("qmp_capabilities", {}), ("device_add", device)):
            stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
            stream.flush()
            reply = json.loads(stream.readline())
            assert "return" in reply, reply


@dataclass(frozen=True)
class Session:
    """What a guest said, and its clock as (seconds here, seconds there), first and last."""

    source: str
    console: str
    clocks: tuple[tuple[float, float], ...]


@pytest.fixture(scope="module", params=sorted(KERNELS))
def session(request: pytest.FixtureRequest, work: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    kernel = KERNELS[request.param]
    scratch = tmp_path_factory.mktemp(request.param)
    ext4 = scratch / "ext4"
    run("mkfs.ext4", "-q", ext4, "16M")
    initrd = build_initrd(work / "init", kernel, scratch)
    lines, clocks = [], []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        argv = qemu_argv(kernel, initrd, work, ext4, theirs.fileno())
        with subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, pass_fds=[theirs.fileno()]
        ) as process:
            deadline = threading.Timer(DEADLINE_S, process.kill)
            deadline.start()
            ours.settimeout(DEADLINE_S)
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    lines.append(line)
                    if line.startswith("clock "):
                        clocks.append((time.monotonic(), float(line.split()[1])))
                    elif line.strip() == "waiting":
                        plug_disk(ours)
            finally:
                deadline.cancel()
                process.kill()
    return Session(kernel.source, "".join(lines), tuple(clocks))


def test_there_is_a_kernel() -> None:
    assert KERNELS, f"no kernel in {cache_dir()}: `make kernel` builds one"


def test_the_guest_reaches_its_end(session: Session) -> None:
    assert re.search(r"^end\r?$", session.console, re.MULTILINE), session.console


def test_the_kernel_complains_of_nothing(session: Session) -> None:
    complaint = re.compile(r"^\[ *\d+\.\d+\].*(WARNING|BUG|Oops|panic|error|fail)", re.MULTILINE)
    assert not complaint.search(session.console), session.console


def test_the_guests_clock_runs_as_ours(session: Session) -> None:
    (here, there), (here_later, there_later) = session.clocks
    assert there_later - there == pytest.approx(here_later - here, rel=0.15, abs=0.05)


def test_the_kernel_does_what_containers_need(session: Session) -> None:
    failed = dict(re.findall(r"^failed (\S+): (.*?)\r?$", session.console, re.MULTILINE))
    passed = set(re.findall(r"^ok (\S+?)\r?$", session.console, re.MULTILINE))
    assert len(passed | set(failed)) > 90, "the probe did not try everything"
    assert {name: why for name, why in failed.items() if name not in LACKS[session.source]} == {}
