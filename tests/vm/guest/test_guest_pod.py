"""What a pod's containers share and what each has for itself: one disk for all, volumes, processes of the VM."""

from __future__ import annotations

import asyncio
import errno
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from guest_machine import (
    STANDARD_DEVICES,
    STANDARD_MOUNTS,
    Machine,
    RunScenario,
    Scenario,
    Session,
    busybox_root,
    container_plan,
    erofs,
    ext4,
    machine,
    process_plan,
)
from hypercontainer.agent.operations import (
    ContainerOom,
    ContainerPlan,
    Disk,
    File,
    FileSystem,
    Mount,
    Preparation,
    ProcessExited,
    ProcessPlan,
    VolumePlan,
)
from hypercontainer.errors import GuestError
from hypercontainer.kernel import Kernel

pytestmark = pytest.mark.vm

PADDING = 8 * 512  # before the first image


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Disk]]:
    """Two images one after the other on a disk, and where they are."""
    directory = tmp_path_factory.mktemp("images")
    root = busybox_root(directory)
    (root / "data/deep").mkdir(parents=True)
    (root / "data/file").write_text("of the image\n")
    (root / "data/deep/link").symlink_to("../file")
    (root / "data/deep").chmod(0o2750)
    disk, parts, content = directory / "image", [], bytes(PADDING)
    for name in ("one", "two"):
        (root / "name").write_text(name + "\n")
        image = erofs(directory, root, f"{name}.erofs").read_bytes()
        image += bytes(-len(image) % 512)
        parts.append(Disk("image", "erofs", len(content), len(image)))
        content += image
    disk.write_bytes(content)
    return disk, parts


@pytest.fixture
def pod(
    guest_kernel: Kernel, guest_files: Path, images: tuple[Path, list[Disk]], tmp_path: Path
) -> tuple[RunScenario, list[Disk]]:
    """Runs a scenario in a VM with the disks "image" (two), "disk" and "volume"."""

    def run(scenario: Scenario) -> None:
        shared = tmp_path / "shared"
        (shared / "below").mkdir(parents=True)
        (shared / "below/file").write_text("of the host\n")
        (shared / "up").symlink_to("../..")
        disks = [
            ("image", images[0], True),
            ("disk", ext4(tmp_path / "disk"), False),
            ("volume", ext4(tmp_path / "volume"), False),
        ]
        share = ("-virtfs", f"local,path={shared},mount_tag=share,security_model=none,multidevs=forbid")

        async def in_machine() -> None:
            async with machine(guest_kernel, guest_files / "hyperstart", tmp_path / "vm", disks, share) as vm:
                try:
                    async with asyncio.timeout(240):
                        session = await vm.session()
                        await session.agent.welcome(60)
                        await scenario(vm, session)
                except BaseException:
                    print(vm.console)
                    raise

        asyncio.run(in_machine())
        for name in ("disk", "volume"):
            subprocess.run(["e2fsck", "-fn", tmp_path / name], check=True, stdout=subprocess.DEVNULL)

    return run, images[1]


def member(name: str, lower: Disk, **changes: Any) -> ContainerPlan:
    return container_plan(name, lower=lower, **{"upper": Disk("disk", "ext4", directory=name), **changes})


def bound(*mounts: Mount) -> dict[str, Any]:
    return {"mounts": (*STANDARD_MOUNTS, *mounts)}


async def start(session: Session, plan: ContainerPlan, process: int) -> None:
    await session.agent.create_container(plan)
    await session.agent.start_process(process_plan(plan.container, process, "sleep", "1000", init=True))


async def sh(session: Session, container: str, script: str, **changes: Any) -> str:
    status, text = await session.run(container, "sh", "-c", script, **changes)
    assert status == 0, (status, text)
    return text


async def power_off(vm: Machine, session: Session) -> None:
    """So that the disks can be looked at."""
    await session.agent.shutdown()
    await vm.ended()


async def refusal(operation: Any) -> int:
    with pytest.raises(GuestError) as caught:
        await operation
    return caught.value.errno


def test_disks_are_shared_by_parts_and_directories(pod: tuple[RunScenario, list[Disk]]) -> None:
    run, (one, two) = pod

    async def scenario(vm: Machine, session: Session) -> None:
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
            "for d in /sys/class/block/vd*; do n=${d##*/}; mknod /tmp/$n b $(tr : ' ' <$d/dev) &&"
            " head -c 4 /tmp/$n; done"
        )
        status, text = await session.run("a", "sh", "-c", script)
        assert status != 0
        assert (
            text.count("not permitted")
            == len((await sh(session, "a", "ls -d /sys/class/block/vd*")).split())
            >= 5
        )
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
        # All of a disk, for two: whatever the parts were.
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
        across = replace(one, offset_bytes=0, length_bytes=PADDING + 512)
        assert await refusal(agent.create_container(member("bad", across))) == errno.EINVAL
        await start(session, member("a", two), 21)
        await start(session, member("b", one), 22)
        assert await sh(session, "a", "cat /name") + await sh(session, "b", "cat /name") == "two\none\n"
        assert await sh(session, "b", "cd /; ls -A; ls -d mine 2>/dev/null || echo none") != ""
        # Parts that are in use stay.
        assert await refusal(agent.create_container(member("bad", across))) == errno.EBUSY
        await power_off(vm, session)

    run(scenario)


def test_volumes(pod: tuple[RunScenario, list[Disk]]) -> None:
    run, (one, two) = pod

    async def scenario(vm: Machine, session: Session) -> None:
        agent = session.agent
        files = (File("sub/config", 0o440, b"content", gid=7), File("top", 0o644, b"top"))
        agent.add_volume(VolumePlan("memory", FileSystem("tmpfs", data="size=1m"), gid=500))
        agent.add_volume(VolumePlan("contents", FileSystem("tmpfs"), files=files, read_only=True))
        agent.add_volume(VolumePlan("named.vol-1", FileSystem("ext4", serial="volume"), mode=0o1777))
        agent.add_volume(VolumePlan("share", FileSystem("9p", "share", data="trans=virtio,version=9p2000.L")))
        agent.add_volume(VolumePlan("empty", upper=Disk("disk", "ext4", directory="v-empty")))
        mounts = (
            Mount("bind", "/memory", source="memory"),
            Mount("bind", "/contents", source="contents"),
            Mount("bind", "/one/file", source="contents/sub/config"),
            Mount("bind", "/named", source="named.vol-1"),
            Mount("bind", "/share", source="share/below", read_only=True),
            Mount("bind", "/root", source="share/up/up"),
            Mount("bind", "/empty", source="empty/made/by/mount"),
        )
        await start(session, member("a", one, **bound(*mounts)), 1)
        await start(session, member("b", two, **bound(*mounts)), 2)
        look = (
            "stat -c '%a %g' /memory /named /contents/sub/config;"
            "cat /one/file /share/file /contents/top; df -k /memory | tail -1"
        )
        text = await sh(session, "a", look)
        assert text.startswith("3777 500\n1777 0\n440 7\ncontentof the host\ntop"), text
        assert " 1024 " in text
        assert await sh(session, "a", "ls /root") == "below\nup\n"  # up in the share is its root
        await sh(session, "a", "for d in memory named empty; do echo $d >/$d/file; done; touch /memory/mine")
        assert await sh(session, "b", "cat /memory/file /named/file /empty/file") == "memory\nnamed\nempty\n"
        for place in ("/contents/x", "/share/x", "/contents/sub/x"):
            assert (await session.run("a", "touch", place))[0] == 1, place
        # What a container mounts in a volume stays its own.
        await sh(
            session, "a", "mkdir /memory/m; mount -t tmpfs none /memory/m; echo x >/memory/m/x", **almighty()
        )
        assert await sh(session, "b", "ls /memory/m") == ""
        assert await refusal(agent.add_volume(VolumePlan("memory", FileSystem("tmpfs")))) == errno.EEXIST
        assert await refusal(agent.remove_volume("memory")) == errno.EBUSY
        assert await refusal(agent.remove_volume("none")) == errno.ENOENT
        missing = bound(Mount("bind", "/x", source="contents/not/there"))
        assert await refusal(agent.create_container(member("c", one, **missing))) == errno.ENOENT
        assert (
            await refusal(
                agent.create_container(member("c", one, **bound(Mount("bind", "/x", source="none"))))
            )
            == errno.ENOENT
        )
        assert (
            await refusal(
                agent.create_container(member("c", one, **bound(Mount("bind", "/x", source="../run"))))
            )
            == errno.ENOENT
        )
        for bad in (
            VolumePlan("..", FileSystem("tmpfs")),
            VolumePlan("both", FileSystem("tmpfs"), Disk("disk", "ext4", directory="x")),
            VolumePlan("neither"),
            VolumePlan("bound", FileSystem("bind", "/")),
        ):
            assert await refusal(agent.add_volume(bad)) == errno.EINVAL
        assert (
            await refusal(agent.add_volume(VolumePlan("v", FileSystem("ext4", serial="none"))))
            == errno.ENODEV
        )
        await agent.destroy_container("a")
        agent.destroy_container("b")
        for name in ("memory", "contents", "named.vol-1", "share", "empty"):
            await agent.remove_volume(name)
        await agent.add_volume(VolumePlan("again", FileSystem("ext4", serial="volume"), read_only=True))
        await start(session, member("a", one, **bound(Mount("bind", "/named", source="again"))), 3)
        assert await sh(session, "a", "cat /named/file") == "named\n"
        await power_off(vm, session)

    run(scenario)


def almighty() -> dict[str, Any]:
    every = (1 << 41) - 1
    return {"cap_bounding": every, "cap_effective": every, "cap_permitted": every}


def test_the_container_made_ahead_has_volumes_too(pod: tuple[RunScenario, list[Disk]]) -> None:
    run, (one, two) = pod

    async def scenario(vm: Machine, session: Session) -> None:
        plain = container_plan("any")
        await session.agent.prepare(
            Preparation(
                mounts=STANDARD_MOUNTS,
                devices=STANDARD_DEVICES,
                masked_paths=plain.masked_paths,
                readonly_paths=plain.readonly_paths,
            )
        )
        session = await vm.session_after(session)
        session.agent.add_volume(VolumePlan("gone", FileSystem("tmpfs")))
        session.agent.add_volume(VolumePlan("early", FileSystem("tmpfs"), files=(File("x", 0o644, b"x\n"),)))
        await session.agent.remove_volume("gone")
        await start(session, member("a", one, **bound(Mount("bind", "/v", source="early"))), 1)
        assert await sh(session, "a", "cat /v/x") == "x\n"
        lines = (await sh(session, "a", "cut -d' ' -f1,5 /proc/self/mountinfo")).splitlines()
        numbers = {place: int(number) for number, place in (line.split() for line in lines)}
        assert numbers["/proc"] < numbers["/"] < numbers["/v"]  # as it was there before the root
        await session.agent.add_volume(VolumePlan("late", FileSystem("tmpfs")))
        mounts = bound(Mount("bind", "/v", source="early"), Mount("bind", "/late", source="late"))
        await start(session, member("b", two, pid_mode=1, **mounts), 2)
        await sh(session, "b", "echo b >/v/b; echo l >/late/l")
        assert await sh(session, "a", "cat /v/b; ls -d /late 2>/dev/null || echo none") == "b\nnone\n"
        assert "run/pod" not in await sh(session, "a", "cat /proc/self/mountinfo")
        await session.agent.destroy_container("b")
        await session.agent.remove_volume("late")
        await session.agent.destroy_container("a")
        await session.agent.remove_volume("early")
        await power_off(vm, session)

    run(scenario)


def test_an_empty_volume_is_filled_from_the_image(pod: tuple[RunScenario, list[Disk]]) -> None:
    run, (one, _) = pod

    async def scenario(vm: Machine, session: Session) -> None:
        agent = session.agent
        agent.add_volume(VolumePlan("named", FileSystem("ext4", serial="volume")))
        mounts = bound(
            Mount("bind", "/data", source="named", copy_up=True),
            Mount("bind", "/nothing", source="named/other", copy_up=True),
        )
        await start(session, member("a", one, **mounts), 1)
        look = "cd /data; cat file deep/link; stat -c '%a %u %g' deep; readlink deep/link; echo changed >file"
        assert await sh(session, "a", look) == "of the image\nof the image\n2750 0 0\n../file\n"
        await agent.destroy_container("a", discard=True)
        await start(session, member("a", one, **mounts), 2)
        assert await sh(session, "a", "cat /data/file; ls /nothing") == "changed\n"
        wrong = bound(Mount("bind", "/x", source="/data", copy_up=True))
        assert await refusal(agent.create_container(member("bad", one, **wrong))) == errno.EINVAL
        files = (
            File("/a", 0o600, b"", owner="user"),
            File("/b", 0o600, b"", owner="user:extra"),
            File("/c", 0o600, b"", owner="77:more", bind=True),
            File("/d", 0o600, b"", owner=":users"),
        )
        await start(session, member("c", one, files=files), 3)
        assert (
            await sh(session, "c", "stat -c '%u %g' /a /b /c /d") == "1000 1001\n1000 1002\n77 1003\n0 1001\n"
        )
        assert await refusal(
            agent.create_container(member("bad", one, files=(File("/a", 0o600, b"", owner="nobody"),)))
        ) == (errno.EINVAL)
        await power_off(vm, session)

    run(scenario)


def in_vm(process: int, *args: str, **changes: Any) -> ProcessPlan:
    return ProcessPlan("", process, args, env=("PATH=/bin",), **changes)


def test_processes_of_the_vm(pod: tuple[RunScenario, list[Disk]]) -> None:
    run, (one, two) = pod

    async def scenario(vm: Machine, session: Session) -> None:
        agent = session.agent
        await start(session, member("a", one), 1)
        await start(session, member("b", two, read_only=True), 2)
        await agent.add_volume(VolumePlan("v", FileSystem("tmpfs"), files=(File("x", 0o644, b"volume\n"),)))

        async def vm_sh(script: str, **changes: Any) -> tuple[int, str]:
            plan = {"tools": "a", **ALL_OF_VM, **changes}
            return await session.run("", "sh", "-c", script, **plan)

        status, text = await vm_sh(
            "cat /name /run/vm/run/pod/v/x; cat /proc/1/comm; id -u; ls -d /dev/vda; grep CapEff /proc/self/status;"
            "echo x >/new; ls /run/vm/new /mine 2>&1 | wc -l; cat /proc/self/cgroup"
        )
        assert status == 0, text
        assert text.startswith("one\nvolume\ninit\n0\n/dev/vda\n"), text
        assert "CapEff:\t000001ffffffffff" in text
        assert text.endswith("2\n0::/\n")
        assert await sh(session, "a", "ls /new /run 2>/dev/null || echo none") == "none\n"
        assert (await vm_sh("cat /name; exit 7", tools="b"))[0:2] == (7, "two\n")
        # With a terminal; its size and signals work as any other's.
        plan = replace(
            in_vm(50, "sh", "-c", "stty size; read x; stty size; exit 3"),
            tools="a",
            tty=True,
            stdin=True,
            rows=10,
            columns=20,
        )
        started = agent.start_process(plan)
        output = session.collect(50)
        await started
        await output.until(b"10 20")
        await agent.resize(50, 30, 40)
        await agent.input(50).write(b"\n")
        await output.until(b"30 40")
        assert await session.status(50) == 3
        await agent.start_process(replace(in_vm(51, "sleep", "1000"), tools="a"))
        # The next session hears of them.
        agent.close()
        session = await vm.session()
        agent = session.agent
        welcome = await agent.welcome(30)
        states = {state.process: state for state in welcome.processes}
        assert states[51].container == "" and states[50].exited and not states[51].exited
        await agent.signal(51, 15)
        assert await session.status(51) == 143
        await agent.forget(51)
        stats = await agent.stats("a")
        assert stats.pids == 1
        assert await refusal(agent.start_process(in_vm(60, "sh", tools="none"))) == errno.ENOENT
        assert await refusal(agent.start_process(in_vm(61, "sh"))) == errno.ENOENT
        assert await refusal(agent.start_process(in_vm(62, "sh", init=True))) == errno.EINVAL
        # A container goes while one of these has its tools.
        await agent.start_process(replace(in_vm(63, "sleep", "1000"), tools="a"))
        await agent.destroy_container("a", discard=True)
        await start(session, member("a", two), 64)
        assert await sh(session, "a", "cat /name") == "two\n"
        await power_off(vm, session)

    run(scenario)


ALL_OF_VM: dict[str, Any] = {
    "cap_bounding": (1 << 64) - 1,
    "cap_effective": (1 << 64) - 1,
    "cap_permitted": (1 << 64) - 1,
}


def test_connections_into_the_pod(pod: tuple[RunScenario, list[Disk]]) -> None:
    run, (one, _) = pod

    async def scenario(vm: Machine, session: Session) -> None:
        agent = session.agent
        await start(session, member("a", one), 1)

        async def connect(*args: str, stdin: bytes | None = None) -> tuple[int, str]:
            return await session.run("", "hyper-connect", *args, stdin=stdin)

        status, text = await connect("127.0.0.1", "8000")
        assert status == 1
        assert text == "hyper-connect: 127.0.0.1 port 8000: connection refused\n"
        assert (await connect("example.org", "8000"))[0] == 1
        assert (await connect("127.0.0.1", "0"))[0] == 1
        assert (await connect("127.0.0.1"))[0] == 2
        # One that answers after it has read everything: its answer comes after our end.
        listening = "nc -ll -p 8000 -e sh -c 'cat >/tmp/got; wc -c </tmp/got; cat /tmp/got'"
        await agent.start_process(process_plan("a", 2, "sh", "-c", listening))
        script = "until nc -z 127.0.0.1 8000 2>/dev/null || nc 127.0.0.1 8000 </dev/null; do :; done"
        await sh(session, "a", script)
        much = bytes(range(65, 91)) * 40000
        status, text = await connect("localhost", "8000", stdin=much)
        assert status == 0
        assert text == f"{len(much)}\n" + much.decode()
        assert await connect("127.0.0.1", "8000") == (0, "0\n")
        # One that closes first ends it, also where nobody has ended the input.
        await agent.start_process(process_plan("a", 3, *"nc -ll -p 8001 -e echo hello".split()))
        await sh(session, "a", "until nc 127.0.0.1 8001 </dev/null; do :; done")
        started = agent.start_process(in_vm(70, "hyper-connect", "127.0.0.1", "8001", stdin=True))
        output = session.collect(70)
        await started
        assert await output.text() == "hello\n"
        await agent.input(70).eof()
        assert await session.status(70) == 0
        await power_off(vm, session)

    run(scenario)


def test_one_container_dies_of_memory_and_the_others_live(pod: tuple[RunScenario, list[Disk]]) -> None:
    run, (one, two) = pod

    async def scenario(vm: Machine, session: Session) -> None:
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

    run(scenario)
