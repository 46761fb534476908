"""Errors as the native API tells them: a status and a body; see docs/api.md.

What is not in the project's tree is a defect: the client gets an identifier, the log the traceback.
"""

from __future__ import annotations

import functools
import logging
import os
from typing import Any
from urllib.parse import quote

from msgspec import Struct, field

from hypercontainer.contract.routes import in_words
from hypercontainer.engine.process.failed import exit_status, is_of_program
from hypercontainer.errors import (
    DigestMismatch,
    GuestError,
    HyperError,
    InvalidArgument,
    LaunchError,
    LayerError,
    RegistryError,
)

logger = logging.getLogger(__name__)


class Fault(Struct, frozen=True):
    """The wire form of an error."""

    code: str
    message: str
    hint: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


class FaultBody(Struct, frozen=True):
    error: Fault


def fault_of(error: BaseException) -> tuple[int, Fault]:
    """HTTP status and wire form; logs what nobody raised on purpose."""
    error = leaf(error)
    if isinstance(error, HyperError):
        hint = error.hint or in_words(error.remedies, functools.partial(quote, safe="")) or None
        return status_of(error), Fault(error.code, error.message, hint, details_of(error))
    identifier = os.urandom(4).hex()
    logger.error("internal error %s", identifier, exc_info=error)
    message = f"internal error {identifier}: {type(error).__name__}"
    return 500, Fault("internal", message, "hyperd's log has the details")


def status_of(error: HyperError) -> int:
    if is_of_program(error):
        return 422  # there is no such program, or it is none: what was asked is wrong, not the guest
    return error.status


def details_of(error: HyperError) -> dict[str, Any]:
    """What clients make the error of again, in their own words where it has a field or remedies."""
    details = _data_of(error)
    if isinstance(error, InvalidArgument) and error.field:
        details["field"] = error.field
    if error.remedies:
        details["remedies"] = [
            {"call": remedy.call, "of": remedy.of, "aim": remedy.aim, "options": remedy.options}
            for remedy in error.remedies
        ]
    return details


def _data_of(error: HyperError) -> dict[str, Any]:
    match error:
        case LaunchError():
            return {
                "command": error.command,
                "exit_code": error.exit_code,
                "stderr": error.stderr,
                "console": error.console,
            }
        case LayerError():
            return {"layer": error.layer, "entry": error.entry}
        case GuestError():
            details: dict[str, Any] = {"errno": error.errno, "operation": error.operation}
            if is_of_program(error):  # the program's failure, not hyper's
                details["exit_status"] = exit_status(error)
            return details
        case RegistryError():
            return {"http_status": error.http_status, "url": error.url}
        case DigestMismatch():
            return {"expected": error.expected, "actual": error.actual}
    return {}


def leaf(error: BaseException) -> BaseException:
    """The first error in a group that is no group: what tasks that belong together failed of."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
