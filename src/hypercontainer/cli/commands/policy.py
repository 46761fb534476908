"""hyper policy: what pods may reach, by name; what it says of a URL; what was denied."""

from __future__ import annotations

import json
import sys

from hypercontainer.cli.commands.life import each
from hypercontainer.cli.listing import FORMAT, NO_TRUNC, QUIET, Listing, Row
from hypercontainer.cli.options import Call, Command, flag, text
from hypercontainer.cli.policies import explained, read
from hypercontainer.cli.units import local_time
from hypercontainer.client.api import RemoteError, remote_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LISTING = Listing(
    {"Name": "NAME", "Rules": "RULES", "Limits": "LIMITS", "Users": "USED BY"},
    ("Name", "Rules", "Limits", "Users"),
)


def row(policy: dict[str, Any]) -> Row:
    egress, limits = policy["policy"]["egress"], policy["policy"]["limits"]
    said = [f"{name}={limits[name]}" for name in ("out", "in", "connections") if limits[name]]
    return {
        "Name": policy["name"],
        "Rules": "-" if egress is None else str(len(egress)),
        "Limits": ",".join(said),
        "Users": ",".join(policy["users"]),
    }


def _put(call: Call, route: str) -> int:
    name, path = call.arguments
    policy, said = read(path)
    try:
        call.session.client.act(route, body={"name": name, "policy": policy})
    except RemoteError as error:
        raise explained(error, path, said) from None
    print(name)
    return 0


def create(call: Call) -> int:
    return _put(call, "policies.create")


def update(call: Call) -> int:
    return _put(call, "policies.update")


def ls(call: Call) -> int:
    found = call.session.client.call("policies.find")["policies"]
    LISTING.show((row(policy) for policy in found), call.options, only="Name")
    return 0


def inspect(call: Call) -> int:
    found = [call.session.client.call("policies.inspect", name) for name in call.arguments]
    print(json.dumps(found, indent=4))
    return 0


def remove(call: Call) -> int:
    client, force = call.session.client, call.options.flag("force")
    return each(
        call.arguments,
        lambda name: client.act("policies.remove", name, query={"force": force}),
        missing_ok=force,
    )


def check(call: Call) -> int:
    ref, url = call.arguments
    query = {"url": url, "method": call.options.text("method")}
    found = call.session.client.call("policies.check", ref, query=query)
    if call.options.text("format") == "json":
        print(json.dumps(found))
    else:
        places = f" ({', '.join(found['addresses'])})" if found["addresses"] else ""
        print(f"{'allowed' if found['allowed'] else 'denied'}: {found['reason']}{places}")
    return 0 if found["allowed"] else 1


def line(denial: dict[str, Any]) -> str:
    """``2026-11-28 23:59:00 web tcp 10.0.0.1:443 (api.example.com) no rule allows it, 3 times``."""
    place = denial["address"]
    if ":" in place and denial["port"]:
        place = f"[{place}]"
    if place and denial["port"]:
        place += f":{denial['port']}"
    name = denial["name"] and (f"({denial['name']})" if place else denial["name"])
    often = f", {denial['count']} times" if denial["count"] > 1 else ""
    pod = denial["pod_name"] or denial["pod"][:12] or "-"
    words = (local_time(denial["time"])[:19], pod, denial["protocol"], place, name)
    return f"{' '.join(filter(None, words))} {denial['reason']}{often}"


def audit(call: Call) -> int:
    as_json = call.options.text("format") == "json"
    query = {"ref": call.arguments[0] if call.arguments else "", "follow": call.options.flag("follow")}
    for denial in call.session.client.lines("policies.audit", query=query):
        if "error" in denial:
            raise remote_error(denial["error"])
        sys.stdout.write((json.dumps(denial) if as_json else line(denial)) + "\n")
        sys.stdout.flush()
    return 0


_JSON = text("--format", "FORMAT", "'json'")
_FILE = "FILE is YAML or JSON, '-' is standard input; docs/networks.md has the language"
CREATE = Command(
    create,
    "NAME FILE",
    count=(2, 2),
    text=f"{_FILE}.",
    examples=("hyper policy create ci ci.yaml", "echo 'egress: []' | hyper policy create nothing -"),
)
UPDATE = Command(
    update,
    "NAME FILE",
    count=(2, 2),
    text=f"""{_FILE}.
It counts at once for pods that run: connections that are open and not allowed any more are cut.""",
    examples=("hyper policy update ci ci.yaml",),
)
LS = Command(ls, "[OPTIONS]", options=(FORMAT, NO_TRUNC, QUIET), examples=("hyper policy ls",))
INSPECT = Command(inspect, "NAME...", count=(1, None), examples=("hyper policy inspect ci",))
RM = Command(
    remove,
    "[OPTIONS] NAME...",
    count=(1, None),
    options=(flag("-f --force", "what does not exist is no failure"),),
    text="One that a pod has stays.",
    examples=("hyper policy rm ci",),
)
CHECK = Command(
    check,
    "[OPTIONS] CONTAINER|POD URL",
    count=(2, 2),
    options=(_JSON, text("--method", "METHOD", "of a request of HTTP", "GET")),
    text="""URL is https://HOST/PATH, tcp://HOST:PORT, udp://HOST:PORT or icmp://HOST. Of a name it is told by what the
name server has answered to the pod. The exit status is 0 where it is allowed, 1 where it is not.""",
    examples=(
        "hyper policy check web https://api.example.com/v1",
        "hyper policy check web tcp://10.0.0.1:5432",
    ),
)
AUDIT = Command(
    audit,
    "[OPTIONS] [CONTAINER|POD]",
    count=(0, 1),
    options=(flag("-f --follow", "what comes, too"), _JSON),
    text="What was denied: to whom, where, and why. Of the same again there is one line a second.",
    examples=("hyper policy audit", "hyper policy audit -f web --format json"),
)
