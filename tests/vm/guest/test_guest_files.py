"""hyper-read and hyper-write: a container's files for the host, without a program of its image."""

from __future__ import annotations

import errno
import os
from typing import Any

import pytest

from guest_machine import Machine, Session, process_plan
from guest_pods import RunPod, bound, member, power_off, sh, start
from hypercontainer.agent.operations import Disk, Mount
from hypercontainer.agent.wire import Stream
from hypercontainer.errors import StreamClosed

pytestmark = pytest.mark.vm

MIB = 1 << 20
SIGTERM = 15
LEFT = "find / -xdev -name '.hyper-write*'"
SMALL = bound(Mount("tmpfs", "/small", data="size=1m"))


class Files:
    """Of a container: what is asked for, and the status."""

    def __init__(self, session: Session, container: str = "a") -> None:
        self.session = session
        self.container = container

    async def begin(self, *words: object, stdin: bool = False) -> tuple[int, Any, Any]:
        number = 100000 + self.session.next_process
        self.session.next_process += 1
        args = [str(word) for word in words]
        plan = process_plan("", number, *args, tools=self.container, stdin=stdin)
        started = self.session.agent.start_process(plan)
        outputs = [self.session.collect(number, which) for which in (Stream.STDOUT, Stream.STDERR)]
        await started
        return number, outputs[0], outputs[1]

    async def end(self, number: int, outputs: list[Any]) -> tuple[int, bytes, str]:
        said = await outputs[1].text()
        await outputs[0].stream.finished()
        status = await self.session.status(number)
        await self.session.agent.forget(number)
        return status, bytes(outputs[0].data), said

    async def read(self, path: str) -> tuple[int, bytes, str]:
        number, *outputs = await self.begin("hyper-read", path)
        return await self.end(number, outputs)

    async def write(self, path: str, data: bytes, mode: str = "644", uid: int = 0, gid: int = 0) -> int:
        number, *outputs = await self.begin("hyper-write", path, mode, uid, gid, stdin=True)
        agent = self.session.agent
        try:
            await agent.input(number).write(data)
            await agent.input(number).eof()
        except StreamClosed:
            pass
        return (await self.end(number, outputs))[0]


@pytest.mark.each_driver
def test_files_come_and_go_bit_for_bit(pod: RunPod) -> None:
    data = os.urandom(5 * MIB)

    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        await start(session, member("a", one), 1)
        files = Files(session)
        assert await files.read("/data/file") == (0, b"of the image\n", "644 0 0 13\n")
        assert await files.write("/data/much", data, "4751", 1000, 1001) == 0
        assert await sh(session, "a", "stat -c '%a %u %g %s' /data/much") == f"4751 1000 1001 {len(data)}\n"
        assert await files.read("/data/much") == (0, data, f"4751 1000 1001 {len(data)}\n")
        # What had the old file open keeps it; the image's file is replaced, and so is one of a tmpfs.
        await sh(session, "a", "exec 3</data/file; sleep 1000 <&3 >/dev/null 2>&1 & echo $! >/pid")
        assert await files.write("/data/file", b"new\n") == 0
        old = "cat /proc/$(cat /pid)/fd/3 /data/file"
        assert await sh(session, "a", old) == "of the image\nnew\n"
        assert await files.write("/dev/shm/empty", b"") == 0
        assert await files.read("/dev/shm/empty") == (0, b"", "644 0 0 0\n")
        status, text, _ = await files.read("/proc/version")
        assert status == 0 and text.startswith(b"Linux")
        assert await sh(session, "a", LEFT) == ""
        await power_off(vm, session)

    pod(scenario)


def test_links_stay_in_the_container(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        await start(session, member("a", one, pid_mode=1), 1)
        await start(session, member("b", two, pid_mode=1), 2)
        files = Files(session)
        script = """
            echo mine >/mine; ln -s /mine /absolute; ln -s ../../../../mine /data/up; ln -s /later /dangling
            ln -s loop /loop; ln -s /data /directory; ln -s none/ /slash
            for pid in /proc/[0-9]*; do [ "$(cat $pid/root/name 2>/dev/null)" = two ] && ln -s $pid/root /other; done
            cat /other/name
        """
        assert (
            await sh(
                session,
                "a",
                script,
                cap_bounding=(1 << 41) - 1,
                cap_effective=(1 << 41) - 1,
                cap_permitted=(1 << 41) - 1,
            )
            == "two\n"
        )
        for link in ("/absolute", "/data/up", "/directory/up"):
            assert (await files.read(link))[:2] == (0, b"mine\n")
        assert await files.write("/data/up", b"changed\n") == 0
        assert await files.write("/dangling", b"later\n") == 0
        assert await sh(session, "a", "cat /mine /later; readlink /data/up; readlink /dangling") == (
            "changed\nlater\n../../../../mine\n/later\n"
        )
        # The other container's root: not even by the kernel's own link to it.
        assert (await files.read("/other/name"))[0] == errno.ELOOP
        assert await files.write("/other/name", b"x") == errno.ELOOP
        assert await files.write("/slash", b"x") == errno.ENOENT
        for path in ("/loop", "/loop/x"):
            assert (await files.read(path))[0] == errno.ELOOP
            assert await files.write(path, b"x") == errno.ELOOP
        assert await sh(session, "b", "cat /name") == "two\n"
        await power_off(vm, session)

    pod(scenario)


def test_what_is_no_regular_file_is_left_alone(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        await start(session, member("a", one), 1)
        files = Files(session)
        await sh(session, "a", "mknod /fifo p; (echo kept >/fifo) >/dev/null 2>&1 &")
        refused = {
            **dict.fromkeys(("/data", "/", "/data/..", "/data/."), errno.EISDIR),
            **dict.fromkeys(("/fifo", "/dev/null", "/dev/zero"), errno.EINVAL),
            **dict.fromkeys(("/none/file",), errno.ENOENT),
            "/name/file": errno.ENOTDIR,
            "relative": errno.EINVAL,
            "/" + "x" * 300: errno.ENAMETOOLONG,
            "/x" * 2100: errno.EINVAL,
        }
        for path, error in refused.items():
            assert (path, (await files.read(path))[0]) == (path, error)
            assert (path, await files.write(path, b"x")) == (path, error)
        assert (await files.read("/none"))[:2] == (errno.ENOENT, b"")
        assert await sh(session, "a", "cat /fifo") == "kept\n"  # no writer was woken by a look
        for mode, uid in (("888", 0), ("644", -1), ("", 0), ("644", 1 << 32)):
            assert await files.write("/x", b"", mode, uid) == errno.EINVAL
        await power_off(vm, session)

    pod(scenario)


def test_what_cannot_be_written_whole_leaves_no_trace(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        await start(session, member("a", one, **SMALL), 1)
        await start(session, member("b", two, read_only=True), 2)
        files = Files(session)
        assert await files.write("/small/file", b"old") == 0
        assert await files.write("/small/file", bytes(2 * MIB)) == errno.ENOSPC
        assert await files.write("/small/other", bytes(2 * MIB)) == errno.ENOSPC
        assert await sh(
            session, "a", "ls -A /small; cat /small/file; df /small | tail -1 | grep -c ' 0%'"
        ) == ("file\nold1\n")
        assert await files.write("/small", b"x") == errno.EISDIR
        assert await Files(session, "b").write("/name", b"x") == errno.EROFS
        assert await Files(session, "b").write("/dev/shm/x", b"x") == 0
        # Ended in the middle of it.
        number, *outputs = await files.begin("hyper-write", "/data/file", "644", 0, 0, stdin=True)
        await session.agent.input(number).write(bytes(MIB))
        await sh(session, "a", "until find /data -name '.hyper-write*' -size +500k | grep .; do :; done")
        await session.agent.signal(number, SIGTERM)
        assert (await files.end(number, outputs))[0] == errno.EINTR
        assert await sh(session, "a", f"{LEFT}; cat /data/file") == "of the image\n"
        await power_off(vm, session)

    pod(scenario)


def test_a_container_goes_while_a_file_is_written(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        await start(session, member("a", one), 1)
        files = Files(session)
        number, *outputs = await files.begin("hyper-write", "/data/file", "644", 0, 0, stdin=True)
        await session.agent.destroy_container("a")
        await session.agent.input(number).eof()
        assert (await files.end(number, outputs))[0] == 0
        await start(session, member("a", one), 3)
        assert (await files.read("/data/file"))[:2] == (0, b"")
        await power_off(vm, session)

    pod(scenario)
