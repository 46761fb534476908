from __future__ import annotations

import asyncio
import inspect

import pytest

TIMEOUT_S = 20.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a test that is a coroutine function on a loop of its own, which must end with no task left."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    given = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def within() -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await pyfuncitem.obj(**given)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(within())
    return True
