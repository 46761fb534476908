"""A container's last words, by Kubernetes' rules."""

from __future__ import annotations

FILE_MAX_BYTES = 4096
LOG_MAX_BYTES = 2048
LOG_MAX_LINES = 80


def termination_message(file: bytes | None, log_tail: bytes, *, fallback: bool, exit_status: int) -> str:
    """The end of what it wrote into its message file (None: there is none, or none is read).

    ``log_tail``: the last bytes of its log, at least LOG_MAX_BYTES where there are as many; it stands in where
    ``fallback`` says so, the program failed and it wrote no message.
    """
    message = (file or b"")[-FILE_MAX_BYTES:]
    if not message and fallback and exit_status != 0:
        message = b"".join(log_tail[-LOG_MAX_BYTES:].splitlines(keepends=True)[-LOG_MAX_LINES:])
    return message.decode("utf-8", "replace")
