"""hyper cronjob: the CronJobs that were played, and one more Job of one."""

from __future__ import annotations

import sys

from hypercontainer.cli.commands.life import each
from hypercontainer.cli.listing import FORMAT, Listing, Row
from hypercontainer.cli.options import Call, Command, flag
from hypercontainer.cli.session import tell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LISTING = Listing(
    {
        "Name": "NAME",
        "Schedule": "SCHEDULE",
        "TimeZone": "TIMEZONE",
        "Suspend": "SUSPEND",
        "Active": "ACTIVE",
        "LastSchedule": "LAST SCHEDULE",
        "NextSchedule": "NEXT SCHEDULE",
        "Concurrency": "CONCURRENCY",
        "Succeeded": "SUCCEEDED",
        "Failed": "FAILED",
        "Jobs": "JOBS",
        "Problem": "PROBLEM",
    },
    ("Name", "Schedule", "TimeZone", "Suspend", "Active", "LastSchedule", "NextSchedule"),
)


def row(one: dict[str, Any]) -> Row:
    states = [run["state"] for run in one["runs"]]
    return {
        "Name": one["name"],
        "Schedule": one["schedule"],
        "TimeZone": one["time_zone"] or "UTC",
        "Suspend": str(one["suspended"]),
        "Active": str(states.count("active")),
        "LastSchedule": one["last"][:19] + "Z" if one["last"] else "<none>",
        "NextSchedule": one["next"][:19] + "Z" if one["next"] else "<none>",
        "Concurrency": one["concurrency"],
        "Succeeded": str(states.count("succeeded")),
        "Failed": str(states.count("failed")),
        "Jobs": ",".join(run["name"] for run in one["runs"]),
        "Problem": one["problem"],
    }


def ls(call: Call) -> int:
    found = call.session.client.call("manifests.cron_jobs")["cron_jobs"]
    for one in found:
        if one["problem"]:
            tell(f"WARNING: CronJob {one['name']}: its last Job could not be made: {one['problem']}")
    only = "Name" if call.options.flag("quiet") else None
    sys.stdout.write(LISTING.render(map(row, found), call.options.text("format"), only=only))
    return 0


def run(call: Call) -> int:
    client = call.session.client
    return each(call.arguments, lambda name: client.call("manifests.run_cron_job", name)["job"])


LS = Command(
    ls,
    "[OPTIONS]",
    options=(FORMAT, flag("-q --quiet", "names only")),
    text="""Times are UTC. The Jobs of a CronJob are pods with the label batch.kubernetes.io/job-name.""",
    examples=(
        "hyper cronjob ls",
        "hyper cronjob ls --format '{{.Name}} {{.Succeeded}} {{.Failed}} {{.Jobs}}'",
    ),
)
RUN = Command(
    run,
    "CRONJOB...",
    count=(1, None),
    text="""Whatever the schedule says, as kubectl create job --from=cronjob/CRONJOB does; prints the Job's name.""",
    examples=("hyper cronjob run nightly",),
)
