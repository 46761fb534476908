"""The files that a container gets beside its image: /etc/hosts, /etc/hostname, /etc/resolv.conf; and
what its pod trusts (``trust``)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Protocol

from hypercontainer.agent.operations import File
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.errors import InvalidArgument
from hypercontainer.semantics import mounts as plan_mounts
from hypercontainer.semantics import trust

HOST_GATEWAY = "host-gateway"  # Docker's word for the host's own address

_LOCAL = (
    "127.0.0.1\tlocalhost",
    "::1\tlocalhost ip6-localhost ip6-loopback",
    "fe00::\tip6-localnet",
    "ff00::\tip6-mcastprefix",
    "ff02::1\tip6-allnodes",
    "ff02::2\tip6-allrouters",
)


class Around(Protocol):
    """What is known of where the container runs: see ``docker.Facts``."""

    @property
    def address(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def name_servers(self) -> tuple[str, ...]: ...
    @property
    def authority(self) -> str: ...


def files(spec: ContainerSpec, hostname: str, facts: Around) -> tuple[File, ...]:
    """Bound over the image's own, so that they are right whatever disk the container has, but not over what the user
    mounts there; and the user's own files."""
    contents = {
        "/etc/hosts": hosts(spec, hostname, facts.address, facts.host),
        "/etc/hostname": hostname + "\n",
        "/etc/resolv.conf": resolv_conf(spec, facts.name_servers),
    }
    theirs = plan_mounts.places(spec)
    bound = tuple(
        File(path, 0o644, text.encode(), bind=True) for path, text in contents.items() if path not in theirs
    )
    bound += trust.files(facts.authority, theirs)
    if spec.api_socket is not None:  # what the socket is mounted on, before the program begins
        bound += (File(_place_of_api(spec.api_socket, theirs), 0o660, b"", bind=True),)
    if spec.termination_message_path:  # whoever the program runs as may write its last words
        place = plan_mounts.place("termination_message_path", spec.termination_message_path)
        bound += (File(place, 0o666, b""),)
    return bound + _injected(spec)


def _place_of_api(path: str, theirs: set[str]) -> str:
    place = plan_mounts.place("api_socket", path)
    if place in theirs:
        raise InvalidArgument(f"two things are mounted at {place}", hint="one of them has to go elsewhere")
    return place


def _injected(spec: ContainerSpec) -> tuple[File, ...]:
    """Written into the container's root."""
    return tuple(
        File(
            plan_mounts.place("files", file.path),
            file.mode & 0o7777,
            file.content,
            owner=f"{file.user or '0'}:{file.group or '0'}" if file.user or file.group else "",
        )
        for file in spec.files
    )


def hosts(spec: ContainerSpec, hostname: str, address: str, host: str) -> str:
    lines = [*_LOCAL]
    lines += ["\t".join(reversed(extra_host(text, host))) for text in spec.extra_hosts]
    full = f"{hostname}.{spec.domainname} {hostname}" if spec.domainname else hostname
    lines.append(f"{address or '127.0.1.1'}\t{full}")
    return "\n".join(lines) + "\n"


def extra_host(text: str, host: str) -> tuple[str, str]:
    """The name and the address of NAME:ADDRESS (or NAME=ADDRESS); one of IPv6 may stand in brackets, and ``host`` has
    another name.  InvalidArgument."""
    cut = next((i for i, c in enumerate(text) if c in ":="), -1)
    name, address = text[: max(cut, 0)], text[cut + 1 :].removeprefix("[").removesuffix("]")
    if address == HOST_GATEWAY:
        address = host
    if not name or any(c.isspace() for c in name) or not _is_address(address):
        raise InvalidArgument(
            f"{text!r} is not understood", field="extra_hosts", takes="NAME:ADDRESS, or NAME:host-gateway"
        )
    return name, address


def resolv_conf(spec: ContainerSpec, name_servers: Iterable[str]) -> str:
    """The search domain "." is "none"."""
    for server in spec.dns:
        if not _is_address(server):
            raise InvalidArgument(f"{server!r} is no address", field="dns", takes="an IPv4 or IPv6 address")
    lines = [f"nameserver {server}" for server in name_servers]
    for field, words in (("dns_search", spec.dns_search), ("dns_options", spec.dns_options)):
        if any(not word or any(c.isspace() or c == "\0" for c in word) for word in words):
            raise InvalidArgument(
                f"{' '.join(words)!r} is not understood", field=field, takes="one word at a time"
            )
    if spec.dns_search and "." not in spec.dns_search:
        lines.append(f"search {' '.join(spec.dns_search)}")
    if spec.dns_options:
        lines.append(f"options {' '.join(spec.dns_options)}")
    return "".join(line + "\n" for line in lines)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text
