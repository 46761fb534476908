"""Progress of pulls, pushes, loads and imports: redrawn in place on a terminal, final states elsewhere.

All of it goes to standard error.
"""

from __future__ import annotations

import os
import sys
from time import monotonic

from hypercontainer.cli.session import tell, visible
from hypercontainer.cli.units import decimal_size
from hypercontainer.client.api import remote_error
from hypercontainer.client.http import BrokenAnswer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

REDRAW_INTERVAL_S = 0.08
BAR_WIDTH = 30
TITLES = {
    "waiting": "Waiting",
    "downloading": "Downloading",
    "verifying": "Verifying",
    "extracting": "Extracting",
    "uploading": "Pushing",
    "exists": "Already exists",
    "done": "Complete",
    "pushed": "Pushed",
    "mounted": "Mounted",
}
MOVING = frozenset(("downloading", "extracting", "uploading", "verifying"))
FINAL = frozenset(("done", "pushed", "mounted"))


def layer_name(layer: str) -> str:
    return layer.removeprefix("sha256:")[:12]


def layer_line(layer: str, status: str, current: int, total: int) -> str:
    """``a1b2c3d4e5f6: Downloading [=====>    ] 3.1MB/12.4MB``."""
    layer, title = visible(layer), visible(TITLES.get(status, status.capitalize()))
    if status not in MOVING or total <= 0:
        return f"{layer_name(layer)}: {title}"
    filled = min(BAR_WIDTH, BAR_WIDTH * current // total)
    bar = ("=" * filled + ">")[:BAR_WIDTH].ljust(BAR_WIDTH)
    return f"{layer_name(layer)}: {title:<11} [{bar}] {decimal_size(current)}/{decimal_size(total)}"


class Display:
    """``quiet``: nothing at all.  On a terminal ``close`` leaves the last state standing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._live = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._layers: dict[str, tuple[str, int, int]] = {}
        self._drawn = 0
        self._next = 0.0

    def update(self, progress: Any) -> None:
        """A ``progress`` object of the API."""
        if self._quiet:
            return
        try:
            layer, status = str(progress["layer"]), str(progress["status"])
            state = (status, int(progress["current"]), int(progress["total"]))
        except (TypeError, KeyError, ValueError):
            raise BrokenAnswer(f"hyperd sent progress of no known form: {str(progress)[:80]}") from None
        before = self._layers.get(layer)
        self._layers[layer] = state
        if self._live:
            self._draw(force=before is None or before[0] != status)
        elif status in FINAL and (before is None or before[0] != status):
            tell(layer_line(layer, *state))

    def message(self, text: str) -> None:
        if not self._quiet:
            self._forget()
            tell(text)

    def close(self) -> None:
        if self._live and self._layers:
            self._draw(force=True)
        self._forget()

    def _forget(self) -> None:
        """What has been drawn is history; the next drawing begins below it."""
        self._drawn = 0
        self._layers.clear()

    def _draw(self, *, force: bool) -> None:
        now = monotonic()
        if not force and now < self._next:
            return
        self._next = now + REDRAW_INTERVAL_S
        try:
            width, height = os.get_terminal_size(sys.stderr.fileno())
        except OSError:
            width, height = 80, 24
        lines = [layer_line(layer, *state) for layer, state in self._layers.items()]
        hidden = len(lines) - max(1, height - 2)
        if hidden > 0:  # what is above the screen cannot be redrawn: the oldest give way
            lines = [f"... {hidden + 1} more layers", *lines[hidden + 1 :]]
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        text = "".join(f"\r\x1b[K{line[: max(1, width - 1)]}\n" for line in lines)
        sys.stderr.write(f"{up}{text}\x1b[J")
        sys.stderr.flush()
        self._drawn = len(lines)


def follow(lines: Iterable[Any], display: Display) -> Any:
    """Shows progress lines up to the result, which is given; an error among them is raised."""
    try:
        for line in lines:
            if not isinstance(line, dict):
                break
            if "result" in line:
                return line["result"]
            if "error" in line:
                raise remote_error(line["error"])
            if "progress" in line:
                display.update(line["progress"])
            elif "message" in line:
                display.message(str(line["message"]))
        raise BrokenAnswer("hyperd ended the operation without a result", hint="its log has more")
    finally:
        display.close()
