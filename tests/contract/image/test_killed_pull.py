"""A pull that is killed at any point, and pulls by two processes at once."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.errors import NotFound
from hypercontainer.image.store import ImageStore

NewStore = Callable[..., ImageStore]
Noise = Callable[[int], bytes]

PULL = """
import sys
from pathlib import Path
from hypercontainer.image.store import ImageStore
store = ImageStore(Path(sys.argv[1]))
def progress(p):
    print(p.status, p.current, flush=True)
image = store.pull(sys.argv[2], progress=progress)
print("registered", image.id, flush=True)
"""


def pulling(root: Path, reference: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PULL, str(root), reference], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_point(fake: Any, new_store: NewStore, noise: Noise, tmp_path: Path, seed: int) -> None:
    fake.add_image("1", noise(3_000_000), noise(2_000_000), noise(1_000_000))
    reference = f"{fake.host}/x:1"
    lines = random.Random(seed).choice([1, 5, 10, 20, 30])
    with pulling(tmp_path / "store", reference) as process:
        assert process.stdout is not None
        said = [line for _, line in zip(range(lines), process.stdout, strict=False)]
        process.kill()
    assert said
    store = new_store()
    asked_before = sum(len(fake.asked(digest)) for digest in fake.layers("1"))
    try:
        image = store.get(reference)
    except NotFound:
        assert store.list() == []
    else:
        for number in range(3):
            assert store.layer_blob(image, number)[1].exists()
    partial = {p.name: p.stat().st_size for p in (tmp_path / "store" / "partial").iterdir()}
    image = store.pull(reference)
    ranges = {path.rpartition(":")[2]: h.get("Range") for _, path, h in fake.log[-20:] if "sha256:" in path}
    for name, size in partial.items():
        if 0 < size < len(fake.blobs[name.replace("-", ":")]):
            assert ranges[name.removeprefix("sha256-")] == f"bytes={size}-"
    assert sum(len(fake.asked(digest)) for digest in fake.layers("1")) <= asked_before + 3
    for number, digest in enumerate(fake.layers("1")):
        assert store.layer_blob(image, number)[1].read_bytes() == fake.blobs[digest]
    assert list((tmp_path / "store" / "partial").iterdir()) == []


def test_two_processes_share_one_download(
    fake: Any, new_store: NewStore, noise: Noise, tmp_path: Path
) -> None:
    fake.add_image("1", noise(2_000_000), noise(1_000_000))
    with (
        pulling(tmp_path / "store", f"{fake.host}/x:1") as one,
        pulling(tmp_path / "store", f"{fake.host}/x:1") as two,
    ):
        outputs = [process.communicate(timeout=60)[0] for process in (one, two)]
    assert (one.returncode, two.returncode) == (0, 0)
    assert all("registered sha256:" in output for output in outputs)
    for digest in fake.layers("1"):
        assert len(fake.asked(digest)) == 1
    assert len(new_store().list()) == 1
