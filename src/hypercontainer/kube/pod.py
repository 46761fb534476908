"""A Pod of Kubernetes -> PodSpec."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hypercontainer.contract.limits import CONTAINERS_MAX
from hypercontainer.contract.spec import PodSpec, PortMapping
from hypercontainer.errors import InvalidArgument
from hypercontainer.kube import container, names, resources, security, volumes
from hypercontainer.kube.context import Context
from hypercontainer.kube.resources import Amounts

if TYPE_CHECKING:
    from lightkube.models import core_v1

MAX_NAME_SERVERS = 3
_HOST_NAME_MAX = 64  # Linux's
_DNS_OPTION = re.compile(r"[a-z0-9][-a-z0-9]{0,62}")
_DNS_VALUE = re.compile(r"[-A-Za-z0-9.]{1,63}")


@dataclass(frozen=True)
class PullSecret:
    """A registry's credentials from an imagePullSecret."""

    registry: str
    username: str
    password: str = field(repr=False)
    identity_token: str = field(repr=False, default="")


@dataclass(frozen=True)
class PodPlan:
    """A pod to be made.  ``owner``: (kind, name) of the object that it comes from.

    ``memory_request_bytes`` and ``cpu_request``: what its containers want at once, limits not counted; 0: nothing said.
    ``ports``: the containers' named ports, as services call them.
    """

    owner: tuple[str, str]
    spec: PodSpec
    warnings: tuple[str, ...] = ()
    pull_secrets: tuple[PullSecret, ...] = ()
    memory_request_bytes: int = 0
    cpu_request: float = 0.0
    ports: dict[tuple[str, str], int] = field(default_factory=dict)  # (name, protocol) -> container's port


def translate(ctx: Context, document: dict[str, Any], owner: tuple[str, str]) -> PodPlan:
    """``document`` is what ``ctx.model`` was made of."""
    spec = ctx.model.spec
    assert spec is not None and ctx.model.metadata is not None
    members = list(_members(spec, ctx))
    own = {one.name: resources.amounts(one.resources, ctx, f"{path}.resources") for one, _, path in members}
    whole = resources.amounts(spec.resources, ctx, "spec.resources")
    mounted = volumes.volumes(spec, own, ctx)
    known = [one.name for one in mounted]
    fs_group, sysctls = security.of_pod(spec.securityContext, ctx)
    _check_plain(spec, ctx)
    made = PodSpec(
        name=ctx.name,
        containers=tuple(
            container.translate(one, role, own, known, ctx, path) for one, role, path in members
        ),
        volumes=mounted,
        labels=dict(ctx.model.metadata.labels or {}),
        annotations=dict(ctx.model.metadata.annotations or {}),
        share_pids=bool(spec.shareProcessNamespace),
        sysctls=sysctls,
        fs_group=fs_group,
        memory_bytes=whole.memory_limit_bytes or None,
        cpus=(whole.cpu_limit_millis or 0) / 1000 or None,
        stop_timeout_s=container.grace_s(spec, ctx),
        deadline_s=_deadline(spec, ctx),
        manifest=_manifest(document),
        **_network(spec, members, ctx),
    )
    memory, millis = _requests(members, own, whole)
    named = {
        (one.name, (one.protocol or "TCP").lower()): one.containerPort
        for given, _, _ in members
        for one in given.ports or ()
        if one.name
    }
    secrets = tuple(_pull_secrets(spec.imagePullSecrets or (), ctx))
    return PodPlan(owner, made, tuple(ctx.warnings), secrets, memory, millis / 1000, named)


def _network(spec: core_v1.PodSpec, members: Iterable[Member], ctx: Context) -> dict[str, Any]:
    """Fields of ``PodSpec``."""
    hostname, domain = _host_name(spec, ctx)
    servers, searches, options = _dns(spec, ctx)
    return {
        "hostname": hostname,
        "domainname": domain,
        "ports": _published(members, ctx),
        "dns": servers,
        "dns_search": searches,
        "dns_options": options,
        "extra_hosts": _hosts(spec.hostAliases or (), ctx),
    }


Member = tuple["core_v1.Container", str, str]  # container, role, path


def _members(spec: core_v1.PodSpec, ctx: Context) -> Iterable[Member]:
    if not spec.containers:
        raise InvalidArgument(f"{ctx.at('spec.containers')}: is empty")
    if len(spec.containers) + len(spec.initContainers or ()) > CONTAINERS_MAX:
        raise InvalidArgument(f"{ctx.at('spec.containers')}: a pod has {CONTAINERS_MAX} containers at most")
    found = set()
    for where, group in (("initContainers", spec.initContainers or ()), ("containers", spec.containers)):
        for index, one in enumerate(group):
            path = f"spec.{where}[{index}]"
            if one.name in found:
                raise InvalidArgument(f"{ctx.at(path)}.name: there is a container {one.name[:80]!r} already")
            found.add(one.name)
            _check_ports(one, ctx, path)
            sidecar = where == "initContainers" and one.restartPolicy == "Always"
            yield one, ("sidecar" if sidecar else "init" if where == "initContainers" else "main"), path


def _check_ports(given: core_v1.Container, ctx: Context, path: str) -> None:
    found = set()
    for index, port in enumerate(given.ports or ()):
        where = ctx.at(f"{path}.ports[{index}]")
        names.port(port.containerPort, f"{where}.containerPort")
        if port.hostPort:
            names.port(port.hostPort, f"{where}.hostPort")
        if port.protocol == "SCTP":
            raise InvalidArgument(f"{where}.protocol: SCTP is not supported", hint="TCP or UDP")
        if port.name:
            names.port_name(port.name, f"{where}.name")
            if port.name in found:
                raise InvalidArgument(f"{where}.name: there is a port {port.name!r} already")
            found.add(port.name)


def _published(members: Iterable[Member], ctx: Context) -> tuple[PortMapping, ...]:
    found: dict[tuple[str, int, str], PortMapping] = {}
    for given, _, path in members:
        for index, port in enumerate(given.ports or ()):
            if not port.hostPort:
                continue
            where = ctx.at(f"{path}.ports[{index}]")
            address = _host_address(port.hostIP, f"{where}.hostIP") if port.hostIP else "0.0.0.0"  # noqa: S104
            protocol = (port.protocol or "TCP").lower()
            key = (address, port.hostPort, protocol)
            if key in found:
                raise InvalidArgument(f"{where}.hostPort: {port.hostPort} is published already")
            found[key] = PortMapping(port.containerPort, port.hostPort, address, protocol)
    return tuple(found.values())


def _address(text: str, where: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise InvalidArgument(f"{where}: {text[:60]!r} is no IP address") from None


def _host_address(text: str, where: str) -> str:
    address = _address(text, where)
    if ":" in address:
        raise InvalidArgument(
            f"{where}: {address}: ports are published on IPv4 alone", hint="an IPv4 address"
        )
    return address


def _host_name(spec: core_v1.PodSpec, ctx: Context) -> tuple[str, str]:
    """(hostname, domain)."""
    if override := getattr(spec, "hostnameOverride", None):
        names.subdomain(override, ctx.at("spec.hostnameOverride"))
        if spec.setHostnameAsFQDN or len(override) > _HOST_NAME_MAX:
            raise InvalidArgument(f"{ctx.at('spec.hostnameOverride')}: too long, or beside setHostnameAsFQDN")
        return override, ""
    if spec.hostname:
        hostname = names.label(spec.hostname, ctx.at("spec.hostname"))
    else:
        hostname = ctx.name[:63].rstrip("-.")
    if not spec.subdomain:
        return hostname, ""
    assert ctx.model.metadata is not None
    names.label(spec.subdomain, ctx.at("spec.subdomain"))
    domain = f"{spec.subdomain}.{ctx.model.metadata.namespace or 'default'}.svc.cluster.local"
    if not spec.setHostnameAsFQDN:
        return hostname, domain
    if len(f"{hostname}.{domain}") > _HOST_NAME_MAX:
        raise InvalidArgument(
            f"{ctx.at('spec.setHostnameAsFQDN')}: {hostname}.{domain} has more than {_HOST_NAME_MAX} characters"
        )
    return f"{hostname}.{domain}", ""


def _dns(spec: core_v1.PodSpec, ctx: Context) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """(servers, search domains, options); no servers: the VM's own."""
    path, config = "spec.dnsConfig", spec.dnsConfig
    if config is None:
        if spec.dnsPolicy == "None":
            raise InvalidArgument(f"{ctx.at('spec.dnsPolicy')}: None wants dnsConfig.nameservers")
        return (), (), ()
    servers = [_address(one, ctx.at(f"{path}.nameservers")) for one in config.nameservers or ()]
    if spec.dnsPolicy == "None" and not servers:
        raise InvalidArgument(f"{ctx.at(path)}.nameservers: missing, as dnsPolicy is None")
    if len(servers) > MAX_NAME_SERVERS:
        raise InvalidArgument(f"{ctx.at(path)}.nameservers: more than {MAX_NAME_SERVERS}")
    for one in config.searches or ():
        if one != ".":
            names.subdomain(one.removesuffix(".").replace("_", "-"), ctx.at(f"{path}.searches"))
    options = []
    for option in config.options or ():
        valid = option.name and _DNS_OPTION.fullmatch(option.name)
        if not valid or (option.value and not _DNS_VALUE.fullmatch(option.value)):
            raise InvalidArgument(
                f"{ctx.at(path)}.options: {str(option.name)[:60]!r} is no option of a resolver"
            )
        options.append(f"{option.name}:{option.value}" if option.value else str(option.name))
    unique = tuple(dict.fromkeys(servers))[:MAX_NAME_SERVERS]
    return unique, tuple(config.searches or ()), tuple(options)


def _hosts(aliases: Iterable[core_v1.HostAlias], ctx: Context) -> tuple[str, ...]:
    found = []
    for index, alias in enumerate(aliases):
        where = ctx.at(f"spec.hostAliases[{index}]")
        address = _address(alias.ip, f"{where}.ip")
        for name in alias.hostnames or ():
            names.subdomain(name, f"{where}.hostnames")
            found.append(f"{name}:{address}")
    return tuple(found)


def _check_plain(spec: core_v1.PodSpec, ctx: Context) -> None:
    """What is taken where it says what is so anyway."""
    if spec.os is not None and spec.os.name != "linux":
        raise InvalidArgument(f"{ctx.at('spec.os.name')}: {spec.os.name[:60]} is not supported", hint="linux")
    if spec.hostUsers is False:
        ctx.warn("spec.hostUsers", "has no effect; the pod's users are its VM's, not the host's")
    for field_name in ("nodeName", "serviceAccountName", "serviceAccount"):
        value = getattr(spec, field_name)
        if value:
            names.subdomain(value, ctx.at(f"spec.{field_name}"))
            ctx.warn(f"spec.{field_name}", "has no effect, but that the pod can read it (downward API)")
    assert ctx.model.metadata is not None
    if ctx.model.metadata.namespace not in (None, "", "default"):
        ctx.warn(
            "metadata.namespace", "has no effect, but that the pod can read it; names are unique without"
        )


def _deadline(spec: core_v1.PodSpec, ctx: Context) -> int | None:
    value = spec.activeDeadlineSeconds
    if value is not None and not 1 <= value <= 2**31 - 1:
        raise InvalidArgument(f"{ctx.at('spec.activeDeadlineSeconds')}: {value} is not 1 or more")
    return value


def _manifest(document: dict[str, Any]) -> str:
    kept = {key: value for key, value in document.items() if key != "status"}
    return json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


def _requests(members: Iterable[Member], own: dict[str, Amounts], whole: Amounts) -> tuple[int, int]:
    """(bytes, thousandths of a CPU): all that run together, or the greatest init container with the sidecars that
    have begun before it."""
    together, most = [0, 0], [0, 0]
    for given, role, _ in members:
        amounts = own[given.name]
        wanted = (amounts.memory_request_bytes or 0, amounts.cpu_request_millis or 0)
        for index in (0, 1):
            if role == "init":
                most[index] = max(most[index], together[index] + wanted[index])
            else:
                together[index] += wanted[index]
    memory, millis = (max(pair) for pair in zip(together, most, strict=True))
    return whole.memory_request_bytes or memory, whole.cpu_request_millis or millis


# ---------------------------------------------------------------------------------------- imagePullSecrets


def _pull_secrets(given: Iterable[core_v1.LocalObjectReference], ctx: Context) -> Iterable[PullSecret]:
    for index, one in enumerate(given):
        path = f"spec.imagePullSecrets[{index}]"
        if not one.name or ctx.object("Secret", one.name) is None:
            ctx.warn(path, f"there is no Secret {(one.name or '')[:253]!r}; images are pulled without it")
            continue
        data = ctx.data("Secret", one.name, False, ctx.at(path))
        where = ctx.at(f"{path}: Secret {one.name}")
        if ".dockerconfigjson" in data:
            config = _json(data[".dockerconfigjson"], where).get("auths", {})
        elif ".dockercfg" in data:
            config = _json(data[".dockercfg"], where)
        else:
            raise InvalidArgument(f"{where}: has neither .dockerconfigjson nor .dockercfg")
        if not isinstance(config, dict):
            raise InvalidArgument(f"{where}: auths is no object")
        for registry, entry in config.items():
            yield _credentials(registry, entry, where)


def _json(content: bytes, where: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidArgument(f"{where}: is not Docker's configuration in JSON")
    return value


def _credentials(registry: str, entry: Any, where: str) -> PullSecret:
    problem = InvalidArgument(f"{where}: the entry of {registry[:253]!r} is not as Docker writes it")
    if not isinstance(entry, dict):
        raise problem
    username, password, token, both = (
        entry.get(key, "") for key in ("username", "password", "identitytoken", "auth")
    )
    if not all(isinstance(one, str) for one in (username, password, token, both)):
        raise problem
    if both and not username:
        try:
            username, colon, password = base64.b64decode(both, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            raise problem from None
        if not colon:
            raise problem
    return PullSecret(registry, username, password, token)
