"""Uploads that a real registry does not make happen: size limits, lost connections, refused mounts."""

from __future__ import annotations

import io
import re
import socket
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from hypercontainer.errors import RegistryError
from hypercontainer.image import registry
from hypercontainer.image.store import ImageStore

NewStore = Callable[..., ImageStore]


class Uploads:
    """The upload half of the protocol, on a fake registry; ``limit`` is the largest body taken, in bytes."""

    def __init__(self, fake: Any, limit: int = 1 << 30) -> None:
        self.fake, self.limit = fake, limit
        self.parts: dict[str, bytes] = {}
        fake.authorize = self.serve

    def serve(self, handler: Any) -> bool:
        path, _, query = handler.path.partition("?")
        if handler.command == "POST" and path.endswith("/blobs/uploads/"):
            name = str(len(self.parts))
            self.parts[name] = b""
            handler.answer(202, b"", Location=f"{path}{name}?state=a")
        elif handler.command == "PUT" and "/manifests/" in path:
            self.fake.manifests[path.rpartition("/")[2]] = (handler.body, handler.headers["Content-Type"])
            handler.answer(201, b"")
        elif handler.command in ("PUT", "PATCH"):
            self.take(handler, path.rpartition("/")[2], query)
        else:
            return True
        return False

    def take(self, handler: Any, name: str, query: str) -> None:
        length = int(handler.headers["Content-Length"])
        body = handler.body if handler.command == "PUT" else handler.rfile.read(length)
        if length > self.limit:
            handler.answer(413, b"")
            return
        if wanted := handler.headers.get("Content-Range"):
            assert wanted == f"{len(self.parts[name])}-{len(self.parts[name]) + length - 1}"
        self.parts[name] += body
        if handler.command == "PATCH":
            handler.answer(202, b"", Location=f"{handler.path.partition('?')[0]}?state=b")
            return
        digest = re.sub("%3A", ":", query.rpartition("digest=")[2])
        self.fake.blobs[digest] = self.parts[name]
        handler.answer(201, b"")


@pytest.fixture
def archive(noise: Callable[[int], bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        info = tarfile.TarInfo("file")
        info.size = 300_000
        tar.addfile(info, io.BytesIO(noise(300_000)))
    return out.getvalue()


def methods(fake: Any) -> list[str]:
    return [f"{m}" for m, path, _ in fake.log if "/blobs/uploads/" in path]


def test_in_one_request(fake: Any, new_store: NewStore, archive: bytes) -> None:
    Uploads(fake)
    store = new_store()
    store.import_(io.BytesIO(archive), reference=f"{fake.host}/x:1")
    digest = store.push(f"{fake.host}/x:1")
    assert methods(fake) == ["POST", "PUT"] * 2  # layer and config
    assert new_store("b").pull(f"{fake.host}/x:1").manifest_digest == digest


def test_in_chunks_where_a_body_is_too_large(
    fake: Any, new_store: NewStore, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "UPLOAD_CHUNK_BYTES", 100_000)
    Uploads(fake, limit=100_000)
    store = new_store()
    store.import_(io.BytesIO(archive), reference=f"{fake.host}/x:1")
    digest = store.push(f"{fake.host}/x:1")
    assert methods(fake)[:2] == ["POST", "PUT"]
    assert methods(fake).count("PATCH") == 4
    assert new_store("b").pull(f"{fake.host}/x:1").manifest_digest == digest


def test_a_failing_upload_is_tried_again_boundedly(fake: Any, new_store: NewStore, archive: bytes) -> None:
    Uploads(fake)
    store = new_store(attempts=3)
    store.import_(io.BytesIO(archive), reference=f"{fake.host}/x:1")
    fake.fail("/blobs/uploads/", fake.status(503), lambda h: h.connection.shutdown(socket.SHUT_RDWR))
    store.push(f"{fake.host}/x:1")
    fake.blobs.clear()
    fake.log.clear()
    fake.fail("/blobs/uploads/", *[fake.status(503)] * 9)
    with pytest.raises(RegistryError, match="answered 503"):
        store.push(f"{fake.host}/x:1")
    assert len(methods(fake)) == 3


def test_an_upload_is_not_sent_in_the_clear(fake: Any, new_store: NewStore, archive: bytes) -> None:
    Uploads(fake)
    store = new_store()
    store.import_(io.BytesIO(archive), reference=f"{fake.host}/x:1")
    fake.fail("/blobs/uploads/", fake.status(202, Location="ftp://elsewhere/x"))
    with pytest.raises(RegistryError, match="sends it to 'ftp:"):
        store.push(f"{fake.host}/x:1")
    fake.fail("/blobs/uploads/", fake.status(202))
    with pytest.raises(RegistryError, match="no place to upload"):
        store.push(f"{fake.host}/x:1")
