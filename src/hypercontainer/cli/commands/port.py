"""hyper port."""

from __future__ import annotations

import sys

from hypercontainer.cli.options import Call, Command
from hypercontainer.cli.ports import host_text, parse_expose
from hypercontainer.errors import NotFound


def run(call: Call) -> int:
    name, wanted = call.arguments[0], call.arguments[1:]
    ports = call.session.client.call("containers.inspect", name)["ports"]
    published = [
        (f"{port['container_port']}/{port['protocol']}", host_text(port))
        for port in ports
        if port["host_port"]
    ]
    if wanted:
        (private,) = parse_expose(wanted[0])[:1]
        found = [host for port, host in published if port == private]
        if not found:
            raise NotFound(f"no public port {private} published for {name}")
        sys.stdout.writelines(f"{host}\n" for host in found)
    else:
        sys.stdout.writelines(f"{port} -> {host}\n" for port, host in published)
    return 0


PORT = Command(
    run,
    "CONTAINER [PORT[/PROTOCOL]]",
    count=(1, 2),
    examples=("hyper port web", "hyper port web 80/tcp"),
)
