"""One gigabyte through a container: stdin of `hyper run -i` to its stdout, and the memory that it takes; on both."""

from __future__ import annotations

import hashlib
import subprocess
import threading
import time
from pathlib import Path
from typing import IO

import busybox_image
from bench.containers import booted, native
from bench.measure import Row
from bench.pull import peak_memory_kib
from hyper import Hyper

BYTES = 1 << 30
NATIVE_LIMIT_S = BYTES / 100e6
BLOCK = hashlib.shake_256(b"hyper").digest(1 << 20)


def _feed(stream: IO[bytes], blocks: int) -> None:
    for number in range(blocks):
        stream.write(number.to_bytes(8, "big") + BLOCK[8:])
    stream.close()


def measure() -> list[Row]:
    with booted() as emulated, native() as uml:
        return measured(emulated, "") + measured(uml, ", User Mode Linux", NATIVE_LIMIT_S)


def measured(hyper: Hyper, where: str, limit_s: float | None = None) -> list[Row]:
    blocks = BYTES // len(BLOCK)
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
        Row(f"1 GiB through `run -i cat`{where}", took, "s", limit_s, f"{BYTES / 1e6 / took:.0f} MB/s"),
        Row(f"peak memory of hyperd meanwhile{where}", peak_memory_kib(daemon) / 1024, "MB"),
        Row(f"peak memory of the client{where}", client_kib / 1024, "MB"),
    ]
