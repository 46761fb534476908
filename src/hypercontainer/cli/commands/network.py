"""hyper network: networks of pods, which find each other by name in them."""

from __future__ import annotations

from hypercontainer.cli.commands.life import each
from hypercontainer.cli.commands.system import FORCE, confirmed
from hypercontainer.cli.container_options import LINK_LOCAL, LINKS
from hypercontainer.cli.environment import pairs
from hypercontainer.cli.labels import Labels
from hypercontainer.cli.listing import (
    FILTER,
    FORMAT,
    NO_TRUNC,
    QUIET,
    Listing,
    Row,
    chosen_by,
    filters_of,
    short_id,
)
from hypercontainer.cli.networks import address, priority
from hypercontainer.cli.options import Call, Command, UsageError, flag, many, refused, text
from hypercontainer.cli.units import local_time, moment
from hypercontainer.errors import InvalidArgument, NotSupported
from hypercontainer.semantics import network_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from hypercontainer.cli.options import Values

LISTING = Listing(
    {
        "ID": "NETWORK ID",
        "Name": "NAME",
        "Driver": "DRIVER",
        "Scope": "SCOPE",
        "IPv4": "IPV4",
        "IPv6": "IPV6",
        "Internal": "INTERNAL",
        "Labels": "LABELS",
        "CreatedAt": "CREATED AT",
        "Subnets": "SUBNETS",
    },
    ("ID", "Name", "Driver", "Scope"),
)
_SUCH_AS = {"--subnet": "10.89.0.0/24", "--gateway": "10.89.0.1", "--ip-range": "10.89.0.128/25"}


def row(network: dict[str, Any], values: Values) -> Row:
    return {
        "ID": short_id(network["id"], values),
        "Name": network["name"],
        "Driver": network["driver"],
        "Scope": "local",
        "IPv4": "true",
        "IPv6": "true" if network["ipv6"] else "false",
        "Internal": "true" if network["internal"] else "false",
        "Labels": Labels(network["labels"]),
        "CreatedAt": local_time(network["created"]),
        "Subnets": ",".join(subnet["subnet"] for subnet in network["subnets"]),
    }


def create(call: Call) -> int:
    values, (name,) = call.options, call.arguments
    _check(values)
    body: dict[str, Any] = {"name": name, **_options(values)}
    if subnets := _subnets(values):
        body["subnets"] = subnets
    for option in ("ipv6", "internal"):
        if values.flag(option):
            body[option] = True
    if labels := pairs(values.many("label")):
        body["labels"] = labels
    print(call.session.client.act("networks.create", body=body)["id"])
    return 0


def _check(values: Values) -> None:
    """What there is one of, or none."""
    driver, scope = values.text("driver"), values.text("scope")
    if driver != "bridge":
        raise NotSupported(
            f"--driver {driver}: {network_options.DRIVERS.get(driver, 'there are no plugins')}",
            hint="'bridge' is the only one, and need not be said",
        )
    if scope not in ("", "local"):
        raise NotSupported(f"--scope {scope}: there is no swarm", hint="'local', as it is anyway")
    if not values.flag("ipv4"):
        raise NotSupported("--ipv4=false: every network has IPv4", hint="--ipv6 adds the other")
    if values.text("ipam-driver") != "default":
        raise NotSupported(f"--ipam-driver {values.text('ipam-driver')}: there are no plugins")


def _options(values: Values) -> dict[str, Any]:
    try:
        return network_options.understood(pairs(values.many("opt"), what="option"), "--opt ")
    except InvalidArgument as error:
        raise UsageError(error.message, hint=error.hint) from None


def _several(values: Values, name: str) -> list[str]:
    """Said once each, or with commas between them."""
    return [part for item in values.many(name) for part in item.split(",")]


def _subnets(values: Values) -> list[dict[str, str]]:
    """Gateways and ranges with the subnets that they are in."""
    if not (typed := _several(values, "subnet")):
        if other := next((name for name in ("gateway", "ip-range") if values.given(name)), ""):
            raise UsageError(f"--{other} needs a subnet to be in", hint=f"--subnet {_SUCH_AS['--subnet']}")
        return []
    from ipaddress import ip_address, ip_network

    pools = [(_parsed(ip_network, item, "--subnet"), {"subnet": item}) for item in typed]
    for option, field in (("gateway", "gateway"), ("ip-range", "ip_range")):
        for item in _several(values, option):
            if option == "gateway":
                _parsed(ip_address, item, "--gateway")
            inside = _parsed(ip_network, item, f"--{option}")
            pool = next((pool for whole, pool in pools if _within(inside, whole)), None)
            if pool is None:
                raise UsageError(f"--{option} {item} is in no subnet", hint=f"of {', '.join(typed)}")
            if field in pool:
                raise UsageError(f"--{option}: {pool[field]} and {item} are of one subnet, {pool['subnet']}")
            pool[field] = item
    return [pool for _, pool in pools]


def _parsed(parse: Callable[[str], Any], text: str, option: str) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        raise UsageError(f"invalid {option} {text!r}: {error}", hint=_SUCH_AS[option]) from None


def _within(inside: Any, whole: Any) -> bool:
    return bool(inside.version == whole.version and inside.subnet_of(whole))


def ls(call: Call) -> int:
    values = call.options
    found = call.session.client.call("networks.find", query={"filters": filters_of(values)})["networks"]
    found.sort(key=lambda network: network["name"])
    LISTING.show((row(network, values) for network in found), values, only="ID")
    return 0


def remove(call: Call) -> int:
    client, query = call.session.client, {"force": call.options.flag("force")}
    return each(
        call.arguments,
        lambda name: client.act("networks.remove", name, query=query),
        missing_ok=call.options.flag("force"),
    )


def connect(call: Call) -> int:
    values, (network, ref) = call.options, call.arguments
    join: dict[str, Any] = {"aliases": _several(values, "alias")} if values.given("alias") else {}
    for name, version in (("ip", 4), ("ip6", 6)):
        if values.given(name):
            join[name] = address(values.text(name), f"--{name}", version=version)
    if values.given("mac-address"):
        join["mac_address"] = values.text("mac-address")
    if values.given("gw-priority"):
        join["priority"] = priority(values.text("gw-priority"), "--gw-priority")
    body: dict[str, Any] = {"ref": ref}
    if join:
        body["join"] = {"name": network, **join}
    call.session.client.act("networks.connect", network, body=body)
    return 0


def disconnect(call: Call) -> int:
    network, ref = call.arguments
    body: dict[str, Any] = {"ref": ref}
    if call.options.flag("force"):
        body["force"] = True
    call.session.client.act("networks.disconnect", network, body=body)
    return 0


def prune(call: Call) -> int:
    chosen = chosen_by(call.options)
    if "until" in chosen:
        chosen["until"] = [moment(item, "--filter until") for item in chosen["until"]]
    if not confirmed(call, "all networks that no pod is in"):
        return 1
    removed = call.session.client.act("networks.prune", body={"filters": chosen})["removed"]
    if removed:
        print("Deleted Networks:", *removed, "", sep="\n")
    return 0


_SWARM = "there is no swarm"
_CONFIG = "a network is made by what is said of it, and not by another's configuration"
CREATE = Command(
    create,
    "[OPTIONS] NETWORK",
    count=(1, 1),
    options=(
        flag("--attachable", "no effect: containers can join every network"),
        refused(
            "--aux-address",
            "NAME=ADDRESS",
            "--ip-range says which addresses pods get, and so leaves the others",
        ),
        refused("--config-from", "NETWORK", _CONFIG),
        refused("--config-only", "", _CONFIG),
        text("-d --driver", "NAME", "'bridge' is the only one", "bridge"),
        many("--gateway", "ADDRESS", "of a subnet, in place of its first address"),
        refused("--ingress", "", _SWARM),
        flag("--internal", "there is no way out of it"),
        many("--ip-range", "CIDR", "the part of a subnet whose addresses pods get"),
        text("--ipam-driver", "NAME", "'default' is the only one", "default"),
        refused("--ipam-opt", "NAME=VALUE", "hyperd gives the addresses itself"),
        flag("--ipv4", "addresses of IPv4, as every network has", default=True),
        flag("--ipv6", "addresses of IPv6, too"),
        many("--label", "NAME[=VALUE]", "attach a label"),
        many(
            "-o --opt", "NAME=VALUE", "com.docker.network.driver.mtu=BYTES; others where they change nothing"
        ),
        text("--scope", "SCOPE", "'local', as it is anyway"),
        many(
            "--subnet",
            "CIDR",
            "its addresses, such as 10.89.0.0/24; one of IPv4 and one of IPv6",
            parsed="subnets",
        ),
    ),
    text="""Prints its ID. Without a subnet it gets one that nobody on this machine has. Pods of one network find each
other by name; pods of two networks do not reach each other.""",
    examples=(
        "hyper network create back",
        "hyper network create --subnet 10.89.0.0/24 --ip-range 10.89.0.128/25 back",
        "hyper network create --ipv6 --subnet fd00:89::/64 --internal --label of=shop back",
    ),
)
LS = Command(
    ls,
    "[OPTIONS]",
    options=(FILTER, FORMAT, NO_TRUNC, QUIET),
    text="""Filters: dangling (true or false), driver, id, label (KEY[=VALUE]), name (a regular expression), scope, type
(custom or builtin). Those of the driver cni are what files in /etc/cni/net.d say, or where `[network]` has them.""",
    examples=(
        "hyper network ls",
        "hyper network ls -q --filter label=of=shop",
        "hyper network ls --filter driver=cni",
        "hyper network ls --format 'table {{.Name}}\\t{{.Subnets}}'",
    ),
)
RM = Command(
    remove,
    "[OPTIONS] NETWORK...",
    count=(1, None),
    options=(flag("-f --force", "what does not exist is no failure"),),
    text="One that a pod is in stays.",
    examples=("hyper network rm back front",),
)
CONNECT = Command(
    connect,
    "[OPTIONS] NETWORK CONTAINER|POD",
    count=(2, 2),
    options=(
        many("--alias", "NAME", "one more name in this network"),
        refused("--driver-opt", "NAME=VALUE", "the driver has no options for a single container"),
        text("--gw-priority", "NUMBER", "of its networks the one with the highest is the way out"),
        text("--ip", "ADDRESS", "of IPv4"),
        text("--ip6", "ADDRESS", "of IPv6"),
        refused("--link", "CONTAINER", LINKS),
        refused("--link-local-ip", "ADDRESS", LINK_LOCAL),
        text("--mac-address", "ADDRESS", "of its interface in this network"),
    ),
    text="At once where it runs, and from then on. All containers of a pod are in the networks that their pod is in.",
    examples=(
        "hyper network connect back web",
        "hyper network connect --alias db --ip 10.89.0.7 back postgres",
    ),
)
DISCONNECT = Command(
    disconnect,
    "[OPTIONS] NETWORK CONTAINER|POD",
    count=(2, 2),
    options=(flag("-f --force", "also from a network that is gone"),),
    examples=("hyper network disconnect back web",),
)
PRUNE = Command(
    prune,
    "[OPTIONS]",
    options=(many("--filter", "NAME=VALUE", "label, label!=..., until (a time)"), FORCE),
    examples=("hyper network prune -f", "hyper network prune --filter until=24h"),
)
