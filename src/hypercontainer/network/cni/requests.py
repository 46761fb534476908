"""What a plugin is told: its environment and its standard input.  Pure.

Source: the CNI specification 1.1.0, sections 2 (parameters) and 3 (execution configuration).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypercontainer.contract.spec import PortMapping
from hypercontainer.network.cni.config import NetworkConfig, Tree, declared

ANY = "0.0.0.0"  # noqa: S104 - what stands for all of the host's addresses
ADD, DEL, CHECK, GC, STATUS, VERSION = "ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"
CHECK_SINCE, GC_SINCE = "0.4.0", "1.1.0"
ARGUMENT_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.:-/,[]")


@dataclass(frozen=True)
class Attached:
    """One pod's place in one network: who (``container``), by which ``interface``, with what is said of this pod alone:
    ``capabilities``, each for the plugins that declare it, and ``arguments`` (CNI_ARGS).  ``namespace``: a path, ""
    where it is gone."""

    container: str
    interface: str
    namespace: str = ""
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)


def environment(command: str, path: Iterable[Path], attached: Attached | None) -> dict[str, str]:
    """``attached`` None: of what is no single pod's affair (GC, STATUS, VERSION)."""
    made = {"CNI_COMMAND": command, "CNI_PATH": ":".join(map(str, path))}
    if attached is not None:
        made |= {
            "CNI_CONTAINERID": attached.container,
            "CNI_NETNS": attached.namespace,
            "CNI_IFNAME": attached.interface,
            "CNI_ARGS": arguments(attached.arguments),
        }
    return made


def arguments(values: Mapping[str, str]) -> str:
    """A value that has other characters than such values have is left out: it would be read as another one's."""
    said = {key: value for key, value in values.items() if value and set(value) <= ARGUMENT_CHARACTERS}
    return ";".join(f"{key}={value}" for key, value in {"IgnoreUnknown": "1", **said}.items())


def configuration(
    config: NetworkConfig,
    plugin: Tree,
    capabilities: Mapping[str, Any],
    former: Tree | None = None,
    attachments: Iterable[tuple[str, str]] | None = None,
) -> Tree:
    """``former``: the result of the plugin before, or of the whole chain; ``attachments``: (container, interface) of
    all that are there, for GC."""
    made = {key: value for key, value in plugin.items() if key != "capabilities"}
    made |= {"cniVersion": config.version, "name": config.name}
    asked = {name: value for name, value in capabilities.items() if name in declared(plugin)}
    if asked:
        given = plugin.get("runtimeConfig")
        made["runtimeConfig"] = (given if isinstance(given, dict) else {}) | asked
    if former is not None:
        made["prevResult"] = former
    if attachments is not None:
        valid = [{"containerID": container, "ifname": interface} for container, interface in attachments]
        # The specification's example calls it by the other name, and some plugins read that.
        made |= {"cni.dev/valid-attachments": valid, "cni.dev/attachments": valid}
    return made


def port_mappings(ports: Iterable[PortMapping]) -> list[Tree]:
    """The capability "portMappings" of ports that are chosen; without an address: on all of the host's, of both
    versions of IP."""
    return [
        {
            "hostPort": port.host_port,
            "containerPort": port.container_port,
            "protocol": port.protocol,
            **({} if port.host_ip in ("", ANY) else {"hostIP": port.host_ip}),
        }
        for port in ports
    ]
