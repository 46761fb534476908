"""Who is attached to a container: to the run that goes on, or waiting for the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from hypercontainer.contract.answers import Exit
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.engine.process.process import Process, ProcessAttachment


class Clients:
    """All of them learn of the present run's end when everything after it is done."""

    def __init__(self) -> None:
        self._outcome: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._waiting: list[ProcessAttachment] = []

    def attach(
        self,
        process: Process | None,
        spec: ContainerSpec,
        *,
        stdin: bool,
        earlier: Callable[[int], AsyncGenerator[bytes, None]] | None,
        on_signal: Callable[[int], None],
    ) -> ProcessAttachment:
        """To ``process``, or to the next one; ``earlier`` and ``on_signal`` as of `ProcessAttachment`."""
        attachment = ProcessAttachment(
            self._outcome,
            tty=spec.tty,
            stdin=stdin and spec.stdin_open,
            earlier=earlier,
            on_signal=on_signal,
        )
        if process is not None:
            process.attach(attachment)
        else:
            self._waiting = [*(waiting for waiting in self._waiting if not waiting.left), attachment]
        return attachment

    def started(self) -> list[ProcessAttachment]:
        """Those who have waited for it."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def dismiss(self, result: Exit) -> None:
        """There is no start."""
        for attachment in self.started():
            attachment.end_output()
        self.conclude(result)

    def conclude(self, result: Exit) -> None:
        """This run and all that follows it is over; the next has a future of its own."""
        concluded, self._outcome = self._outcome, asyncio.get_running_loop().create_future()
        if not concluded.done():
            concluded.set_result(result)
