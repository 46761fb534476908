"""Containers in a real guest: what they see, share and keep, and how they end."""

from __future__ import annotations

import errno
import signal
import stat
from typing import Any

import pytest

from guest_machine import (
    MS_NODEV,
    STANDARD_DEVICES,
    STANDARD_MOUNTS,
    Machine,
    RunScenario,
    Scenario,
    Session,
    container_plan,
    process_plan,
)
from hypercontainer.agent.operations import (
    ContainerOom,
    ContainerUpdate,
    Device,
    Disk,
    File,
    FileSystem,
    Mount,
    ProcessExited,
    Sysctl,
    VolumePlan,
)
from hypercontainer.agent.wire import Operation
from hypercontainer.errors import GuestError

pytestmark = pytest.mark.vm

UPPER = Disk("upper", "ext4")
ALL_CAPABILITIES = (1 << 41) - 1
ALMIGHTY: dict[str, Any] = {
    "cap_bounding": ALL_CAPABILITIES,
    "cap_effective": ALL_CAPABILITIES,
    "cap_permitted": ALL_CAPABILITIES,
}


async def start(session: Session, name: str, process: int, *, plan: dict[str, Any] | None = None) -> None:
    await session.agent.create_container(container_plan(name, **(plan or {})))
    await session.agent.start_process(process_plan(name, process, "sleep", "1000", init=True))


async def sh(session: Session, container: str, script: str, **changes: Any) -> str:
    """What a script says; it must succeed."""
    status, text = await session.run(container, "sh", "-c", script, **changes)
    assert status == 0, (status, text)
    return text


async def refused(session: Session, name: str = "bad", **changes: Any) -> GuestError:
    with pytest.raises(GuestError) as caught:
        await session.agent.create_container(container_plan(name, **changes))
    return caught.value


async def root_and_mounts(vm: Machine, session: Session) -> None:
    files = (
        File("/etc/hosts", 0o644, b"127.0.0.1 localhost\n", bind=True),
        File("/etc/written", 0o640, b"content", uid=5, gid=6),
        File("/run/secret", 0o400, b"secret"),
    )
    mounts = (
        *STANDARD_MOUNTS,
        Mount("tmpfs", "/run", data="mode=755", flags=MS_NODEV),
        Mount("ext4", "/data/deep/volume", serial="volume"),
        Mount("bind", "/pod/shared", source="emptydir/one"),
        Mount("bind", "/again", source="/data/deep", read_only=True),
        # The image's link leads out of the root: its target is made inside.
        Mount("tmpfs", "/etc/outside", data="size=1m"),
    )
    devices = (*STANDARD_DEVICES, Device("/dev/mine", stat.S_IFCHR | 0o600, 1, 3, 7, 8))
    await session.agent.add_volume(VolumePlan("emptydir", FileSystem("tmpfs")))
    await start(session, "c", 1, plan={"upper": UPPER, "files": files, "mounts": mounts, "devices": devices})

    assert await sh(session, "c", "cat /etc/hosts /etc/written /run/secret") == (
        "127.0.0.1 localhost\ncontentsecret"
    )
    assert (await sh(session, "c", "stat -c '%a %u %g' /etc/written /dev/mine")).split("\n")[:2] == [
        "640 5 6",
        "600 7 8",
    ]
    assert "hosts" in await sh(session, "c", "grep /etc/hosts /proc/mounts")
    await sh(
        session,
        "c",
        "echo kept > /data/deep/volume/file; echo x >> /etc/hosts; grep -q ' /outside ' /proc/mounts",
    )
    assert (await session.run("c", "touch", "/again/x"))[0] == 1
    # The volume below was not bound with MS_REC.
    assert await sh(session, "c", "ls /again; for l in fd stdin ptmx; do readlink /dev/$l; done") == (
        "volume\n/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n"
    )
    # Masked and read-only places.
    assert await sh(session, "c", "cat /proc/keys; ls -A /sys/firmware") == ""
    assert (await session.run("c", "sh", "-c", "echo 1 >/proc/sys/kernel/panic"))[0] != 0


async def isolation(vm: Machine, session: Session) -> None:
    await start(session, "c", 1, plan={"upper": UPPER})
    # Nothing of the VM: no other mounts, its processes and its program neither.
    text = await sh(
        session, "c", "cut -d' ' -f2 /proc/mounts; ls /; ls -d /proc/[0-9]*; cat /proc/self/cgroup"
    )
    assert "/l\n" not in text
    assert "hyper" not in text
    assert text.endswith("0::/\n")
    assert "/proc/1\n" in text


async def writable_disks(vm: Machine, session: Session) -> None:
    """They outlive the container; what was bound does not lie on them."""
    files = (File("/etc/hosts", 0o644, b"hosts", bind=True), File("/etc/written", 0o640, b"content"))
    await start(session, "c", 1, plan={"upper": UPPER, "files": files})
    await sh(session, "c", "echo y >/kept; echo x >>/etc/hosts; cat /etc/hosts")
    await session.agent.destroy_container("c")
    await session.agent.forget(1)
    await start(session, "c", 2, plan={"upper": UPPER})
    assert await sh(session, "c", "cat /kept; wc -c </etc/hosts; cat /etc/written") == "y\n0\ncontent"


async def read_only_roots(vm: Machine, session: Session) -> None:
    await start(session, "ro", 1, plan={"scratch": False})
    await start(session, "both", 2, plan={"upper": UPPER, "read_only": True})
    for name in ("ro", "both"):
        status, text = await session.run(name, "touch", "/x")
        assert status == 1
        assert "Read-only file system" in text
        assert await sh(session, name, "echo x >/dev/shm/x; cat /dev/shm/x") == "x\n"
    await start(session, "scratch", 3)
    await sh(session, "scratch", "echo x >/x; rm /bin/wc; ! ls /bin/wc 2>/dev/null")
    assert "wc" in await sh(session, "ro", "ls /bin")


async def failures_leave_nothing(vm: Machine, session: Session) -> None:
    agent = session.agent
    error = await refused(session, lower=Disk("none", "erofs"))
    assert error.errno == errno.ENODEV
    assert 'disk "none"' in str(error)
    assert (await refused(session, lower=Disk("lower", "nofs"))).errno == errno.ENODEV
    assert (await refused(session, upper=Disk("lower", "ext4"))).errno == errno.EBUSY
    assert (await refused(session, upper=UPPER, mounts=(Mount("nofs", "/x"),))).errno == errno.ENODEV
    assert (
        await refused(session, upper=UPPER, mounts=(Mount("bind", "/x", source="/nothing"),))
    ).errno == errno.ENOENT
    assert (await refused(session, sysctls=(Sysctl("../../etc/x", "1"),))).errno in (
        errno.ENOENT,
        errno.EINVAL,
    )
    assert (await refused(session, sysctls=(Sysctl("no.such", "1"),))).errno == errno.ENOENT
    assert (await refused(session, cpu_max="nonsense")).errno == errno.EINVAL
    assert (await refused(session, name="not/a/name")).errno == errno.EINVAL
    assert (await refused(session, files=(File("/bin", 0o644, b""),))).errno == errno.EINVAL
    for operation in (agent.destroy_container("bad"), agent.tasks("bad"), agent.stats("bad")):
        with pytest.raises(GuestError) as caught:
            await operation
        assert caught.value.errno == errno.ENOENT
    # The same name and the same disks are free.
    await start(session, "bad", 1, plan={"upper": UPPER})
    error = await refused(session)
    assert error.errno == errno.EEXIST
    with pytest.raises(GuestError) as caught:
        await agent.start_process(process_plan("bad", 9, "true", init=True))
    assert caught.value.errno == errno.EBUSY


async def a_pod_of_three(vm: Machine, session: Session) -> None:
    session.agent.add_volume(VolumePlan("shared", FileSystem("tmpfs")))
    for process, name in enumerate(("a", "b", "c"), 1):
        mounts = (*STANDARD_MOUNTS, Mount("bind", "/shared", source="shared"))
        await start(session, name, process, plan={"mounts": mounts})
    # One network: a listener on loopback in one answers in another.  One IPC namespace.
    await session.agent.start_process(process_plan("a", 10, *"nc -ll -p 8000 -e echo from a".split()))
    script = "for i in 1 2 3 4 5 6 7 8 9; do nc 127.0.0.1 8000 </dev/null 2>/dev/null && exit; sleep 1; done"
    assert await sh(session, "b", script) == "from a\n"
    assert await sh(
        session, "c", "ls -l /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts | sed 's/.*-> //'"
    ) == (
        await sh(
            session, "a", "ls -l /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts | sed 's/.*-> //'"
        )
    )
    await sh(session, "a", "echo hello >/shared/file; echo mine >/mine")
    assert await sh(session, "b", "cat /shared/file; ls /mine 2>/dev/null || echo none") == "hello\nnone\n"
    # Own PIDs each.
    for name in ("a", "b", "c"):
        assert (await sh(session, name, "cat /proc/1/comm; ps -o comm | grep -c sleep")).startswith(
            "sleep\n1\n"
        )
    # The end of one leaves the others.
    await session.agent.destroy_container("b")
    assert await session.status(2) == 137
    assert await sh(session, "c", "cat /shared/file") == "hello\n"


async def shared_pids(vm: Machine, session: Session) -> None:
    await start(session, "a", 1, plan={"pid_mode": 1})
    await start(session, "b", 2, plan={"pid_mode": 1})
    text = await sh(session, "a", "ps -o pid,comm")
    assert text.count("sleep") == 2
    assert "    1 hyper-pod" in text
    # Its init sees nothing of the VM, whoever looks.
    assert await sh(session, "a", "ls /proc/1/root; cat /proc/1/mounts | wc -l", **ALMIGHTY) == "1\n"
    _, text = await session.run("a", "sh", "-c", "for p in /proc/[0-9]*; do cat $p/comm; done", **ALMIGHTY)
    assert "hyperstart" not in text
    # The end of its init is the end of the container.
    await session.agent.start_process(process_plan("a", 3, "sleep", "2000"))
    await session.agent.signal(1, signal.SIGTERM)
    assert [await session.status(1), await session.status(3)] == [143, 137]
    assert (await sh(session, "b", "ps -o comm")).count("sleep") == 1
    await session.agent.destroy_container("a")
    await start(session, "a", 4, plan={"pid_mode": 1})
    assert (await sh(session, "b", "ps -o comm")).count("sleep") == 2


async def freezing(vm: Machine, session: Session) -> None:
    agent = session.agent
    await agent.create_container(container_plan("c"))
    started = agent.start_process(process_plan("c", 1, "sh", "-c", "while :; do echo x; done", init=True))
    output = session.collect(1)
    await started
    await output.until(b"x")
    await agent.freeze("c", True)
    with pytest.raises(GuestError) as caught:
        await session.run("c", "true")
    assert caught.value.errno == errno.EBUSY
    (task,) = await agent.tasks("c")
    before = task.cpu_ns
    await agent.ping()
    (task,) = await agent.tasks("c")
    assert task.cpu_ns == before
    await agent.freeze("c", False)
    size = len(output.data)
    await output.until(b"x" + bytes(output.data[1:size]) + b"x") if size == 0 else None
    assert await session.run("c", "echo", "awake") == (0, "awake\n")
    await agent.freeze("c", True)
    await agent.destroy_container("c")
    assert await session.status(1) == 137


async def limits_and_numbers(vm: Machine, session: Session) -> None:
    agent = session.agent
    plan = {"memory_max_bytes": 32 << 20, "pids_max": 8, "cpu_max": "50000 100000", "cpu_weight": 50}
    await start(session, "c", 1, plan=plan)
    assert await sh(session, "c", "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max cpu.weight") == (
        f"{32 << 20}\n8\n50000 100000\n50\n"
    )
    status, text = await session.run("c", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 5 & done; wait")
    assert status != 0
    assert "fork" in text
    # Too much memory: the process is killed, and both events tell why.
    started = agent.start_process(
        process_plan("c", 2, "dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1")
    )
    await started
    assert await session.status(2) == 137
    event = await session.event(ProcessExited, process=2)
    assert isinstance(event, ProcessExited)
    assert event.oom
    await session.event(ContainerOom, container="c")
    # No host asks for this yet.
    new = ContainerUpdate("c", memory_max_bytes=64 << 20, pids_max=100)
    await agent._do(Operation.CONTAINER_UPDATE, "c", new, 30.0)
    assert await sh(session, "c", "cd /sys/fs/cgroup; cat memory.max pids.max") == f"{64 << 20}\n100\n"

    tasks = [task for task in await agent.tasks("c") if task.container_pid == 1]
    assert [task.command for task in tasks] == ["sleep 1000"]
    assert tasks[0].pid > 1
    assert tasks[0].rss_bytes > 0
    stats = await agent.stats("c")
    assert stats.memory_max_bytes == 64 << 20
    assert 0 < stats.memory_bytes < 64 << 20
    assert stats.cpu_ns > 0
    assert stats.pids >= 1
    whole = await agent.stats()
    assert whole.memory_max_bytes > stats.memory_max_bytes
    assert whole.cpu_ns >= stats.cpu_ns  # by ticks, of which nobody else may have had one
    assert whole.block_read_bytes > 0


async def groups_of_its_own(vm: Machine, session: Session) -> None:
    """As systemd does: init moves into a group below and hands the controllers on; exec still works."""
    mounts = (*STANDARD_MOUNTS[:-1], Mount("cgroup2", "/sys/fs/cgroup"))
    await session.agent.create_container(container_plan("c", mounts=mounts, privileged=True))
    hand_on = "mkdir init; echo 1 >init/cgroup.procs; echo +pids >cgroup.subtree_control"
    script = f"cd /sys/fs/cgroup; {hand_on}; echo ready; exec sleep 1000"
    started = session.agent.start_process(process_plan("c", 1, "sh", "-c", script, init=True, **ALMIGHTY))
    output = session.collect(1)
    await started
    await output.until(b"ready\n")
    assert (await sh(session, "c", "cat /proc/self/cgroup")) == "0::/init\n"
    assert len(await session.agent.tasks("c")) == 1
    await session.agent.destroy_container("c")
    await start(session, "c", 2)


async def devices(vm: Machine, session: Session) -> None:
    await start(session, "c", 1)
    await start(session, "privileged", 2, plan={"privileged": True})
    mknod = "mknod /dev/disk b $(cat /sys/class/block/*da/dev | tr : ' ') && head -c 4 /dev/disk"
    status, text = await session.run("c", "sh", "-c", mknod)
    assert status != 0
    assert "Operation not permitted" in text
    assert (
        await sh(session, "c", "mknod /tmp/null c 1 3 && echo x >/tmp/null && head -c 2 /dev/zero | wc -c")
        == "2\n"
    )
    assert "da\n" in await sh(
        session, "privileged", "ls -d /dev/*da; head -c 4 /dev/*da >/dev/null", **ALMIGHTY
    )
    # Even an almighty process cannot uncover the VM's root.
    script = "umount -l /dev /proc /sys 2>/dev/null; umount -l / 2>/dev/null; ls /"
    status, text = await session.run("privileged", "sh", "-c", script, **ALMIGHTY)
    assert "run" not in text.split()
    assert "modules" not in text.split()


async def containers_without_end(vm: Machine, session: Session) -> None:
    """Many times the same, in one VM: nothing accumulates."""
    for i in range(12):
        await start(session, "c", 1 + i, plan={"upper": UPPER})
        await sh(session, "c", f"echo {i} >/file{i}")
        await session.agent.destroy_container("c")
        await session.agent.forget(1 + i)
    await start(session, "c", 100, plan={"upper": UPPER, "privileged": True})
    assert (await sh(session, "c", "ls / | grep -c file")) == "12\n"


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(root_and_mounts, marks=pytest.mark.each_driver),
        isolation,
        writable_disks,
        read_only_roots,
        failures_leave_nothing,
        a_pod_of_three,
        shared_pids,
        freezing,
        pytest.param(limits_and_numbers, marks=pytest.mark.each_driver),
        groups_of_its_own,
        pytest.param(devices, marks=pytest.mark.each_driver),
        containers_without_end,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_containers(guest: RunScenario, scenario: Scenario) -> None:
    guest(scenario)
