"""A server of a disk, as a process of its own, and a registry that is as it should be, or is not."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

import boastful_tar
import stargz
from fake_registry import Fake, hold_large_ranges
from hypercontainer.errors import ImageError, Unavailable
from hypercontainer.image.ahead import Offer
from hypercontainer.image.model import Image, Layer, RegistriesConfig
from hypercontainer.image.store import ImageStore
from hypercontainer.lazy import client
from hypercontainer.lazy.contents import _from_tar
from hypercontainer.lazy.job import Job, Registries, State
from hypercontainer.linux import unix
from hypercontainer.rootfs import LayerLimits, LayerStore, RootReader
from hypercontainer.rootfs.table import TABLE_NAME, Unfit

MIB = 1 << 20
A, B = random.Random(1).randbytes(MIB), random.Random(2).randbytes(11 * MIB)
ITEMS = [stargz.Item("a", A), stargz.Item("b", B), stargz.Item("c", b"see")]


class World:
    def __init__(self, base: Path, registry: Fake) -> None:
        self.base, self.registry = base, registry
        self.store = ImageStore(base / "images", RegistriesConfig())
        self.layers = LayerStore(base / "layers")
        self.served: client.Served | None = None
        self.refused = ""

    @property
    def reference(self) -> str:
        return f"{self.registry.host}/x:1"

    def prepare(self, layer: Layer, blob: Path) -> None:
        self.layers.convert(blob, diff_id=layer.diff_id)

    def pull(self, wait_s: float = 2.0) -> Image:
        def ahead(offer: Offer) -> Callable[[], None] | None:
            job = Job(
                image=offer.manifest.config.digest,
                images=str(self.base / "images"),
                layers=str(self.base / "layers"),
                tree=str(self.base / "tree"),
                reference=offer.reference,
                manifest=offer.manifest.raw,
                manifest_type=offer.manifest.media_type,
                config=offer.config,
                credentials=None,
                registries=Registries(),
                limits=LayerLimits(),
                wait_s=wait_s,
            )
            try:
                starting = client.start(self.base / "server", job)
            except client.Refused as error:
                self.refused = str(error)
                return None
            self.served = starting.served
            return starting.go

        return self.store.pull(
            self.reference,
            ahead=ahead,
            prepare=self.prepare,
        )

    def read(self, name: str) -> bytes:
        assert self.served is not None
        with RootReader(self.served.extents) as reader:
            inode = reader.lookup(name.encode())
            assert inode is not None
            return reader.read(inode, 0, 1 << 30)

    def wait_for(self, state: str) -> State:
        assert self.served is not None
        with unix.connect(self.served.control) as words:
            words.setblocking(True)
            words.settimeout(60)
            for line in words.makefile("rb"):
                said = msgspec.json.decode(line, type=State)
                if said.state == state:
                    return said
        raise AssertionError(f"never {state}")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with Fake() as registry:
        made = World(tmp_path, registry)
        yield made
        if made.served is not None:
            made.served.end()
        made.store.close()


@pytest.mark.parametrize("fmt", ["stargz", "chunked"])
def test_what_is_read_comes_then_and_the_rest_later(world: World, fmt: str) -> None:
    world.registry.add_layers("1", getattr(stargz, fmt)(ITEMS))
    let = hold_large_ranges(world.registry)
    image = world.pull()
    assert image.coming and not world.layers.has(image.layers[0].diff_id)
    assert (world.read("a"), world.read("c")) == (A, b"see")
    with pytest.raises(Unavailable, match="still coming"):
        world.store.save([world.reference], (world.base / "out").open("wb"))
    let.set()
    world.wait_for("whole")
    assert not world.store.get(world.reference).coming
    disk = world.layers.root_disk([layer.diff_id for layer in image.layers])
    with RootReader(disk.extents) as reader:
        inode = reader.lookup(b"b")
        assert inode is not None and reader.read(inode, 0, 1 << 30) == B
    assert world.read("b") == B  # by who has it open still


def test_a_layer_without_a_table_is_brought_first(world: World) -> None:
    small = stargz.plain([stargz.Item("c", b"other")])
    world.registry.add_layers("1", stargz.stargz(ITEMS), small)
    hold_large_ranges(world.registry)
    assert world.pull().coming
    assert world.read("c") == b"other"


def test_a_server_that_dies_leaves_its_image_coming_and_another_goes_on(world: World) -> None:
    world.registry.add_layers("1", stargz.stargz(ITEMS))
    let = hold_large_ranges(world.registry)
    world.pull()
    first = world.served
    assert first is not None
    first.end()
    assert not first.folder.exists() and not first.tree.exists()
    assert [offer.reference for offer in world.store.arrivals.coming()] == [world.reference]
    let.set()
    world.pull()
    world.wait_for("whole")
    assert world.store.arrivals.coming() == []


def test_a_whole_pull_of_an_image_that_is_coming(world: World) -> None:
    world.registry.add_layers("1", stargz.stargz(ITEMS))
    hold_large_ranges(world.registry).set()
    world.pull()
    whole = world.store.pull(
        world.reference,
        prepare=world.prepare,
    )
    assert not whole.coming


def refused(world: World, *made: stargz.Made) -> str:
    world.registry.add_layers("1", *made)
    assert not world.pull().coming
    return world.refused


def test_what_cannot_be_had_in_pieces_comes_whole(world: World) -> None:
    world.registry.ranges = False
    assert "does not serve parts" in refused(world, stargz.stargz(ITEMS))


def test_a_table_that_the_manifest_does_not_name_is_not_believed(world: World) -> None:
    made = stargz.stargz(ITEMS)
    lie = {stargz.STARGZ_DIGEST: f"sha256:{'0' * 64}"}
    changed = stargz.Made(made.blob, made.tar, made.kind, lie, made.table)
    assert "not the one that the manifest names" in refused(world, changed)


def test_large_layers_without_a_table(world: World) -> None:
    large = stargz.plain([stargz.Item("b", B + B)])
    assert "has no table of contents" in refused(world, large, stargz.stargz(ITEMS))


def test_wrong_bytes_are_an_input_error_and_the_image_is_marked(world: World) -> None:
    made = stargz.stargz(ITEMS)
    world.registry.add_layers("1", made)
    let = hold_large_ranges(world.registry)
    wrong = bytearray(made.blob)
    wrong[next(x["offset"] for x in made.table["entries"] if x["name"] == "a") + 5000] ^= 1
    (key,) = world.registry.layers("1")
    world.registry.blobs[key] = bytes(wrong)
    world.pull()
    with pytest.raises(OSError, match="Input/output error"):
        world.read("a")
    assert world.read("c") == b"see"
    let.set()
    world.wait_for("wrong")
    with pytest.raises(ImageError, match="is not what it said"):
        world.store.get(world.reference)
    world.store.remove(world.reference)


def test_a_registry_that_is_gone_is_an_input_error_for_as_long(world: World) -> None:
    world.registry.add_layers("1", stargz.stargz(ITEMS))
    hold_large_ranges(world.registry)
    world.pull(wait_s=1.0)
    blobs, world.registry.blobs = world.registry.blobs, {}
    with pytest.raises(OSError, match="Input/output error"):
        world.read("a")
    world.registry.blobs = blobs
    assert world.read("a") == A


def test_a_guest_that_reads_waits_no_longer_than_it_should(world: World) -> None:
    world.registry.add_layers("1", stargz.stargz(ITEMS))
    let = hold_large_ranges(world.registry)
    world.pull(wait_s=0.5)
    stuck = threading.Event()
    world.registry.fail("/blobs/", lambda handler: stuck.wait(60) and False)
    world.registry.faults.reverse()
    with pytest.raises(OSError, match="Input/output error"):
        world.read("a")
    stuck.set()
    let.set()
    assert world.read("a") == A


def test_a_table_that_says_that_it_is_more_than_there_is() -> None:
    with pytest.raises(Unfit, match="larger than what it is in"):
        _from_tar(boastful_tar.sparse(TABLE_NAME))
