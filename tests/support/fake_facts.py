"""What the fake engine says of what it has."""

from __future__ import annotations

from hypercontainer.contract import answers as a
from hypercontainer.contract.spec import PortMapping

NOW = "2026-01-01T00:00:00Z"
PROCESS = a.Process(
    pid=1, ppid=0, uid=0, user="root", cpu_ns=1, rss_bytes=1, started="", state="S", tty="?", command="sh"
)


def published(port: PortMapping) -> a.Port:
    return a.Port(port.host_ip, port.host_port or 49152, port.container_port, port.protocol)


def sample(identifier: str, name: str) -> a.Sample:
    numbers = [field for field in a.Sample.__struct_fields__ if field not in ("time", "id", "name")]
    return a.Sample(time=NOW, id=identifier, name=name, **dict.fromkeys(numbers, 1))
