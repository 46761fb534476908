"""Where a registry is reached: hosts, schemes, mirrors, proxies, certificates.  Pure decisions, no I/O but
reading certificate files.

Sources: Docker's daemon documentation (insecure registries, certs.d); Go's ``httpproxy`` for the meaning of
NO_PROXY, which registries' users are used to.
"""

from __future__ import annotations

import functools
import ipaddress
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from hypercontainer.errors import InvalidArgument, Unavailable
from hypercontainer.image.model import RegistriesConfig
from hypercontainer.image.reference import Reference, api_host

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Endpoint:
    """One server that may have an image.  ``schemes`` are tried in order; ``prefix`` goes before the repository."""

    host: str  # HOST[:PORT]
    schemes: tuple[str, ...]
    prefix: str = ""
    is_mirror: bool = False


def split_host(host: str) -> tuple[str, int | None]:
    """``HOST[:PORT]``, with an IPv6 address in brackets, taken apart."""
    parts = urlsplit(f"//{host}")
    try:
        return parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidArgument(f"{host!r} is not HOST or HOST:PORT") from error


def is_loopback(host: str) -> bool:
    name, _ = split_host(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_insecure(host: str, config: RegistriesConfig) -> bool:
    """Whether plain HTTP and unchecked certificates are taken for ``HOST[:PORT]``."""
    if is_loopback(host) or host in config.insecure:
        return True
    name, _ = split_host(host)
    if name in config.insecure:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return any(address in network for network in _networks(config.insecure))


def is_listed(host: str, config: RegistriesConfig) -> bool:
    """Whether the configuration names ``HOST[:PORT]``, so that whoever wrote it knows of it."""
    listed = not is_loopback(host) and is_insecure(host, config)
    return listed or host in config.ca or host in config.insecure or (config.certs_dir / host).is_dir()


def may_lead(own: str, place: str) -> bool:
    """Whether a registry that is itself at ``own`` may lead us to an address at ``place`` (`dialing.place_of`): to
    the public, to its neighbours, and from this machine to the local network."""
    return place in ("public", own) or (own, place) == ("loopback", "private")


def as_address(host: str) -> str | None:
    """The IP address of ``HOST[:PORT]`` where HOST is one."""
    name, _ = split_host(host)
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return None


def endpoints(reference: Reference, config: RegistriesConfig) -> list[Endpoint]:
    """The servers to ask for ``reference``, mirrors first, its own registry last."""
    found = [mirror(text, config) for text in config.mirrors.get(reference.registry, ())]
    return [*found, origin(reference.registry, config)]


def origin(registry: str, config: RegistriesConfig) -> Endpoint:
    host = api_host(registry)
    return Endpoint(host, ("https", "http") if is_insecure(host, config) else ("https",))


def mirror(text: str, config: RegistriesConfig) -> Endpoint:
    parts = urlsplit(text if "://" in text else f"//{text}")
    if parts.scheme not in ("", "http", "https") or not parts.hostname or parts.username or parts.query:
        raise InvalidArgument(f"mirror {text!r} is not [http[s]://]HOST[:PORT][/PREFIX]")
    host = parts.netloc
    if parts.scheme:
        schemes: tuple[str, ...] = (parts.scheme,)
    else:
        schemes = ("https", "http") if is_insecure(host, config) else ("https",)
    prefix = parts.path.strip("/").removeprefix("v2").strip("/")
    return Endpoint(host, schemes, f"{prefix}/" if prefix else "", is_mirror=True)


def proxy_for(scheme: str, host: str, environ: Mapping[str, str]) -> str | None:
    """The proxy's URL for a request, by HTTP(S)_PROXY and NO_PROXY in either case; loopback has none."""

    def setting(name: str) -> str:
        return environ.get(name.lower()) or environ.get(name.upper()) or ""

    proxy = setting(f"{scheme}_proxy")
    if not proxy or is_loopback(host) or _excluded(host, scheme, setting("no_proxy")):
        return None
    url = proxy if "://" in proxy else f"http://{proxy}"
    if urlsplit(url).scheme not in ("http", "https"):
        raise InvalidArgument(
            f"{scheme.upper()}_PROXY: the proxy scheme {urlsplit(url).scheme!r} is not supported",
            hint="give an http:// or https:// proxy",
        )
    return url


def _excluded(host: str, scheme: str, rules: str) -> bool:
    name, port = split_host(host)
    port = port or (443 if scheme == "https" else 80)
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        address = None
    for rule in rules.replace(",", " ").split():
        if rule == "*":
            return True
        if "/" in rule:
            if address is not None and any(address in network for network in _networks([rule])):
                return True
            continue
        rule_name, rule_port = split_host(rule)
        if rule_port is not None and rule_port != port:
            continue
        suffix = rule_name.removeprefix("*").lower()
        if name == suffix or name.endswith(suffix if suffix.startswith(".") else f".{suffix}"):
            return True
    return False


def _networks(texts: object) -> list[_Network]:
    found: list[_Network] = []
    for text in texts if isinstance(texts, list | frozenset) else ():
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError:
            continue
    return found


def tls_context(host: str, config: RegistriesConfig) -> ssl.SSLContext:
    """How certificates of ``HOST[:PORT]`` are checked and what is shown to it.  It is the same one for all hosts of
    which the same is to be said (each holds all of the system's authorities), until a certificate's file changes."""
    folder = config.certs_dir / host
    authorities = sorted(folder.glob("*.crt"))
    if host in config.ca:
        authorities.append(config.ca[host])
    pairs = [(certificate, _key_of(certificate)) for certificate in sorted(folder.glob("*.cert"))]
    system = ssl.get_default_verify_paths()
    files = [*authorities, *(path for pair in pairs for path in pair)]
    files += [Path(path) for path in (system.cafile, system.capath) if path]
    try:
        ages = tuple(path.stat().st_mtime_ns for path in files)
        checked = bool(authorities) or not is_insecure(host, config)
        return _context(tuple(authorities), tuple(pairs), checked, ages)
    except (OSError, ssl.SSLError) as error:
        raise Unavailable(f"certificates for {host}: {error}", hint=f"see {folder} and the config") from error


@functools.lru_cache(maxsize=16)
def _context(
    authorities: tuple[Path, ...], pairs: tuple[tuple[Path, Path], ...], checked: bool, _ages: tuple[int, ...]
) -> ssl.SSLContext:
    """``pairs``: certificates that are shown, and their keys; ``_ages``: of all files that it is made of."""
    context = ssl.create_default_context()
    if not _system_has_authorities():
        import certifi  # which few systems need, and is some milliseconds

        context.load_verify_locations(cafile=certifi.where())
    for path in authorities:
        context.load_verify_locations(cafile=path)
    for certificate, key in pairs:
        context.load_cert_chain(certificate, key)
    if not checked:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _system_has_authorities() -> bool:
    """A bare one has none, unless somebody says where they are, or that there are none."""
    system = ssl.get_default_verify_paths()
    said = {system.openssl_cafile_env, system.openssl_capath_env} & os.environ.keys()
    listed = system.capath is not None and any(Path(system.capath).iterdir())
    return bool(said or system.cafile or listed)


def _key_of(certificate: Path) -> Path:
    key = certificate.with_suffix(".key")
    if not key.exists():
        raise Unavailable(f"{certificate} has no key", hint=f"put it at {key}")
    return key
