"""Commands about a VM that a killed hyperd has left under way."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from pathlib import Path

from hypercontainer.hypervisor.driver import VMRecord
from hypercontainer.hypervisor.spec import Accelerator
from hypercontainer.hypervisor.virtualbox import machines


def test_our_commands_are_ended_and_nobody_elses_who_names_the_vm(tmp_path: Path) -> None:
    ours = str(uuid.uuid4())
    record = VMRecord("vb", "a", "web", tmp_path / "run", Accelerator.OWN, foreign={machines.UUID: ours})
    begun = []
    try:
        for name in ("VBoxManage", "editor"):
            program = tmp_path / name
            program.write_text("#!/bin/sh\necho here\nread -r nothing\n")
            program.chmod(0o755)
            process = subprocess.Popen([program, "about", ours], stdin=-1, stdout=-1)
            begun.append(process)
            assert process.stdout is not None
            assert process.stdout.readline() == b"here\n"
        asyncio.run(machines.interrupt(record, "VBoxManage"))
        assert begun[0].poll() is not None
        assert begun[1].poll() is None
    finally:
        for process in begun:
            process.kill()
            process.communicate()
