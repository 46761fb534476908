"""What a tap device carries where nothing is behind it: guests that a driver starts, iperf3 in them, and no hyperd.

In a network namespace of their own stands one guest whose tap has the host's address, and on a bridge without rules
two more. They have the kernel, the memory and the interface that a container's VM has, and frames of the same length.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.rates import client, rate
from hypercontainer.hypervisor.driver import VM, Driver
from hypercontainer.hypervisor.qemu.driver import QemuDriver
from hypercontainer.hypervisor.spec import Nic, Tap, VMSpec
from hypercontainer.hypervisor.uml.driver import UmlDriver
from hypercontainer.kernel import KernelStore, cache_dir, command_line
from hypercontainer.kernel.initrd import Entry, cpio
from hypercontainer.linux import tsc
from hypercontainer.linux.netns import Namespace
from until import until

IPERF = Path("/usr/bin/iperf3")
UID = 700_002
ASK_PORT, ASKED_S = 7001, 30.0
ALONE, SERVER, CLIENT = "10.9.0.2", "10.9.1.2", "10.9.1.3"
HOST = {"tap0": "10.9.0.1/24", "bridge0": "10.9.1.1/24"}


@dataclass(frozen=True)
class BareGuests:
    space: Namespace

    def from_host(self) -> float:
        """Gbit/s to a guest."""
        argv = _inside(self.space, client(ALONE))
        return rate(subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True).stdout.decode())

    def from_guest(self) -> float:
        """Gbit/s of a guest to another, by the bridge."""
        with self.space.socket(socket.AF_INET, socket.SOCK_STREAM) as asking:
            asking.settimeout(ASKED_S)
            asking.connect((CLIENT, ASK_PORT))
            with asking.makefile("r") as stream:
                return rate(stream.read())


@contextlib.contextmanager
def bare_guests(hypervisor: str, memory_mib: int, mtu: int) -> Iterator[BareGuests]:
    """Of a driver: qemu or uml."""
    with contextlib.ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hyper-bare-")))
        work.chmod(0o755)
        space = Namespace.start(work / "space", user=False)
        stack.callback(space.end)
        runner = stack.enter_context(asyncio.Runner())
        driver = driver_of(hypervisor, work)
        for number, address in enumerate((ALONE, SERVER, CLIENT)):
            tap = Tap(space.control, f"tap{number}")
            nics = (Nic(f"52:54:00:12:34:5{number}", tap),)
            spec = bare_spec(work, hypervisor, memory_mib, tap.name, _files(address, mtu), nics=nics)
            vm = runner.run(driver.launch(spec))
            stack.callback(_end, runner, driver, vm)
        _connect(space, mtu)
        made = BareGuests(space)
        until(lambda: _begun(made), "iperf3 in bare guests")
        yield made


def _end(runner: asyncio.Runner, driver: Driver, vm: VM) -> None:
    runner.run(vm.close())
    runner.run(driver.destroy(vm.record))


def _begun(made: BareGuests) -> bool:
    try:
        return made.from_host() > 0 and made.from_guest() > 0
    except (AssertionError, OSError):
        return False


def _inside(space: Namespace, argv: Sequence[str]) -> list[str]:
    return ["nsenter", "-t", str(space.pid), "-n", "--", *argv]


def _connect(space: Namespace, mtu: int) -> None:
    words = ["link add bridge0 type bridge", "link set tap1 master bridge0", "link set tap2 master bridge0"]
    words += [f"address add {address} dev {device}" for device, address in HOST.items()]
    words += [f"link set {device} mtu {mtu}" for device in ("tap0", "tap1", "tap2", "bridge0")]
    words += [f"link set {device} up" for device in ("lo", "bridge0", "tap0", "tap1", "tap2")]
    for line in words:
        subprocess.run(_inside(space, ["ip", *line.split()]), check=True)


def driver_of(hypervisor: str, work: Path) -> Driver:
    kind = UmlDriver if hypervisor == "uml" else QemuDriver
    return kind(work / "facts.json")


def bare_spec(
    work: Path, hypervisor: str, memory_mib: int, called: str, files: Sequence[Entry], **more: Any
) -> VMSpec:
    """Of a guest with the project's own kernel, whose first program is the ``init`` of ``files``."""
    store, native = KernelStore(cache_dir()), hypervisor == "uml"
    kernel = (
        store.program()
        if native
        else next(one for one in store.list() if one.source == "own" and not one.program)
    )
    khz = None if native else tsc.rate_khz()
    initrd = work / f"initrd-{called}"
    initrd.write_bytes(b"".join(cpio(files)))
    name = f"bench-{os.getpid()}-{called}"
    return VMSpec(
        id=name,
        name=name,
        run_dir=work / called,
        kernel=kernel.path,
        initrd=initrd,
        kernel_args=command_line(kernel, emulated=not native, console=True, extra=(), tsc_khz=khz),
        memory_mib=memory_mib,
        vcpus=1,
        owner_uid=UID,
        **more,
    )


def _files(address: str, mtu: int) -> list[Entry]:
    """busybox, the host's iperf3 with its libraries, and an init that has it serve, and ask whenever it is rung up."""
    gateway = f"{address.rpartition('.')[0]}.1"
    init = f"""#!/bin/sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
for nic in $(ls /sys/class/net); do [ $nic = lo ] || break; done
ip link set lo up; ip link set $nic mtu {mtu} up; ip addr add {address}/24 dev $nic; ip route add default via {gateway}
iperf3 -s >/dev/null 2>&1 &
exec nc -ll -p {ASK_PORT} -e /ask
"""
    ask = f"#!/bin/sh\nexec {' '.join(client(SERVER))}\n"
    folders = ("dev", "proc", "sys", "bin", "tmp", "lib", "lib64", "lib/x86_64-linux-gnu")
    entries = [Entry(name, stat.S_IFDIR | 0o755) for name in folders]
    entries.append(Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    entries.append(Entry("bin/sh", stat.S_IFLNK | 0o777, b"busybox"))
    programs = {"bin/busybox": Path("/bin/busybox"), "bin/iperf3": IPERF, **_libraries(IPERF)}
    files = {name: path.read_bytes() for name, path in programs.items()}
    files |= {"init": init.encode(), "ask": ask.encode()}
    return [*entries, *(Entry(name, stat.S_IFREG | 0o755, data) for name, data in files.items())]


def _libraries(program: Path) -> dict[str, Path]:
    """By their names in the guest's root, as ldd has them."""
    shown = subprocess.run(["ldd", program], capture_output=True, check=True).stdout.decode()
    found = [Path(word) for word in shown.split() if word.startswith("/")]
    return {str(path.relative_to("/")): path for path in found}
