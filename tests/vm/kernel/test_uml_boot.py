"""Boots the kernel that is a program, with descriptors alone: what guest/kernel/patches/um are for."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import socket
import stat
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

from guest_machine import (
    STANDARD_DEVICES,
    Session,
    build_hyperstart,
    busybox_root,
    container_plan,
    erofs,
    process_plan,
    vm_config,
)
from hypercontainer.agent.operations import Device
from hypercontainer.agent.session import Agent
from hypercontainer.kernel import KernelStore, build_initrd, cache_dir

KERNEL = cache_dir() / "uml/current/linux"
pytestmark = [
    pytest.mark.vm,
    pytest.mark.skipif(
        not KERNEL.exists(), reason="Debian's suites have no linux-source-7 for `make kernel`"
    ),
]

DEADLINE_S = 60
UBD_MAJOR, MINORS = 98, 16
ODD = bytes(range(1, 201)) * 5  # a disk of two sectors that ends in the second


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an initrd, ``odd``, and an image in five parts, whose files have more than the disk."""
    directory = tmp_path_factory.mktemp("uml")
    own = KernelStore(cache_dir()).default()  # any without modules: they would be packed
    build_initrd(build_hyperstart(directory), own, directory).rename(directory / "initrd.cpio")
    data = erofs(directory, busybox_root(directory)).read_bytes()
    data += bytes(-len(data) % 512)
    cuts = (0, 512, 4096, 99_840, len(data) // 1024 * 512, len(data))
    for number, (start, end) in enumerate(itertools.pairwise(cuts)):
        (directory / f"part{number}-{end - start}").write_bytes(data[start:end] + b"beyond")
    (directory / "odd").write_bytes(ODD)
    return directory


@contextlib.contextmanager
def opened(paths: Sequence[Path]) -> Iterator[list[BinaryIO]]:
    with ExitStack() as stack:
        yield [stack.enter_context(path.open("rb")) for path in paths]


@asynccontextmanager
async def guest(made: Path, work: Path) -> AsyncIterator[Session]:
    parts = sorted(made.glob("part*"))
    ours, theirs = socket.socketpair()
    with opened([made / "initrd.cpio", made / "odd", *parts]) as (initrd, odd, *files), theirs:
        lower = "+".join(
            f"@{file.fileno()}/{path.name.partition('-')[2]}" for file, path in zip(files, parts, strict=True)
        )
        program = await asyncio.create_subprocess_exec(
            *(KERNEL, "mem=128M", f"initrd=@{initrd.fileno()}", "seccomp=on", "quiet", "panic=-1"),
            *("con0=null,fd:1", "console=tty0", f"ssl0=fd:{theirs.fileno()}", "hyper.port=/dev/ttyS0"),
            *(f"ubd0rd={lower},,lower", f"ubd1rd=@{odd.fileno()},,odd", f"uml_dir={work}/"),
            pass_fds=[initrd.fileno(), odd.fileno(), theirs.fileno(), *(file.fileno() for file in files)],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"HOME": str(work), "TMPDIR": "/dev/shm"},
        )
    try:
        holder: list[Session] = []
        reader, writer = await asyncio.open_connection(sock=ours)
        # Its HELLO is there long before the guest opens the line.
        agent = Agent.open(reader, writer, resumed=False, on_event=lambda event: holder[0].take(event))
        holder.append(Session(agent, writer))
        yield holder[0]
        agent.close()
    except BaseException:
        program.kill()
        assert program.stdout is not None
        print((await program.stdout.read()).decode(errors="replace"))
        raise
    finally:
        if program.returncode is None:
            program.kill()
        await program.communicate()


def test_a_container_runs_from_descriptors(made: Path, tmp_path: Path) -> None:
    async def story() -> None:
        async with asyncio.timeout(DEADLINE_S), guest(made, tmp_path) as session:
            welcome = await session.agent.welcome(DEADLINE_S)
            assert welcome.kernel.startswith("7.")
            await session.agent.configure(vm_config())
            odd = Device("/dev/odd", stat.S_IFBLK | 0o600, UBD_MAJOR, MINORS)
            plan = container_plan("c", devices=(*STANDARD_DEVICES, odd))
            await session.agent.create_container(plan)
            await session.agent.start_process(process_plan("c", 1, "sleep", "1000", init=True))
            assert await session.run("c", "sha256sum", "/bin/busybox") == (
                0,
                f"{hashlib.sha256(Path('/bin/busybox').read_bytes()).hexdigest()}  /bin/busybox\n",
            )
            assert await session.run("c", "od", "-An", "-v", "-tx1", "-j1000", "/dev/odd") == (
                0,
                " 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00\n 00 00 00 00 00 00 00 00\n",
            )

    asyncio.run(story())


def test_the_program_is_whole(made: Path) -> None:
    """It needs no loader and no library: it is started where there are none."""
    assert os.access(KERNEL, os.X_OK)
    assert b"/ld-linux" not in KERNEL.read_bytes()[: 1 << 16]
