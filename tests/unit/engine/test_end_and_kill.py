"""What an earlier hyperd has heard of a run's end counts, though it was killed before it had put all in order."""

from __future__ import annotations

from typing import Any

import pytest

from fake_world import IMAGE, World
from hypercontainer.contract.spec import ContainerSpec
from stories import Tell


async def held(w: World) -> Any:
    return await w.engine.containers.held("c")


@pytest.mark.parametrize(("heard", "shown"), [(True, (7, "")), (False, (255, "its VM was gone"))])
def test_how_it_ended_is_not_forgotten(tell: Tell, heard: bool, shown: tuple[int, str]) -> None:
    async def story(w: World) -> None:
        await w.engine.containers.create(ContainerSpec(image=IMAGE, name="c", command=("trap",)))
        container = await held(w)
        await container.start()
        if heard:
            container.change(over=True, exit_status=7)
        await w.engine.close()
        [machine] = [w.driver.machine(spec.id) for spec in w.driver.launched]
        machine.power_off()
        await w.open()
        found = await held(w)
        await found.recovered.wait()
        record = found.record
        assert (record.state.value, record.exit_status, record.error) == ("exited", *shown)

    tell(story)
