"""Blocking callers of an asyncio program: an event loop in a thread of its own, and the way to it.

The blocking classes (``hypercontainer.sdk.sync``) hold an asynchronous object each and run its methods here.  The
loop starts at the first call and ends with ``stop``; whoever is interrupted (Ctrl-C) cancels what he waits for, and
waits until it has cleaned up.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

from hypercontainer.errors import Cancelled, InvalidArgument

T = TypeVar("T")
CLEAN_UP_S = 30.0


class Portal:
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._stopped = False

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What it returns or raises."""
        result: concurrent.futures.Future[T] = concurrent.futures.Future()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            tasks.append(asyncio.get_running_loop().create_task(coroutine))
            tasks[0].add_done_callback(lambda task: _settle(result, task))

        def cancel() -> None:
            tasks[0].cancel()

        try:
            loop = self._running_loop()
            loop.call_soon_threadsafe(begin)
        except BaseException:
            coroutine.close()
            raise
        try:
            return result.result()
        except BaseException:
            if not result.done():  # it was this thread that was interrupted
                loop.call_soon_threadsafe(cancel)
                concurrent.futures.wait([result], CLEAN_UP_S)
            raise

    def next(self, source: AsyncIterator[T]) -> T:
        """Its next item, as ``next`` has it."""
        end = object()

        async def following() -> T | object:
            return await anext(source, end)

        if (item := self.call(following())) is end:
            raise StopIteration
        return cast(T, item)

    def iterate(self, source: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Its items; closed with the generator that is returned."""
        try:
            while True:
                try:
                    item = self.next(source)
                except StopIteration:
                    return
                yield item
        finally:
            if not self._stopped:
                self.call(_closed(source))

    def end(self, closing: Coroutine[Any, Any, None]) -> None:
        """Runs ``closing``, and then stops."""
        if self._stopped:
            closing.close()
            return
        try:
            self.call(closing)
        finally:
            self.stop()

    def stop(self) -> None:
        """Cancels everything and returns when the thread has ended.  May be called twice."""
        with self._lock:
            self._stopped = True
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None and self._pid == os.getpid():
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._stopped:
                raise InvalidArgument("this client has been closed", hint="make a new one")
            if self._thread is threading.current_thread():
                raise InvalidArgument(
                    "a blocking call from within a callback would wait for itself", hint="call it afterwards"
                )
            if self._loop is None or self._pid != os.getpid():  # a thread does not survive a fork
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name="hypercontainer", daemon=True
                )
                self._pid = os.getpid()
                self._thread.start()
            return self._loop


def _settle(result: concurrent.futures.Future[T], task: asyncio.Task[T]) -> None:
    if task.cancelled():
        result.set_exception(Cancelled("the client was closed meanwhile"))
    elif (error := task.exception()) is not None:
        result.set_exception(error)
    else:
        result.set_result(task.result())


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(_cancel_all())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        asyncio.set_event_loop(None)
        loop.close()


async def _cancel_all() -> None:
    await asyncio.sleep(0)  # calls that came in the last moment begin, so that they can be cancelled
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _closed(source: AsyncGenerator[Any, None]) -> None:
    await source.aclose()


class Facade(Generic[T]):
    """Base of the blocking classes."""

    def __init__(self, portal: Portal, inner: T) -> None:
        self._portal = portal
        self._async = inner

    def __repr__(self) -> str:
        return repr(self._async).replace("<Async", "<", 1)
