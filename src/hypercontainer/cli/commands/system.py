"""hyper system: df, prune, start and stop; and the prunes of hyper container and hyper image."""

from __future__ import annotations

import os
import select
import sys

from hypercontainer.cli.commands.images import NONE, split_reference
from hypercontainer.cli.listing import FORMAT, Listing, Row, image_text, table
from hypercontainer.cli.options import Call, Command, UsageError, flag, refused
from hypercontainer.cli.session import tell
from hypercontainer.cli.units import ago, decimal_size
from hypercontainer.client.api import LIFECYCLE_TIMEOUT_S, NotRunning
from hypercontainer.errors import Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DF_LISTING = Listing(
    {
        "Type": "TYPE",
        "TotalCount": "TOTAL",
        "Active": "ACTIVE",
        "Size": "SIZE",
        "Reclaimable": "RECLAIMABLE",
    },
    ("Type", "TotalCount", "Active", "Size", "Reclaimable"),
)


def _df_row(kind: str, total: int | None, active: int | None, size: int, reclaimable: int) -> Row:
    """``total`` and ``active`` None: they are not counted."""
    share = f" ({reclaimable * 100 // size}%)" if size else ""
    return {
        "Type": kind,
        "TotalCount": "" if total is None else str(total),
        "Active": "" if active is None else str(active),
        "Size": decimal_size(size),
        "Reclaimable": decimal_size(reclaimable) + share,
    }


def df_rows(found: dict[str, Any]) -> list[Row]:
    images, containers, totals = found["images"], found["containers"], found["totals"]
    volumes = found.get("volumes", ())
    running = sum(container["state"] in ("running", "paused") for container in containers)
    used = sum(bool(image["containers"]) for image in images)
    return [
        _df_row("Images", len(images), used, totals["images_bytes"], totals["images_reclaimable_bytes"]),
        _df_row(
            "Containers",
            len(containers),
            running,
            totals["containers_bytes"],
            totals["containers_reclaimable_bytes"],
        ),
        _df_row(
            "Local Volumes",
            len(volumes),
            sum(bool(volume["pods"]) for volume in volumes),
            totals.get("volumes_bytes", 0),
            totals.get("volumes_reclaimable_bytes", 0),
        ),
        _df_row("Root disks", None, None, totals["layers_bytes"], totals.get("layers_reclaimable_bytes", 0)),
    ]


def disk_usage(call: Call) -> int:
    found = call.session.client.call("system.disk_usage")
    if not call.options.flag("verbose"):
        sys.stdout.write(DF_LISTING.render(df_rows(found), call.options.text("format")))
        return 0
    images = [("IMAGE ID", "NAME", "CREATED", "SIZE", "CONTAINERS")]
    for image in found["images"]:
        name = ":".join(split_reference(image["references"][0])) if image["references"] else NONE
        identifier = image["id"].removeprefix("sha256:")[:12]
        images.append(
            (
                identifier,
                name,
                ago(image["created"]),
                decimal_size(image["size_bytes"]),
                str(image["containers"]),
            )
        )
    containers = [("CONTAINER ID", "NAME", "IMAGE", "STATUS", "SIZE")]
    containers += [
        (
            c["id"][:12],
            c["name"],
            image_text(c["image"], call.options),
            c["status"],
            decimal_size(c["size_bytes"] or 0),
        )
        for c in found["containers"]
    ]
    volumes = [("VOLUME NAME", "LINKS", "SIZE")]
    volumes += [(v["name"], str(len(v["pods"])), decimal_size(v["used_bytes"])) for v in found["volumes"]]
    parts = (("Images", images), ("Containers", containers), ("Local Volumes", volumes))
    sys.stdout.write("\n".join(f"{title}:\n\n{table(lines)}" for title, lines in parts))
    return 0


def confirmed(call: Call, what: str) -> bool:
    if call.options.flag("force"):
        return True
    tell(f"WARNING! This will remove {what}.")
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError("nobody is there to confirm", hint="--force does without", exit_status=1)
    sys.stderr.write("Are you sure you want to continue? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _prune(
    call: Call, what: str, *, images: bool, containers: bool, volumes: bool = False, networks: bool = False
) -> int:
    everything = images and call.options.flag("all")
    if not confirmed(call, what):
        return 1
    body = {"all": everything, "images": images, "containers": containers}
    if volumes:
        body["volumes"] = True
    client = call.session.client
    answer = client.act("system.prune", body=body)
    if networks:  # when the containers that were in them have gone
        answer["networks_deleted"] = client.act("networks.prune", body={})["removed"]
    for kind in ("Containers", "Networks", "Images", "Volumes"):
        if names := answer.get(f"{kind.lower()}_deleted"):
            print(f"Deleted {kind}:", *names, "", sep="\n")
    print(f"Total reclaimed space: {decimal_size(answer['space_reclaimed_bytes'])}")
    return 0


def _image_words(call: Call) -> str:
    return "all images that no container uses" if call.options.flag("all") else "all images without a name"


def prune(call: Call) -> int:
    volumes = call.options.flag("volumes")
    what = [
        "all stopped containers",
        "all networks that no pod is in",
        *(["all volumes that no pod uses and that nobody has named"] if volumes else []),
        _image_words(call),
    ]
    return _prune(
        call,
        ", ".join(what[:-1]) + f" and {what[-1]}",
        images=True,
        containers=True,
        volumes=volumes,
        networks=True,
    )


def container_prune(call: Call) -> int:
    return _prune(call, "all stopped containers", images=False, containers=True)


def image_prune(call: Call) -> int:
    return _prune(call, _image_words(call), images=True, containers=False)


def start(call: Call) -> int:
    call.session.connect(start=True, anywhere=True).call("system.ping")
    print(f"hyperd serves at {call.session.places.host}")
    return 0


def stop(call: Call) -> int:
    client = call.session.connect(start=False)
    try:
        # A descriptor of the process, since the socket is gone long before the containers have stopped.
        process = os.pidfd_open(client.call("system.info")["DaemonPid"])
    except NotRunning:
        tell("hyperd is not running")
        return 0
    try:
        body = {"stop_containers": call.options.flag("all") or call.options.flag("containers")}
        client.act("system.shutdown", body=body)
        poller = select.poll()
        poller.register(process, select.POLLIN)
        if not poller.poll(LIFECYCLE_TIMEOUT_S * 1000):
            raise Unavailable(
                f"hyperd has not ended within {LIFECYCLE_TIMEOUT_S:.0f} s", hint="its log says more"
            )
    finally:
        os.close(process)
    return 0


FORCE = flag("-f --force", "without asking")
_FILTER = refused(
    "--filter",
    "NAME=VALUE",
    "all that is not used goes; hyper ps --filter and hyper images --filter choose for rm",
)
_ALL = flag("-a --all", "every image that no container uses, not only those without a name")
DF = Command(
    disk_usage,
    "[OPTIONS]",
    options=(FORMAT, flag("-v --verbose", "a line for each image, container and volume")),
    text="""RECLAIMABLE is what removing all that is not used would free. Root disks are the file system images that
layers become, shared by all containers.""",
    examples=("hyper system df",),
)
PRUNE = Command(
    prune,
    "[OPTIONS]",
    options=(_ALL, FORCE, _FILTER, flag("--volumes", "volumes that no pod uses and nobody has named, too")),
    examples=("hyper system prune -f", "hyper system prune -af --volumes"),
)
CONTAINER_PRUNE = Command(
    container_prune, "[OPTIONS]", options=(FORCE, _FILTER), examples=("hyper container prune -f",)
)
IMAGE_PRUNE = Command(
    image_prune, "[OPTIONS]", options=(_ALL, FORCE, _FILTER), examples=("hyper image prune -a",)
)
START = Command(
    start,
    "",
    text="Every command that needs hyperd starts it; this one does no more.",
    examples=("hyper system start",),
)
STOP = Command(
    stop,
    "[OPTIONS]",
    options=(flag("-a --all", "stop every container first"), flag("--containers", "the same as --all")),
    text="Containers go on without hyperd; the next one finds them.",
    examples=("hyper system stop", "hyper system stop --all"),
)
