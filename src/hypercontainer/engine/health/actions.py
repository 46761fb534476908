"""Doing what a probe or a hook asks for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from hypercontainer.contract.probes import Action, Check, Exec, Grpc, HttpGet, Sleep, TcpConnect
from hypercontainer.engine.health.clock import MONOTONIC, Clock
from hypercontainer.engine.health.connect import LOOPBACK, Dial, tcp
from hypercontainer.engine.health.http_probe import http_get
from hypercontainer.engine.health.result import Result, bounded, quoted

# (command, timeout_s) -> (exit status, the beginning of its output).  It ends the process when it is late or
# cancelled, and raises TimeoutError where it is late.
Execute = Callable[[tuple[str, ...], float | None], Awaitable[tuple[int, bytes]]]


@dataclass(frozen=True, slots=True)
class Reach:
    """How a container is got at.  ``address``: where its ports are, seen from inside the VM."""

    execute: Execute
    dial: Dial
    address: str = LOOPBACK
    clock: Clock = MONOTONIC


async def check(what: Check, reach: Reach, timeout_s: float) -> Result:
    """One probe's question.  AgentError where the guest is out of reach: then nobody knows."""
    return await _do(what, reach, timeout_s, any_status=False)


async def perform(action: Action, reach: Reach, timeout_s: float | None) -> Result:
    """A hook.  One that asks by HTTP has done its work when it was answered, as kubelet has it."""
    return await _do(action, reach, timeout_s, any_status=True)


async def _do(what: Check | Action, reach: Reach, timeout_s: float | None, *, any_status: bool) -> Result:
    match what:
        case Exec(command=command):
            return await bounded(_execute(command, reach, timeout_s), timeout_s)
        case HttpGet():
            return await http_get(reach.dial, what, timeout_s, address=reach.address, any_status=any_status)
        case TcpConnect():
            return await tcp(reach.dial, what, timeout_s, address=reach.address)
        case Grpc():
            # Nobody else needs HTTP/2.
            from hypercontainer.engine.health.grpc_probe import grpc

            return await grpc(reach.dial, what, timeout_s, address=reach.address)
        case Sleep(seconds=seconds):
            return await _sleep(seconds, reach.clock, timeout_s)


async def _execute(command: tuple[str, ...], reach: Reach, timeout_s: float | None) -> Result:
    status, output = await reach.execute(command, timeout_s)
    said = quoted(output)
    if status == 0:
        return Result(True, said)
    return Result(False, f"{command[0]!r} ended with status {status}" + (f": {said}" if said else ""))


async def _sleep(seconds: float, clock: Clock, timeout_s: float | None) -> Result:
    if timeout_s is not None and seconds > timeout_s:
        await clock.sleep(timeout_s)
        return Result(False, f"a sleep of {seconds:g} s was cut off after {timeout_s:g} s")
    await clock.sleep(seconds)
    return Result(True)
