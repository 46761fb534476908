"""Requests made from the native API's OpenAPI document, sent to a live server, and a look at what comes back.

Right and wrong requests alike: whatever is asked, the answer is no failure of the server's, and is one that the
document promises.  Seeded, so that a run can be had again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import Any

import hypothesis
import requests
import schemathesis
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# Answers that may have no end: the client leaves when there has been silence.
ENDLESS = {
    "system_events",
    "containers_logs",
    "containers_stats",
    "containers_wait",
    "pods_logs",
    "pods_stats",
    "pods_wait",
}
CREDENTIALS = "X-Hyper-Credentials"
NO_CREDENTIALS = "e30"  # {}
SILENCE_S = 0.3
TIMEOUT_S = 60.0

schemathesis.serializer("application/x-tar")(lambda _context, value: value)


def operations(document: dict[str, Any]) -> dict[str, Any]:
    """Name of the operation -> how schemathesis knows it."""
    schema = schemathesis.openapi.from_dict(document)
    schema.validate()
    results: Iterator[Any] = schema.get_all_operations()
    found = (result.ok() for result in results)
    return {operation.definition.raw["operationId"]: operation for operation in found}


def examine(
    operation: Any,
    base_url: str,
    *,
    right: int,
    wrong: int,
    seed: int,
    change: Callable[[Any], None] = lambda case: None,
    may: Collection[int] = (),
) -> list[int]:
    """``right``, ``wrong``: how many requests are as the document wants them, and how many are not.  ``change`` may
    alter each before it is sent; ``may``: failures that are others', not the server's.  The statuses that came."""
    statuses: list[int] = []
    name = operation.definition.raw["operationId"]
    with requests.Session() as session:

        def send(case: Any) -> None:
            change(case)
            if CREDENTIALS in case.headers and case.meta.generation.mode.is_positive:
                case.headers[CREDENTIALS] = NO_CREDENTIALS  # no schema says what base64url of JSON looks like
            with _silence_is_no_error(name):
                timeout_s = SILENCE_S if name in ENDLESS else TIMEOUT_S
                response = case.call(base_url=base_url, session=session, timeout=timeout_s)
                statuses.append(response.status_code)
                checks = CHECKS[1:] if response.status_code in may else CHECKS
                case.validate_response(response, checks=checks)

        _drive(operation.as_strategy(GenerationMode.POSITIVE), send, right, seed)
        if operation.query or operation.headers or operation.body:  # there is something that can be wrong
            with contextlib.suppress(
                hypothesis.errors.Unsatisfiable
            ):  # but no bytes are a wrong tar to the schema
                _drive(operation.as_strategy(GenerationMode.NEGATIVE), send, wrong, seed)
    return statuses


def _drive(strategy: Any, send: Callable[[Any], None], examples: int, seed: int) -> None:
    settings: Any = hypothesis.settings(
        max_examples=examples,
        database=None,
        derandomize=False,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
        report_multiple_bugs=False,
    )
    given: Any = hypothesis.given(strategy)
    seeded: Any = hypothesis.seed(seed)
    seeded(settings(given(send)))()


@contextlib.contextmanager
def _silence_is_no_error(name: str) -> Iterator[None]:
    try:
        yield
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout):
        if name not in ENDLESS:
            raise
