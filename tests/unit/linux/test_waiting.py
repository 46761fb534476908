"""Work that is done together is over together."""

from __future__ import annotations

import asyncio

import pytest

from hypercontainer.linux.waiting import together


def test_all_of_it_is_done_at_once() -> None:
    async def main() -> list[str]:
        first, second = asyncio.Event(), asyncio.Event()
        done: list[str] = []

        async def waits_for(event: asyncio.Event, then: asyncio.Event, name: str) -> None:
            then.set()
            await event.wait()
            done.append(name)

        async with asyncio.timeout(5):
            await together(waits_for(first, second, "one"), waits_for(second, first, "two"))
        return done

    assert sorted(asyncio.run(main())) == ["one", "two"]


@pytest.mark.parametrize("how", ["fails", "cancelled"])
def test_what_is_left_is_over_before_the_caller_hears_of_it(how: str) -> None:
    async def main() -> list[str]:
        said: list[str] = []
        begun = asyncio.Event()

        async def goes_on() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                said.append("over")

        async def ends() -> None:
            await begun.wait()
            if how == "fails":
                raise OSError("no")
            await asyncio.Event().wait()

        task = asyncio.ensure_future(together(goes_on(), ends()))
        await begun.wait()
        if how == "cancelled":
            task.cancel()
        async with asyncio.timeout(5):
            await asyncio.wait([task])
        assert task.cancelled() if how == "cancelled" else isinstance(task.exception(), OSError)
        return said

    assert asyncio.run(main()) == ["over"]
