"""hyper ps."""

from __future__ import annotations

from hypercontainer.cli.labels import Labels
from hypercontainer.cli.listing import (
    FILTER,
    FORMAT,
    NO_TRUNC,
    QUIET,
    Listing,
    Row,
    ellipsis,
    filters_of,
    image_text,
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
MOUNT_WIDTH = 15

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
        "Pod": "POD ID",
        "PodName": "PODNAME",
    },
    ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names"),
)


def row(summary: dict[str, Any], values: Values, pods: dict[str, str] | None) -> Row:
    """``pods``: names by ID, None where nobody asks for them; a container alone has a pod that is not among them."""
    whole = values.flag("no-trunc")
    command = summary["command"] if whole else ellipsis(summary["command"], COMMAND_WIDTH)
    mounts = [mount for mount in summary.get("mounts", ()) if mount["kind"]]
    sources = [mount["source"] for mount in mounts]
    escaped = command.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    size = summary.get("size_bytes")
    return {
        "ID": short_id(summary["id"], values),
        "Image": image_text(summary["image"], values),
        "Command": f'"{escaped}"',
        "CreatedAt": local_time(summary["created"]),
        "RunningFor": ago(summary["created"]),
        "Ports": ports_text(summary.get("ports", [])),
        "State": summary["state"],
        "Status": summary["status"],
        "Size": "0B" if size is None else decimal_size(size),
        "Names": summary["name"],
        "Labels": Labels(summary.get("labels", {})),
        "Mounts": ",".join(source if whole else ellipsis(source, MOUNT_WIDTH) for source in sources),
        "LocalVolumes": str(sum(mount["kind"] == "volume" for mount in mounts)),
        "Networks": ",".join(summary.get("networks", ())),
        **_pod(summary.get("pod", ""), values, pods),
    }


def _pod(pod: str, values: Values, pods: dict[str, str] | None) -> Row:
    if pods is None:
        return {}
    return {"Pod": short_id(pod, values) if pod in pods else "", "PodName": pods.get(pod, "")}


def run(call: Call) -> int:
    values = call.options
    last = 1 if values.flag("latest") else values.number("last")
    if last is not None and last < -1:
        raise UsageError("--last takes a number of containers", exit_status=1)
    everything = values.flag("all") or (last is not None and last >= 0)
    size = values.flag("size") or ".Size" in values.text("format")
    query = {"all": everything, "filters": filters_of(values), "size": size}
    found = call.session.client.call("containers.find", query=query)["containers"]
    if last is not None and last >= 0:
        found = found[:last]
    pods, columns = None, list(LISTING.columns)
    if values.flag("size"):
        columns.append("Size")
    if values.flag("pod") or ".Pod" in values.text("format"):
        pods = {pod["id"]: pod["name"] for pod in call.session.client.call("pods.find")["pods"]}
        columns += ["Pod", "PodName"]
    listing = Listing(LISTING.headers, columns)
    listing.show((row(summary, values, pods) for summary in found), values, only="ID")
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
        flag("-p --pod", "show the ID and the name of the pod"),
        QUIET,
        flag("-s --size", "show the size of the writable disks"),
    ),
    text="""Containers that keep failing and wait for their restart are among those that run.

Filters: ancestor (an image, by name or ID), before, since (a container), exited (a status), expose, publish (a port of
the container, of the host; PORT[/PROTOCOL] or a range), health, id, is-task, label (KEY[=VALUE]), name (a regular
expression), network, pod, status, volume (its name, or where it is mounted).""",
    examples=(
        "hyper ps -a",
        "hyper ps --filter name='^web$' --filter publish=8000-8999",
        "hyper ps -q --filter status=exited",
        "hyper ps --format 'table {{.Names}}\\t{{.Status}}'",
    ),
)
