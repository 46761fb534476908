"""What calls give back beside the API's own answers (``hypercontainer.contract.answers``).  Immutable."""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct

from hypercontainer.contract.answers import Timings

Channel = Literal["stdout", "stderr"]


class Output(NamedTuple):
    """A piece of output, in the order of writing."""

    channel: Channel
    data: bytes


class PodOutput(NamedTuple):
    """A piece of output of one of a pod's containers."""

    container: str
    channel: Channel
    data: bytes


class RunResult(Struct, frozen=True, kw_only=True):
    """A program that has ended.

    ``exit_status`` as a shell has it: 0-255, 128+signal.  ``error``: why it did not end by itself, "" where it did.
    ``timings``: of a container's run.
    """

    exit_status: int
    stdout: bytes = b""
    stderr: bytes = b""
    error: str = ""
    timings: Timings | None = None

    @property
    def ok(self) -> bool:
        return self.exit_status == 0

    @property
    def text(self) -> str:
        """Standard output as text, in UTF-8; what is not UTF-8 is shown as escapes."""
        return self.stdout.decode(errors="backslashreplace")


def channel_name(number: int) -> Channel:
    return "stderr" if number == 2 else "stdout"
