"""One gigabyte through a container: stdin of `hyper run -i` to its stdout, and the memory that it takes."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
from pathlib import Path
from typing import IO

import busybox_image
from bench.measure import Row
from bench.pull import peak_memory_kib
from hyper import Hyper

BYTES = 1 << 30
BLOCK = hashlib.shake_256(b"hyper").digest(1 << 20)


def _feed(stream: IO[bytes], blocks: int) -> None:
    for number in range(blocks):
        stream.write(number.to_bytes(8, "big") + BLOCK[8:])
    stream.close()


def measure(hyper: Hyper, total_bytes: int = BYTES) -> list[Row]:
    hyper("load", stdin=busybox_image.archive([busybox_image.layer()]))
    blocks = total_bytes // len(BLOCK)
    daemon = hyper.daemon_pid()
    Path(f"/proc/{daemon}/clear_refs").write_text("5")  # its peak begins anew
    process = hyper.popen(
        *("run", "-i", "--rm", "--log-driver", "none", busybox_image.REFERENCE, "cat"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    start = time.perf_counter()
    feeder = threading.Thread(target=_feed, args=(process.stdin, blocks))
    feeder.start()
    for number in range(blocks):
        got = process.stdout.read(len(BLOCK))
        assert got == number.to_bytes(8, "big") + BLOCK[8:], f"block {number} is not what was sent"
    client_kib = peak_memory_kib(process.pid)
    assert process.stdout.read(1) == b""
    feeder.join()
    assert process.wait() == 0
    took = time.perf_counter() - start
    return [
        Row(f"{total_bytes >> 20} MiB through `run -i cat`", total_bytes / 1e6 / took, "MB/s"),
        Row("peak memory of hyperd meanwhile", peak_memory_kib(daemon) / 1024, "MB"),
        Row("peak memory of the client", client_kib / 1024, "MB"),
    ]
