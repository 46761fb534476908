"""hyper events."""

from __future__ import annotations

import sys

from hypercontainer.cli.listing import FILTER, filters_of, unescape
from hypercontainer.cli.options import Call, Command, text
from hypercontainer.client.api import remote_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def line(event: dict[str, Any]) -> str:
    """``2024-05-01T12:00:00.0Z container start 0123... (image=debian, name=web)``."""
    attributes = ", ".join(f"{key}={value}" for key, value in sorted(event["attributes"].items()))
    words = (event["time"], event["type"], event["action"], event["id"])
    return " ".join(filter(None, words)) + (f" ({attributes})" if attributes else "")


def shaped(event: dict[str, Any]) -> dict[str, Any]:
    """With Docker's keys."""
    return {
        "Time": event["time"],
        "Type": event["type"],
        "Action": event["action"],
        "Actor": {"ID": event["id"], "Attributes": event["attributes"]},
        "ID": event["id"],
    }


def run(call: Call) -> int:
    values = call.options
    form = values.text("format")
    render = None
    if form:
        from hypercontainer.cli.template import compile_template

        render = compile_template("{{json .}}" if form == "json" else unescape(form))
    query = {"since": values.text("since"), "until": values.text("until"), "filters": filters_of(values)}
    for event in call.session.client.lines("system.events", query=query):
        if "error" in event:
            raise remote_error(event["error"])
        sys.stdout.write((line(event) if render is None else render(shaped(event))) + "\n")
        sys.stdout.flush()
    return 0


EVENTS = Command(
    run,
    "[OPTIONS]",
    options=(
        FILTER,
        text("--format", "TEMPLATE", "'json' or a Go template such as '{{.Type}} {{.Action}}'"),
        text("--since", "TIME", "begin with what happened since then"),
        text("--until", "TIME", "end then"),
    ),
    text="Filters: container, event, image, label (KEY[=VALUE]), pod, type, volume.",
    examples=("hyper events --since 10m", "hyper events --filter container=web --format json"),
)
