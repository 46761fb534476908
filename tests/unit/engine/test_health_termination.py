"""A container's last words."""

from __future__ import annotations

import pytest

from hypercontainer.engine.health.termination import termination_message

LINES = b"".join(b"%d\n" % number for number in range(200))


@pytest.mark.parametrize(
    ("file", "log", "fallback", "status", "message"),
    [
        (b"done\n", b"log", True, 1, "done\n"),
        (b"done\n", b"log", False, 0, "done\n"),
        (None, b"log", False, 1, ""),
        (b"", b"log", False, 1, ""),
        (None, b"log", True, 0, ""),
        (None, b"log", True, 1, "log"),
        (b"", b"log", True, 137, "log"),
        (b"\xff\x00", b"", True, 1, "\ufffd\x00"),
        (b"a" * 5 + b"b" * 4096, b"", False, 0, "b" * 4096),
        (None, b"a" * 5 + b"b" * 2048, True, 1, "b" * 2048),
        (None, LINES, True, 1, "".join(f"{number}\n" for number in range(120, 200))),
        (None, None, True, 1, ""),
    ],
)
def test_message(file: bytes | None, log: bytes | None, fallback: bool, status: int, message: str) -> None:
    assert termination_message(file, log or b"", fallback=fallback, exit_status=status) == message
