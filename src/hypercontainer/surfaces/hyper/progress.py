"""Answers of many lines of JSON, and the progress of a long operation as lines or as control frames."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

from hypercontainer.contract.images import LayerProgress
from hypercontainer.engine.interface import ProgressSink
from hypercontainer.surfaces.http import board
from hypercontainer.surfaces.http.answers import closed_after, json_line
from hypercontainer.surfaces.hyper.faults import FaultBody, fault_of


async def value_lines(values: AsyncIterator[object]) -> AsyncGenerator[bytes, None]:
    """A line of JSON per value; an error is the last line."""
    try:
        async with closed_after(values):
            async for value in values:
                yield json_line(value)
    except Exception as error:
        yield json_line(FaultBody(fault_of(error)[1]))


def progress_lines(
    operation: Callable[[ProgressSink], Awaitable[object]],
) -> AsyncGenerator[bytes, None]:
    """As ``board.told`` has it, of each layer the newest."""

    def work(news: board.Board[LayerProgress]) -> Awaitable[object]:
        return operation(sink(news))

    return board.told(
        work,
        lambda item: json_line({"progress": item}),
        ended=lambda result: json_line({"result": result}),
        failed=lambda error: json_line(FaultBody(fault_of(error)[1])),
    )


def sink(news: board.Board[LayerProgress]) -> ProgressSink:
    return lambda progress: news.post(progress.layer, progress)
