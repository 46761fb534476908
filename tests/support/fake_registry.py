"""A registry made here, which misbehaves on command."""

from __future__ import annotations

import base64
import contextlib
import gzip
import hashlib
import json
import re
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from stargz import Made

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY_TYPE = "application/vnd.oci.empty.v1+json"
SENT_BYTES = 64 << 10
LARGE_RANGE_BYTES = 8 << 20
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Fake

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, body: bytes | memoryview = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.server.send(self.wfile, body)

    def handle_one_request(self) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            super().handle_one_request()

    def serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length and self.command != "PATCH" else b""
        fake = self.server
        with fake.lock:
            fake.log.append((self.command, self.path, dict(self.headers.items())))
            fault = next((f for p, f in fake.faults if p in self.path and f), None)
            action = fault.pop(0) if fault else None
        if action is not None and action(self) is not False:
            return
        if fake.authorize is None or fake.authorize(self):
            self.registry()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = serve  # noqa: N815

    def registry(self) -> None:
        if self.path == "/v2/":
            self.answer(200)
        elif match := re.fullmatch(r"/v2/(.+)/tags/list(?:\?last=(.*))?", self.path):
            self.tags(match[1], match[2] or "")
        elif self.path.startswith("/v1/search?") and self.server.results is not None:
            self.answer(200, json.dumps({"results": self.server.results}).encode())
        elif match := re.fullmatch(r"/v2/(.+)/manifests/(.+)", self.path):
            self.manifest(match[2])
        elif match := re.fullmatch(r"/v2/(.+)/blobs/(sha256:\w+)", self.path):
            self.blob(match[2])
        elif (match := re.fullmatch(r"/v2/(.+)/referrers/(.+)", self.path)) and self.server.keeps_referrers:
            self.answer(200, self.server.referrers(match[2]), Content_Type=OCI_INDEX)
        else:
            self.answer(404)

    def tags(self, name: str, last: str) -> None:
        """One a page."""
        tags = sorted(tag for tag in self.server.manifests if ":" not in tag and tag > last)
        more = {"Link": f'</v2/{name}/tags/list?last={tags[0]}>; rel="next"'} if len(tags) > 1 else {}
        self.answer(200, json.dumps({"name": name, "tags": tags[:1] or None}).encode(), **more)

    def manifest(self, reference: str) -> None:
        if reference not in self.server.manifests:
            return self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no such manifest"}]}')
        raw, kind = self.server.manifests[reference]
        return self.answer(200, raw, Content_Type=kind)

    def blob(self, digest: str) -> None:
        data = self.server.blobs.get(digest)
        if data is None:
            return self.answer(404)
        wanted = self.headers.get("Range")
        if not wanted or not self.server.ranges:
            return self.answer(200, data)
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        start, end = int(first), int(last or len(data) - 1) + 1
        part = memoryview(data)[start:end]
        return self.answer(206, part, Content_Range=f"bytes {start}-{start + len(part) - 1}/{len(data)}")


class Fake(ThreadingHTTPServer):
    """A registry on a port of ``address``.  ``faults``: (part of a path, actions used up one by one)."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext | None = None, address: str = "127.0.0.1") -> None:
        super().__init__((address, 0), Handler)
        if context is not None:
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.host = f"{address}:{self.server_port}"
        self.lock = threading.Lock()
        self.log: list[tuple[str, str, dict[str, str]]] = []
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.faults: list[tuple[str, list[Callable[[Handler], object]]]] = []
        self.keeps_referrers = True
        self.results: list[dict[str, Any]] | None = None  # of every search; None: it does not search
        self.authorize: Callable[[Handler], bool] | None = None
        self.ranges = True  # whether it serves parts of blobs
        self.bytes_per_s = 0
        self._turn, self._free_at = threading.Lock(), 0.0

    def handle_error(self, *_: Any) -> None:
        pass

    def send(self, out: Any, body: bytes | memoryview) -> None:
        """At no more than ``bytes_per_s`` for all of them together, where that is not 0."""
        view = memoryview(body)
        while view and self.bytes_per_s:
            piece, view = view[:SENT_BYTES], view[SENT_BYTES:]
            with self._turn:
                now = time.monotonic()
                self._free_at = max(self._free_at, now) + len(piece) / self.bytes_per_s
                wait_s = self._free_at - now
            time.sleep(wait_s)  # the line is taken
            out.write(piece)
        if view:
            out.write(view)

    def __enter__(self) -> Fake:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def fail(self, path: str, *actions: Callable[[Handler], object]) -> None:
        self.faults.append((path, list(actions)))

    def add_image(self, tag: str, *layers: bytes, architecture: str = "amd64", level: int = 1) -> str:
        """An image of gzip layers; returns its manifest's digest."""
        packed = [gzip.compress(layer, level, mtime=0) for layer in layers]
        config = {
            "architecture": architecture,
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]},
        }
        raw = json.dumps(config).encode()
        for blob in (*packed, raw):
            self.blobs[digest_of(blob)] = blob
        kind = "application/vnd.oci.image.layer.v1.tar+gzip"
        return self.add_manifest(
            tag,
            {
                "config": self.descriptor(raw, "application/vnd.oci.image.config.v1+json"),
                "layers": [self.descriptor(blob, kind) for blob in packed],
            },
        )

    def add_layers(self, tag: str, *layers: Made, config: dict[str, Any] | None = None) -> str:
        """An image of layers as they are; returns its manifest's digest."""
        document = {
            "architecture": "amd64",
            "os": "linux",
            "config": config or {},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer.tar) for layer in layers]},
        }
        raw = json.dumps(document).encode()
        for blob in (raw, *(layer.blob for layer in layers)):
            self.blobs[digest_of(blob)] = blob
        return self.add_manifest(
            tag,
            {
                "config": self.descriptor(raw, "application/vnd.oci.image.config.v1+json"),
                "layers": [
                    {**self.descriptor(layer.blob, layer.kind), "annotations": layer.annotations}
                    for layer in layers
                ],
            },
        )

    def add_manifest(self, tag: str, document: dict[str, Any], kind: str = OCI_MANIFEST) -> str:
        raw = json.dumps({"schemaVersion": 2, "mediaType": kind, **document}).encode()
        self.manifests[tag] = self.manifests[digest_of(raw)] = (raw, kind)
        return digest_of(raw)

    def attach(
        self, subject: str, blob: bytes, kind: str, *, says: bool = True, config: str = EMPTY_TYPE
    ) -> str:
        """An artifact of one blob that refers to the manifest ``subject``, under the tag for such, too; ``says``: the
        manifest says of which kind it is.  Its digest."""
        self.blobs[digest_of(blob)] = blob
        self.blobs[digest_of(b"{}")] = b"{}"
        told = {"artifactType": kind} if says else {}
        digest = self.add_manifest(
            f"artifact-{len(self.manifests)}",
            {
                "config": self.descriptor(b"{}", config),
                "layers": [self.descriptor(blob, kind)],
                "subject": {"digest": subject},
                **told,
            },
        )
        if not self.keeps_referrers:
            self.add_manifest(subject.replace(":", "-"), json.loads(self.referrers(subject)), OCI_INDEX)
        return digest

    def referrers(self, subject: str) -> bytes:
        found = []
        for reference, (raw, kind) in self.manifests.items():
            document = json.loads(raw)
            if ":" in reference and document.get("subject", {}).get("digest") == subject:
                told = document.get("artifactType") or document["config"]["mediaType"]
                found.append({**self.descriptor(raw, kind), "artifactType": told})
        return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}).encode()

    @staticmethod
    def descriptor(blob: bytes, kind: str) -> dict[str, Any]:
        return {"mediaType": kind, "digest": digest_of(blob), "size": len(blob)}

    @staticmethod
    def status(code: int, **headers: str) -> Callable[[Handler], None]:
        """An action that answers with nothing but this."""
        return lambda handler: handler.answer(code, b"", **headers)

    @staticmethod
    def basic(user: str, password: str) -> Callable[[Handler], bool]:
        """An authorization that wants this user."""
        expected = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()

        def authorize(handler: Handler) -> bool:
            if handler.headers.get("Authorization") == expected:
                return True
            handler.answer(401, WWW_Authenticate='Basic realm="r"')
            return False

        return authorize

    def layers(self, tag: str) -> list[str]:
        return [layer["digest"] for layer in json.loads(self.manifests[tag][0])["layers"]]

    def asked(self, part: str) -> list[tuple[str, str, dict[str, str]]]:
        return [entry for entry in self.log if part in entry[1]]

    def counts(self) -> Counter[str]:
        return Counter(path for _, path, _ in self.log)


def hold_large_ranges(registry: Fake) -> threading.Event:
    """What fetches an image's rest asks for 8 MiB at a time: nothing of that is answered before it is set."""
    let = threading.Event()

    def hold(handler: Handler) -> bool:
        first, _, last = handler.headers.get("Range", "bytes=0-0").removeprefix("bytes=").partition("-")
        if int(last or 1 << 40) - int(first) >= LARGE_RANGE_BYTES - 1:
            let.wait(60)
        return False

    registry.fail("/blobs/", *[hold] * 1000)
    return let
