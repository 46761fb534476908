"""Images that mean harm, by `hyper load` and `hyper pull`: refused by name; nothing stays; the host is as it was."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import busybox_image
import layer_tar as lt
from fake_registry import OCI_INDEX, Fake
from hyper import Hyper
from hyper import hyper as hyper_context

MIB = 1 << 20
LIMIT_MIB = 64
GIB = 1 << 30
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
GOOD = lt.tar(lt.entry(b"good", data=b"good"))


@pytest.fixture(scope="module")
def strict() -> Iterator[Hyper]:
    """A hyperd that takes layers of at most ``LIMIT_MIB``."""
    with hyper_context(f'[layers]\nmax_size = "{LIMIT_MIB}m"\n') as made:
        yield made


def files(hyper: Hyper) -> list[Path]:
    """What hyperd keeps of images that are not there: blobs, half of them, members of archives, half-made disks."""
    store = hyper.root / "images"
    kept = [path for name in ("blobs", "partial", "staging") for path in (store / name).rglob("*")]
    return [path for path in kept if path.is_file()] + list(hyper.root.rglob("*.part"))


def refused(hyper: Hyper, *words: str, stdin: bytes = b"") -> str:
    """The error of a command that must fail and leave nothing."""
    done = hyper(*words, stdin=stdin, check=False)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert b"internal error" not in done.stderr
    assert hyper.out("images", "-aq") == ""
    assert files(hyper) == []
    return done.stderr.decode()


def zeros(size: int) -> bytes:
    """A gzip of so many zeros, in members of 32 MiB."""
    return gzip.compress(bytes(32 * MIB), 1) * (size // (32 * MIB))


HOSTILE = {
    "../../etc/cron.d/x": lt.entry(b"../../etc/cron.d/x"),
    "a/../../b": lt.entry(b"a/../../b"),
    "out": lt.entry(b"out", lt.LINK, target=b"../../etc/shadow"),
    "lost": lt.entry(b"lost", lt.LINK, target=b"nowhere"),
    "file/child": lt.entry(b"file") + lt.entry(b"file/child"),
    "loop/child": lt.entry(b"loop", lt.SYMLINK, target=b"loop") + lt.entry(b"loop/child"),
    "rich": lt.entry(b"rich", uid=1 << 32),
    "dev/sda": lt.entry(b"dev/sda", lt.BLOCK, device=(5000, 0)),
    "huge": lt.header(b"huge", size=10 * GIB),
}


@pytest.mark.parametrize("entry", HOSTILE)
def test_a_hostile_layer_is_refused_by_its_name_and_the_entrys(strict: Hyper, entry: str) -> None:
    layer = lt.tar(HOSTILE[entry])
    said = refused(strict, "load", stdin=busybox_image.archive([GOOD, layer]))
    assert lt.digest(layer) in said
    assert entry in said


def test_nesting_has_an_end(strict: Hyper) -> None:
    layer = lt.tar(lt.entry(b"d/" * 10_000 + b"f"))
    said = refused(strict, "load", stdin=busybox_image.archive([layer]))
    assert lt.digest(layer) in said
    assert "path of 20001 bytes, at most 4096" in said


def packed(*blobs: bytes, diff_ids: list[str], user: str = "") -> bytes:
    """A Docker archive whose layers are these bytes and whose config says these diff IDs."""
    archive = busybox_image.archive(list(blobs), config={"User": user})
    made: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            made[member.name] = stream.read() if stream else b""
    manifest = json.loads(made["manifest.json"])
    config = json.loads(made[manifest[0]["Config"]])
    config["rootfs"]["diff_ids"] = diff_ids
    made[manifest[0]["Config"]] = json.dumps(config).encode()
    return bundle(made)


def bundle(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_truncated_gzip(strict: Hyper) -> None:
    layer = lt.tar(lt.entry(b"f", data=bytes(range(256)) * 4000))
    blob = gzip.compress(layer)[:-100]
    said = refused(strict, "load", stdin=packed(blob, diff_ids=[lt.digest(layer)]))
    assert lt.digest(blob) in said
    assert "damaged" in said


def test_bombs(strict: Hyper) -> None:
    """Ten gigabytes of zeros: in a file, and behind the end of the archive."""
    for start, entry in ((lt.entry(b"small") + lt.header(b"zeros", size=10 * GIB), "zeros"), (lt.END, "")):
        blob = gzip.compress(start) + zeros(10 * GIB)
        said = refused(strict, "load", stdin=packed(blob, diff_ids=["sha256:" + "0" * 64]))
        assert lt.digest(blob) in said
        assert entry in said
        assert str(LIMIT_MIB * MIB) in said


def test_wrong_diff_ids(strict: Hyper) -> None:
    wrong = "sha256:" + "5" * 64
    for blob in (GOOD, gzip.compress(GOOD)):
        said = refused(strict, "load", stdin=packed(blob, diff_ids=[wrong]))
        assert wrong in said
        assert lt.digest(GOOD) in said


@pytest.mark.parametrize("user", ["4294967295", "4294967296:0", "0:99999999999999999999"])
def test_users_that_no_kernel_has(strict: Hyper, user: str) -> None:
    assert user in refused(strict, "load", stdin=packed(GOOD, diff_ids=[lt.digest(GOOD)], user=user))


def test_an_index_that_refers_to_itself(strict: Hyper) -> None:
    name = "sha256:" + "7" * 64
    entry = {"mediaType": OCI_INDEX, "digest": name, "size": 300}
    index = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).encode()
    layout = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index}
    said = refused(strict, "load", stdin=bundle({**layout, f"blobs/sha256/{'7' * 64}": index}))
    assert name in said
    with Fake() as registry:
        registry.manifests["loop"] = registry.manifests[name] = (index, OCI_INDEX)
        assert name in refused(strict, "pull", f"{registry.host}/x:loop")


def serve(registry: Fake, blob: bytes, served: bytes, diff_id: str) -> str:
    """An image whose one layer is said to be ``blob``, and comes as ``served``."""
    config: dict[str, Any] = {"architecture": "amd64", "os": "linux", "config": {"Cmd": ["x"]}}
    raw = json.dumps({**config, "rootfs": {"type": "layers", "diff_ids": [diff_id]}}).encode()
    registry.blobs = {lt.digest(raw): raw, lt.digest(blob): served}
    descriptors = {
        "config": registry.descriptor(raw, OCI_CONFIG),
        "layers": [registry.descriptor(blob, OCI_LAYER)],
    }
    registry.add_manifest("1", descriptors)
    return f"{registry.host}/x:1"


def test_a_registry_that_serves_something_else(strict: Hyper) -> None:
    blob = gzip.compress(GOOD)
    other = blob[:-1] + bytes([blob[-1] ^ 1])
    with Fake() as registry:
        said = refused(strict, "pull", serve(registry, blob, other, lt.digest(GOOD)))
        assert lt.digest(blob) in said
        assert lt.digest(other) in said
        said = refused(strict, "pull", serve(registry, blob, blob + b"more", lt.digest(GOOD)))
        assert lt.digest(blob) in said
        wrong = "sha256:" + "5" * 64
        said = refused(strict, "pull", serve(registry, blob, blob, wrong))
        assert wrong in said
        bomb = gzip.compress(lt.header(b"zeros", size=10 * GIB)) + zeros(GIB)
        said = refused(strict, "pull", serve(registry, bomb, bomb, wrong))
        assert lt.digest(bomb) in said
        assert "zeros" in said


def test_what_names_the_hosts_files_finds_the_containers(hyper: Hyper, tmp_path: Path) -> None:
    """Absolute paths, links along them, and a container that writes through both."""
    canary = tmp_path / "canary"
    canary.write_text("the host's")
    layer = lt.tar(
        lt.entry(bytes(canary), data=b"the image's"),
        lt.entry(b"way", lt.SYMLINK, target=bytes(tmp_path)),
        lt.entry(b"way/other", data=b", through a link, "),
    )
    hyper(
        "load", "-q", stdin=busybox_image.archive([busybox_image.layer(), layer], "localhost/canary:latest")
    )
    script = f"cat {canary} /way/other; echo changed > {canary}; cat /way/canary"
    assert (
        hyper.out("run", "--rm", "localhost/canary", "sh", "-c", script)
        == "the image's, through a link, changed"
    )
    assert canary.read_text() == "the host's"
    assert [path.name for path in tmp_path.iterdir()] == ["canary"]
