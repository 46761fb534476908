"""Runs in the dom0 of the tests, after init: does what comes over the virtio port ``bed``, one command after another.

A request and each answer are a line of JSON.  ``{"argv": [...], "timeout": seconds, "environment": {...}}`` is answered
by ``{"out": text}``, any number of times, and ``{"rc": number}``, with 124 for one that took too long.
"""

from __future__ import annotations

import glob
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from typing import BinaryIO

PORT_NAME = "bed"


def port() -> str:
    for path in glob.glob("/sys/class/virtio-ports/*/name"):
        with open(path) as file:
            if file.read().strip() == PORT_NAME:
                return f"/dev/{path.split('/')[-2]}"
    raise SystemExit("there is no port")


def say(port: BinaryIO, /, **message: object) -> None:
    port.write(json.dumps(message).encode() + b"\n")


def run(request: dict[str, object], out: BinaryIO) -> int:
    environment = {**os.environ, **request.get("environment", {})}  # type: ignore[dict-item]
    process: subprocess.Popen[bytes] = subprocess.Popen(
        request["argv"],  # type: ignore[call-overload]
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,
    )
    deadline = time.monotonic() + float(request["timeout"])  # type: ignore[arg-type]
    pipe = process.stdout
    assert pipe is not None
    ended = os.pidfd_open(process.pid)
    with selectors.DefaultSelector() as waiting:
        waiting.register(pipe, selectors.EVENT_READ)
        waiting.register(ended, selectors.EVENT_READ)
        os.set_blocking(pipe.fileno(), False)
        while (left := deadline - time.monotonic()) > 0:
            waiting.select(left)
            over = process.poll() is not None  # what it has left behind may hold the pipe
            while data := _read(pipe.fileno()):
                say(out, out=data.decode(errors="replace"))
            if over:
                break
    os.close(ended)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return 124
    return process.returncode


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 65536)
    except BlockingIOError:
        return b""


def main() -> None:
    fd = os.open(port(), os.O_RDWR)
    with open(fd, "rb", closefd=False) as lines, open(fd, "wb", buffering=0, closefd=False) as out:
        say(out, ready=sys.version)
        while True:
            if not (line := lines.readline()):  # nobody is at the other end
                time.sleep(0.02)
                continue
            try:
                code = run(json.loads(line), out)
            except Exception as error:
                say(out, out=f"{type(error).__name__}: {error}\n")
                code = 125
            say(out, rc=code)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                pass


main()
