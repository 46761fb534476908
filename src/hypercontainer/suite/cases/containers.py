"""All of it together: a container in the VM, over the line to its agent."""

from __future__ import annotations

import hashlib
import os

from hypercontainer.hypervisor.driver import ExitReason
from hypercontainer.suite.case import case
from hypercontainer.suite.container import Container
from hypercontainer.suite.harness import MEBIBYTE
from hypercontainer.suite.linux import LinuxHarness


@case("linux")
async def a_process_runs_and_what_it_says_comes_back(harness: LinuxHarness) -> None:
    one = Container(harness)
    await one.begin()
    assert await one.says("echo hello; cat", stdin=b"input") == b"hello\ninput"
    assert b"busybox" in await one.says("ls /bin")
    one.agent.shutdown()
    assert (await one.vm.wait()).reason is ExitReason.GUEST_SHUTDOWN


@case("linux")
async def much_goes_over_the_line_both_ways_and_arrives_whole(harness: LinuxHarness) -> None:
    """Any byte there is, twice as much as fits into a window."""
    data = bytes(range(256)) * 16 + os.urandom(2 * MEBIBYTE)
    one = Container(harness)
    await one.begin()
    assert (await one.says("cat", stdin=data)) == data
    assert (await one.says("sha256sum", stdin=data)).split()[0].decode() == hashlib.sha256(data).hexdigest()
