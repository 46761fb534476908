"""What takes how much disk, and what of it would come free."""

from __future__ import annotations

import io

import busybox_image
from fake_world import IMAGE, World
from hypercontainer.contract.volumes import NamedVolume, Volume, VolumeMount
from stories import Tell, member, pod

OTHER, MORE = "localhost/other:1", "localhost/more:1"


def test_what_is_reclaimable_is_what_prune_frees(tell: Tell) -> None:
    async def story(w: World) -> None:
        layer, second = busybox_image.layer(), busybox_image.layer()[:512] + bytes(1024)
        config: dict[str, object] = {"Labels": {"a": "b"}}
        for name, layers in ((OTHER, [layer]), (MORE, [layer, second])):
            archive = busybox_image.archive(layers, name, config=config)
            await w.engine.images.load(io.BytesIO(archive))
        totals = (await w.engine.system.disk_usage())["totals"]
        assert totals["images_reclaimable_bytes"] == totals["images_bytes"] > 0  # though all share a layer
        assert totals["layers_reclaimable_bytes"] > 0

        await pod(w, member("c"), name="p")
        totals = (await w.engine.system.disk_usage())["totals"]
        freed = (await w.engine.system.prune(all=True, containers=False)).space_reclaimed_bytes
        assert freed == totals["images_reclaimable_bytes"] + totals["layers_reclaimable_bytes"]
        assert freed < totals["images_bytes"]
        assert [image.references for image in await w.engine.images.find()] == [(IMAGE,)]
        totals = (await w.engine.system.disk_usage())["totals"]
        assert totals["images_reclaimable_bytes"] == totals["layers_reclaimable_bytes"] == 0

    tell(story)


def test_volumes_are_counted(tell: Tell) -> None:
    async def story(w: World) -> None:
        for name in ("used", "spare"):
            await w.engine.volumes.create(name)
        volume, mount = Volume("v", NamedVolume("used")), VolumeMount("v", "/v")
        await pod(w, member("c", volumes=(volume,), mounts=(mount,)))
        usage = await w.engine.system.disk_usage()
        sizes = {volume.name: volume.used_bytes for volume in usage["volumes"]}
        assert usage["totals"]["volumes_bytes"] == sum(sizes.values())
        assert usage["totals"]["volumes_reclaimable_bytes"] == sizes["spare"] > 0

    tell(story)
