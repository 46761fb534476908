"""As `guest_machine`, with the kernel that is a program: no device is emulated, all it has are descriptors.

Its agent's line is two named pipes of which it holds both ends, so that one host after another may be its peer.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path

from guest_machine import Machine
from hypercontainer.kernel import Kernel, build_initrd, cache_dir

KERNEL = cache_dir() / "uml/current/linux"
MEMORY_MIB = 256
CHUNK_BYTES = 65536


def descriptors(files: Iterable[tuple[Path, bool]], fds: ExitStack) -> list[int]:
    """Opened, each read-only or not."""
    found = []
    for path, read_only in files:
        found.append(os.open(path, os.O_RDONLY if read_only else os.O_RDWR))
        fds.callback(os.close, found[-1])
    return found


def command(initrd: int, disks: Sequence[str], agent: tuple[int, int], directory: Path) -> list[str]:
    """``disks``: each as ubd has it, after its number."""
    return [
        *(str(KERNEL), f"mem={MEMORY_MIB}M", f"initrd=@{initrd}", "seccomp=on", f"uml_dir={directory}/"),
        *("con0=null,fd:1", "console=tty0", f"ssl0=fd:{agent[0]},fd:{agent[1]}", "hyper.port=/dev/ttyS0"),
        *(f"ubd{number}{disk}" for number, disk in enumerate(disks)),
        *("quiet", "panic=-1"),
    ]


async def _pump(source: int, target: int) -> None:
    loop = asyncio.get_running_loop()

    async def ready(watch: str, fd: int) -> None:
        told = loop.create_future()
        getattr(loop, f"add_{watch}")(fd, lambda: told.done() or told.set_result(None))
        try:
            await told
        finally:
            getattr(loop, f"remove_{watch}")(fd)

    while True:
        await ready("reader", source)
        if not (left := os.read(source, CHUNK_BYTES)):
            return
        while left:
            await ready("writer", target)
            with suppress(BlockingIOError):
                left = left[os.write(target, left) :]


@asynccontextmanager
async def peers(path: Path, into: Path, out: Path) -> AsyncIterator[None]:
    """Who connects to ``path`` is the line's peer, until the next one does."""
    current: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for task in current:
            task.cancel()
        task = asyncio.current_task()
        assert task is not None
        current[:] = [task]
        fd = os.dup(writer.get_extra_info("socket").fileno())
        writer.transport.pause_reading()
        ends = [os.open(into, os.O_WRONLY | os.O_NONBLOCK), os.open(out, os.O_RDONLY | os.O_NONBLOCK)]
        ways = [asyncio.ensure_future(_pump(fd, ends[0])), asyncio.ensure_future(_pump(ends[1], fd))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for each in (fd, *ends):
                os.close(each)
            writer.transport.abort()

    async with await asyncio.start_unix_server(serve, path):
        yield
        for task in current:
            task.cancel()
        await asyncio.gather(*current, return_exceptions=True)


@asynccontextmanager
async def uml_machine(
    kernel: Kernel, hyperstart: Path, directory: Path, disks: Iterable[tuple[str, Path, bool]]
) -> AsyncIterator[Machine]:
    """A VM with these disks (serial, file, whether read-only), ended when the context is left.  ``kernel`` is any
    without modules: what init packs of them."""
    directory.mkdir(parents=True, exist_ok=True)
    initrd = build_initrd(hyperstart, kernel, directory)
    into, out, socket_path, console = (directory / name for name in ("in", "out", "agent.sock", "console"))
    wanted = list(disks)
    with ExitStack() as fds:
        for pipe in (into, out):
            os.mkfifo(pipe)
        agent = descriptors([(into, False), (out, False)], fds)
        (initrd_fd,) = descriptors([(initrd, True)], fds)
        files = descriptors([(path, read_only) for _, path, read_only in wanted], fds)
        lines = [
            f"{'r' if read_only else ''}d=@{fd},,{serial}"
            for fd, (serial, _, read_only) in zip(files, wanted, strict=True)
        ]
        with console.open("wb") as output:
            program = await asyncio.create_subprocess_exec(
                *command(initrd_fd, lines, (agent[0], agent[1]), directory),
                pass_fds=[initrd_fd, *files, *agent],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={"HOME": str(directory), "TMPDIR": "/dev/shm"},
            )
    try:
        async with peers(socket_path, into, out):
            yield Machine(program, socket_path, console)
    finally:
        if program.returncode is None:
            program.kill()
        await program.wait()
