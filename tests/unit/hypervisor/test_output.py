"""A VM's console is heard by whoever holds the VM, also where two do for a moment."""

from __future__ import annotations

import asyncio
import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.run_dir import RunDir


async def turns() -> None:
    """Of the loop, in which all that is in the pipe is read."""
    for _ in range(3):
        await asyncio.sleep(0)


@pytest.mark.parametrize("stays", [0, 1])
def test_who_finds_that_another_has_read_the_console_goes_on_to_listen(tmp_path: Path, stays: int) -> None:
    async def story(owned: ExitStack) -> None:
        run, console = RunDir(tmp_path), tmp_path / "console"
        guest = run.make_pipe(console)
        for fd in (guest, run.make_pipe(run.stderr)):
            owned.callback(os.close, fd)
        holders = [
            Output(run, os.open(console, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), new=new)
            for new in (True, False)
        ]
        os.write(guest, b"to one of both, ")
        await turns()
        holders[1 - stays].close()
        os.write(guest, b"to who stays")
        await turns()
        said = holders[stays].console()
        holders[stays].close()
        assert said.endswith("to who stays")

    with ExitStack() as owned:
        asyncio.run(story(owned))
