"""A container that an earlier hyperd left: taken back as it was, or truthfully what became of it.

Its pod's VM ends when all containers of the pod are recovered and none has use for it (``pod.Pod.recover``).
"""

from __future__ import annotations

import contextlib
import logging

from hypercontainer.agent.operations import ProcessState, Welcome
from hypercontainer.contract.states import State
from hypercontainer.engine import times
from hypercontainer.engine.container.container import Container
from hypercontainer.engine.container.restart import wanted_at_boot
from hypercontainer.engine.container.run import LOST
from hypercontainer.errors import AgentError, HyperError

log = logging.getLogger(__name__)


async def recover(container: Container) -> None:
    """``recovered`` is set when that has come to an end, whichever."""
    try:
        await _recover(container)
    except HyperError as error:
        log.error("%s could not be taken back: %s", container.what, error)
    finally:
        container.recovered.set()


async def _recover(container: Container) -> None:
    welcome = await container.sandbox.adopted()
    init = _init(container, welcome) if container.alive else None
    if init is None or welcome is None or not _taken_back(container, welcome, init):
        await _destroy(container, welcome)
        if container.record.state is State.REMOVING:
            await container.delete(begun=True)
        elif container.alive:
            await _write_off(container)
    record = container.record
    if record.state in (State.EXITED, State.RESTARTING) and wanted_at_boot(record):
        container.start_later()


def _taken_back(container: Container, welcome: Welcome, init: ProcessState) -> bool:
    """False, where its VM has ended just now."""
    try:
        container.take_back(welcome, init)
    except HyperError as error:
        log.warning("%s: %s", container.what, error)
        return False
    return True


def _init(container: Container, welcome: Welcome | None) -> ProcessState | None:
    """The container's first process, if it runs: one that was being started is not taken for one that was."""
    if welcome is None or container.record.state is State.STARTING:
        return None
    return next((p for p in welcome.processes if p.container == container.id and p.init), None)


async def _destroy(container: Container, welcome: Welcome | None) -> None:
    """What the guest has of it, though it does not run."""
    if welcome is not None and container.id in welcome.containers:
        with contextlib.suppress(AgentError):
            await container.sandbox.agent.destroy_container(container.id)


async def _write_off(container: Container) -> None:
    starting = container.record.state is State.STARTING
    why = "hyperd ended while it was starting" if starting else "its VM was gone"
    container.log.end_run()
    # An earlier hyperd may have heard of its end, and ended with the VM that it had no use for any more.
    told = {} if container.record.over else {"exit_status": LOST, "error": why}
    container.change(state=State.EXITED, finished=times.now(), **told)
    if container.record.spec.auto_remove:
        await container.delete()
