"""VBoxManage as it is run, by what acts as it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hypercontainer.suite.leftovers import state
from until import until

HYPERD = """
import asyncio, sys
from hypercontainer.hypervisor.virtualbox.manage import Installation, Manage

async def main():
    async with Manage(Installation(sys.argv[1])).served("uuid"):
        print(flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_what_keeps_the_server_ends_with_a_hyperd_that_is_killed(tmp_path: Path) -> None:
    acting = tmp_path / "VBoxManage"
    acting.write_text(
        f"#!/bin/sh\necho $$ > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid; exec sleep 1000\n"
    )
    acting.chmod(0o755)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", HYPERD, str(acting)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as hyperd:
        assert hyperd.stdout is not None
        hyperd.stdout.readline()
        written = tmp_path / "pid"
        until(written.exists, "it runs")
        hyperd.kill()
    entry = Path("/proc", written.read_text().strip())
    until(lambda: state(entry) in ("", "Z"), "it has ended")
