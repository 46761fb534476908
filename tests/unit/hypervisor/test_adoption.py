"""A VM that is ending while somebody takes it up."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor import helpers
from hypercontainer.hypervisor.driver import VMRecord
from hypercontainer.hypervisor.qemu.driver import QemuDriver
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.spec import Accelerator
from hypercontainer.linux.process import boot_id, start_ticks


def adopted(tmp_path: Path, process: subprocess.Popen[bytes]) -> bool:
    run = RunDir(tmp_path / "run")
    run.create()
    started = start_ticks(process.pid)
    assert started is not None
    record = VMRecord("qemu", "a", "web", run.path, Accelerator.TCG, process.pid, started, boot_id())
    run.write_record(record)
    return asyncio.run(QemuDriver(tmp_path / "facts").adopt(record)) is not None


def test_one_whose_sockets_are_gone_and_which_ends_then_is_gone(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "0.2"]) as process:
        assert not adopted(tmp_path, process)
    assert not (tmp_path / "run").exists()


def test_one_that_does_not_end_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helpers, "ENDING_S", 0.1)
    with subprocess.Popen(["sleep", "1000"]) as process:
        try:
            with pytest.raises(HypervisorError, match="cannot be reached"):
                adopted(tmp_path, process)
        finally:
            process.kill()
    assert (tmp_path / "run").exists()
