"""Requests under way and their answers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from hypercontainer.agent.channel import Channel
from hypercontainer.agent.fields import decode, encode
from hypercontainer.agent.frames import message
from hypercontainer.agent.operations import Failure
from hypercontainer.agent.wire import REQUEST, RESPONSE, Frame, Operation
from hypercontainer.errors import AgentError, AgentProtocolError, AgentTimeout, GuestError, Unavailable

T = TypeVar("T")
A = TypeVar("A")

UNANSWERED_MAX = 1024


class Budget:
    """What a guest may send unasked: ``burst`` at once, ``rate_per_s`` in the long run."""

    def __init__(self, rate_per_s: float, burst: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._left = burst
        self._clock = asyncio.get_running_loop().time
        self._at = self._clock()

    def spend(self, what: str) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._rate_per_s)
        self._at = now
        if self._left < 1:
            raise AgentProtocolError(f"a flood of {what}")
        self._left -= 1


@dataclass(frozen=True, slots=True)
class Call(Generic[A, T]):
    """One operation: ``what`` names its object for errors, ``convert`` makes the result of the answer.

    ``then`` hears how it went, also where nobody waits for it any more; not if the answer never comes.
    """

    operation: Operation
    what: str
    record: Any
    answer: type[A]
    convert: Callable[[A], T]
    then: Callable[[GuestError | None], None] | None = None

    @property
    def name(self) -> str:
        return self.operation.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class _Open:
    call: Call[Any, Any]
    future: asyncio.Future[Any]
    deadline: asyncio.TimerHandle


class Requests:
    """A request stays here until its answer has come, also where nobody waits for that any more."""

    def __init__(self, channel: Channel, session: int) -> None:
        self._channel = channel
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._open: dict[int, _Open] = {}
        self._next_id = 1

    def send(self, call: Call[A, T], timeout_s: float) -> asyncio.Future[T]:
        """Send now.  What is wrong with the request itself raises here, the guest's refusal in the future."""
        if (reason := self._channel.closed_because) is not None:
            raise reason
        if len(self._open) >= UNANSWERED_MAX:
            raise Unavailable(f"{UNANSWERED_MAX} requests to the guest's agent are unanswered")
        number = self._next_id
        payload = REQUEST.pack(number, call.operation, 0) + encode(call.record)
        self._channel.send(message(self._session, Frame.REQUEST, payload))
        self._next_id = number % 0xFFFF_FFFF + 1
        future: asyncio.Future[T] = self._loop.create_future()
        # An answer that nobody awaits is not worth a line in the log.
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        deadline = self._loop.call_later(timeout_s, self._expired, number, timeout_s)
        self._open[number] = _Open(call, future, deadline)
        return future

    def answer(self, payload: bytes) -> None:
        """Take a RESPONSE."""
        if len(payload) < RESPONSE.size:
            raise AgentProtocolError(f"a response of {len(payload)} bytes")
        number, errno = RESPONSE.unpack_from(payload)
        request = self._open.pop(number, None)
        if request is None:
            raise AgentProtocolError(f"a response to request {number}, which was not sent")
        request.deadline.cancel()
        call, body = request.call, memoryview(payload)[RESPONSE.size :]
        error: GuestError | None = None
        result = None
        try:
            if errno:
                error = _guest_error(call, errno, decode(Failure, body).message)
            else:
                result = call.convert(decode(call.answer, body))
        except AgentProtocolError as broken:
            _settle(request.future, None, broken)
            raise
        if call.then is not None:
            call.then(error)
        _settle(request.future, result, error)

    def close(self, reason: AgentError) -> None:
        for request in self._open.values():
            request.deadline.cancel()
            _settle(request.future, None, reason)
        self._open.clear()

    def _expired(self, number: int, timeout_s: float) -> None:
        request = self._open[number]
        call = request.call
        error = AgentTimeout(f"{call.name} ({call.what}): the guest did not answer within {timeout_s:g} s")
        _settle(request.future, None, error)
        if self._channel.stuck(timeout_s):
            self._channel.abort(
                AgentTimeout(f"the guest fell silent in the middle of a frame, {timeout_s:g} s ago")
            )


def _guest_error(call: Call[Any, Any], errno: int, message: str) -> GuestError:
    reason = message or os.strerror(errno)
    return GuestError(f"{call.name} ({call.what}): {reason}", errno=errno, operation=call.name)


def _settle(future: asyncio.Future[Any], result: Any, error: AgentError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
