"""What plugins say: a result, or an error.  Pure, and bounded: who has said it is trusted, how much is not.

Source: the CNI specification 1.1.0, section 5; of 0.3.1 to 1.0.0 it differs in what is not read here.
"""

from __future__ import annotations

import ipaddress
from typing import Any

import msgspec

from hypercontainer.errors import Unavailable
from hypercontainer.network.cni.config import Tree

NAME_SERVERS = 8
WORDS = 600  # characters that are shown of what a program says
CODES = {
    1: "incompatible CNI version",
    2: "a field is not supported",
    3: "the container is unknown or does not exist",
    4: "an environment variable is wrong",
    5: "input or output failed",
    6: "it could not decode what it was told",
    7: "the network configuration is wrong",
    11: "try again later",
    50: "the plugin is not available",
    51: "the plugin is not available, and existing pods may have no network",
}


class PluginError(Unavailable):
    """A plugin refused, or came to nothing; ``number`` is its code, 0 where it named none."""

    def __init__(self, what: str, why: str, number: int = 0) -> None:
        said = CODES.get(number, f"code {number}" if number else "")
        super().__init__(f"{what}: {why}" + (f" ({said})" if said else ""))
        self.number = number


def result(output: bytes, what: str) -> Tree:
    """Of ADD, as the next plugin gets it.  PluginError."""
    tree = _decoded(output)
    if not isinstance(tree, dict):
        raise PluginError(what, f"its result is no JSON object: {shown(output)!r}")
    if "code" in tree and "msg" in tree:
        raise refusal(what, output, b"")
    for name in ("interfaces", "ips", "routes"):
        if not isinstance(tree.get(name), list | None):
            raise PluginError(what, f"its result's {name!r} is no list")
    return tree


def refusal(what: str, output: bytes, said: bytes) -> PluginError:
    """Of a plugin that failed; ``said``: on its standard error."""
    tree = _decoded(output)
    if not isinstance(tree, dict) or not isinstance(tree.get("msg"), str):
        return PluginError(what, shown(said) or shown(output) or "it failed, and said nothing")
    code, details = tree.get("code"), tree.get("details")
    why = "; ".join(_printable(text) for text in (tree["msg"], details) if isinstance(text, str) and text)
    return PluginError(what, why or "it failed", code if isinstance(code, int) else 0)


def versions(output: bytes, what: str) -> frozenset[str]:
    """Of VERSION."""
    tree = _decoded(output)
    said = tree.get("supportedVersions") if isinstance(tree, dict) else None
    if not isinstance(said, list):
        raise PluginError(what, "it names no versions")
    return frozenset(each for each in said if isinstance(each, str))


def name_servers(tree: Tree) -> tuple[str, ...]:
    """What is no address is left out."""
    said = tree.get("dns")
    servers = said.get("nameservers") if isinstance(said, dict) else None
    return tuple(text for text in _texts(servers) if _is_address(text))[:NAME_SERVERS]


def gateways(tree: Tree) -> dict[int, str]:
    """By the version of IP: the first that a result's addresses name."""
    found: dict[int, str] = {}
    for each in tree.get("ips") or []:
        gateway = each.get("gateway") if isinstance(each, dict) else None
        if isinstance(gateway, str) and _is_address(gateway):
            found.setdefault(ipaddress.ip_address(gateway).version, gateway)
    return found


def shown(data: bytes) -> str:
    """Its end, fit to be printed."""
    return _printable(data.decode(errors="replace"))


def _printable(text: str) -> str:
    words = " ".join("".join(one if one.isprintable() or one.isspace() else "?" for one in text).split())
    return words if len(words) <= WORDS else f"...{words[-WORDS:]}"


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _decoded(output: bytes) -> Any:
    try:
        return msgspec.json.decode(output)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
