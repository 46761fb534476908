"""Trees of generated layers, beside those that podman and containerd make of them, bit for bit.

What these two disagree about, or refuse, is in docs/rootfs.md and not among the layers.
"""

from __future__ import annotations

import os
import stat

import pytest

import dockerd
import unpackers
from many_layers import Maker
from soak import rounds
from unpackers import Tree

SEEDS = range(rounds(short=40, soak=300))


def differences(one: Tree, other: Tree) -> dict[bytes, tuple[object, object]]:
    paths = one.keys() | other.keys()
    return {
        path: (one.get(path), other.get(path)) for path in sorted(paths) if one.get(path) != other.get(path)
    }


def without_old_times(tree: Tree) -> Tree:
    """podman keeps what a symbolic link has from before 1970, containerd does not."""
    return {
        path: (*facts[:3], max(0, facts[3]), *facts[4:])
        if stat.S_ISLNK(facts[0]) and facts[3] is not None
        else facts
        for path, facts in tree.items()
    }


def test_podman_makes_the_same_of_them() -> None:
    """Of layers that name no path twice, which it refuses."""
    makers = {seed: Maker(seed) for seed in SEEDS}
    made = {seed: maker.image() for seed, maker in makers.items()}
    wanted = {seed: image for seed, image in made.items() if not makers[seed].repeats}
    try:
        trees = unpackers.podman({seed: [told for _, told in image] for seed, image in wanted.items()})
    except dockerd.Absent as absent:
        pytest.skip(str(absent))
    for seed, image in wanted.items():
        assert not differences(unpackers.ours([own for own, _ in image]), without_old_times(trees[seed])), (
            seed
        )


@pytest.mark.skipif(not os.environ.get("HYPER_SOAK"), reason="a minute: in `make soak`")
def test_containerd_makes_the_same_of_them() -> None:
    made = {seed: Maker(seed).image() for seed in SEEDS}
    try:
        trees = unpackers.containerd({seed: [told for _, told in image] for seed, image in made.items()})
    except dockerd.Absent as absent:
        pytest.skip(str(absent))
    for seed, image in made.items():
        assert not differences(unpackers.ours([own for own, _ in image]), trees[seed]), seed
