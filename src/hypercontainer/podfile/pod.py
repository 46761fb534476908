"""A podfile as a PodSpec: the pod's own fields, and the order in which all is read.

What one container may not decide for itself (sysctls, the old ``ports``) goes to the pod; what a pod says for all its
containers (tty, restartPolicy, log) goes to each.  Defaults that are Hyper's own are written out; the rest is None.
"""

from __future__ import annotations

import ipaddress
import re

from hypercontainer.contract.limits import CONTAINERS_MAX
from hypercontainer.contract.policies import NetworkPolicy
from hypercontainer.contract.spec import ContainerSpec, LogConfig, PodSpec
from hypercontainer.errors import InvalidArgument, Remedy
from hypercontainer.podfile import networks
from hypercontainer.podfile import policy as network_policy
from hypercontainer.podfile.containers import Shared, container_spec, policy
from hypercontainer.podfile.fields import Table, Warnings, place
from hypercontainer.podfile.ports import Ports
from hypercontainer.podfile.storage import Fetch, Files, Volumes
from hypercontainer.podfile.tree import Tree, parse, shown

MAX_HOSTNAME_CHARS = 63
MAX_VCPUS = 4096
MIN_MEMORY_MIB = 4
MAX_MEMORY_MIB = 1 << 30
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_WORD = re.compile(r"[^\s\x00-\x1f\x7f]{1,255}")
_LOG_DRIVERS = {"": None, "json-file": "file", "file": "file", "none": "none"}
_SIZE = re.compile(r"([0-9]{1,15})([kmg]?)b?", re.IGNORECASE)
_FACTORS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def read(text: str | bytes, *, where: str, fetch: Fetch) -> tuple[PodSpec, tuple[str, ...]]:
    """The pod, and warnings.  ``where`` names the file in messages.

    InvalidArgument says the place; what ``fetch`` raises as NotFound or Unavailable stays that.
    """
    warnings = Warnings(shown(where, 200)[1:-1])
    try:
        tree = parse(text)
    except InvalidArgument as error:
        raise InvalidArgument(f"{place(warnings.where, '')}: {error.message}", hint=error.hint) from None
    spec = _pod(_root(tree, warnings), fetch)
    return spec, tuple(warnings.texts)


def _root(tree: Tree, warnings: Warnings) -> Table:
    if not isinstance(tree, dict):
        raise InvalidArgument(
            f"{place(warnings.where, '')}: not a podfile: a mapping with `containers` is expected"
        )
    table = Table(tree, "", warnings)
    if table.said("kind") and table.said("apiVersion"):
        found = table.error("kind", "this is a Kubernetes manifest")
        found.remedies = (Remedy("manifests.play", aim="to run it"),)
        raise found
    return table


def _pod(pod: Table, fetch: Fetch) -> PodSpec:
    if pod.said("portmappingWhiteLists"):
        raise pod.error("portmappingWhiteLists", "published ports are not filtered", "leave it out")
    name = _name(pod)
    files, volumes, ports = Files(pod, fetch), Volumes(pod), Ports()
    ports.add_pod(pod)
    shared = Shared(pod.flag("tty"), policy(pod), _log(pod), files, volumes, ports)
    containers = _containers(pod, shared)
    vcpus, memory_bytes = _resource(pod)
    kind = pod.text("type")
    if kind.lower() not in ("", "pod"):
        pod.warn("type", f"{shown(kind)} is ignored")
    spec = PodSpec(
        name=name,
        containers=containers,
        volumes=volumes.all,
        labels=pod.pairs("labels"),
        hostname=_hostname(pod, name),
        share_pids=True,
        networks=networks.joins(pod),
        services=networks.services(pod),
        ports=ports.all,
        dns=_name_servers(pod),
        dns_search=_words(pod, "dnsSearch"),
        dns_options=_words(pod, "dnsOptions"),
        network_policy=_network_policy(pod),
        sysctls=shared.sysctls,
        memory_bytes=memory_bytes,
        cpus=vcpus,
    )
    pod.done()
    return spec


def _network_policy(pod: Table) -> str | NetworkPolicy | None:
    """The name of one, or one of its own."""
    tree = pod.raw("networkPolicy")
    if not isinstance(tree, dict):
        return pod.text("networkPolicy") or None
    try:
        return network_policy.of(tree)
    except InvalidArgument as error:
        key = f"networkPolicy.{error.field}" if error.field else "networkPolicy"
        raise pod.error(key, error.why, error.hint) from None


def _name(pod: Table) -> str | None:
    identifier, name = pod.name("id"), pod.name("name")
    if identifier and name and identifier != name:
        pod.warn("name", f"ignored beside id {identifier}")
    return identifier or name


def _containers(pod: Table, shared: Shared) -> tuple[ContainerSpec, ...]:
    tables = pod.tables("containers")
    if not tables:
        raise pod.error("containers", "a pod has one at least")
    if len(tables) > CONTAINERS_MAX:
        raise pod.error("containers", f"a pod has {CONTAINERS_MAX} containers at most")
    names: set[str] = set()
    containers = []
    for table in tables:
        spec = container_spec(table, shared)
        if spec.name in names:
            raise table.error("name", f"a second container {shown(spec.name)}")
        if spec.name:
            names.add(spec.name)
        containers.append(spec)
    return tuple(containers)


def _hostname(pod: Table, name: str | None) -> str | None:
    """Without one, the pod's name, where that can be one."""
    hostname = pod.text("hostname")
    if not hostname:
        return name if name and _is_hostname(name) else None
    if len(hostname) > MAX_HOSTNAME_CHARS:
        raise pod.error("hostname", f"{len(hostname)} characters, at most {MAX_HOSTNAME_CHARS}")
    if not _is_hostname(hostname):
        raise pod.error("hostname", f"{shown(hostname)} is no host name", "small letters, digits and hyphens")
    return hostname


def _is_hostname(text: str) -> bool:
    return all(_LABEL.fullmatch(label) for label in text.split("."))


def _resource(pod: Table) -> tuple[float | None, int | None]:
    table = pod.table("resource")
    if table is None:
        return None, None
    vcpus = table.number("vcpu", 0, MAX_VCPUS)
    memory_mib = table.number("memory", 0, MAX_MEMORY_MIB)
    if 0 < memory_mib < MIN_MEMORY_MIB:
        raise table.error(
            "memory", f"{memory_mib} MB is too little for a machine", "a number of MB, such as 128"
        )
    table.done()
    return float(vcpus) if vcpus else None, memory_mib << 20 if memory_mib else None


def _name_servers(pod: Table) -> tuple[str, ...]:
    servers = pod.texts("dns")
    for number, server in enumerate(servers):
        try:
            ipaddress.ip_address(server)
        except ValueError:
            good = False
        else:
            good = "%" not in server
        if not good:
            raise pod.error(f"dns[{number}]", f"{shown(server)} is no address", "an IPv4 or IPv6 address")
    return servers


def _words(pod: Table, key: str) -> tuple[str, ...]:
    words = pod.texts(key)
    for number, word in enumerate(words):
        if not _WORD.fullmatch(word):
            raise pod.error(f"{key}[{number}]", f"{shown(word)} is no word", "one without spaces")
    return words


def _log(pod: Table) -> LogConfig:
    table = pod.table("log")
    if table is None:
        return LogConfig()
    driver = table.text("type").lower()
    if driver not in _LOG_DRIVERS:
        raise table.error("type", f"{shown(driver)} is not to be had", "json-file or none")
    config = Table(table.pairs("config"), table.at("config"), table.warnings)
    size_bytes = _size(config, "max-size")
    max_files = config.number("max-file", 1, 1000)
    config.done()
    table.done()
    return LogConfig(_LOG_DRIVERS[driver], size_bytes, max_files or None)


def _size(config: Table, key: str) -> int | None:
    text = config.text(key)
    if not text:
        return None
    match = _SIZE.fullmatch(text.strip())
    size_bytes = int(match[1]) * _FACTORS[match[2].lower()] if match else 0
    if not 0 < size_bytes < 1 << 50:
        raise config.error(key, f"{shown(text)} is no size", "such as 10m")
    return size_bytes
