"""hyper stats."""

from __future__ import annotations

import sys
from time import monotonic, sleep

from hypercontainer.cli.listing import FORMAT, NO_TRUNC, Listing, Row, short_id
from hypercontainer.cli.options import Call, Command, flag
from hypercontainer.cli.session import order
from hypercontainer.cli.units import binary_size, decimal_size, parse_time
from hypercontainer.client.api import RemoteError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hypercontainer.cli.options import Values

INTERVAL_S = 1.0

LISTING = Listing(
    {
        "ID": "CONTAINER ID",
        "Container": "CONTAINER",
        "Name": "NAME",
        "CPUPerc": "CPU %",
        "MemUsage": "MEM USAGE / LIMIT",
        "MemPerc": "MEM %",
        "NetIO": "NET I/O",
        "BlockIO": "BLOCK I/O",
        "PIDs": "PIDS",
        "VMRss": "VM RSS",
    },
    ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs"),
)


def cpu_percent(before: dict[str, Any], now: dict[str, Any]) -> float:
    """Of one processor, between two samples."""
    first, second = parse_time(before["time"]), parse_time(now["time"])
    if first is None or second is None or second <= first:
        return 0.0
    used_s = float(now["cpu_ns"] - before["cpu_ns"]) / 1e9
    return max(0.0, used_s / (second - first) * 100)


def row(before: dict[str, Any] | None, now: dict[str, Any], values: Values) -> Row:
    limit = now["memory_limit_bytes"]
    share = now["memory_bytes"] / limit * 100 if limit else 0.0
    return {
        "ID": short_id(now["id"], values),
        "Container": short_id(now["id"], values),
        "Name": now["name"],
        "CPUPerc": f"{cpu_percent(before, now):.2f}%" if before else "--",
        "MemUsage": f"{binary_size(now['memory_bytes'])} / {binary_size(limit)}",
        "MemPerc": f"{share:.2f}%",
        "NetIO": f"{decimal_size(now['net_rx_bytes'])} / {decimal_size(now['net_tx_bytes'])}",
        "BlockIO": f"{decimal_size(now['block_read_bytes'])} / {decimal_size(now['block_write_bytes'])}",
        "PIDs": str(now["pids"]),
        "VMRss": binary_size(now["vm_rss_bytes"]),
    }


def _samples(call: Call) -> list[dict[str, Any]]:
    """One of each container; one that has just ended is no longer among them, unless it was named."""
    client, found = call.session.client, []
    names = call.arguments
    if not names:
        query = {"all": call.options.flag("all")}
        names = [summary["id"] for summary in client.call("containers.find", query=query)["containers"]]
    for name in names:
        try:
            found.append(client.call("containers.stats", name))
        except RemoteError as error:
            if call.arguments or error.code not in ("not_found", "conflict"):
                raise
    return found


def run(call: Call) -> int:
    return watch(call.options, lambda: _samples(call), LISTING, row)


def watch(
    values: Values,
    samples: Callable[[], list[dict[str, Any]]],
    listing: Listing,
    row: Callable[[dict[str, Any] | None, dict[str, Any], Values], Row],
) -> int:
    """``row`` is made of a container's sample before (None: there is none) and its sample now."""
    live = sys.stdout.isatty() and values.text("format") in ("", "table")
    once = values.flag("no-stream")
    before = {sample["id"]: sample for sample in samples()}
    if not once:
        _show(listing, [row(None, sample, values) for sample in before.values()], values, live=live)
    due = monotonic()
    while True:
        due = max(due + INTERVAL_S, monotonic())  # a tick that was missed is not made up for
        sleep(max(0.0, due - monotonic()))
        now = {sample["id"]: sample for sample in samples()}
        rows = [row(before.get(key), sample, values) for key, sample in now.items()]
        _show(listing, rows, values, live=live and not once)
        if once:
            return 0
        before = now


def _show(listing: Listing, rows: list[Row], values: Values, *, live: bool) -> None:
    text = listing.render(rows, values.text("format"))
    if live:
        order("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in text.split("\n")[:-1]) + "\x1b[J")
    else:
        sys.stdout.write(text)
    sys.stdout.flush()


STATS = Command(
    run,
    "[OPTIONS] [CONTAINER...]",
    count=(0, None),
    options=(
        flag("-a --all", "containers that do not run too"),
        FORMAT,
        flag("--no-stream", "only once"),
        NO_TRUNC,
    ),
    text="CPU is of one processor, between two samples a second apart. {{.VMRss}} is what the whole machine takes.",
    examples=("hyper stats", "hyper stats --no-stream --format '{{.Name}}: {{.CPUPerc}}'"),
)
