"""hyper ports: the published ports of a pod, and their change while it runs."""

from __future__ import annotations

import sys

from hypercontainer.cli.options import Call, Command
from hypercontainer.cli.pods import on_pod_of
from hypercontainer.cli.ports import host_text, parse_publish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _ask(call: Call, name: str, body: Any = None) -> Any:
    client = call.session.client
    return on_pod_of(client, call.arguments[0], lambda pod: client.call(name, pod, body=body))


def _mappings(call: Call) -> dict[str, Any]:
    return {"ports": [mapping for typed in call.arguments[1:] for mapping in parse_publish(typed)]}


def _show(ports: list[dict[str, Any]]) -> None:
    """As hyper port does."""
    ordered = sorted(ports, key=lambda port: (port["container_port"], port["protocol"], port["host_port"]))
    sys.stdout.writelines(
        f"{port['container_port']}/{port['protocol']} -> {host_text(port)}\n"
        for port in ordered
        if port["host_port"]
    )


def ls(call: Call) -> int:
    _show(_ask(call, "pods.ports")["ports"])
    return 0


def add(call: Call) -> int:
    _show(_ask(call, "pods.add_ports", _mappings(call))["ports"])
    return 0


def delete(call: Call) -> int:
    _ask(call, "pods.remove_ports", _mappings(call))
    return 0


_PORTS = "[[ADDRESS:]HOST-PORT:]PORT[/PROTOCOL]..."
LS = Command(ls, "POD|CONTAINER", count=(1, 1), examples=("hyper ports ls shop",))
ADD = Command(
    add,
    f"POD|CONTAINER {_PORTS}",
    count=(2, None),
    text="All of them or none; in force at once where it runs, and kept. Prints the new ones.",
    examples=(
        "hyper ports add shop 8080:80",
        "hyper ports add shop 127.0.0.1:5353:53/udp 9000-9002:9000-9002",
    ),
)
DELETE = Command(
    delete,
    f"POD|CONTAINER {_PORTS}",
    count=(2, None),
    text="All of them or none; a port as it was published.",
    examples=("hyper ports delete shop 8080:80",),
)
