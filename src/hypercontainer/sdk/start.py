"""Starts hyperd from a program that may have threads: ``client.spawn`` forks, so it gets an interpreter of its own.

    python -P -m hypercontainer.sdk.start ADDRESS [CONFIG]

Standard output is "" when hyperd serves, else a JSON object with ``message`` and ``hint``.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

from hypercontainer.errors import HyperError, Unavailable

TIMEOUT_S = 90.0  # beyond what `client.spawn` allows


async def start(address: str, config: str = "") -> None:
    """Returns when hyperd listens at the socket ``address``; raises Unavailable with its last words if it died."""
    words = [sys.executable, "-P", "-m", "hypercontainer.sdk.start", address, config]
    try:
        done = await asyncio.to_thread(
            subprocess.run,
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"start hyperd: {error}", hint="hyper system start") from error
    if done.stdout:
        told = json.loads(done.stdout)
        raise Unavailable(told["message"], hint=told["hint"])
    if done.returncode:
        said = done.stderr.decode(errors="backslashreplace").strip()[-2000:]
        raise Unavailable(f"start hyperd: {said or f'status {done.returncode}'}", hint="hyper system start")


def main() -> int:
    from hypercontainer.client.spawn import start_hyperd

    address, config = sys.argv[1:3]
    try:
        start_hyperd(address, config=config)
    except HyperError as error:
        sys.stdout.write(json.dumps({"message": error.message, "hint": error.hint}))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
