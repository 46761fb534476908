"""Makes a fresh clone ready: a container of our own runs in it once, start to end, and is removed without a trace.

An emulator translates the guest's kernel as it runs; a clone that has done everything once does it again in a fifth
of the time.  Nothing of a user's is in the VM by then, and afterwards it is prepared anew, as its template was.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import secrets
import tarfile
import time
from dataclasses import dataclass
from pathlib import Path

from hypercontainer.agent.operations import Disk, Event, Preparation, ProcessExited, VmConfig
from hypercontainer.agent.session import Agent
from hypercontainer.agent.wire import Stream
from hypercontainer.contract.answers import Effective
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.engine.sandbox.hardware import DISK_SERIAL, IMAGE_SERIAL
from hypercontainer.errors import AgentError
from hypercontainer.hypervisor.driver import VM
from hypercontainer.hypervisor.spec import DiskSpec
from hypercontainer.linux.architectures import AMD64
from hypercontainer.rootfs import LayerStore, create_writable_disk
from hypercontainer.semantics import docker as plan
from hypercontainer.semantics.environment import PATH

NAME = "rehearsal"
PROGRAM = "/bin/hyperstart"
DISK_BYTES = 64 << 20
TIMEOUT_S = 30.0
_PROCESS = 1 << 29  # a pod's numbers are below, but for its init's, which is 1


@dataclass(frozen=True)
class Stage:
    """What a rehearsal needs on the host: an image with hyperstart in it, of VMs of ``architecture``, and a place for
    writable disks."""

    image: DiskSpec
    folder: Path
    architecture: str = AMD64

    @classmethod
    def build(cls, hyperstart: Path, folder: Path, architecture: str = AMD64) -> Stage:
        """Blocks; what is there already is used again."""
        tar = _image_tar(hyperstart.read_bytes())
        diff_id = "sha256:" + hashlib.sha256(tar).hexdigest()
        layers = LayerStore(folder)
        layers.convert(io.BytesIO(tar), diff_id=diff_id, layer=NAME)
        root = layers.root_disk((diff_id,))
        extents = tuple((extent.path, extent.size_bytes) for extent in root.extents)
        return cls(DiskSpec(IMAGE_SERIAL, extents, read_only=True), folder, architecture)

    def writable(self) -> Path:
        path = self.folder / f"{secrets.token_hex(8)}.img"
        create_writable_disk(path, DISK_BYTES, self.folder)
        return path


def _image_tar(program: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("bin", "etc"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        entry = tarfile.TarInfo(PROGRAM.lstrip("/"))
        entry.size, entry.mode = len(program), 0o755
        tar.addfile(entry, io.BytesIO(program))
    return out.getvalue()


async def rehearse(vm: VM, stage: Stage, preparation: Preparation) -> None:
    """``vm`` is a clone, paused; it is paused again afterwards, and stands where a clone stands."""
    disk = await asyncio.to_thread(stage.writable)
    try:
        await vm.insert_disk(stage.image)
        await vm.insert_disk(DiskSpec(DISK_SERIAL, ((disk, disk.stat().st_size),), read_only=False))
    finally:
        disk.unlink()  # the VM has it open
    pair = await vm.connect_agent()
    run = _Run()
    agent = Agent.open(*pair, resumed=False, on_event=run.on_event)
    async with asyncio.timeout(TIMEOUT_S):
        await vm.resume()
        await run.play(agent, stage.architecture)
        await agent.prepare(preparation, timeout_s=TIMEOUT_S)
    # Before the pause: a QEMU that is paused lets go of no descriptor.
    await vm.eject_disk(IMAGE_SERIAL)
    await vm.eject_disk(DISK_SERIAL)
    await vm.pause()
    vm.keep_agent(pair)


class _Run:
    def __init__(self) -> None:
        self._exited: asyncio.Future[ProcessExited] = asyncio.get_running_loop().create_future()

    def on_event(self, event: Event) -> None:
        if isinstance(event, ProcessExited) and not self._exited.done():
            self._exited.set_result(event)

    async def play(self, agent: Agent, architecture: str) -> None:
        disks = Disk(IMAGE_SERIAL, "erofs"), Disk(DISK_SERIAL, "ext4")
        facts = plan.Facts(*disks, process=_PROCESS, architecture=architecture)
        spec = ContainerSpec(image="")
        made = Effective(
            env=(PATH,),
            entrypoint=(PROGRAM, "--rehearse"),
            command=(),
            user="",
            working_dir="/",
            stop_signal="SIGTERM",
            hostname=NAME,
        )
        planned = plan.start(spec, made, NAME, facts)
        config = VmConfig(NAME, "", time.time_ns(), os.urandom(64))
        configured = agent.configure(config)
        created = agent.create_container(planned.container)
        started = agent.start_process(planned.process)
        await agent.welcome(TIMEOUT_S)
        await agent.set_time(time.time_ns())
        await asyncio.gather(configured, created, started)
        streams = [agent.attach_output(_PROCESS, which, 0, _drop) for which in (Stream.STDOUT, Stream.STDERR)]
        await asyncio.gather(*(stream.finished() for stream in streams))
        ended = await self._exited
        if ended.wait_status != 0:
            raise AgentError(f"the rehearsal ended with wait status {ended.wait_status}")
        await agent.forget(_PROCESS)
        await agent.destroy_container(NAME)


async def _drop(data: bytes) -> None:
    pass
