"""A VM made ready to be saved: its session is over, and a container is half made that the next one may take over."""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import re
import stat
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guest_machine import (
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    STANDARD_DEVICES,
    STANDARD_MOUNTS,
    Machine,
    RunScenario,
    Session,
    container_plan,
    process_plan,
    vm_config,
)
from hypercontainer.agent.operations import (
    ContainerPlan,
    Device,
    Disk,
    File,
    Interface,
    Mount,
    Preparation,
)
from hypercontainer.errors import GuestError

pytestmark = pytest.mark.vm

MAC, NEW_MAC = bytes.fromhex("525400123456"), bytes.fromhex("0200000a0b0c")
DISABLED = "/proc/sys/net/ipv6/conf/eth0/disable_ipv6"
DUAL = Interface(MAC, "eth0", ("10.0.2.15/24", "fd00::15/64"), ("10.0.2.2",))
PREPARATION = Preparation(
    mounts=STANDARD_MOUNTS,
    devices=STANDARD_DEVICES,
    masked_paths=container_plan("any").masked_paths,
    readonly_paths=container_plan("any").readonly_paths,
)
numbers = itertools.count(1)  # a process's is never used again in its VM
LOOK = (
    "cd /; ls -ld /* /dev/* /dev/pts/ptmx; cat /proc/self/cgroup; cat /sys/fs/cgroup/*.max;"
    "cat /proc/1/comm; df -k /dev /dev/shm | tail -n +2; cat /proc/kcore | wc -c;"
    "echo x 2>&1 >/proc/sys/kernel/hostname; touch /sys/x 2>&1; touch /file && echo x >/dev/null;"
    "head -c 3 /dev/zero | od; touch /dev/shm/x; id; env; ls /sys/firmware; readlink /dev/fd; readlink /dev/stdin"
)


async def prepared(vm: Machine, session: Session, preparation: Preparation = PREPARATION) -> Session:
    """The session after the preparation."""
    await session.agent.prepare(preparation)
    return await vm.session_after(session)


async def start(session: Session, plan: ContainerPlan) -> None:
    await session.agent.create_container(plan)
    init = process_plan(plan.container, next(numbers), "sleep", "1000", init=True)
    await session.agent.start_process(init)


async def end(session: Session, *names: str) -> None:
    for name in names or ("c",):
        await session.agent.destroy_container(name)


async def sh(session: Session, script: str, name: str = "c") -> str:
    status, text = await session.run(name, "sh", "-c", script)
    assert status == 0, text
    return text


async def mounts(session: Session, name: str = "c") -> dict[str, tuple[int, str]]:
    """By place: the mount's number, which grows with time, and all else that mountinfo (proc(5)) says of it."""
    found = {}
    for line in (await sh(session, "cat /proc/self/mountinfo", name)).splitlines():
        words = line.split()
        found[words[4]] = int(words[0]), " ".join([words[3], *words[5:]])
    return found


async def made_ahead(session: Session, name: str = "c") -> bool:
    """Whether its cgroup was there before it had a name."""
    tasks = await session.agent.tasks(name)
    status, group = await session.run("", "cat", f"/proc/{tasks[0].pid}/cgroup", tools=name)
    assert status == 0, group
    return "/c-+" in group


# ---------------------------------------------------------------------------- the container made ahead


async def what_is_made_ahead_is_what_would_be_made(vm: Machine, session: Session) -> Session:
    session = await prepared(vm, session)
    await session.agent.configure(vm_config(hostname="clone"))
    limits = {"pids_max": 50, "memory_max_bytes": 32 << 20}
    others = [f"other-{number}" for number in range(9)]
    for name in ("c", *others):
        await start(session, container_plan(name, **limits))
    assert await made_ahead(session, "c")
    assert await made_ahead(session, others[-1])
    await start(session, container_plan("shared", pid_mode=1))  # of these there are some too
    assert await made_ahead(session, "shared")
    await start(session, container_plan("d", **limits))
    assert not await made_ahead(session, "d")  # ten, and no more
    await end(session, "shared", *others)
    assert await sh(session, "hostname") == "clone\n"
    one, other = await mounts(session, "c"), await mounts(session, "d")
    assert {place: text for place, (_, text) in one.items()} == {
        place: text for place, (_, text) in other.items()
    }
    looks = [without_times(await sh(session, LOOK, name)) for name in ("c", "d")]
    assert looks[0] == looks[1]
    assert {"50", "33554432"} <= set(looks[0])

    with pytest.raises(GuestError) as caught:
        await session.agent.prepare(PREPARATION)
    assert caught.value.errno == errno.EBUSY
    await session.agent.ping()  # the session goes on, and so do its containers
    assert await sh(session, "echo on") == "on\n"
    assert await sh(session, "echo on", "d") == "on\n"
    await end(session, "c", "d")
    return session


def without_times(text: str) -> list[str]:
    """``ls -l`` without times, and without the number of links, which a /proc has by its processes."""
    plain = re.sub(r" [A-Z][a-z]{2} +[0-9]+ +([0-9]{2}:[0-9]{2}|[0-9]{4}) ", " ", text)
    lines = [line.split() for line in plain.splitlines()]
    return [" ".join(words[:1] + words[2:] if len(words) > 4 else words) for words in lines]


async def more_than_was_planned_is_added(vm: Machine, session: Session) -> Session:
    session = await prepared(vm, session)
    await session.agent.prepare(PREPARATION)  # twice: the second replaces what the first has made
    session = await vm.session_after(session)
    more = Mount("tmpfs", "/more/deep", flags=MS_NOSUID | MS_NODEV | MS_NOEXEC, data="size=4096k,mode=0700")
    volume = Mount("ext4", "/volume", serial="volume")
    plan = container_plan(
        "c",
        upper=Disk("upper", "ext4"),
        mounts=(*STANDARD_MOUNTS, more, volume),
        devices=(*STANDARD_DEVICES, Device("/dev/extra", stat.S_IFCHR | 0o600, 1, 3, uid=7)),
        files=(
            File("/etc/hosts", 0o644, b"127.0.0.1 localhost\n", bind=True),
            File("/etc/new", 0o600, b"new\n"),
        ),
    )
    await start(session, plan)
    assert await made_ahead(session)
    found = await mounts(session)
    assert {"/more/deep", "/volume", "/etc/hosts"} <= set(found)
    assert "size=4096k" in found["/more/deep"][1]
    script = "stat -c '%a %u %t %T' /dev/extra; cat /etc/hosts /etc/new; echo x >/volume/x; echo y >/y; sync; ls /dev"
    text = await sh(session, script)
    assert text.startswith("600 7 1 3\n127.0.0.1 localhost\nnew\n")
    assert {"null", "extra", "pts", "shm"} <= set(text.split())
    await end(session)
    session = await prepared(vm, session)
    await start(session, replace(plan, container="again"))
    assert await made_ahead(session, "again")
    assert await sh(session, "cat /volume/x /y", "again") == "x\ny\n"
    await end(session, "again")
    return session


DIFFERENT: dict[str, dict[str, Any]] = {
    "privileged": {"privileged": True, "masked_paths": (), "readonly_paths": ()},
    "fewer mounts": {"mounts": STANDARD_MOUNTS[:-1]},
    "another order": {"mounts": (STANDARD_MOUNTS[1], STANDARD_MOUNTS[0], *STANDARD_MOUNTS[2:])},
    "other options": {
        "mounts": (STANDARD_MOUNTS[0], replace(STANDARD_MOUNTS[1], data="mode=700"), *STANDARD_MOUNTS[2:])
    },
    "fewer devices": {"devices": STANDARD_DEVICES[:-1]},
    "another device": {
        "devices": (replace(STANDARD_DEVICES[0], mode=stat.S_IFCHR | 0o600), *STANDARD_DEVICES[1:])
    },
    "more is masked": {"masked_paths": (*PREPARATION.masked_paths, "/etc/passwd")},
    "less is masked": {"masked_paths": PREPARATION.masked_paths[:-1]},
    "more is read-only": {"readonly_paths": (*PREPARATION.readonly_paths, "/tmp")},
}


async def what_differs_is_made_as_ever(vm: Machine, session: Session) -> Session:
    for name, changes in DIFFERENT.items():
        session = await prepared(vm, session)
        plan = container_plan("c", **changes)
        await start(session, plan)
        assert not await made_ahead(session), name
        found = await mounts(session)
        assert {mount.target for mount in plan.mounts} <= set(found), name
        assert ("/sys/firmware" in found) == ("/sys/firmware" in plan.masked_paths), name
        assert ("/etc/passwd" in found) == ("/etc/passwd" in plan.masked_paths), name
        assert ("/tmp" in found) == ("/tmp" in plan.readonly_paths), name
        own = await sh(session, "ls -d /proc/[0-9]* | wc -l; cat /proc/1/comm")
        assert ("hyper-pod" in own) == (plan.pid_mode == 1), name
        await end(session)
    session = await prepared(vm, session)
    await start(session, container_plan("c"))
    assert await made_ahead(session)
    await end(session)
    return session


async def a_container_that_fails_leaves_the_next_one_alone(vm: Machine, session: Session) -> Session:
    session = await prepared(vm, session)
    bad = container_plan("c", mounts=(*STANDARD_MOUNTS, Mount("nosuchfs", "/x")))
    with pytest.raises(GuestError, match="/x") as caught:
        await session.agent.create_container(bad)
    assert caught.value.errno == errno.ENODEV
    for _ in range(12):  # more than are made ahead
        await start(session, container_plan("c"))
        last = await made_ahead(session)
        await end(session)
    assert not last
    session = await prepared(vm, session)
    await start(session, container_plan("c"))
    assert await made_ahead(session)
    await end(session)

    for preparation, number in (
        (replace(PREPARATION, mounts=(Mount("nosuchfs", "/x"),)), errno.ENODEV),
        (replace(PREPARATION, interfaces=(Interface(MAC, "eth0", ("10.0.2.300/24",)),)), errno.EINVAL),
    ):
        with pytest.raises(GuestError) as caught:
            await session.agent.prepare(preparation)
        assert caught.value.errno == number
        session = await vm.session_after(session)  # over all the same: it cannot be told how far it came
        await start(session, container_plan("c"))
        assert not await made_ahead(session)
        await end(session)
    return session


# ---------------------------------------------------------------------------- the network


async def a_clone_has_an_address_of_its_own(vm: Machine, session: Session) -> Session:
    session = await prepared(vm, session, replace(PREPARATION, interfaces=(DUAL,)))
    await session.agent.configure(vm_config(interfaces=(Interface(MAC, "eth0", new_mac=NEW_MAC),)))
    await start(session, container_plan("c"))
    assert await made_ahead(session)
    text = await sh(session, "ip link show eth0; ip addr show eth0; ip route")
    for words in (
        *("link/ether 02:00:00:0a:0b:0c", "LOWER_UP", "inet 10.0.2.15/24", "inet6 fd00::15/64"),
        "default via 10.0.2.2 dev eth0",
    ):
        assert words in text
    assert "52:54:00" not in text
    assert await sh(session, f"cat {DISABLED}") == "0\n"
    await end(session)
    return session


async def an_interface_without_an_ipv6_address_has_no_ipv6(vm: Machine, session: Session) -> Session:
    """No address and no chatter to find one.  What is told all at once, as to a VM that boots, counts too."""
    told = Interface(NEW_MAC, "eth0", ("10.0.2.16/24",), ("10.0.2.2",), mtu=1400, new_mac=MAC)
    session = await prepared(vm, session, replace(PREPARATION, interfaces=(told,)))
    await start(session, container_plan("c"))
    text = await sh(session, "ip addr show eth0; ip route")
    for words in ("52:54:00:12:34:56", "mtu 1400", "inet 10.0.2.16/24", "default via 10.0.2.2 dev eth0"):
        assert words in text
    assert "inet6" not in text
    assert await sh(session, f"cat {DISABLED}") == "1\n"
    assert "inet6 ::1" in await sh(session, "ip addr show lo")
    await session.agent.configure(vm_config(interfaces=(replace(DUAL, addresses=("fd00::16/64",)),)))
    assert await sh(session, f"cat {DISABLED}") == "0\n"
    assert "inet6 fd00::16/64" in await sh(session, "ip addr show eth0")
    await end(session)
    return session


# ---------------------------------------------------------------------------- the disks


class Monitor:
    """QEMU's control socket: which of a VM's disks have a driver."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, path: Path) -> Monitor:
        monitor = cls(*await asyncio.open_unix_connection(str(path)))
        await monitor._reader.readline()
        await monitor.do("qmp_capabilities")
        return monitor

    async def do(self, command: str, **arguments: Any) -> Any:
        self._writer.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while True:
            reply = json.loads(await self._reader.readline())
            assert "error" not in reply, reply
            if "return" in reply:
                return reply["return"]

    async def driven(self) -> list[bool]:
        """Of each disk, whether the guest's driver has it (virtio 1.1, 2.1: DRIVER_OK)."""
        disks = [each["path"] for each in await self.do("x-query-virtio") if each["name"] == "virtio-blk"]
        found = [await self.do("x-query-virtio-status", path=path) for path in disks]
        return ["DRIVER_OK" in str(each["status"]) for each in found]

    def close(self) -> None:
        self._writer.close()


async def disks_are_released_until_one_is_asked_for(vm: Machine, session: Session) -> Session:
    monitor = await Monitor.connect(vm.console_path.with_name("monitor"))
    releasing = replace(PREPARATION, release_disks=True)
    assert await monitor.driven() == [True] * 3
    session = await prepared(vm, session)
    assert await monitor.driven() == [True] * 3
    for number in range(1, 4):
        session = await prepared(vm, session, releasing)
        assert await monitor.driven() == [False] * 3
        await start(session, container_plan("c", upper=Disk("upper", "ext4")))
        assert await made_ahead(session)
        assert await monitor.driven() == [True] * 3
        assert len((await sh(session, "ls /sys/block")).split()) == 3
        assert await sh(session, f"echo {number} >>/kept; cat /kept") == lines(range(1, number + 1))
        await end(session)
    monitor.close()
    return session


def lines(numbers: Iterable[int]) -> str:
    return "".join(f"{number}\n" for number in numbers)


Part = Callable[[Machine, Session], Awaitable[Session]]


@pytest.mark.parametrize(
    "parts",
    [
        [
            what_is_made_ahead_is_what_would_be_made,
            more_than_was_planned_is_added,
            what_differs_is_made_as_ever,
            a_container_that_fails_leaves_the_next_one_alone,
        ],
        pytest.param(
            [
                disks_are_released_until_one_is_asked_for,
                a_clone_has_an_address_of_its_own,
                an_interface_without_an_ipv6_address_has_no_ipv6,
            ],
            marks=pytest.mark.needs("qemu"),
        ),
    ],
    ids=["a_container_made_ahead", "disks_and_network"],
)
def test_prepare(guest: RunScenario, parts: list[Part]) -> None:
    """In one VM one after the other: each leaves it without containers, in a session that may be prepared again."""

    async def scenario(vm: Machine, session: Session) -> None:
        for part in parts:
            session = await part(vm, session)
        await session.agent.shutdown()
        assert await vm.ended() == 0

    guest(scenario)
