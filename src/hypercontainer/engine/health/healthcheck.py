"""Docker's health checks: when one is asked, and what its answers make of a container's health.

A check follows the end of the one before it after ``interval_s``, the first the container's start; while it is
starting, and younger than ``start_period_s``, after ``start_interval_s``.  A failure in that time counts for nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from msgspec.structs import replace

from hypercontainer.contract.answers import Health, HealthResult
from hypercontainer.contract.probes import Healthcheck
from hypercontainer.engine.health.clock import MONOTONIC, Clock
from hypercontainer.engine.health.probe import ask_again

STARTING, HEALTHY, UNHEALTHY = "starting", "healthy", "unhealthy"
KEPT_RESULTS = 5
OUTPUT_MAX_BYTES = 4096
NOT_ASKED = -1  # in place of an exit status, also where the answer was late
NS = 1_000_000_000
SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True)
class Plan:
    """A check with all that it does not say filled in."""

    command: tuple[str, ...]
    interval_s: float
    timeout_s: float
    start_period_s: float
    start_interval_s: float
    retries: int


def plan(check: Healthcheck | None, shell: tuple[str, ...] = ()) -> Plan | None:
    """None where nothing is to be asked.  ``shell``: what runs a CMD-SHELL, the image's."""
    match check.test if check is not None else ():
        case ("CMD", *command) if command:
            words = tuple(command)
        case ("CMD-SHELL", *lines) if lines:
            words = (*(shell or SHELL), *lines)
        case _:
            return None
    assert check is not None
    return Plan(
        words,
        interval_s=check.interval_ns / NS or 30.0,
        timeout_s=check.timeout_ns / NS or 30.0,
        start_period_s=check.start_period_ns / NS,
        start_interval_s=check.start_interval_ns / NS or 5.0,
        retries=check.retries or 3,
    )


def judged(health: Health, result: HealthResult, plan: Plan, *, age_s: float) -> Health:
    """``age_s``: from the container's start to when it was asked."""
    log = (*health.log, result)[-KEPT_RESULTS:]
    if result.exit_status == 0:
        return Health(status=HEALTHY, log=log)
    if health.status == STARTING and age_s < plan.start_period_s:
        return replace(health, log=log)
    streak = health.failing_streak + 1
    status = UNHEALTHY if streak >= plan.retries else health.status
    return Health(status=status, failing_streak=streak, log=log)


def shown(output: bytes) -> str:
    """What a check has said, as text of OUTPUT_MAX_BYTES at most, and dots where there was more."""
    text = output[:OUTPUT_MAX_BYTES].decode("utf-8", "replace").encode()[:OUTPUT_MAX_BYTES]
    return text.decode("utf-8", "ignore") + ("..." if len(output) > OUTPUT_MAX_BYTES else "")


async def watch_health(
    plan: Plan,
    health: Health,
    ask: Callable[[Plan], Awaitable[HealthResult | None]],
    tell: Callable[[Health], None],
    *,
    clock: Clock = MONOTONIC,
    running_for_s: float = 0.0,
) -> None:
    """For ever.  ``health``: as far as is known; ``tell`` is called with what follows each answer."""
    begun, asked = clock.now() - running_for_s, 0.0

    def due() -> float:
        now = clock.now()
        starting = health.status == STARTING and now - begun < plan.start_period_s
        return now + (plan.start_interval_s if starting else plan.interval_s)

    async def ask_now() -> HealthResult | None:
        nonlocal asked
        asked = clock.now()
        return await ask(plan)

    def take(result: HealthResult) -> bool:
        nonlocal health
        health = judged(health, result, plan, age_s=asked - begun)
        tell(health)
        return True

    await ask_again(due, ask_now, take, clock)
