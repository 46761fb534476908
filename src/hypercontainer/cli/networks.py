"""``--network`` as it is typed, and what other options say of the first of several: what the API is asked for
(contract/networks.py)."""

from __future__ import annotations

from hypercontainer.cli.mounts import items_of
from hypercontainer.cli.options import UsageError
from hypercontainer.errors import NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from hypercontainer.cli.options import Values

BRIDGE = "bridge"
ALONE = ("user", "none")  # what is no network that is made: nothing is said of a place in one
CNI = "cni:"  # begins the names of networks that plugins of others make
OTHERS = ("container:", "pod:")  # another's network, which is that of its pod
_HINT = (
    "NAME, name=NAME,alias=NAME,ip=ADDRESS,..., none, user, hypervisor, cni:NAME, pod:NAME or container:NAME"
)
_FIELDS = {
    "name": "name",
    "alias": "aliases",
    "ip": "ip",
    "ip6": "ip6",
    "mac-address": "mac_address",
    "gw-priority": "priority",
}
_REFUSED = {
    "driver-opt": "the driver has no options for a single container",
    "link-local-ip": "addresses of the link are the guest's own",
}
# Of the first network: option, field of its Join, how Docker calls the part that says the same.
_BESIDE = (
    ("network-alias", "aliases", "alias"),
    ("net-alias", "aliases", "alias"),
    ("ip", "ip", "IPv4 address"),
    ("ip6", "ip6", "IPv6 address"),
    ("mac-address", "mac_address", "MAC address"),
)


def networks_spec(values: Values) -> dict[str, Any]:
    """``networks``, ``mac_address`` and ``pod`` of a specification, those of them that were asked for; of
    container:NAME the pod is "container:NAME" until hyperd has been asked."""
    typed = [text for text in (*values.many("network"), *values.many("net")) if text]
    joins = [_join(text) for text in typed]
    _check_together(typed, joins)
    beside = _beside(values)
    if joins and joins[0]["name"].startswith(OTHERS):
        return {"pod": _pod_of(joins[0]["name"], values, beside)}
    if joins and joins[0]["name"] in ALONE:
        return _alone(joins[0], beside)
    if typed in ([], ["default"]) and beside.keys() <= {"mac_address"}:
        return beside  # where it goes is hyperd's to say
    if not joins:
        joins = [{"name": BRIDGE}]
    for _, field, what in _BESIDE:
        if field in beside and field in joins[0]:
            raise UsageError(
                f"conflicting options: --network {typed[0]} and {_flag_of(field, values)}: {what} is said twice"
            )
    return {"networks": [joins[0] | beside, *joins[1:]]}


def _join(typed: str) -> dict[str, Any]:
    """A Join as plain JSON values: of a name alone, or of Docker's long form."""
    if "=" not in typed:
        return {"name": _name(typed, typed)}
    join: dict[str, Any] = {}
    for item in items_of(typed):
        key, equals, value = item.partition("=")
        key = key.strip().lower()
        if key in _REFUSED:
            raise NotSupported(f"--network {typed}: {key}: {_REFUSED[key]}")
        if key not in _FIELDS or not equals:
            raise UsageError(f"invalid --network {typed!r}: there is no field {key!r}", hint=_HINT)
        field = _FIELDS[key]
        if field == "aliases":
            join.setdefault(field, []).append(value)
        elif field in join:
            raise UsageError(f"invalid --network {typed!r}: {key} is said twice", hint=_HINT)
        else:
            join[field] = _value(field, value, f"--network {typed}: {key}")
    if not join.get("name"):
        raise UsageError(f"invalid --network {typed!r}: it names no network", hint=_HINT)
    return {**join, "name": _name(join["name"], typed)}


def _value(field: str, text: str, what: str) -> str | int:
    if field == "priority":
        return priority(text, what)
    return address(text, what, version=6 if field == "ip6" else 4) if field in ("ip", "ip6") else text


def _name(name: str, typed: str) -> str:
    if name == "host":
        raise NotSupported(
            f"--network {typed}: a virtual machine has a network of its own, and not the host's",
            hint="-p publishes its ports on the host; --add-host NAME:host-gateway names the host inside",
        )
    whose = name.partition(":")[2]
    if whose and (name.startswith(OTHERS) or (name.startswith(CNI) and not {":", "/"} & set(whose))):
        return name
    if ":" in name or "/" in name:
        raise UsageError(f"invalid --network {typed!r}", hint=_HINT)
    return BRIDGE if name == "default" else name


def address(text: str, what: str, *, version: int) -> str:
    from _socket import AF_INET, AF_INET6, inet_pton

    try:
        inet_pton(AF_INET6 if version == 6 else AF_INET, text)
    except (OSError, ValueError):
        raise UsageError(f"{what}: {text!r} is no address of IPv{version}") from None
    return text


def priority(text: str, what: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"{what}: {text!r} is no number") from None


def _beside(values: Values) -> dict[str, Any]:
    """What is said of the first network by options of their own."""
    said: dict[str, Any] = {}
    if aliases := [*values.many("network-alias"), *values.many("net-alias")]:
        said["aliases"] = aliases
    for name, version in (("ip", 4), ("ip6", 6)):
        if values.given(name):
            said[name] = address(values.text(name), f"--{name}", version=version)
    if values.given("mac-address"):
        said["mac_address"] = values.text("mac-address")
    return said


def _flag_of(field: str, values: Values) -> str:
    return next(f"--{option}" for option, said, _ in _BESIDE if said == field and values.given(option))


def _check_together(typed: list[str], joins: list[dict[str, Any]]) -> None:
    names = [join["name"] for join in joins]
    for text, name in zip(typed, names, strict=True):
        if names.count(name) > 1:
            raise UsageError(f"conflicting options: --network {name} is said twice")
        if len(names) > 1 and (name in ALONE or name.startswith(OTHERS)):
            raise UsageError(f"conflicting options: --network {text} goes with no other network")


def _alone(join: dict[str, Any], beside: dict[str, Any]) -> dict[str, Any]:
    name, said = join["name"], join | beside
    if placed := said.keys() & {"aliases", "ip", "ip6", "priority"}:
        raise UsageError(
            f"--network {name} has no {'names' if placed == {'aliases'} else 'addresses'} to choose",
            hint="a network of `hyper network create` has",
        )
    mac = {"mac_address": said["mac_address"]} if "mac_address" in said else {}
    return {"networks": [{"name": name}], **mac}


def _pod_of(name: str, values: Values, beside: dict[str, Any]) -> str:
    if values.given("pod") or values.given("container"):
        raise UsageError(f"conflicting options: --network {name} and --pod")
    if beside:
        flag = _flag_of(next(iter(beside)), values)
        raise UsageError(f"conflicting options: --network {name} and {flag}: its pod has them already")
    return name.removeprefix("pod:")
