"""hyper volume cp, resize, clone and restore, and hyper snapshot."""

from __future__ import annotations

from hypercontainer.cli.commands.cp import copied_by
from hypercontainer.cli.commands.life import each
from hypercontainer.cli.environment import pairs
from hypercontainer.cli.listing import FORMAT, Listing, Row
from hypercontainer.cli.options import Call, Command, flag, many, text
from hypercontainer.cli.units import bytes_of, decimal_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LISTING = Listing(
    {"Name": "SNAPSHOT", "Volume": "VOLUME", "CreatedAt": "CREATED AT", "Size": "SIZE", "Used": "USED"},
    ("Volume", "Name", "CreatedAt", "Size", "Used"),
)


def cp(call: Call) -> int:
    return copied_by(call, "volumes")


def resize(call: Call) -> int:
    name, size = call.arguments
    call.session.client.act("volumes.resize", name, body={"size_bytes": bytes_of(size, "SIZE")})
    print(name)
    return 0


def clone(call: Call) -> int:
    name, target = call.arguments
    body: dict[str, Any] = {"target": target}
    if snapshot := call.options.text("snapshot"):
        body["snapshot"] = snapshot
    if labels := pairs(call.options.many("label")):
        body["labels"] = labels
    print(call.session.client.act("volumes.clone", name, body=body)["name"])
    return 0


def restore(call: Call) -> int:
    name, snapshot = call.arguments
    call.session.client.act("volumes.restore", name, body={"snapshot": snapshot})
    print(name)
    return 0


def snapshot(call: Call) -> int:
    body = {"snapshot": call.arguments[1]} if len(call.arguments) > 1 else {}
    print(call.session.client.act("volumes.snapshot", call.arguments[0], body=body)["name"])
    return 0


def _row(found: dict[str, Any]) -> Row:
    return {
        "Name": found["name"],
        "Volume": found["volume"],
        "CreatedAt": found["created"],
        "Size": decimal_size(found["size_bytes"]),
        "Used": decimal_size(found["used_bytes"]),
    }


def snapshots(call: Call) -> int:
    client = call.session.client
    names = call.arguments or [
        each["name"] for each in client.call("volumes.find")["volumes"] if each["snapshots"]
    ]
    found = [one for name in names for one in client.call("volumes.snapshots", name)["snapshots"]]
    LISTING.show(map(_row, found), call.options, only="Name")
    return 0


def remove_snapshot(call: Call) -> int:
    volume, *names = call.arguments
    client = call.session.client

    def one(name: str) -> None:
        client.call("volumes.remove_snapshot", volume, query={"snapshot": name})

    return each(names, one)


CP = Command(
    cp,
    "[OPTIONS] VOLUME:PATH PATH|- | PATH|- VOLUME:PATH",
    count=(2, 2),
    options=(
        flag("-L --follow-link", "of a link, copy what it leads to"),
        flag("-q --quiet", "do not say how much was copied"),
    ),
    text=(
        "By the rules of hyper cp. Of a volume that nobody uses, the files are reached in a VM that is started for\n"
        "it, in which nothing of an image runs; of any other through the VM that has it. - is an archive (tar) on\n"
        "standard input or output. A path in a volume begins at its root."
    ),
    examples=(
        "hyper volume cp ./dump.sql data:/",
        "hyper volume cp data:/. ./backup",
        "hyper volume cp data:/ - | zstd > data.tar.zst",
    ),
)
RESIZE = Command(
    resize,
    "VOLUME SIZE",
    count=(2, 2),
    text=(
        "At once, where a VM writes to it: what runs there goes on. Else when it is next mounted. A volume does not\n"
        "get smaller."
    ),
    examples=("hyper volume resize data 40g",),
)
CLONE = Command(
    clone,
    "[OPTIONS] VOLUME NEW",
    count=(2, 2),
    options=(
        many("--label", "NAME[=VALUE]", "attach a label"),
        text("--snapshot", "NAME", "what the volume was then"),
    ),
    text="As a snapshot of it would be: also while it is used.",
    examples=("hyper volume clone data trial", "hyper volume clone --snapshot before-upgrade data trial"),
)
RESTORE = Command(
    restore,
    "VOLUME SNAPSHOT",
    count=(2, 2),
    text="Nothing may use it meanwhile. What it has become since the snapshot is lost; its size stays.",
    examples=("hyper volume restore data before-upgrade",),
)
SNAPSHOT = Command(
    snapshot,
    "VOLUME [NAME]",
    count=(1, 2),
    text=(
        "Where a VM writes to the volume, what it has written is on the disk first, and nothing is written while it\n"
        "is copied, 30 seconds at most. A snapshot shares the volume's blocks where the host's file system can (XFS,\n"
        "Btrfs); else it takes as much as the volume. Without a name it gets one by the time."
    ),
    examples=("hyper snapshot create data before-upgrade", "hyper volume snapshot create data"),
)
SNAPSHOTS = Command(
    snapshots,
    "[OPTIONS] [VOLUME...]",
    count=(0, None),
    options=(FORMAT, flag("-q --quiet", "names only")),
    text="Of all volumes, unless some are named.",
    examples=("hyper snapshot ls data",),
)
REMOVE_SNAPSHOT = Command(
    remove_snapshot,
    "VOLUME SNAPSHOT...",
    count=(2, None),
    text="The volume stays as it is.",
    examples=("hyper snapshot rm data before-upgrade",),
)
