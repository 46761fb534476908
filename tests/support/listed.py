"""As hyperd answers: a volume, and networks "back" and "front" (in this are a container "web", which runs, and a pod
"shop", which does not)."""

from __future__ import annotations

from typing import Any

WEB, SHOP = f"{0xABCDEF0123456789 << 192:064x}", "feedc0de" * 8
VOLUME = {
    "name": "data",
    "created": "2026-01-01T11:00:00Z",
    "size_bytes": 10 << 30,
    "used_bytes": 70_000_000,
    "labels": {"of": "shop"},
    "pods": ["shop"],
}
BACK = {
    "network": "back",
    "network_id": "bac4" * 16,
    "mac_address": "02:00:00:00:00:01",
    "address": "10.89.0.7/24",
    "address6": "",
    "gateway": "10.89.0.1",
    "gateway6": "",
    "aliases": ["www"],
}
FRONT = {
    "network": "front",
    "network_id": "feed" * 16,
    "mac_address": "02:00:00:00:00:02",
    "address": "10.89.1.2/24",
    "address6": "fd00:89::2/64",
    "gateway": "10.89.1.1",
    "gateway6": "fd00:89::1",
    "aliases": [],
}
STATE = {
    **{name: BACK[name] for name in ("address", "gateway", "mac_address")},
    "endpoints": [BACK, FRONT],
}
JOINS: list[dict[str, Any]] = [
    {
        "name": "back",
        "aliases": ["www"],
        "ip": "10.89.0.7",
        "ip6": "",
        "mac_address": "",
        "priority": 5,
    },
    {"name": "feed", "aliases": [], "ip": "", "ip6": "", "mac_address": "", "priority": 1},
]
FULL: dict[str, Any] = {
    "id": "feed" * 16,
    "name": "front",
    "driver": "bridge",
    "created": "2026-01-01T11:00:00Z",
    "subnets": [
        {"subnet": "10.89.1.0/24", "gateway": "10.89.1.1", "ip_range": "10.89.1.0/25"},
        {"subnet": "fd00:89::/64", "gateway": "fd00:89::1", "ip_range": ""},
    ],
    "ipv6": True,
    "internal": False,
    "mtu": 1400,
    "labels": {"of": "shop"},
    "members": [
        {"pod": WEB, "name": "web", "containers": ["web"], "endpoint": FRONT},
        {
            "pod": SHOP,
            "name": "shop",
            "containers": ["shop-web", "shop-cache"],
            "endpoint": FRONT | {"address": "", "address6": "", "mac_address": ""},
        },
    ],
}
OTHER: dict[str, Any] = {
    "id": "bac4" * 16,
    "name": "back",
    "internal": True,
    "ipv6": False,
    "labels": {},
    "mtu": 0,
}
NETWORKS = [FULL, FULL | OTHER | {"members": []}]
