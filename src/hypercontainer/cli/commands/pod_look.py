"""hyper pod: ls, inspect, logs, top and stats."""

from __future__ import annotations

import sys

from hypercontainer.cli.commands import stats as containers_stats
from hypercontainer.cli.commands import top as containers_top
from hypercontainer.cli.commands.logs import LOG_OPTIONS, log_query
from hypercontainer.cli.labels import Labels
from hypercontainer.cli.listing import (
    FILTER,
    FORMAT,
    NO_TRUNC,
    QUIET,
    Listing,
    Row,
    filters_of,
    short_id,
    table,
)
from hypercontainer.cli.options import Call, Command, UsageError, flag, many
from hypercontainer.cli.ports import ports_text
from hypercontainer.cli.units import ago, local_time
from hypercontainer.client.api import RemoteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hypercontainer.cli.options import Values

LISTING = Listing(
    {
        "ID": "POD ID",
        "Name": "NAME",
        "Status": "STATUS",
        "State": "STATE",
        "Created": "CREATED",
        "CreatedAt": "CREATED AT",
        "NumberOfContainers": "# OF CONTAINERS",
        "Ready": "READY",
        "Ports": "PORTS",
        "Labels": "LABELS",
        "ContainerIds": "CONTAINER IDS",
        "ContainerNames": "CONTAINER NAMES",
        "ContainerStatuses": "CONTAINER STATUSES",
    },
    ("ID", "Name", "Status", "Created", "NumberOfContainers", "Ports"),
)
STATS_LISTING = Listing(
    {"Pod": "POD", **containers_stats.LISTING.headers}, ("Pod", *containers_stats.LISTING.columns)
)


def row(pod: dict[str, Any], values: Values) -> Row:
    containers = pod["containers"]
    return {
        "ID": short_id(pod["id"], values),
        "Name": pod["name"],
        "Status": pod["status"],
        "State": pod["state"],
        "Created": ago(pod["created"]),
        "CreatedAt": local_time(pod["created"]),
        "NumberOfContainers": str(len(containers)),
        "Ready": "true" if pod["ready"] else "false",
        "Ports": ports_text(pod["ports"]),
        "Labels": Labels(pod["labels"]),
        "ContainerIds": ",".join(short_id(one["id"], values) for one in containers),
        "ContainerNames": ",".join(one["name"] for one in containers),
        "ContainerStatuses": ",".join(one["state"] for one in containers),
    }


_COLUMNS = {"ctr-ids": "ContainerIds", "ctr-names": "ContainerNames", "ctr-status": "ContainerStatuses"}


def ls(call: Call) -> int:
    values = call.options
    found = call.session.client.call("pods.find", query={"filters": filters_of(values)})["pods"]
    more = [column for option, column in _COLUMNS.items() if values.flag(option)]
    listing = Listing(LISTING.headers, (*LISTING.columns, *more)) if more else LISTING
    listing.show((row(pod, values) for pod in found), values, only="ID")
    return 0


def logs(call: Call) -> int:
    from hypercontainer.cli.pod_output import PodOutput, show

    client, (name,) = call.session.client, call.arguments
    query = log_query(call.options)
    known = [container["name"] for container in client.call("pods.inspect", name)["containers"]]
    only = call.options.many("container")
    if unknown := [one for one in only if one not in known]:
        raise UsageError(
            f"no container {unknown[0]} in pod {name}", hint=f"there are {', '.join(known)}", exit_status=1
        )
    show(client.lines("pods.logs", name, query=query), PodOutput(known, only=only))
    return 0


def top(call: Call) -> int:
    found = call.session.client.call("pods.top", call.arguments[0])["processes"]
    lines = [(one["container"], *containers_top.row(one["process"])) for one in found]
    sys.stdout.write(table([("CONTAINER", *containers_top.TITLES), *lines]))
    return 0


def stats(call: Call) -> int:
    pods: dict[str, str] = {}  # a container's ID: its pod's name
    listing = STATS_LISTING

    def samples() -> list[dict[str, Any]]:
        client, found = call.session.client, []
        names = call.arguments or [
            pod["name"] for pod in client.call("pods.find")["pods"] if pod["state"] in ("running", "paused")
        ]
        for name in names:
            try:
                of_pod = client.call("pods.stats", name)["samples"]
            except RemoteError as error:
                if call.arguments or error.code not in ("not_found", "conflict"):
                    raise
                continue
            pods.update({sample["id"]: name for sample in of_pod})
            found += of_pod
        return found

    def one(before: dict[str, Any] | None, now: dict[str, Any], values: Values) -> Row:
        return {"Pod": pods[now["id"]], **containers_stats.row(before, now, values)}

    return containers_stats.watch(call.options, samples, listing, one)


LS = Command(
    ls,
    "[OPTIONS]",
    options=(
        flag("--ctr-ids", "show the IDs of the containers"),
        flag("--ctr-names", "show the names of the containers"),
        flag("--ctr-status", "show the states of the containers"),
        FILTER,
        FORMAT,
        NO_TRUNC,
        QUIET,
    ),
    text="""STATUS names the containers that wait for their restart.

Filters: ctr-ids, ctr-names, ctr-number, ctr-status, id, label (KEY[=VALUE]), name (a regular expression, as is
ctr-names), status.""",
    examples=("hyper pod ls", "hyper pod ps --ctr-names --filter status=running", "hyper pod ls -q"),
)
LOGS = Command(
    logs,
    "[OPTIONS] POD",
    count=(1, 1),
    options=(many("-c --container", "NAME", "only of this container"), *LOG_OPTIONS),
    text="Each line stands behind its container's name, in colour on a terminal.",
    examples=("hyper pod logs -f shop", "hyper pod logs --tail 20 -c cache shop"),
)
TOP = Command(
    top,
    "POD",
    count=(1, 1),
    text="Process IDs are as the container sees them; RSS is in KiB.",
    examples=("hyper pod top shop",),
)
STATS = Command(
    stats,
    "[OPTIONS] [POD...]",
    count=(0, None),
    options=(FORMAT, flag("--no-stream", "only once"), NO_TRUNC),
    text="A line for each container that runs. CPU is of one processor, between two samples a second apart.",
    examples=(
        "hyper pod stats shop",
        "hyper pod stats --no-stream --format '{{.Pod}} {{.Name}}: {{.CPUPerc}}'",
    ),
)
