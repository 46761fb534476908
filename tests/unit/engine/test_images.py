"""Images as the engine has them: their sizes, and platforms that run here or do not."""

from __future__ import annotations

import io
import os

import pytest

from fake_registry import Fake
from fake_world import IMAGE, World
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.engine.creation import Asker
from hypercontainer.errors import NotFound, NotSupported
from hypercontainer.image.cancel import Guard
from hypercontainer.image.platforms import host_platform
from stories import Tell

OTHER = "linux/s390x" if os.uname().machine != "s390x" else "linux/amd64"


def spec(image: str, platform: str | None = None, pull: str = "missing") -> ContainerSpec:
    return ContainerSpec(image=image, platform=platform, pull=pull, command=("true",))


def test_an_image_keeps_its_size_when_its_layers_are_compressed_for_a_registry(tell: Tell) -> None:
    async def story(w: World) -> None:
        images, store = w.engine.images, w.engine.real._store
        (before,) = await images.find()
        steps = await images.history(IMAGE)
        await images.tag(IMAGE, "localhost/other:1")
        stored = store.get(IMAGE).size_bytes
        with store._operation("compress", None) as guard:
            assert isinstance(guard, Guard)
            store._pushable(store._whole(before.id), guard)
        assert store.get(IMAGE).size_bytes != stored
        (after,) = await images.find()
        assert before.size_bytes == after.size_bytes > 0
        assert [step.size_bytes for step in await images.history(IMAGE)] == [s.size_bytes for s in steps]
        assert sum(step.size_bytes for step in steps) == after.size_bytes

    tell(story)


def test_a_platform_that_does_not_run_here_is_refused_before_anything_is_fetched(tell: Tell) -> None:
    async def story(w: World) -> None:
        with Fake() as registry:
            name = f"{registry.host}/x:1"
            for pull in ("missing", "always", "never"):
                with pytest.raises(NotSupported, match=f"{OTHER}: there are VMs for"):
                    await w.engine.containers.create(spec(name, OTHER, pull))
            assert registry.log == []

    tell(story)


def test_the_right_platform_is_fetched_where_another_is_here(tell: Tell) -> None:
    async def story(w: World) -> None:
        here = host_platform()
        archive = io.BytesIO()
        await w.engine.images.save([IMAGE], archive)
        layer = b"\0" * 1024
        with Fake() as registry:
            name = f"{registry.host}/x:1"
            registry.add_image("1", layer, architecture=OTHER.rpartition("/")[2])
            other = await w.engine.images.pull(name, platform=OTHER)
            with pytest.raises(NotSupported, match=f"image {name} is for {OTHER}") as refused:
                await w.engine.containers.create(spec(name))
            assert refused.value.remedies[0].options == {"platform": str(here)}
            with pytest.raises(NotFound, match=f"is here for {OTHER}, not for {here}"):
                await w.engine.containers.create(spec(name, str(here), "never"))
            registry.add_image("1", layer, architecture=here.architecture)
            image = await w.engine.real.creation.fetch(spec(name, str(here)), Asker())
            assert (image.id != other.id, image.architecture) == (True, here.architecture)
            asked = len(registry.log)
            again = await w.engine.real.creation.fetch(spec(name, str(here)), Asker())
            assert (again.id, len(registry.log)) == (image.id, asked)

    tell(story)
