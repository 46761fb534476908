"""Published ports: how they are typed and how they are shown."""

from __future__ import annotations

from hypercontainer.cli.options import UsageError
from hypercontainer.contract import ports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ANYWHERE = "0.0.0.0"  # noqa: S104 - what Docker publishes on


def _bad(spec: str, why: str) -> UsageError:
    hint = "[[ADDRESS:]HOST-PORT:]CONTAINER-PORT[/tcp|/udp]"
    if spec.endswith((".json", ".yaml", ".yml", ".pod")):
        hint = f"a podfile runs with --podfile {spec}"
    return UsageError(f"invalid port {spec!r}: {why}", hint=hint)


def _numbers(text: str, spec: str) -> range:
    try:
        return ports.numbers(text)
    except ValueError as error:
        raise _bad(spec, f"{text!r} {error}") from None


def parse_publish(spec: str) -> list[dict[str, object]]:
    """``-p``'s value as the API's port mappings; ranges give one each, and of a range for one port a free one is
    taken."""
    rest, slash, protocol = spec.partition("/")
    if not slash and rest.partition(":")[0] in ports.PROTOCOLS:  # tcp:8080:80, as Hyper always took it
        protocol, _, rest = rest.partition(":")
    protocol = protocol.lower() or "tcp"
    if protocol not in ports.PROTOCOLS:
        raise _bad(spec, f"there is no protocol {protocol!r} here")
    address = ""
    if rest.startswith("["):
        address, bracket, rest = rest[1:].partition("]:")
        if not bracket:
            raise _bad(spec, "unclosed [")
    parts = rest.split(":")
    if not address and len(parts) == 3:
        address = parts.pop(0)
    if len(parts) > 2:
        raise _bad(spec, "too many colons")
    inside = _numbers(parts[-1], spec)
    outside = parts[0] if len(parts) == 2 else ""
    found: list[dict[str, object]] = [
        {"container_port": port, "host_port": 0, "host_ip": address or ANYWHERE, "protocol": protocol}
        for port in inside
    ]
    if outside not in ("", "0"):
        published = _numbers(outside, spec)
        if len(published) != len(inside) and len(inside) > 1:
            raise _bad(spec, "the two ranges differ in length")
        for mapping, host_port in zip(found, published, strict=False):
            mapping["host_port"] = host_port
        if len(published) > len(inside):
            found[0]["host_port_last"] = published[-1]
    return found


def parse_expose(spec: str) -> list[str]:
    """``--expose``'s value: ``80``, ``80/udp``, ``8000-8010``."""
    try:
        return [f"{port}/{protocol}" for port, protocol in ports.exposed(spec)]
    except ValueError as error:
        raise _bad(spec, f"it {error}") from None


def host_text(port: dict[str, Any]) -> str:
    address = port["host_ip"]
    return f"[{address}]:{port['host_port']}" if ":" in address else f"{address}:{port['host_port']}"


def ports_text(found: list[dict[str, Any]]) -> str:
    """``0.0.0.0:8080->80/tcp, 443/tcp``."""
    ordered = sorted(found, key=lambda port: (port["container_port"], port["protocol"]))
    return ", ".join(
        (f"{host_text(port)}->" if port["host_port"] else "") + f"{port['container_port']}/{port['protocol']}"
        for port in ordered
    )
