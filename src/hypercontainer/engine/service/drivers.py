"""The drivers of hypervisors that there are, and what each finds of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from hypercontainer.contract.answers import Check
from hypercontainer.errors import HyperError, Unavailable
from hypercontainer.hypervisor.driver import Driver

# So long a hypervisor may take to say what it is, before somebody who has asked for much besides is told without it.
ANSWER_S = 2.0
DIAGNOSIS_S = 60.0


async def told(drivers: Collection[Driver]) -> tuple[str, ...]:
    """In words, those whose hypervisors are here."""
    said = await asyncio.gather(*(_told(driver) for driver in drivers))
    return tuple(line for line in said if line)


async def _told(driver: Driver) -> str:
    try:
        driver.check_installed()
        async with asyncio.timeout(ANSWER_S):
            able = await driver.capabilities()
    except Unavailable:
        return ""
    except TimeoutError:
        return f"{driver.name} (does not answer)"
    except HyperError as error:
        return f"{driver.name} ({error.message})"
    return f"{able.name} {able.version}".strip()


async def checks(driver: Driver, *, wanted: bool, one_of_many: bool = False) -> list[Check]:
    """``wanted``: the configuration names it, so that something is wrong where it is not here.  ``one_of_many``: of its
    kind, so that its name says of which one something is found."""
    try:
        if not wanted:  # one that is has more to say of it
            driver.check_installed()
        async with asyncio.timeout(DIAGNOSIS_S):
            found = await driver.diagnose()
    except TimeoutError:
        return [Check(driver.name, False if wanted else None, f"it does not answer within {DIAGNOSIS_S:g} s")]
    except HyperError as error:
        return [Check(driver.name, False if wanted else None, error.message, error.hint or "")]
    whose = f"{driver.name}: " if one_of_many else ""
    return [
        Check(whose + check.name, check.ok if wanted or check.ok else None, check.detail, check.remedy)
        for check in found
    ]
