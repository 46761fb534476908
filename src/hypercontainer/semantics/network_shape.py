"""Networks in the shape of ``docker network inspect``, and the places of containers and pods in them as ``docker
inspect`` has them.  The command line loads this.

In Docker an endpoint is a container's; here it is its pod's, and all containers of the pod show the same.
"""

from __future__ import annotations

from hypercontainer.semantics.network_options import MTU

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

BRIDGE = "bridge"
_NOWHERE = {"address": "", "address6": "", "gateway": "", "gateway6": "", "mac_address": ""}


def endpoint_id(network: str, pod: str) -> str:
    """Of a pod's place in a network, by the IDs of both: the same wherever it is shown, and at every start."""
    from hashlib import sha256

    return sha256(f"{network or 'user'} {pod}".encode()).hexdigest()


def mode(found: dict[str, Any]) -> str:
    """The first network that was asked for; else where it is."""
    asked = [join["name"] for join in found["spec"]["networks"]]
    return next(iter((*asked, *found.get("networks", ()))), BRIDGE)


def first(found: dict[str, Any], pod: str) -> dict[str, Any]:
    """The facts of the place that has the way out; those that are known where there is none."""
    state = found["network"]
    endpoints = state.get("endpoints", ())
    return _facts(endpoints[0] if endpoints else {**_NOWHERE, **state}, pod)


def places(found: dict[str, Any], pod: str, names: Sequence[str]) -> dict[str, Any]:
    """By network, of an ``Inspect`` or a ``PodInspect``; ``names``: of it, its own first; the
    aliases come behind that."""
    joins = found.get("joins") or found["spec"]["networks"]
    live = {endpoint["network"]: endpoint for endpoint in found["network"].get("endpoints", ())}
    known = found.get("networks", () if live else [join["name"] for join in joins])
    return {name: _place(live.get(name), _asked(joins, name, live), pod, names) for name in [*live, *known]}


def _asked(joins: list[dict[str, Any]], name: str, live: dict[str, Any]) -> dict[str, Any]:
    """What was said of the place in the network ``name``, by the name or by the beginning of its ID."""
    identifier = live[name]["network_id"] if name in live else ""
    return next(
        (
            join
            for join in joins
            if join["name"] == name or (identifier and identifier.startswith(join["name"]))
        ),
        {},
    )


def _place(
    endpoint: dict[str, Any] | None, asked: dict[str, Any], pod: str, names: Sequence[str]
) -> dict[str, Any]:
    at = {**_NOWHERE, "mac_address": asked.get("mac_address", "")} if endpoint is None else endpoint
    aliases = list(at.get("aliases") or asked.get("aliases", ()))
    static = {"IPv4Address": asked.get("ip", ""), "IPv6Address": asked.get("ip6", "")}
    named = bool(at.get("network_id"))
    return {
        "IPAMConfig": {key: value for key, value in static.items() if value} or None,
        "Links": list(asked.get("links", ())) or None,
        "Aliases": aliases or None,
        "DriverOpts": None,
        "GwPriority": asked.get("priority", 0),
        "NetworkID": at.get("network_id", ""),
        **_facts(at, pod),
        "DNSNames": list(dict.fromkeys([names[0], *aliases, *names[1:]])) if named else None,
    }


def _facts(at: dict[str, Any], pod: str) -> dict[str, Any]:
    address, _, prefix = at["address"].partition("/")
    address6, _, prefix6 = at.get("address6", "").partition("/")
    return {
        "EndpointID": endpoint_id(at.get("network_id", ""), pod) if address or address6 else "",
        "Gateway": at["gateway"],
        "IPAddress": address,
        "IPPrefixLen": int(prefix or 0),
        "IPv6Gateway": at.get("gateway6", ""),
        "GlobalIPv6Address": address6,
        "GlobalIPv6PrefixLen": int(prefix6 or 0),
        "MacAddress": at["mac_address"],
    }


def network(found: dict[str, Any], *, everyone: bool = False) -> dict[str, Any]:
    """``found``: a ``NetworkInfo``.  As with Docker those are in it that run; ``everyone``: the others too."""
    members = [
        one
        for one in found["members"]
        if everyone or one["endpoint"]["address"] or one["endpoint"]["address6"]
    ]
    services = found.get("services", ())
    return {
        "Name": found["name"],
        "Id": found["id"],
        "Created": found["created"],
        "Scope": "local",
        "Driver": found["driver"],
        "EnableIPv4": True,
        "EnableIPv6": found["ipv6"],
        "IPAM": {
            "Driver": "default",
            "Options": {},
            "Config": [_pool(subnet) for subnet in found["subnets"]],
        },
        "Internal": found["internal"],
        "Attachable": found.get("attachable", False),
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        **({"Services": {one["name"]: _service(one) for one in services}} if services else {}),
        "Containers": {one["pod"]: _member(one, found["id"]) for one in members},
        "Options": {MTU: str(found["mtu"])} if found["mtu"] else {},
        "Labels": found["labels"],
        **({"CNI": found["configuration"]} if found.get("configuration") else {}),
    }


def _service(service: dict[str, Any]) -> dict[str, Any]:
    """As Docker has those of a swarm."""
    pods = service.get("pods", {}).items()
    tasks = [{"Name": name, "EndpointIP": address} for name, address in pods]
    return {"VIP": service.get("address", ""), "Ports": list(service.get("ports", ())), "Tasks": tasks}


def _pool(subnet: dict[str, Any]) -> dict[str, str]:
    shown = {"Subnet": subnet["subnet"], "IPRange": subnet["ip_range"], "Gateway": subnet["gateway"]}
    return {key: value for key, value in shown.items() if value}


def _member(member: dict[str, Any], network_id: str) -> dict[str, str]:
    at = member["endpoint"]
    runs = at["address"] or at["address6"]
    return {
        "Name": member["name"],
        "EndpointID": endpoint_id(network_id, member["pod"]) if runs else "",
        "MacAddress": at["mac_address"],
        "IPv4Address": at["address"],
        "IPv6Address": at["address6"],
    }
