"""One blob from a registry into the store: resumable, checked, bounded in time.

A transfer that breaks goes on with ``Range`` from the last byte, as long as each attempt gets somewhere; one
slower than 1 KiB/s over the configured window counts as broken.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from urllib3 import BaseHTTPResponse

from hypercontainer.errors import ImageError
from hypercontainer.image.blobs import CHUNK_BYTES, BlobStore, PartialBlob, disk_errors
from hypercontainer.image.cancel import Guard
from hypercontainer.image.documents import Descriptor
from hypercontainer.image.flights import Report
from hypercontainer.image.model import RegistriesConfig
from hypercontainer.image.transport import Backoff, TransientError, read_piece, shut

MIN_BYTES_PER_S = 1024
PROGRESS_BYTES = 1 << 20  # so much must arrive for failures to be forgotten
REPORT_EVERY_S = 0.05
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")

OpenBlob = Callable[[str, int], BaseHTTPResponse]  # digest, offset


def fetch(
    store: BlobStore,
    descriptor: Descriptor,
    source: OpenBlob,
    config: RegistriesConfig,
    report: Report,
    guard: Guard,
) -> None:
    """Bring the blob into ``store``.  DigestMismatch for wrong bytes, which are not kept."""
    what = f"layer {descriptor.digest}"
    if descriptor.size > config.max_blob_bytes:
        raise ImageError(f"{what}: {descriptor.size} bytes, at most {config.max_blob_bytes} are allowed")
    with disk_errors(what, store.root), store.partial(descriptor.digest, descriptor.size, guard) as blob:
        if blob is None:
            return
        backoff = Backoff(config, guard)
        mark = blob.offset
        while blob.offset < descriptor.size:
            try:
                _transfer(blob, descriptor, source, config, report, guard)
            except TransientError as error:
                if blob.offset - mark >= PROGRESS_BYTES:
                    backoff.progressed()
                    mark = blob.offset
                backoff.wait(error)
        report("verifying", blob.offset)
        blob.commit(descriptor.size, what)


def _transfer(
    blob: PartialBlob,
    descriptor: Descriptor,
    source: OpenBlob,
    config: RegistriesConfig,
    report: Report,
    guard: Guard,
) -> None:
    """One request's worth of the blob; returns when it is complete."""
    response = source(descriptor.digest, blob.offset)
    what = f"layer {descriptor.digest}"
    with guard.calling(lambda: shut(response)):
        try:
            if not _continues(response, blob.offset):
                blob.restart()
            if response.status == 416:
                raise TransientError(f"{what}: the registry refuses to resume")
            _copy(response, blob, descriptor.size, what, config, report, guard)
        finally:
            if not response.closed:
                response.close()
    if blob.offset < descriptor.size:
        raise TransientError(f"{what}: the answer ended at {blob.offset} of {descriptor.size} bytes")


def _continues(response: BaseHTTPResponse, offset: int) -> bool:
    """Whether the body starts at ``offset``."""
    if response.status == 206:
        match = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        return match is not None and int(match[1]) == offset
    return offset == 0


def _copy(
    response: BaseHTTPResponse,
    blob: PartialBlob,
    size: int,
    what: str,
    config: RegistriesConfig,
    report: Report,
    guard: Guard,
) -> None:
    window_end = time.monotonic() + config.stall_window_s
    window_start = blob.offset
    next_report = 0.0
    while data := read_piece(response, CHUNK_BYTES, what, guard):
        guard.check()
        if blob.offset + len(data) > size:
            blob.discard()
            raise ImageError(f"{what}: the registry sends more than the {size} bytes that the manifest says")
        blob.append(data)
        now = time.monotonic()
        if now >= next_report:
            report("downloading", blob.offset)
            next_report = now + REPORT_EVERY_S
        if now > window_end:
            if blob.offset - window_start < MIN_BYTES_PER_S * config.stall_window_s:
                raise TransientError(f"{what}: stalled: less than {MIN_BYTES_PER_S} bytes/s")
            window_end, window_start = now + config.stall_window_s, blob.offset
