"""Guests that check what they read of their images: a changed file of the host's is noticed, named, and made anew."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import busybox_image
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context

BUSYBOX = busybox_image.REFERENCE
PATTERN = b"0123456789abcdef" * 256
BLOCKS = 256
SITE = "localhost/site:1"


def tar_of(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def archive() -> bytes:
    return bytes(busybox_image.archive([busybox_image.layer(), tar_of("data", PATTERN * BLOCKS)]))


@pytest.fixture(scope="module")
def checking(hypervisor: str) -> Iterator[Hyper]:
    with hyper_context(f'{NO_POOL}[images]\nverity = "required"\n', hypervisor=hypervisor) as made:
        yield made


def change(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def with_pattern(hyper: Hyper) -> tuple[Path, int]:
    """The layer's file, and where the pattern is in it."""
    for path in (hyper.root / "layers/layers").glob("*.erofs"):
        if (at := path.read_bytes().find(PATTERN)) >= 0:
            return path, at
    raise AssertionError("no layer has it")


def test_a_guest_notices_what_changes_on_the_host(checking: Hyper) -> None:
    hyper = checking
    hyper("load", stdin=archive())
    # Two containers of one image in one VM, a volume of it, and files of one that is at rest.
    hyper("pod", "create", "--name", "p")
    for name in ("a", "b"):
        hyper("run", "-d", "--pod", "p", "--name", name, "--stop-signal", "KILL", BUSYBOX, "sleep", "1000")
    assert hyper.inspect("a")["VM"]["Verified"] is True
    hyper("exec", "a", "rm", "/etc/passwd")
    assert "D /etc/passwd" in hyper.out("diff", "a")
    path, at = with_pattern(hyper)
    change(path, at + 200 * 4096)
    failed = hyper("exec", "b", "sh", "-c", "cat /data >/dev/null", check=False)
    assert b"Input/output error" in failed.stderr
    said = hyper.until(
        lambda: [x for x in hyper.log().splitlines() if "root disk of image" in x], "a word of it"
    )
    assert BUSYBOX in said[0] and "which a, b use: layer sha256:" in said[0]
    assert f"block {at // 4096 + 200} is not what was converted" in said[0]
    refused = hyper("run", "--rm", BUSYBOX, "true", check=False)
    assert b"has not been converted" in refused.stderr and b"pull or load" in refused.stderr
    hyper("pod", "rm", "-f", "p")
    hyper("load", stdin=archive())
    # It and another image as volumes, which is two parts of one disk; the VM may be a clone.
    hyper("import", "-", SITE, stdin=tar_of("top", b"of the site"))
    mounts = [
        f"--mount=type=image,source={image},target={to}" for image, to in ((BUSYBOX, "/v"), (SITE, "/s"))
    ]
    out = hyper.out(
        "run", "--rm", *mounts, BUSYBOX, "sh", "-c", "cmp /data /v/data && wc -c </data && cat /s/top"
    )
    assert out.split(maxsplit=1) == [str(len(PATTERN) * BLOCKS), "of the site"]


def test_a_start_that_fails_for_it_says_so(checking: Hyper) -> None:
    hyper = checking
    hyper("load", stdin=archive())
    hyper("run", "--rm", BUSYBOX, "true")
    (merged,) = (hyper.root / "layers/images").glob("*.erofs")
    change(merged, 4096 + 10)
    failed = hyper("run", "--rm", BUSYBOX, "true", check=False)
    assert f"the root disk of image {BUSYBOX} is not what it was".encode() in failed.stderr, failed.stderr
    assert b"merged tree" in failed.stderr and b"pull or load" in failed.stderr
    # That is made of the layers; so is a tree of hashes, and neither has to be pulled.
    hyper("run", "--rm", BUSYBOX, "true")
    change(merged.with_suffix(".tree"), 10)
    assert hyper("run", "--rm", BUSYBOX, "true", check=False).returncode
    hyper("run", "--rm", BUSYBOX, "true")
