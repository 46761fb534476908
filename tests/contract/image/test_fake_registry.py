"""The store against a registry that misbehaves on command."""

from __future__ import annotations

import errno
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hypercontainer.errors import (
    Cancelled,
    DigestMismatch,
    ImageError,
    InvalidArgument,
    NotFound,
    RegistryError,
    Unauthorized,
    Unavailable,
)
from hypercontainer.image import platforms
from hypercontainer.image.cancel import Cancellation
from hypercontainer.image.model import Progress
from hypercontainer.image.store import ImageStore

NewStore = Callable[..., ImageStore]
Noise = Callable[[int], bytes]
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def cut_after(count: int) -> Callable[[Any], None]:
    """Promise the rest of the blob, send ``count`` bytes, hang up."""

    def action(handler: Any) -> None:
        data = handler.server.blobs[handler.path.rpartition("/")[2]]
        start = int((handler.headers.get("Range") or "bytes=0-")[6:-1])
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(data[start : start + count])
        handler.close_connection = True

    return action


def test_pull(fake: Any, new_store: NewStore) -> None:
    digest = fake.add_image("1", b"one", b"two", b"one")
    store = new_store()
    seen: list[Progress] = []
    prepared: list[tuple[str, bytes]] = []

    def prepare(layer: Any, path: Path) -> None:
        prepared.append((layer.diff_id, path.read_bytes()[:2]))

    image = store.pull(f"{fake.host}/app:1", progress=seen.append, prepare=prepare)
    assert image.references == (f"{fake.host}/app:1",)
    assert image.repo_digests == (f"{fake.host}/app@{digest}",)
    assert image.manifest_digest == digest
    assert len(image.layers) == 3
    assert [head for _, head in prepared] == [b"\x1f\x8b"] * 2  # each layer once
    assert {p.status for p in seen} == {"waiting", "downloading", "verifying", "extracting", "done"}
    assert store.get(f"{fake.host}/app@{digest}") == image
    fake.log.clear()
    seen.clear()
    assert store.pull(f"{fake.host}/app:1", progress=seen.append, prepare=prepare) == image
    assert len(prepared) == 4  # whoever prepares may have lost what it made
    assert {p.status for p in seen} == {"exists", "extracting", "done"}
    assert [path for _, path, _ in fake.log if any(layer.digest in path for layer in image.layers)] == []


def test_pull_by_digest_makes_no_tag(fake: Any, new_store: NewStore) -> None:
    digest = fake.add_image("1", b"one")
    image = new_store().pull(f"{fake.host}/app:ignored@{digest}")
    assert (image.references, image.repo_digests) == ((), (f"{fake.host}/app@{digest}",))


def index(fake: Any, tag: str, *entries: tuple[str, str], **platform: Any) -> str:
    manifests = []
    for digest, architecture in entries:
        raw, kind = fake.manifests[digest]
        system = "unknown" if architecture == "unknown" else "linux"
        manifests.append(
            {
                "mediaType": kind,
                "digest": digest,
                "size": len(raw),
                **({"platform": {"os": system, "architecture": architecture}} if architecture else {}),
            }
        )
    return str(fake.add_manifest(tag, {"manifests": manifests}, OCI_INDEX))


def test_indexes(fake: Any, new_store: NewStore) -> None:
    amd, arm = fake.add_image("a", b"amd"), fake.add_image("b", b"arm", architecture="arm64")
    inner = index(fake, "inner", (amd, "unknown"), (arm, "arm64"), (amd, "amd64"))
    outer = index(fake, "outer", (inner, ""))
    store = new_store()
    image = store.pull(f"{fake.host}/x:outer", platform=platforms.parse("linux/arm64"))
    assert (image.architecture, image.manifest_digest) == ("arm64", arm)
    assert image.repo_digests == (f"{fake.host}/x@{outer}",)
    assert store.pull(f"{fake.host}/x:inner", platform=platforms.parse("linux/amd64")).manifest_digest == amd
    with pytest.raises(ImageError, match="no image for linux/s390x; it has linux/arm64, linux/amd64"):
        store.pull(f"{fake.host}/x:inner", platform=platforms.parse("linux/s390x"))
    with pytest.raises(ImageError, match="the image is for linux/amd64, not for linux/arm64"):
        store.pull(f"{fake.host}/x:a", platform=platforms.parse("linux/arm64"))


def test_an_index_that_refers_to_itself(fake: Any, new_store: NewStore) -> None:
    """By hash it cannot; so the server serves, for the digest in the index, the index again."""
    inner = "sha256:" + "0" * 64
    entry = {"mediaType": OCI_INDEX, "digest": inner, "size": 1}
    fake.add_manifest("loop", {"manifests": [entry]}, OCI_INDEX)
    fake.manifests[inner] = fake.manifests["loop"]
    with pytest.raises(DigestMismatch):
        new_store().pull(f"{fake.host}/x:loop")
    fake.fail(
        "/manifests/loop",
        lambda h: h.answer(
            200, fake.manifests["loop"][0], Content_Type=OCI_INDEX, Docker_Content_Digest="sha256:1"
        ),
    )
    with pytest.raises(DigestMismatch):
        new_store().pull(f"{fake.host}/x:loop")


def test_deep_indexes(fake: Any, new_store: NewStore) -> None:
    digest = fake.add_image("0", b"x")
    for depth in range(1, 5):
        digest = index(fake, str(depth), (digest, ""))
    store = new_store()
    store.pull(f"{fake.host}/x:3")
    with pytest.raises(ImageError, match="nested more than 3 deep"):
        store.pull(f"{fake.host}/x:4")


def test_schema_1_and_missing_images(fake: Any, new_store: NewStore) -> None:
    fake.manifests["old"] = (
        b'{"schemaVersion":1,"fsLayers":[]}',
        "application/vnd.docker.distribution.manifest.v1+json",
    )
    store = new_store()
    with pytest.raises(ImageError, match="schema 1"):
        store.pull(f"{fake.host}/x:old")
    with pytest.raises(NotFound, match="no such manifest"):
        store.pull(f"{fake.host}/x:none")
    assert store.list() == []


def test_a_manifest_without_end(fake: Any, new_store: NewStore) -> None:
    fake.manifests["big"] = (b" " * (5 << 20), OCI_MANIFEST)
    with pytest.raises(RegistryError, match="larger than 4194304 bytes"):
        new_store().pull(f"{fake.host}/x:big")


def test_a_broken_download_goes_on_where_it_ended(fake: Any, new_store: NewStore, noise: Noise) -> None:
    fake.add_image("1", noise(3 << 20))
    (digest,) = fake.layers("1")
    fake.fail(f"blobs/{digest}", cut_after(1 << 20), cut_after(0), fake.status(503), cut_after(1000))
    image = new_store().pull(f"{fake.host}/x:1")
    ranges = [headers.get("Range") for _, _, headers in fake.asked(digest)]
    assert ranges == [None, "bytes=1048576-", "bytes=1048576-", "bytes=1048576-", "bytes=1049576-"]
    assert image.layers[0].digest == digest


def test_a_server_that_cannot_resume_starts_again(fake: Any, new_store: NewStore, noise: Noise) -> None:
    fake.add_image("1", noise(100_000))
    (digest,) = fake.layers("1")

    def whole(handler: Any) -> None:
        handler.answer(200, fake.blobs[digest])

    fake.fail(f"blobs/{digest}", cut_after(5000), fake.status(416), cut_after(5000), whole)
    new_store().pull(f"{fake.host}/x:1")
    assert [h.get("Range") for _, _, h in fake.asked(digest)] == [None, "bytes=5000-", None, "bytes=5000-"]


def test_attempts_are_bounded_and_the_rest_is_kept_for_the_next_pull(
    fake: Any, new_store: NewStore, noise: Noise
) -> None:
    fake.add_image("1", noise(100_000))
    (digest,) = fake.layers("1")
    fake.fail(f"blobs/{digest}", *[cut_after(100)] * 3)
    store = new_store(attempts=3)
    with pytest.raises(RegistryError, match="connection broke"):
        store.pull(f"{fake.host}/x:1")
    assert len(fake.asked(digest)) == 3
    assert store.list() == []
    fake.log.clear()
    store.pull(f"{fake.host}/x:1")
    assert [h.get("Range") for _, _, h in fake.asked(digest)] == ["bytes=300-"]


@pytest.mark.parametrize("wrong", ["content", "short", "long", "huge"])
def test_wrong_bytes_are_never_registered(fake: Any, new_store: NewStore, noise: Noise, wrong: str) -> None:
    fake.add_image("1", noise(50_000), noise(60_000))
    digest = fake.layers("1")[0]
    good = fake.blobs[digest]
    fake.blobs[digest] = {
        "content": good[:-1] + bytes([good[-1] ^ 1]),
        "short": good[:-1],
        "long": good + b"x",
        "huge": good * 50,
    }[wrong]
    store = new_store(attempts=2)
    with pytest.raises(ImageError) as caught:
        store.pull(f"{fake.host}/x:1")
    assert digest in str(caught.value)
    assert store.list() == []
    fake.blobs[digest] = good
    assert store.pull(f"{fake.host}/x:1").layers[0].digest == digest


def test_wrong_config_and_manifest_digests(fake: Any, new_store: NewStore) -> None:
    fake.add_image("1", b"x")
    config = json.loads(fake.manifests["1"][0])["config"]["digest"]
    fake.blobs[config] = fake.blobs[config].replace(b"amd64", b"arm64")
    with pytest.raises(DigestMismatch, match="image config"):
        new_store().pull(f"{fake.host}/x:1")
    other = "sha256:" + "1" * 64
    fake.manifests[other] = fake.manifests["1"]
    with pytest.raises(DigestMismatch, match="manifest"):
        new_store().pull(f"{fake.host}/x@{other}")


def test_retry_after_is_honoured(fake: Any, new_store: NewStore) -> None:
    fake.add_image("1", b"x")
    fake.fail("/manifests/1", fake.status(429, Retry_After="1"), fake.status(500))
    begin = time.monotonic()
    new_store().pull(f"{fake.host}/x:1")
    assert 1.0 <= time.monotonic() - begin < 5
    fake.fail("/manifests/1", *[fake.status(429, Retry_After="100")] * 2)
    with pytest.raises(RegistryError, match="answered 429"):
        new_store(attempts=2, max_backoff_s=0.01).pull(f"{fake.host}/x:1")


def test_a_stalled_download_is_given_up_and_resumed(fake: Any, new_store: NewStore, noise: Noise) -> None:
    fake.add_image("1", noise(100_000))
    (digest,) = fake.layers("1")
    release = threading.Event()

    def stall(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(fake.blobs[digest])))
        handler.end_headers()
        handler.wfile.write(fake.blobs[digest][:500])
        handler.wfile.flush()
        release.wait(20)
        handler.close_connection = True

    fake.fail(f"blobs/{digest}", stall)
    new_store(read_timeout_s=0.2).pull(f"{fake.host}/x:1")
    assert [h.get("Range") for _, _, h in fake.asked(digest)] == [None, "bytes=500-"]
    release.set()


def test_a_trickle_is_a_stall(fake: Any, new_store: NewStore, noise: Noise) -> None:
    fake.add_image("1", noise(100_000))
    (digest,) = fake.layers("1")
    over = threading.Event()

    def trickle(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(fake.blobs[digest])))
        handler.end_headers()
        for byte in fake.blobs[digest][:2000]:
            handler.wfile.write(bytes([byte]))
            if over.wait(0.02):
                break
        handler.close_connection = True

    fake.fail(f"blobs/{digest}", trickle)
    new_store(stall_window_s=0.3).pull(f"{fake.host}/x:1")
    over.set()
    assert len(fake.asked(digest)) == 2


def test_cancelling_wakes_a_blocked_read_at_once(fake: Any, new_store: NewStore, noise: Noise) -> None:
    fake.add_image("1", noise(100_000))
    (digest,) = fake.layers("1")
    release, cancelled = threading.Event(), Cancellation()

    def stall(handler: Any) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(fake.blobs[digest])))
        handler.end_headers()
        handler.wfile.write(b"x")
        handler.wfile.flush()
        release.wait(20)
        handler.close_connection = True

    fake.fail(f"blobs/{digest}", stall)
    store = new_store(read_timeout_s=60.0)

    def progress(p: Progress) -> None:
        if p.current:
            threading.Timer(0.05, cancelled.set).start()

    begin = time.monotonic()
    with pytest.raises(Cancelled, match="cancelled"):
        store.pull(f"{fake.host}/x:1", progress=progress, cancelled=cancelled)
    assert time.monotonic() - begin < 5
    release.set()
    assert store.list() == []
    with pytest.raises(DigestMismatch):  # the one byte that came was wrong, and is noticed
        store.pull(f"{fake.host}/x:1")
    store.pull(f"{fake.host}/x:1")


def test_two_threads_share_one_download(fake: Any, new_store: NewStore, noise: Noise) -> None:
    fake.add_image("1", noise(200_000))
    (digest,) = fake.layers("1")
    started, go = threading.Event(), threading.Event()

    def slow(handler: Any) -> None:
        data = fake.blobs[digest]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:1000])
        started.set()
        go.wait(20)
        handler.wfile.write(data[1000:])

    fake.fail(f"blobs/{digest}", slow)
    store = new_store()
    seen: list[list[Progress]] = [[], []]
    images: list[Any] = []

    def pull(number: int) -> None:
        def progress(p: Progress) -> None:
            seen[number].append(p)
            if number == 1 and p.status == "downloading":
                go.set()  # the second one sees the first one's bytes

        images.append(store.pull(f"{fake.host}/x:1", progress=progress))

    threads = [threading.Thread(target=pull, args=(n,)) for n in range(2)]
    threads[0].start()
    assert started.wait(10)
    threads[1].start()
    for thread in threads:
        thread.join(20)
    assert images[0] == images[1]
    assert len(fake.asked(digest)) == 1
    assert any(p.status == "downloading" and p.current > 0 for p in seen[1])


def test_a_passenger_takes_over_from_a_cancelled_pilot(fake: Any, new_store: NewStore, noise: Noise) -> None:
    fake.add_image("1", noise(200_000))
    (digest,) = fake.layers("1")
    release, cancelled = threading.Event(), Cancellation()

    def stall(handler: Any) -> None:
        data = fake.blobs[digest]
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data[:1000])
        release.wait(20)
        handler.close_connection = True

    fake.fail(f"blobs/{digest}", stall)
    store = new_store(read_timeout_s=60.0)
    outcome: list[Any] = []
    flying = threading.Event()

    def take_off(p: Progress) -> None:
        if p.current:
            flying.set()

    def end_the_first(p: Progress) -> None:
        if p.status == "downloading":
            cancelled.set()

    def first() -> None:
        with pytest.raises(Cancelled):
            store.pull(f"{fake.host}/x:1", progress=take_off, cancelled=cancelled)
        outcome.append("cancelled")

    def second() -> None:
        outcome.append(store.pull(f"{fake.host}/x:1", progress=end_the_first))

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert flying.wait(10)
    threads[1].start()
    for thread in threads:
        thread.join(30)
    release.set()
    assert outcome[0] == "cancelled"
    assert outcome[1].layers[0].digest == digest
    assert [h.get("Range") for _, _, h in fake.asked(digest)] == [None, "bytes=1000-"]


def test_a_failing_layer_stops_the_others_and_its_error_is_the_one_raised(
    fake: Any, new_store: NewStore, noise: Noise
) -> None:
    fake.add_image("1", noise(1000), noise(2000))
    first, second = fake.layers("1")
    release = threading.Event()
    fake.fail(f"blobs/{second}", lambda h: release.wait(20))
    fake.fail(f"blobs/{first}", fake.status(404))
    begin = time.monotonic()
    with pytest.raises(NotFound, match=first):
        new_store(read_timeout_s=1.0).pull(f"{fake.host}/x:1")
    assert time.monotonic() - begin < 10
    release.set()


def test_unreachable_registries_fail_at_once(new_store: NewStore) -> None:
    begin = time.monotonic()
    with pytest.raises(RegistryError, match="cannot connect"):
        new_store().pull("127.0.0.1:1/x")
    assert time.monotonic() - begin < 3
    with pytest.raises(InvalidArgument):
        new_store().pull("127.0.0.1:1/X")


def test_a_blob_larger_than_allowed_is_not_fetched(fake: Any, new_store: NewStore, noise: Noise) -> None:
    fake.add_image("1", noise(10_000))
    with pytest.raises(ImageError, match="at most 5000 are allowed"):
        new_store(max_blob_bytes=5000).pull(f"{fake.host}/x:1")
    assert fake.asked(fake.layers("1")[0]) == []


def test_a_full_disk_is_said_and_not_taken_for_a_broken_connection(
    fake: Any, new_store: NewStore, noise: Noise, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add_image("1", noise(100_000))
    (digest,) = fake.layers("1")

    def full(fd: int, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = new_store()
    with monkeypatch.context() as patch, pytest.raises(Unavailable, match="No space left") as caught:
        patch.setattr("os.write", full)
        store.pull(f"{fake.host}/x:1")
    assert [remedy.call for remedy in caught.value.remedies] == ["system.prune"]
    assert len(fake.asked(digest)) == 1
    store.pull(f"{fake.host}/x:1")


def test_an_endless_refusal_is_not_read(fake: Any, new_store: NewStore) -> None:
    """A 401 whose body never ends costs neither memory nor time."""
    sent = []

    def endless(handler: Any) -> bool:
        handler.send_response(401)
        handler.send_header("WWW-Authenticate", 'Basic realm="r"')
        handler.end_headers()
        while True:
            handler.wfile.write(bytes(1 << 20))
            sent.append(1)

    fake.authorize = endless
    with pytest.raises(Unauthorized):
        new_store().pull(f"{fake.host}/x:1")
    assert len(sent) < 50
