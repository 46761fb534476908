"""A shell in tmux: keys go in as a person types them, the screen comes out as a person sees it."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

DEADLINE_S = 60.0
KEYS = frozenset({"Enter", "Escape"})


class Tmux:
    """A server of its own with one window, which runs bash with the prompt ``$ ``."""

    def __init__(self, environment: Mapping[str, str], *, columns: int, rows: int) -> None:
        self._environment = {**environment, "TERM": "xterm", "LC_ALL": "C.UTF-8"}
        self._environment.pop("TMUX", None)
        self._size = ("-x", str(columns), "-y", str(rows))
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Tmux:
        with contextlib.ExitStack() as stack:
            self._directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hyper-tmux-")))
            fifo = self._directory / "output"
            os.mkfifo(fifo)
            self._output = os.open(fifo, os.O_RDWR | os.O_CLOEXEC)  # also a writer: never at its end
            stack.callback(os.close, self._output)
            self._tmux("-f", "/dev/null", "new-session", "-d", *self._size, "exec env PS1='$ ' bash --norc")
            stack.callback(self._tmux, "kill-server")
            self._tmux("set-option", "-g", "status", "off")
            self._tmux("resize-window", *self._size)
            self._tmux("pipe-pane", "-O", f"exec cat >{fifo}")
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def type(self, *texts: str) -> None:
        """Each text as keys, but the names in ``KEYS``."""
        for text in texts:
            self._tmux("send-keys", *([] if text in KEYS else ["-l"]), text)

    def resize(self, columns: int, rows: int) -> None:
        self._tmux("resize-window", "-x", str(columns), "-y", str(rows))

    def until(self, text: str) -> None:
        """Waits until the last line that is not empty has ``text`` in it."""
        limit = time.monotonic() + DEADLINE_S
        while text not in self.screen()[-1]:
            left = limit - time.monotonic()
            if left <= 0 or not select.select([self._output], [], [], left)[0]:
                raise AssertionError(f"{text!r} is not in the last line of:\n" + "\n".join(self.screen()))
            os.read(self._output, 65536)  # something was drawn: look again

    def screen(self) -> list[str]:
        """The lines that are shown, without empty ones at the end."""
        return self._tmux("capture-pane", "-p").rstrip("\n").split("\n")

    def _tmux(self, *words: str) -> str:
        argv = ["tmux", "-S", str(self._directory / "socket"), *words]
        return subprocess.run(
            argv, check=True, env=self._environment, stdout=subprocess.PIPE, text=True, timeout=DEADLINE_S
        ).stdout
