"""hyper ps."""

from __future__ import annotations

from hypercontainer.cli.listing import (
    FILTER,
    FORMAT,
    NO_TRUNC,
    QUIET,
    Listing,
    Row,
    ellipsis,
    filters_of,
    short_id,
)
from hypercontainer.cli.options import Call, Command, UsageError, flag, text
from hypercontainer.cli.ports import ports_text
from hypercontainer.cli.units import ago, decimal_size, local_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hypercontainer.cli.options import Values

COMMAND_WIDTH = 20

LISTING = Listing(
    {
        "ID": "CONTAINER ID",
        "Image": "IMAGE",
        "Command": "COMMAND",
        "CreatedAt": "CREATED AT",
        "RunningFor": "CREATED",
        "Ports": "PORTS",
        "State": "STATE",
        "Status": "STATUS",
        "Size": "SIZE",
        "Names": "NAMES",
        "Labels": "LABELS",
        "Mounts": "MOUNTS",
        "LocalVolumes": "LOCAL VOLUMES",
        "Networks": "NETWORKS",
    },
    ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"),
)


def row(summary: dict[str, Any], values: Values) -> Row:
    command = summary["command"]
    if not values.flag("no-trunc"):
        command = ellipsis(command, COMMAND_WIDTH)
    escaped = command.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    size = summary.get("size_bytes")
    return {
        "ID": short_id(summary["id"], values),
        "Image": summary["image"],
        "Command": f'"{escaped}"',
        "CreatedAt": local_time(summary["created"]),
        "RunningFor": ago(summary["created"]),
        "Ports": ports_text(summary.get("ports", [])),
        "State": summary["state"],
        "Status": summary["status"],
        "Size": "0B" if size is None else decimal_size(size),
        "Names": summary["name"],
        "Labels": ",".join(f"{key}={value}" for key, value in summary.get("labels", {}).items()),
        "Mounts": "",
        "LocalVolumes": "0",
        "Networks": "user",
    }


def run(call: Call) -> int:
    values = call.options
    last = 1 if values.flag("latest") else values.number("last")
    if last is not None and last < -1:
        raise UsageError("--last takes a number of containers", exit_status=1)
    everything = values.flag("all") or (last is not None and last >= 0)
    query = {"all": everything, "filters": filters_of(values), "size": values.flag("size")}
    found = call.session.client.get("/v1/containers", query)["containers"]
    if last is not None and last >= 0:
        found = found[:last]
    listing = LISTING
    if values.flag("size"):
        listing = Listing(LISTING.headers, (*LISTING.columns, "Size"))
    listing.show((row(summary, values) for summary in found), values, only="ID")
    return 0


PS = Command(
    run,
    "[OPTIONS]",
    options=(
        flag("-a --all", "stopped containers too"),
        FILTER,
        FORMAT,
        text("-n --last", "N", "the N containers created last, in any state"),
        flag("-l --latest", "the container created last, in any state"),
        NO_TRUNC,
        QUIET,
        flag("-s --size", "show the size of the writable disks"),
    ),
    text="Filters: id, name, label, status, ancestor, exited, before, since and others that hyperd knows.",
    examples=(
        "hyper ps -a",
        "hyper ps -q --filter status=exited",
        "hyper ps --format 'table {{.Names}}\\t{{.Status}}'",
    ),
)
