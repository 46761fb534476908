"""Storage that a pod's containers share: every kind of it, what it begins with, who sees it and for how long."""

from __future__ import annotations

import errno

import pytest

from guest_machine import STANDARD_DEVICES, STANDARD_MOUNTS, Machine, Session, container_plan, process_plan
from guest_pods import (
    ALMIGHTY,
    RunPod,
    bound,
    member,
    power_off,
    refusal,
    sh,
    start,
)
from hypercontainer.agent.operations import (
    Disk,
    File,
    FileSystem,
    Mount,
    Preparation,
    VolumePlan,
)

pytestmark = pytest.mark.vm

EVERYWHERE = (
    Mount("bind", "/memory", source="memory"),
    Mount("bind", "/contents", source="contents"),
    Mount("bind", "/one/file", source="contents/sub/config"),
    Mount("bind", "/named", source="named.vol-1"),
    Mount("bind", "/share", source="share/below", read_only=True),
    Mount("bind", "/root", source="share/up/up"),
    Mount("bind", "/empty", source="empty/made/by/mount"),
)


def add_all_kinds(session: Session) -> None:
    agent = session.agent
    files = (File("sub/config", 0o440, b"content", gid=7), File("top", 0o644, b"top"))
    agent.add_volume(VolumePlan("memory", FileSystem("tmpfs", data="size=1m"), gid=500))
    agent.add_volume(VolumePlan("contents", FileSystem("tmpfs"), files=files, read_only=True))
    agent.add_volume(VolumePlan("named.vol-1", FileSystem("ext4", serial="volume"), mode=0o1777))
    agent.add_volume(VolumePlan("share", FileSystem("9p", "share", data="trans=virtio,version=9p2000.L")))
    agent.add_volume(VolumePlan("empty", upper=Disk("disk", "ext4", directory="v-empty")))


@pytest.mark.each_driver
@pytest.mark.needs("9p")
def test_every_kind_of_volume(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        agent = session.agent
        add_all_kinds(session)
        await start(session, member("a", one, **bound(*EVERYWHERE)), 1)
        await start(session, member("b", two, **bound(*EVERYWHERE)), 2)
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
            session, "a", "mkdir /memory/m; mount -t tmpfs none /memory/m; echo x >/memory/m/x", **ALMIGHTY
        )
        assert await sh(session, "b", "ls /memory/m") == ""
        await agent.destroy_container("a")
        agent.destroy_container("b")
        for name in ("memory", "contents", "named.vol-1", "share", "empty"):
            await agent.remove_volume(name)
        await agent.add_volume(VolumePlan("again", FileSystem("ext4", serial="volume"), read_only=True))
        await start(session, member("a", one, **bound(Mount("bind", "/named", source="again"))), 3)
        assert await sh(session, "a", "cat /named/file") == "named\n"
        await power_off(vm, session)

    pod(scenario)


def test_what_cannot_be_a_volume(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        agent = session.agent
        memory = VolumePlan("memory", FileSystem("tmpfs"), read_only=True)
        await agent.add_volume(memory)
        await start(session, member("a", one, **bound(Mount("bind", "/m", source="memory"))), 1)
        assert await refusal(agent.add_volume(VolumePlan("memory", FileSystem("tmpfs")))) == errno.EEXIST
        assert await refusal(agent.remove_volume("memory")) == errno.EBUSY
        assert await refusal(agent.remove_volume("none")) == errno.ENOENT
        missing = bound(Mount("bind", "/x", source="memory/not/there"))
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
        await power_off(vm, session)

    pod(scenario)


@pytest.mark.each_driver
def test_the_container_made_ahead_has_volumes_too(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
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

    pod(scenario)


def test_an_empty_volume_is_filled_from_the_image(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        agent = session.agent
        agent.add_volume(VolumePlan("named", FileSystem("ext4", serial="volume"), tidy=True))
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
        await power_off(vm, session)

    pod(scenario)


def test_what_a_volume_has_become_stays(pod: RunPod) -> None:
    """Its root has the image's owner and mode once, and a file system's own directory is no part of it."""

    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        agent = session.agent
        emptied = VolumePlan("empty", upper=Disk("disk", "ext4", directory="v-empty"), mode=0o777)
        agent.add_volume(VolumePlan("named", FileSystem("ext4", serial="volume"), tidy=True))
        agent.add_volume(emptied)
        nowhere = Mount("bind", "/nowhere", source="named", copy_up=True)
        hollow = Mount("bind", "/hollow", source="named", copy_up=True)
        empty = Mount("bind", "/empty", source="empty")
        await start(session, member("a", one, **bound(nowhere, empty)), 1)
        look = "stat -c '%a %u' {0}; ls -A {0}; chown 5 {0}; chmod 700 {0}"
        assert await sh(session, "a", look.format("/nowhere")) == "755 0\n"  # the image says nothing of it
        assert await sh(session, "a", look.format("/empty")) == "777 0\n"
        await start(session, member("b", two, **bound(nowhere, empty)), 2)
        for place in ("/nowhere", "/empty"):
            assert await sh(session, "a", f"stat -c '%a %u' {place}") == "700 5\n", place
        await start(session, member("c", one, **bound(hollow)), 3)
        assert await sh(session, "c", look.format("/hollow")) == "711 0\n"  # as the first image that has it
        await start(session, member("d", two, **bound(hollow)), 4)
        assert await sh(session, "d", "stat -c '%a %u' /hollow") == "700 5\n"
        for container in "abcd":
            await agent.destroy_container(container)
        await agent.remove_volume("empty")
        await agent.add_volume(emptied)
        await start(session, member("a", one, **bound(empty)), 5)
        assert await sh(session, "a", "stat -c '%a %u' /empty") == "700 5\n"
        await power_off(vm, session)

    pod(scenario)


def test_a_root_that_is_read_only_has_what_a_program_needs(pod: RunPod) -> None:
    """All that is missing is made before: its working directory, /etc/mtab, files; but nothing in what a user mounts
    read-only."""

    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        agent = session.agent
        agent.add_volume(VolumePlan("etc", FileSystem("tmpfs"), files=(File("hosts", 0o644, b"mine\n"),)))
        await start(session, member("a", one, read_only=True, cwd="/no/dir", mounts=STANDARD_MOUNTS), 1)
        assert await sh(session, "a", "cd /no/dir && pwd; readlink /etc/mtab") == "/no/dir\n/proc/mounts\n"
        files = (File("/etc/hosts", 0o644, b"ours\n", bind=True), File("/etc/new", 0o644, b"", bind=True))
        theirs = bound(Mount("bind", "/etc", source="etc", read_only=True))
        await start(session, member("b", two, files=files, **theirs), 2)
        assert await sh(session, "b", "ls /etc; cat /etc/hosts") == "hosts\nours\n"
        for missing, why in (("/no/where", errno.ENOENT), ("/name/x", errno.ENOTDIR)):
            process = process_plan("a", 9, "true", cwd=missing)
            assert await refusal(agent.start_process(process)) == why
        assert await refusal(agent.create_container(member("c", one, cwd="/name"))) == errno.ENOTDIR
        await power_off(vm, session)

    pod(scenario)


def test_files_have_owners_of_the_image(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        agent = session.agent
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

    pod(scenario)
