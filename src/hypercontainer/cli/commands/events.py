"""hyper events."""

from __future__ import annotations

import sys

from hypercontainer.cli.listing import FILTER, filters_of, unescape
from hypercontainer.cli.options import Call, Command, text
from hypercontainer.cli.units import moment, nanoseconds
from hypercontainer.client.api import remote_error
from hypercontainer.errors import HyperError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def line(event: dict[str, Any]) -> str:
    """``2024-05-01T12:00:00.0Z container start 0123... (image=debian, name=web)``."""
    attributes = ", ".join(f"{key}={value}" for key, value in sorted(event["attributes"].items()))
    words = (event["time"], event["type"], event["action"], event["id"])
    return " ".join(filter(None, words)) + (f" ({attributes})" if attributes else "")


def shaped(event: dict[str, Any]) -> dict[str, Any]:
    """With Docker's keys: the old ones, in small letters, stand only where Docker has them too."""
    attributes, kind = event["attributes"], event["type"]
    old = {"status": event["action"], "id": event["id"]} if kind in ("container", "image") else {}
    if kind == "container":
        old["from"] = attributes.get("image", "")
    time_ns = nanoseconds(event["time"])
    return old | {
        "Type": kind,
        "Action": event["action"],
        "Actor": {"ID": event["id"], "Attributes": attributes},
        "scope": "local",
        "time": time_ns // 1_000_000_000,
        "timeNano": time_ns,
    }


def _renderer(form: str) -> Callable[[dict[str, Any]], str]:
    """What is wrong with the template itself is said at once, with that status, as by Docker."""
    from hypercontainer.cli.template import NOT_A_TEMPLATE, compile_template
    from hypercontainer.cli.template_tokens import TemplateError
    from hypercontainer.semantics import kinds

    render = compile_template("{{json .}}" if form == "json" else unescape(form))
    none = {"time": "1970-01-01T00:00:00Z", "type": "container", "action": "", "id": "", "attributes": {}}
    try:
        render(kinds.typed(shaped(none), kinds.EVENT))
    except TemplateError as error:
        if error.unknown:
            error.exit_status = NOT_A_TEMPLATE
            raise
    return lambda event: render(kinds.typed(shaped(event), kinds.EVENT))


def run(call: Call) -> int:
    values = call.options
    form, status = values.text("format"), 0
    render = _renderer(form) if form else line
    query = {
        "since": moment(values.text("since"), "--since"),
        "until": moment(values.text("until"), "--until"),
        "filters": filters_of(values),
    }
    for event in call.session.client.lines("system.events", query=query):
        if "error" in event:
            raise remote_error(event["error"])
        try:
            sys.stdout.write(render(event) + "\n")
        except HyperError as error:  # of this event: those that come after it are shown all the same
            from hypercontainer.cli.wording import complain

            complain(error)
            status = 1
        sys.stdout.flush()
    return status


EVENTS = Command(
    run,
    "[OPTIONS]",
    options=(
        FILTER,
        text("--format", "TEMPLATE", "'json' or a Go template such as '{{.Type}} {{.Action}}'"),
        text(
            "--since",
            "TIME",
            "begin with what happened since then: local time, Unix seconds, or how long ago",
        ),
        text("--until", "TIME", "end then"),
    ),
    text="Filters: container, event, image, label (KEY[=VALUE]), pod, type, volume.",
    examples=("hyper events --since 10m", "hyper events --filter container=web --format json"),
)
