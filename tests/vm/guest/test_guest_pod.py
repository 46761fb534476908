"""A pod's containers: their images are parts of one disk, their changes directories of another; each may end alone."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace

import pytest

from guest_machine import Machine, Session, process_plan
from guest_pods import (
    PADDING_BYTES,
    RunPod,
    member,
    power_off,
    refusal,
    sh,
    start,
)
from hypercontainer.agent.operations import (
    ContainerOom,
    Disk,
    ProcessExited,
)
from hypercontainer.contract.limits import CONTAINERS_MAX
from hypercontainer.errors import GuestError

pytestmark = pytest.mark.vm


@pytest.mark.each_driver
def test_containers_share_disks(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        agent = session.agent
        plans = [member("a", one), member("b", two), member("c", one), member("d", two)]
        created = [agent.create_container(plan) for plan in plans]
        await asyncio.gather(*created)
        for process, plan in enumerate(plans, 1):
            await agent.start_process(process_plan(plan.container, process, "sleep", "1000", init=True))
        assert [await sh(session, c, "cat /name") for c in "abcd"] == ["one\n", "two\n", "one\n", "two\n"]
        for c in "abcd":
            await sh(session, c, f"echo {c} >/mine; rm /bin/wc")
        assert [await sh(session, c, "cat /mine") for c in "abcd"] == ["a\n", "b\n", "c\n", "d\n"]
        # No raw disk, nor a part of one.
        script = (
            "for d in /sys/class/block/*d[a-z]; do n=${d##*/}; mknod /tmp/$n b $(tr : ' ' <$d/dev) &&"
            " head -c 4 /tmp/$n; done"
        )
        status, text = await session.run("a", "sh", "-c", script)
        assert status != 0
        assert (
            text.count("not permitted")
            == len((await sh(session, "a", "ls -d /sys/class/block/*d[a-z]")).split())
            >= 3
        )
        await power_off(vm, session)

    pod(scenario)


def test_as_many_containers_as_are_promised(pod: RunPod) -> None:
    """All at once, in a VM of 256 MiB; some more fit beside them, the next is refused, and all go on."""

    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        agent = session.agent
        plans = [member(f"c{n}", (one, two)[n % 2]) for n in range(CONTAINERS_MAX)]
        await asyncio.gather(*(start(session, plan, process) for process, plan in enumerate(plans, 1)))
        assert await sh(session, plans[-1].container, "cat /name; echo x >/mine; cat /mine") == "two\nx\n"
        spare = 0
        with pytest.raises(GuestError) as refused:
            while True:
                await agent.create_container(member(f"spare{spare}", one))
                spare += 1
        assert refused.value.errno == errno.ENOSPC
        assert spare > 1
        await agent.destroy_container("spare0", discard=True)
        await agent.destroy_container("c0")
        await start(session, plans[0], CONTAINERS_MAX + 1)
        assert await sh(session, "c0", "cat /name") == "one\n"
        await asyncio.gather(*(agent.destroy_container(plan.container) for plan in plans))
        await power_off(vm, session)

    pod(scenario)


def test_a_directory_is_kept_until_it_is_discarded(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        agent = session.agent
        plans = [member("a", one), member("c", one)]
        await start(session, plans[0], 1)
        await start(session, plans[1], 2)
        for name in "ac":
            await sh(session, name, f"echo {name} >/mine; rm /bin/wc")
        # It keeps its directory, until that is discarded.
        await agent.destroy_container("a")
        await start(session, plans[0], 11)
        assert await sh(session, "a", "cat /mine; ! ls /bin/wc 2>/dev/null") == "a\n"
        deep = (
            "d=/x; for i in $(seq 150); do mkdir $d && cd $d && d=directory; done;"
            "ln -s / link; echo x >file; mknod p p; cd /; cp -r /bin /x"
        )
        await sh(session, "a", deep)
        await agent.destroy_container("a", discard=True)
        assert await sh(session, "c", "cat /mine") == "c\n"
        await start(session, plans[0], 12)
        assert await sh(session, "a", "ls /mine /x 2>/dev/null || wc -c </name") == "4\n"
        for plan in plans:
            await agent.destroy_container(plan.container, discard=True)
        await power_off(vm, session)

    pod(scenario)


def test_parts_come_and_go(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        agent = session.agent
        for process, name in enumerate("abc", 1):
            await start(session, member(name, two if name == "b" else one), process)
        for name in "abc":
            await agent.destroy_container(name, discard=True)
        whole = Disk("disk", "ext4")
        assert (
            await refusal(agent.create_container(member("bad", replace(one, length_bytes=511))))
            == errno.EINVAL
        )
        assert (
            await refusal(agent.create_container(member("bad", replace(one, length_bytes=None))))
            == errno.EINVAL
        )
        for name in ("..", "a/b", "+"):
            plan = member("bad", one, upper=replace(whole, directory=name))
            assert await refusal(agent.create_container(plan)) == errno.EINVAL
        # A disk that has changed under the guest: what was a part of the old one is in the way, and goes.
        across = replace(one, offset_bytes=0, length_bytes=PADDING_BYTES + 512)
        assert await refusal(agent.create_container(member("bad", across))) == errno.EINVAL
        await start(session, member("a", two), 21)
        await start(session, member("b", one), 22)
        assert await sh(session, "a", "cat /name") + await sh(session, "b", "cat /name") == "two\none\n"
        # Parts that are in use stay.
        assert await refusal(agent.create_container(member("bad", across))) == errno.EBUSY
        await power_off(vm, session)

    pod(scenario)


@pytest.mark.each_driver
def test_one_container_dies_of_memory_and_the_others_live(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        agent = session.agent
        await start(session, member("a", one, pid_mode=1), 1)
        await agent.create_container(member("b", two, pid_mode=1, memory_max_bytes=16 << 20))
        hog = process_plan("b", 2, *"dd if=/dev/zero of=/dev/null bs=64M count=1".split(), init=True)
        await agent.start_process(hog)
        assert await session.status(2) == 137
        event = await session.event(ProcessExited, process=2)
        assert isinstance(event, ProcessExited)
        assert event.oom
        await session.event(ContainerOom, container="b")
        assert await sh(session, "a", "ps -o comm | grep -c sleep") == "1\n"
        await agent.destroy_container("b", discard=True)
        await start(session, member("b", two, pid_mode=1), 3)
        # Shared memory and queues are the pod's.
        await sh(session, "a", "echo x >/dev/mqueue/q 2>/dev/null; touch /dev/mqueue/queue")
        assert "queue" in await sh(session, "b", "ls /dev/mqueue")
        assert await sh(session, "b", "ps -o comm | grep -c sleep") == "2\n"
        await agent.signal(1, 9)
        assert await session.status(1) == 137
        assert await sh(session, "b", "ps -o comm | grep -c sleep") == "1\n"
        await power_off(vm, session)

    pod(scenario)
