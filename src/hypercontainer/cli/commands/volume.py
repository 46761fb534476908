"""hyper volume: named volumes, which are disks and directories of hyperd's."""

from __future__ import annotations

from hypercontainer.cli.commands.life import each
from hypercontainer.cli.commands.system import FORCE, confirmed
from hypercontainer.cli.environment import pairs
from hypercontainer.cli.labels import Labels
from hypercontainer.cli.listing import FILTER, FORMAT, Listing, Row, chosen_by, filters_of
from hypercontainer.cli.mounts import volume_name
from hypercontainer.cli.options import Call, Command, flag, many, refused, text
from hypercontainer.cli.shares import by_options
from hypercontainer.cli.units import bytes_of, decimal_size
from hypercontainer.errors import NotSupported
from hypercontainer.semantics import volume_shape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LISTING = Listing(
    {
        "Name": "VOLUME NAME",
        "Driver": "DRIVER",
        "Type": "TYPE",
        "Size": "SIZE",
        "Used": "USED",
        "Links": "LINKS",
        "Pods": "PODS",
        "CreatedAt": "CREATED AT",
        "Labels": "LABELS",
        "Scope": "SCOPE",
        "Mountpoint": "MOUNTPOINT",
    },
    ("Driver", "Name", "Type", "Size", "Used", "Links"),
)


def row(volume: dict[str, Any]) -> Row:
    return {
        "Name": volume["name"],
        "Driver": "local",
        "Type": volume.get("kind", "disk"),
        "Size": decimal_size(volume["size_bytes"]) if volume["size_bytes"] else "-",
        "Used": decimal_size(volume["used_bytes"]),
        "Links": str(len(volume["pods"])),
        "Pods": ",".join(volume["pods"]),
        "CreatedAt": volume["created"],
        "Labels": Labels(volume["labels"]),
        "Scope": "local",
        "Mountpoint": volume_shape.place(volume),
    }


def create(call: Call) -> int:
    values = call.options
    name = values.text("name") or "".join(call.arguments)
    if values.text("driver") != "local":
        raise NotSupported(f"--driver {values.text('driver')}: volumes are hyperd's own", hint="leave it out")
    options = pairs(values.many("opt"), what="option")
    body: dict[str, Any] = {"name": volume_name(name, "hyper volume create")} if name else {}
    body |= _kind(options, values.text("size"))
    if labels := pairs(values.many("label")):
        body["labels"] = labels
    print(call.session.client.act("volumes.create", body=body)["name"])
    return 0


def _kind(options: dict[str, str], size: str) -> dict[str, Any]:
    """What a new volume is."""
    of_nfs = options.get("type") in volume_shape.NFS_TYPES
    if unknown := sorted(options.keys() - {"size", "type", *(volume_shape.NFS_OPTIONS if of_nfs else ())}):
        raise NotSupported(
            f"--opt {unknown[0]}: there are 'type' and 'size', and of type=nfs 'o' and 'device'"
        )
    asked: dict[str, Any] = {}
    if of_nfs:
        asked["nfs"] = by_options(options, "hyper volume create")
    elif kind := options.get("type"):
        asked["kind"] = kind
    if size := size or options.get("size", ""):
        asked["size_bytes"] = bytes_of(size, "--size")
    return asked


def convert(call: Call) -> int:
    values, (name,) = call.options, call.arguments
    body: dict[str, Any] = {"kind": values.text("to")}
    if size := values.text("size"):
        body["size_bytes"] = bytes_of(size, "--size")
    print(call.session.client.act("volumes.convert", name, body=body)["name"])
    return 0


def ls(call: Call) -> int:
    values = call.options
    found = call.session.client.call("volumes.find", query={"filters": filters_of(values)})["volumes"]
    LISTING.show(map(row, found), values, only="Name")
    return 0


def shaped(volume: dict[str, Any]) -> dict[str, Any]:
    """With Docker's keys, and the pods that use it."""
    used = {"UsageData": volume_shape.usage(volume), "Pods": volume["pods"]}
    return {**volume_shape.volume(volume), **used}


def remove(call: Call) -> int:
    query = {"force": call.options.flag("force")}
    client = call.session.client

    def one(name: str) -> None:
        client.call("volumes.remove", name, query=query)

    return each(call.arguments, one, missing_ok=call.options.flag("force"))


def prune(call: Call) -> int:
    everything, chosen = call.options.flag("all"), chosen_by(call.options)
    whose = "" if everything else " and that nobody has named"
    if not confirmed(call, f"all volumes that no pod uses{whose}, with what is in them"):
        return 1
    answer = call.session.client.act("volumes.prune", body={"all": everything, "filters": chosen})
    if answer["removed"]:
        print("Deleted Volumes:", *answer["removed"], "", sep="\n")
    print(f"Total reclaimed space: {decimal_size(answer['space_reclaimed_bytes'])}")
    return 0


_CLUSTER = "there is no swarm, and so no cluster volume"
_CLUSTERS = (
    "availability group limit-bytes required-bytes scope secret sharing topology-preferred topology-required type"
).split()
CREATE = Command(
    create,
    "[OPTIONS] [NAME]",
    count=(0, 1),
    options=(
        text("-d --driver", "NAME", "'local' is the only one", "local"),
        many("--label", "NAME[=VALUE]", "attach a label"),
        text("--name", "NAME", "the same as NAME"),
        many(
            "-o --opt",
            "NAME=VALUE",
            "type=disk or type=shared: whether one VM writes to it, or several do; size=SIZE: as --size; "
            "type=nfs with o=addr=SERVER,... and device=:/PATH: what a server exports",
        ),
        text("--size", "SIZE", "of its file system; the disk takes what is written"),
        *(refused(f"--{name}", "VALUE", _CLUSTER) for name in _CLUSTERS),
    ),
    text="""A volume is an ext4 disk of hyperd's, or, of type shared, a directory that several pods may write to, or, of
type nfs, a directory of an NFS server's, which pods mount over their own network and `rm` leaves as it is.
Without a name it gets one of 64 digits, and `prune` takes it.""",
    examples=(
        "hyper volume create data",
        "hyper volume create --size 20g --label of=shop data",
        "hyper volume create -o type=shared uploads",
        "hyper volume create -o type=nfs -o o=addr=10.0.0.1,rw,nfsvers=4.2 -o device=:/export/media media",
    ),
)
CONVERT = Command(
    convert,
    "[OPTIONS] VOLUME",
    count=(1, 1),
    options=(
        text("--size", "SIZE", "of a disk"),
        text("--to", "TYPE", "'shared', or 'disk'", "shared", field="kind"),
    ),
    text="""Makes a disk, which one pod writes to, a directory to which several may write, or the other way round, with
what is in it. Nobody may have it meanwhile; what goes wrong leaves it as it was.""",
    examples=("hyper volume convert uploads", "hyper volume convert --to disk --size 20g data"),
)
LS = Command(
    ls,
    "[OPTIONS]",
    options=(FILTER, FORMAT, flag("-q --quiet", "names only"), refused("--cluster", "", _CLUSTER)),
    text="""LINKS is the number of pods that use it.

Filters: dangling (true or false), driver, label (KEY[=VALUE]), name (a regular expression).""",
    examples=("hyper volume ls", "hyper volume ls -q --filter label=of=shop"),
)
RM = Command(
    remove,
    "[OPTIONS] VOLUME...",
    count=(1, None),
    options=(flag("-f --force", "what does not exist is no failure"),),
    text="With what is in it; one that a pod uses stays.",
    examples=("hyper volume rm data",),
)
PRUNE = Command(
    prune,
    "[OPTIONS]",
    options=(
        flag("-a --all", "those that somebody has named too"),
        many("--filter", "NAME=VALUE", "label, label!=..., all=true"),
        FORCE,
    ),
    text="Of the volumes that no pod uses: those without a name of a user's.",
    examples=("hyper volume prune -f", "hyper volume prune -a --filter label=of=shop"),
)
