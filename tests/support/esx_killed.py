"""Launches VMs in vSphere, ends some of them, and is killed: `python -m esx_killed SETTINGS.json FOLDER SEED`.

A line is printed for each that was handed over by the driver, as an engine would write its record down.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from pathlib import Path

from hypercontainer.hypervisor.esx.driver import EsxDriver
from hypercontainer.hypervisor.esx.settings import take
from hypercontainer.hypervisor.spec import Accelerator, DiskSpec, VMSpec

MIB = 1 << 20


def spec(folder: Path, name: str, rng: random.Random) -> VMSpec:
    image, disk = folder / f"image-{rng.randrange(2)}", folder / f"disk-{name}"
    if not image.exists():
        image.write_bytes(image.name.encode() * 4096 + bytes(-len(image.name) * 4096 % 512))
    disk.write_bytes(b"written".ljust(MIB, b"\0"))
    disks = [
        DiskSpec("image", ((image, image.stat().st_size),), read_only=True),
        DiskSpec("disk", ((disk, MIB),), read_only=False),
    ]
    return VMSpec(
        id=name,
        name=name,
        run_dir=folder / "run" / name,
        kernel=image,
        initrd=image,
        kernel_args=(),
        memory_mib=64,
        vcpus=1,
        disks=tuple(rng.sample(disks, rng.randrange(3))),
        accelerator=Accelerator.OWN,
    )


async def main(settings: Path, folder: Path, seed: str) -> None:
    rng = random.Random(seed)
    driver = EsxDriver("esx", take(json.loads(settings.read_text())), folder / "state")
    print("begins", flush=True)
    for number in range(1000):
        vm = await driver.launch(spec(folder, f"pod-{seed}-{number}", rng))
        print("launched", vm.record.id, flush=True)
        if rng.random() < 0.6:
            print("ends", vm.record.id, flush=True)
            await vm.kill()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
