"""The options of a health check, as the API has it (contract/probes.py); times as Docker's users write them."""

from __future__ import annotations

from hypercontainer.cli.options import UsageError, Values

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_TIMES = ("interval", "timeout", "start-period", "start-interval")
LEAST_NS = 1_000_000


def healthcheck(values: Values) -> dict[str, Any]:
    given = [name for name in ("cmd", *_TIMES, "retries") if values.given(f"health-{name}")]
    if values.flag("no-healthcheck"):
        if given:
            raise UsageError("--no-healthcheck conflicts with --health-* options")
        return {"healthcheck": {"test": ["NONE"]}}
    check: dict[str, Any] = {}
    if command := values.text("health-cmd"):
        check["test"] = ["CMD-SHELL", command]
    for name in _TIMES:
        if values.given(f"health-{name}"):
            check[f"{name.replace('-', '_')}_ns"] = _time_ns(
                values.text(f"health-{name}"), f"--health-{name}"
            )
    if (retries := values.number("health-retries")) is not None:
        if retries < 0:
            raise UsageError("--health-retries cannot be negative")
        check["retries"] = retries
    return {"healthcheck": check} if check else {}


def _time_ns(text: str, option: str) -> int:
    from hypercontainer.contract.times import duration_ns

    try:
        time_ns = duration_ns(text)
    except ValueError as error:
        raise UsageError(f"invalid {option}: {text!r} {error}", hint="such as 30s or 1m30s") from None
    if time_ns < 0:
        raise UsageError(f"{option} cannot be negative")
    if 0 < time_ns < LEAST_NS:
        raise UsageError(f"{option} cannot be less than 1ms")
    return time_ns
