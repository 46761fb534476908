"""Containers for other architectures: which VM they are to have, and what is said of it."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import busybox_image
from fake_driver import FakeDriver
from fake_world import IMAGE, World
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.errors import InvalidArgument, Unavailable
from hypercontainer.hypervisor.drivers import Drivers
from hypercontainer.kernel import Kernel
from stories import Tell

ARM = "localhost/arm:latest"
KERNEL = Kernel(Path("/arm"), "6.1", "debian", (), False, "sha256:0", architecture="arm64")


class Foreign(FakeDriver):
    name, architecture = "qemu-arm64", "arm64"


class Kernels:
    def default(self, architecture: str) -> Kernel:
        assert architecture == "arm64"
        return KERNEL


def spec(image: str, **more: Any) -> ContainerSpec:
    return ContainerSpec(image=image, command=("true",), pull="never", **more)


async def supplied(w: World, **more: Any) -> None:
    """With VMs for arm64, and an image for ``linux/arm``, which they run too."""
    creation = w.engine.real.creation
    drivers: Any = Drivers(w.driver, Foreign())
    kernels: Any = Kernels()
    wanted = {"drivers": drivers, "kernels": kernels, "hyperstart": lambda _: Path("/init"), **more}
    creation._supplies = replace(creation._supplies, **wanted)
    archive = busybox_image.archive([busybox_image.layer()], ARM, architecture="arm")
    await w.engine.images.load(io.BytesIO(archive))


def test_the_image_decides_and_who_did_not_ask_is_told(tell: Tell) -> None:
    async def story(w: World) -> None:
        await supplied(w)
        made = await w.engine.containers.create(spec(ARM))
        (said,) = made.warnings
        assert said.startswith(f"image {ARM} is for linux/arm: it runs in a VM for arm64, which is emulated")
        asked = await w.engine.containers.create(spec(ARM, platform="linux/arm"))
        assert asked.warnings == ()
        usual = await w.engine.containers.create(spec(IMAGE))
        pods = w.engine.real.directory.pods
        found = [pods[each.id].record.architecture for each in (made, asked, usual)]
        assert found == ["arm64", "arm64", "amd64"]

    tell(story)


def test_a_pod_is_of_one_architecture_which_its_containers_bring(tell: Tell) -> None:
    async def story(w: World) -> None:
        await supplied(w)
        words = r"is one VM, for arm64: image localhost/tiny:latest is for linux/amd64"
        with pytest.raises(InvalidArgument, match=f"pod p {words}"):
            await w.engine.pods.create(PodSpec(name="p", containers=(spec(ARM), spec(IMAGE))))
        pod = await w.engine.pods.create(PodSpec(name="empty"))
        for _ in range(2):
            await w.engine.containers.create(spec(ARM, pod="empty"))
        with pytest.raises(InvalidArgument, match=f"pod empty {words}") as refused:
            await w.engine.containers.create(spec(IMAGE, pod="empty"))
        assert refused.value.field == "platform"
        assert w.engine.real.directory.pods[pod.id].record.architecture == "arm64"

    tell(story)


def test_what_is_missing_is_said_before_anything_is_fetched(tell: Tell) -> None:
    async def story(w: World) -> None:
        def missing(architecture: str) -> Path:
            raise Unavailable(f"no init for {architecture}")

        await supplied(w, hyperstart=missing)
        for wish in (spec(ARM), spec("localhost:1/x", platform="linux/arm64")):
            with pytest.raises(Unavailable, match="no init for arm64"):
                await w.engine.containers.create(wish)

    tell(story)
