"""A process whose streams are carried by frames (docs/api.md, "Frames").

Memory is bounded by the frames' credit: what nobody reads holds up the process, at WINDOW_BYTES a channel.

Made of sdk/aio/stream.py by tools/make_sync.py; change it there.
"""

# ruff: noqa: A002, RUF100, E501
from __future__ import annotations

from typing import Self

from hypercontainer.sdk.aio import stream as aio
from hypercontainer.sdk.aio.stream import MAX_OUTPUT_BYTES
from hypercontainer.sdk.portal import Facade
from hypercontainer.sdk.results import Output, RunResult


class Stream(Facade[aio.AsyncStream]):
    """A running program and its standard streams; iterated over, it gives its output as it comes.

    Used as a context manager.  What still runs when the block is left is killed where it was started for the block
    (``exec_stream``) and left alone where it was there before (``attach``).

    Example::

        with box.exec_stream(["tr", "a-z", "A-Z"], stdin=True) as stream:
            stream.write(b"hello")
            stream.end_input()
            for channel, data in stream:
                assert (channel, data) == ("stdout", b"HELLO")
            assert stream.exit_status == 0
    """

    @property
    def exit_status(self) -> int | None:
        """None while it runs, and where that is not known yet."""
        return self._async.exit_status

    @property
    def error(self) -> str:
        """Why it ended as it did, where hyperd has said so."""
        return self._async.error

    def __enter__(self) -> Self:
        self._portal.call(self._async.__aenter__())
        return self

    def __exit__(self, *_: object) -> None:
        self._portal.call(self._async.__aexit__(*_))

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Output:
        return self._portal.next(self._async)

    def write(self, data: bytes) -> None:
        """Sends ``data`` to standard input; waits while the process has no room.  StreamClosed where it takes no more.

        Example::

            with box.exec_stream(["cat"], stdin=True) as stream:
                stream.write(b"to the other side")
        """
        self._portal.call(self._async.write(data))

    def end_input(self) -> None:
        """Its standard input ends here.  May be called twice.

        Example::

            with box.exec_stream(["wc", "-c"], stdin=True) as stream:
                stream.write(b"12345")
                stream.end_input()
                assert stream.wait() == 0
        """
        self._portal.call(self._async.end_input())

    def signal(self, name: str) -> None:
        """Sends it a signal, by name.

        Example::

            with box.exec_stream(["sleep", "1000"]) as stream:
                stream.signal("TERM")
                assert stream.wait() == 143
        """
        self._portal.call(self._async.signal(name))

    def resize(self, rows: int, columns: int) -> None:
        """Tells it the size of its terminal, where it has one (``tty=True``).

        Example::

            with box.exec_stream(["cat"], stdin=True, tty=True) as stream:
                stream.resize(24, 80)
        """
        self._portal.call(self._async.resize(rows, columns))

    def wait(self) -> int:
        """Its exit status, once it has ended.  What it still writes is thrown away.

        Example::

            with box.exec_stream(["sh", "-c", "exit 3"]) as stream:
                assert stream.wait() == 3
        """
        return self._portal.call(self._async.wait())

    def communicate(
        self,
        input: bytes | None = None,
        *,
        max_output_bytes: int = MAX_OUTPUT_BYTES,
    ) -> RunResult:
        """Sends all of ``input`` and its end, if there is any; reads all of the output, waits for the end.

        Example::

            with box.exec_stream(["sort"], stdin=True) as stream:
                assert stream.communicate(b"b\\na\\n").stdout == b"a\\nb\\n"
        """
        return self._portal.call(self._async.communicate(input, max_output_bytes=max_output_bytes))
