"""A process in the user's terminal: streams, raw mode, size, signals, detach keys, exit status."""

from __future__ import annotations

import os
import signal

from hypercontainer.cli import terminal
from hypercontainer.cli.options import UsageError
from hypercontainer.cli.session import tell
from hypercontainer.cli.signals import ENDING, FORWARDED, Interrupted, SignalReader
from hypercontainer.client.stream import ConnectionLost, Detached, Stream
from hypercontainer.contract.detach import parse_keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket  # noqa: N812
    from collections.abc import Callable
    from typing import Any

PATIENCE = 3  # this many signals to end, and the client leaves whatever the process makes of them
ALL_STREAMS = frozenset(("stdin", "stdout", "stderr"))


class Terms:
    """How to attach.  ``streams``: those of stdin, stdout, stderr that are wanted."""

    __slots__ = ("keys", "raw", "sig_proxy", "streams", "tty")

    def __init__(
        self, *, tty: bool, streams: frozenset[str], detach_keys: str = "", sig_proxy: bool = True
    ) -> None:
        self.tty = tty
        self.streams = streams
        self.raw = tty and "stdin" in streams
        self.sig_proxy = sig_proxy and not tty
        self.keys = parse_keys(detach_keys) if self.raw else b""
        if self.raw and not os.isatty(0):
            raise UsageError(
                "the input device is not a TTY", hint="leave -t out where the input is no terminal"
            )


class Attached:
    """One attached process; ``name`` is for messages and may be set when it is known.

    ``timings`` is what hyperd said of the run at its end, None until then.
    """

    def __init__(
        self, terms: Terms, *, name: str = "", on_created: Callable[[dict[str, Any]], None] | None = None
    ):
        self._terms = terms
        self._name = name
        self._on_created = on_created
        self._endings = 0
        self._failed = ""
        self.timings: dict[str, Any] | None = None
        self._raw = terminal.RawTerminal(0)

    def run(self, sock: Socket, first: bytes) -> int:
        """The process's exit status; 0 after the detach keys, 128+N after a signal that ends the client.

        Takes the socket over, with the ``first`` bytes that came on it.
        """
        terms = self._terms
        numbers = FORWARDED if terms.sig_proxy else ENDING
        with SignalReader((*numbers, signal.SIGWINCH) if terms.tty else numbers) as signals, self._raw:
            try:
                self._stream = Stream(
                    sock,
                    first,
                    stdin=0 if "stdin" in terms.streams else None,
                    stdout=1 if "stdout" in terms.streams else None,
                    stderr=2 if "stderr" in terms.streams else None,
                    wakeup=signals.fd,
                    detach_keys=terms.keys,
                    on_control=self._controlled,
                    on_signal=self._signalled,
                )
                self._begin()
                status = self._stream.run()
                self._raw.restore()
                if self._failed:
                    tell(f"hyper: container {self._name}: {self._failed}")
                return status
            except Detached:
                return 0
            except Interrupted as interrupted:
                self._raw.restore()
                if self._name and self._endings >= PATIENCE:
                    tell(f"hyper: left {self._name} running; hyper kill {self._name} ends it")
                return interrupted.exit_status
            except ConnectionLost as error:
                if self._name:
                    error.hint = f"if the container goes on, hyper attach {self._name} joins it again"
                raise

    def _begin(self) -> None:
        waits = self._on_created is not None
        self._stream.input_held = waits
        self._resize()
        if not waits and self._terms.raw:
            self._raw.enter()

    def _resize(self) -> None:
        if self._terms.tty and (now := terminal.size()):
            self._stream.resize(*now)

    def _controlled(self, name: str, value: Any) -> None:
        if name == "created" and self._on_created is not None:
            self._name = str(value["name"])
            self._on_created(value)
            self._on_created = None
            if self._terms.raw:
                self._raw.enter()
            self._stream.input_held = False
        elif name == "failed":
            self._failed = str(value)
        elif name == "timings":
            self.timings = value

    def _signalled(self, number: int) -> None:
        if number == signal.SIGWINCH:
            self._resize()
            return
        self._endings += number in (signal.SIGINT, signal.SIGTERM)
        if self._on_created is not None or not self._terms.sig_proxy or self._endings >= PATIENCE:
            raise Interrupted(number)
        self._stream.signal(signal.Signals(number).name.removeprefix("SIG"))
