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
    rest, slash, protocol = (_short_form(spec) if "=" in spec else spec).partition("/")
    if not slash and rest.partition(":")[0] in ports.PROTOCOLS:  # tcp:8080:80, as Hyper always took it
        protocol, _, rest = rest.partition(":")
    protocol = protocol.lower() or "tcp"
    if protocol not in ports.PROTOCOLS:
        raise _bad(
            spec,
            f"there is no protocol {protocol!r} here: ports of {' and '.join(ports.PROTOCOLS)} are published",
        )
    address, parts = _address(rest, spec)
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


def _short_form(spec: str) -> str:
    """Of Docker's "published=8080,target=80,protocol=tcp"."""
    said = {"published": "", "protocol": "tcp"}
    for item in spec.split(","):
        name, equals, value = item.partition("=")
        if name not in ("published", "target", "protocol", "mode") or not equals:
            raise _bad(spec, f"{item!r} is none of published=, target= and protocol=")
        said[name] = value
    if said.get("mode", "host") not in ("host", "ingress"):
        raise _bad(spec, "the mode is host")
    return f"{said['published']}:{said.get('target', '')}/{said['protocol']}"


def _address(text: str, spec: str) -> tuple[str, list[str]]:
    """(the host's address or "", the ports: the host's, if it is said, and the container's)."""
    if not text.startswith("["):
        *before, last = text.split(":")
        address = ":".join(before[:-1])
        if len(before) > 2 and not _is_address(address):  # of IPv6 it may stand without brackets
            raise _bad(spec, "too many colons")
        found = [*before[-1:], last]
    else:
        address, bracket, rest = text[1:].partition("]:")
        found = rest.split(":")
        if not bracket:
            raise _bad(spec, "unclosed [")
        if len(found) != 2:
            raise _bad(spec, f"behind [{address}] stand two ports; [{address}]::PORT takes any of the host's")
    if address and not _is_address(address):
        raise _bad(spec, f"{address!r} is no address")
    return address, found


def _is_address(text: str) -> bool:
    from _socket import AF_INET, AF_INET6, inet_pton

    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


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
