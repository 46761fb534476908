"""Hyper from Python (docs/sdk.md): the classes that ``hypercontainer`` shows under its own name.

    aio        the implementation, on asyncio: AsyncClient, AsyncContainer, ...
    sync       the same, blocking: made of ``aio``, run by ``portal`` on an event loop in a thread
    transport  the native API's requests and answers; what has no input and output is ``hypercontainer.client``'s
    options    what people write in a call -> types.spec
    failures   what hyperd answers -> the tree of hypercontainer.errors

A client of the native API and nothing else: it knows no engine, and every policy is hyperd's.
"""
