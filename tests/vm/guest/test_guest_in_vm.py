"""Processes of the VM outside any container, with the tools of one: the operator's, probes, forwarded ports."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest

from guest_machine import Machine, Session, process_plan
from guest_pods import (
    RunPod,
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
    ProcessPlan,
    VolumePlan,
)

pytestmark = pytest.mark.vm

ALL_OF_VM: dict[str, Any] = {
    "cap_bounding": (1 << 64) - 1,
    "cap_effective": (1 << 64) - 1,
    "cap_permitted": (1 << 64) - 1,
}


def in_vm(process: int, *args: str, **changes: Any) -> ProcessPlan:
    return ProcessPlan("", process, args, env=("PATH=/bin",), **changes)


def test_they_see_the_vm_and_use_a_containers_tools(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        agent = session.agent
        await start(session, member("a", one), 1)
        await start(session, member("b", two, read_only=True), 2)
        await agent.add_volume(VolumePlan("v", FileSystem("tmpfs"), files=(File("x", 0o644, b"volume\n"),)))

        async def vm_sh(script: str, **changes: Any) -> tuple[int, str]:
            plan = {"tools": "a", **ALL_OF_VM, **changes}
            return await session.run("", "sh", "-c", script, **plan)

        status, text = await vm_sh(
            "cat /name /run/vm/run/pod/v/x; cat /proc/1/comm; id -u; ls -d /dev/*da | sed s/vda/ubda/;"
            " grep CapEff /proc/self/status;"
            "echo x >/new; ls /run/vm/new /mine 2>&1 | wc -l; cat /proc/self/cgroup"
        )
        assert status == 0, text
        assert text.startswith("one\nvolume\ninit\n0\n/dev/ubda\n"), text
        assert "CapEff:\t000001ffffffffff" in text
        assert text.endswith("2\n0::/\n")
        assert await sh(session, "a", "ls /new /run 2>/dev/null || echo none") == "none\n"
        assert (await vm_sh("cat /name; exit 7", tools="b"))[0:2] == (7, "two\n")
        await power_off(vm, session)

    pod(scenario)


def test_they_have_terminals(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        agent = session.agent
        await start(session, member("a", one), 1)
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
        await power_off(vm, session)

    pod(scenario)


def test_the_next_session_hears_of_them(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        agent = session.agent
        await start(session, member("a", one), 1)
        await agent.start_process(replace(in_vm(51, "sleep", "1000"), tools="a"))
        # The next session hears of them.
        agent.close()
        session = await vm.session()
        agent = session.agent
        welcome = await agent.welcome(30)
        states = {state.process: state for state in welcome.processes}
        assert states[51].container == "" and not states[51].exited
        await agent.signal(51, 15)
        assert await session.status(51) == 143
        await agent.forget(51)
        stats = await agent.stats("a")
        assert stats.pids == 1
        assert await refusal(agent.start_process(in_vm(60, "sh", tools="none"))) == errno.ENOENT
        assert await refusal(agent.start_process(in_vm(61, "sh"))) == errno.ENOENT
        assert await refusal(agent.start_process(in_vm(62, "sh", init=True))) == errno.EINVAL
        await power_off(vm, session)

    pod(scenario)


def test_a_container_goes_while_its_tools_are_used(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
        agent = session.agent
        await start(session, member("a", one), 1)
        # A container goes while one of these has its tools.
        await agent.start_process(replace(in_vm(63, "sleep", "1000"), tools="a"))
        await agent.destroy_container("a", discard=True)
        await start(session, member("a", two), 64)
        assert await sh(session, "a", "cat /name") == "two\n"
        await power_off(vm, session)

    pod(scenario)


@pytest.mark.each_driver
def test_connections_into_the_pod(pod: RunPod) -> None:
    async def scenario(vm: Machine, session: Session, one: Disk, two: Disk) -> None:
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
        assert text == f"{len(much)}\n{much.decode()}connected\n"  # what it says last is its error output
        assert await connect("127.0.0.1", "8000") == (0, "0\nconnected\n")
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

    pod(scenario)
