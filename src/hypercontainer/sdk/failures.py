"""What a program can catch: ``hypercontainer.errors``, made anew from hyperd's answers, and four of the SDK's own.

    HyperError
    ├── BuildFailed       a step of a Dockerfile, or the Dockerfile itself
    ├── ContainerFailed   a program ended with another status than 0, where ``check=True`` asked for success
    ├── TimedOut          it took longer than ``timeout_s`` (a TimeoutError too)
    └── TooMuchOutput     more than ``max_output_bytes``, or a file of more than ``max_bytes``

An error that hyperd answers with a code unknown here stays a ``client.api.RemoteError``, which is a HyperError.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from hypercontainer import errors
from hypercontainer.client.api import RemoteError, remote_error
from hypercontainer.errors import HyperError, Remedy
from hypercontainer.sdk.results import RunResult

SHOWN_STDERR_CHARS = 2000

# The kinds that carry data: attribute -> what it is where hyperd did not say.
_DATA: dict[type[HyperError], dict[str, Any]] = {
    errors.InvalidArgument: {"field": ""},
    errors.RegistryError: {"http_status": 0, "url": ""},
    errors.DigestMismatch: {"expected": "", "actual": ""},
    errors.LayerError: {"layer": "", "entry": ""},
    errors.LaunchError: {"command": (), "exit_code": None, "stderr": "", "console": ""},
    errors.GuestError: {"errno": 0, "operation": ""},
}


_COLLECTIONS = frozenset(("containers", "pods"))
_ON_ONE = frozenset(("start", "stop", "unpause", "remove", "ports"))
_ON_ALL = {f"{kind}.find": f"{kind}.list" for kind in ("containers", "pods", "images", "volumes", "networks")}
_ON_ALL |= {name: name for name in ("networks.create", "networks.inspect", "networks.remove")}
_ON_ALL["volumes.create"] = "volumes.create"


class ContainerFailed(HyperError):
    """``result`` is all there is of it: exit status and output."""

    code = "container_failed"

    def __init__(self, what: str, result: RunResult) -> None:
        said = result.stderr.decode(errors="backslashreplace").strip()[-SHOWN_STDERR_CHARS:]
        why = result.error or f"it ended with status {result.exit_status}"
        super().__init__(f"{what}: {why}" + (f"\n{said}" if said else ""))
        self.result = result


class BuildFailed(HyperError):
    """``log`` is what the builder said, from its end back as far as it was kept."""

    code = "build_failed"

    def __init__(self, what: str, why: str, log: str) -> None:
        said = log.strip()[-SHOWN_STDERR_CHARS:]
        super().__init__(f"build of {what}: {why or 'it failed'}" + (f"\n{said}" if said else ""))
        self.log = log


class TimedOut(HyperError, TimeoutError):
    code = "timed_out"

    def __init__(self, what: str, timeout_s: float) -> None:
        super().__init__(f"{what}: not done after {timeout_s:g} s")
        self.timeout_s = timeout_s


class TooMuchOutput(HyperError):
    """``stdout`` and ``stderr`` are what had been read by then."""

    code = "too_much_output"

    def __init__(self, what: str, limit_bytes: int, stdout: bytes, stderr: bytes) -> None:
        super().__init__(
            f"{what}: more than {limit_bytes} bytes",
            hint="allow more, or take it as a stream",
        )
        self.limit_bytes = limit_bytes
        self.stdout = stdout
        self.stderr = stderr


def _kinds(kind: type[HyperError]) -> dict[str, type[HyperError]]:
    """By code; of several that have one, that which the others are kinds of."""
    found: dict[str, type[HyperError]] = {}
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            found |= {**_kinds(child), child.code: child}
    return found


_BY_CODE = _kinds(HyperError)


def _call(remedy: Remedy) -> str:
    """As a program makes it with a ``Client`` called hyper; "" where the SDK has no such call."""
    kind, _, method = remedy.call.partition(".")
    options = ", ".join(f"{name}={value!r}" for name, value in remedy.options.items())
    if kind in _COLLECTIONS and method in _ON_ONE:
        return f"hyper.{kind}.get({remedy.of!r}).{method}({options})"
    if remedy.call in _ON_ALL:
        given = ", ".join(filter(None, (remedy.of and repr(remedy.of), options)))
        return f"hyper.{_ON_ALL[remedy.call]}({given})"
    return ""


def local_error(remote: RemoteError) -> HyperError:
    """The error of the tree that hyperd means."""
    kind = _BY_CODE.get(remote.code)
    if kind is None:
        return remote
    error = kind.__new__(kind)
    # The message is whole already.
    helps = " or ".join(filter(None, map(_call, remote.remedies)))
    hint = ": ".join(filter(None, (remote.hint, helps))) or None
    HyperError.__init__(error, remote.message, hint=hint, remedies=remote.remedies)
    for name, absent in _DATA.get(kind, {}).items():
        value = remote.details.get(name)
        setattr(
            error, name, absent if value is None else tuple(value) if isinstance(absent, tuple) else value
        )
    if isinstance(error, errors.InvalidArgument):
        error.why = remote.message.removeprefix(f"{error.field}: ")
    return error


def wire_error(answer: object) -> HyperError:
    """For the ``error`` object of an answer, a line or a frame."""
    return local_error(remote_error(answer))


@contextlib.asynccontextmanager
async def deadline(what: str, timeout_s: float | None) -> AsyncGenerator[None, None]:
    """TimedOut where the block takes longer; None is no deadline."""
    try:
        async with asyncio.timeout(timeout_s) as limit:
            yield
    except TimeoutError:
        if not limit.expired() or timeout_s is None:
            raise
        raise TimedOut(what, timeout_s) from None
