"""fio on a container's root disk and in a named volume, beside a bare guest of the same driver: the same kernel, memory
and kind of disk file, ext4 mounted by hand, and no hyperd."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import real_images
from bench.bare_guests import bare_spec, driver_of
from bench.containers import BOOTED, UML, Measured, ready
from bench.measure import Row, median, spread
from hypercontainer.hypervisor.driver import Driver
from hypercontainer.hypervisor.spec import DiskSpec, VMSpec
from hypercontainer.kernel.initrd import Entry
from hypercontainer.rootfs import create_writable_disk

RATIO = 0.9
MEMORY_MIB = 512
FILE = "256M"
IMAGE = "localhost/workshop:latest"
DISK_BYTES, SAID_BYTES = 10 << 30, 1 << 20
DRIVERS = {"uml": UML, "qemu": BOOTED}
# Direct, so that it is the disk that is measured and not the guest's memory.
FIO = f"fio --name=it --size={FILE} --ioengine=psync --direct=1 --output-format=json"
JOBS = {
    "written in order, 1 MiB at a time": "--rw=write --bs=1M",
    "read in order, 1 MiB at a time": "--rw=read --bs=1M",
    "written in any order, 4 KiB at a time": "--rw=randwrite --bs=4k --io_size=32M",
    "read in any order, 4 KiB at a time": "--rw=randread --bs=4k --io_size=32M",
}


def measure(rounds: int) -> list[Row]:
    return [row for driver in DRIVERS for row in _of(driver, rounds)]


def _of(driver: str, rounds: int) -> list[Row]:
    with contextlib.ExitStack() as stack:
        made = stack.enter_context(ready(Measured(DRIVERS[driver], making=False)))
        made.load(real_images.path("workshop"))
        made(
            "run", "-d", "--name", "it", "-m", f"{MEMORY_MIB}m", "-v", "data:/data", IMAGE, "sleep", "1000000"
        )
        stack.callback(made, "rm", "-f", "it")
        image = max((made.root / "layers").rglob("*.erofs"), key=lambda path: path.stat().st_size)
        bare = stack.enter_context(_bare(driver, image))
        places = {
            "root disk": partial(_inside, made, "/var"),
            "named volume": partial(_inside, made, "/data"),
        }
        return [
            _row(driver, job, place, taken)
            for taken in [_turns(rounds, {"bare": bare, **places})]
            for place in places
            for job in JOBS
        ]


def _row(driver: str, job: str, place: str, taken: Mapping[str, Mapping[str, list[float]]]) -> Row:
    own, bare = (taken[where][job] for where in (place, "bare"))
    against = f"{median(own) / median(bare):.2f} x a bare guest's ({spread(bare)}); {spread(own)}"
    name = f"{place}, {job}, {driver}"
    return Row(name, median(own), "MiB/s", RATIO * median(bare), against, tuple(own), at_least=True)


def _turns(rounds: int, ways: Mapping[str, Callable[[str], float]]) -> dict[str, dict[str, list[float]]]:
    """Job by job, after one uncounted round, in which the files get their room on the host. What a job before has
    written is on the host's disk when the next one begins, which would pay for it otherwise."""
    taken: dict[str, dict[str, list[float]]] = {name: {job: [] for job in JOBS} for name in ways}
    for number in range(rounds + 1):
        for job in JOBS:
            for name, way in ways.items():
                os.sync()
                found = way(job)
                if number:
                    taken[name][job].append(found)
    return taken


def _command(job: str, folder: str) -> str:
    return f"{FIO} --filename={folder}/fio {JOBS[job]}"


def _rate(said: str) -> float:
    """MiB/s of the one job of fio's document."""
    (job,) = json.loads(said.strip().strip("\0"))["jobs"]
    return float(max(job[way]["bw_bytes"] for way in ("read", "write")) / (1 << 20))


def _inside(made: Measured, folder: str, job: str) -> float:
    return _rate(made("exec", "it", "sh", "-ec", _command(job, folder), timeout_s=600).stdout.decode())


@contextlib.contextmanager
def _bare(name: str, image: Path) -> Iterator[Callable[[str], float]]:
    with tempfile.TemporaryDirectory(prefix="hyper-bare-") as folder, asyncio.Runner() as runner:
        work = Path(folder)
        work.chmod(0o755)
        data, said = work / "data", work / "said"
        create_writable_disk(data, DISK_BYTES, work)
        with said.open("wb") as file:
            file.truncate(SAID_BYTES)
        driver = driver_of(name, work)

        def turn(job: str) -> float:
            said.write_bytes(bytes(SAID_BYTES))
            runner.run(_once(driver, _spec(name, work, image, job, (data, said))))
            return _rate(said.read_bytes().decode())

        yield turn


async def _once(driver: Driver, spec: VMSpec) -> None:
    vm = await driver.launch(spec)
    try:
        await vm.wait()
    finally:
        await vm.close()
        await driver.destroy(vm.record)


def _spec(name: str, work: Path, image: Path, job: str, own: tuple[Path, Path]) -> VMSpec:
    data, said = own
    disks = tuple(
        DiskSpec(serial, ((path, path.stat().st_size),), read_only=serial == "image")
        for serial, path in (("image", image), ("data", data), ("said", said))
    )
    return bare_spec(work, name, MEMORY_MIB, "disks", _files(name, job), disks=disks)


def _files(name: str, job: str) -> list[Entry]:
    """busybox, and an init that runs the job with the image's fio and writes what that says on the last disk."""
    disks = [f"/dev/{'ubd' if name == 'uml' else 'vd'}{letter}" for letter in "abc"]
    init = f"""#!/bin/sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t devtmpfs d /dev
mount -t erofs {disks[0]} /image && mount -t ext4 -o noatime {disks[1]} /image/mnt
mount -t devtmpfs d /image/dev; mount -t proc p /image/proc; mount -t tmpfs t /image/tmp
chroot /image /bin/sh -ec '{_command(job, "/mnt")}' > /said
cat /said > {disks[2]}; sync
poweroff -f
"""
    folders = ("dev", "bin", "image")
    entries: list[Any] = [Entry(each, stat.S_IFDIR | 0o755) for each in folders]
    entries.append(Entry("dev/console", stat.S_IFCHR | 0o600, device=(5, 1)))
    entries.append(Entry("bin/sh", stat.S_IFLNK | 0o777, b"busybox"))
    entries.append(Entry("bin/busybox", stat.S_IFREG | 0o755, Path("/bin/busybox").read_bytes()))
    return [*entries, Entry("init", stat.S_IFREG | 0o755, init.encode())]
