"""What BuildKit says of a build's progress, as clients of the build of one request read it.

The builder tells of vertices (steps, and what comes before and after them), of their output and of how far they are, as
objects of JSON between lines of text.  Clients are told in words, as the builder before BuildKit had them, or by the
same facts as messages of protocol buffers (``trace``).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from hypercontainer.engine import protobuf
from hypercontainer.engine.protobuf import Field, Message

OBJECT_MAX_BYTES = 4 << 20
VERTICES_MAX = 4096
LINES_MAX = 1 << 16  # characters that are kept until it is known whether they are an error's
_STEP = re.compile(r"\[(?:\S+ )?(\d+/\d+)\] (.*)", re.DOTALL)
_FAILED = re.compile(r'.*?process "(.*)" did not complete successfully: exit code: (\d+)', re.DOTALL)
_FIRST_LINE = "ERROR: "
_BEFORE = ("failed to build: ", "failed to solve: ")
# What is found wrong when a Dockerfile is read, before anything is built of it.
_UNREAD = re.compile(r"dockerfile parse error |file with no instructions|no build stage in current context")


class Vertex(msgspec.Struct):
    digest: str = ""
    inputs: list[str] = []
    name: str = ""
    started: datetime | None = None
    completed: datetime | None = None
    cached: bool = False
    error: str = ""


class Status(msgspec.Struct):
    id: str = ""
    vertex: str = ""
    name: str = ""
    current: int = 0
    total: int = 0
    timestamp: datetime | None = None
    started: datetime | None = None
    completed: datetime | None = None


class Log(msgspec.Struct):
    vertex: str = ""
    stream: int = 0
    data: bytes = b""
    timestamp: datetime | None = None


class News(msgspec.Struct):
    vertexes: list[Vertex] = []
    statuses: list[Status] = []
    logs: list[Log] = []


class Reader:
    """Takes output as it comes; gives news, and lines of text that are none."""

    def __init__(self) -> None:
        self._rest = b""
        self._object = b""

    def feed(self, data: bytes) -> Iterator[News | str]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > OBJECT_MAX_BYTES:
            lines, self._rest = [*lines, self._rest], b""
        for line in lines:
            yield from self._line(line)

    def end(self) -> Iterator[News | str]:
        yield from self._line(self._rest)

    def _line(self, line: bytes) -> Iterator[News | str]:
        """An object is of one line, or begins and ends with a bracket that stands alone."""
        if self._object or line == b"{":
            self._object += line
            if line != b"}" and len(self._object) < OBJECT_MAX_BYTES:
                return
            line, self._object = self._object, b""
        if line:
            try:
                yield msgspec.json.decode(line, type=News)
            except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
                yield line.decode(errors="replace")


class Words:
    """``error``: what the build has failed of, once it has, without what stands before it in every case.  The lines of
    the Dockerfile that come before it are not told."""

    def __init__(self) -> None:
        self._told: dict[str, bool] = {}  # the vertices of which it was told; that they are cached, too
        self._lines: list[str] = []
        self.error = ""

    def of(self, said: News | str) -> Iterator[str]:
        if isinstance(said, News):
            yield from self.rest()
            for vertex in said.vertexes:
                yield from self._step(vertex)
            for log in said.logs:
                yield log.data.decode(errors="replace")
        elif said.startswith(_FIRST_LINE):
            self.error, self._lines = said.removeprefix(_FIRST_LINE), []
            for words in _BEFORE:
                self.error = self.error.removeprefix(words)
        else:
            self._lines.append(f"{said}\n")
            if sum(map(len, self._lines)) > LINES_MAX:
                yield from self.rest()

    def rest(self) -> Iterator[str]:
        """What was no part of an error."""
        lines, self._lines = self._lines, []
        yield from lines

    def _step(self, vertex: Vertex) -> Iterator[str]:
        step = _STEP.fullmatch(vertex.name)
        if step is None or vertex.started is None or len(self._told) > VERTICES_MAX:
            return
        if vertex.digest not in self._told:
            self._told[vertex.digest] = False
            yield f"Step {step[1]} : {step[2]}\n"
        if vertex.cached and not self._told[vertex.digest]:
            self._told[vertex.digest] = True
            yield " ---> Using cache\n"


def is_unread(error: str) -> bool:
    """Whether nothing was built, as the Dockerfile cannot be read."""
    return _UNREAD.match(error) is not None


def failure(error: str) -> dict[str, Any]:
    """The last of the messages; a step that failed in the words that clients know."""
    code, message = 1, error
    if match := _FAILED.fullmatch(error):
        code, message = int(match[2]), f"The command '{match[1]}' returned a non-zero code: {match[2]}"
    return {"errorDetail": {"code": code, "message": message}, "error": message}


def trace(news: News) -> dict[str, str]:
    """moby.buildkit.v1.StatusResponse."""
    fields = [
        *(Field(1, protobuf.written(_vertex(each))) for each in news.vertexes),
        *(Field(2, protobuf.written(_status(each))) for each in news.statuses),
        *(Field(3, protobuf.written(_log(each))) for each in news.logs),
    ]
    return {"id": "moby.buildkit.trace", "aux": base64.b64encode(protobuf.written(fields)).decode()}


def _vertex(vertex: Vertex) -> Message:
    return [
        protobuf.text(1, vertex.digest),
        *(protobuf.text(2, each) for each in vertex.inputs),
        protobuf.text(3, vertex.name),
        protobuf.number(4, vertex.cached),
        *_time(5, vertex.started),
        *_time(6, vertex.completed),
        protobuf.text(7, vertex.error),
    ]


def _status(status: Status) -> Message:
    return [
        protobuf.text(1, status.id),
        protobuf.text(2, status.vertex),
        protobuf.text(3, status.name),
        protobuf.number(4, max(status.current, 0)),
        protobuf.number(5, max(status.total, 0)),
        *_time(6, status.timestamp),
        *_time(7, status.started),
        *_time(8, status.completed),
    ]


def _log(log: Log) -> Message:
    return [
        protobuf.text(1, log.vertex),
        *_time(2, log.timestamp),
        protobuf.number(3, max(log.stream, 0)),
        Field(4, log.data),
    ]


def _time(number: int, when: datetime | None) -> Message:
    if when is None or when.timestamp() < 0:
        return []
    seconds = int(when.timestamp())
    said = [protobuf.number(1, seconds), protobuf.number(2, when.microsecond * 1000)]
    return [Field(number, protobuf.written(said))]
