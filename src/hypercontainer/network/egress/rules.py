"""Which requests may leave a pod: pure decisions on names, methods and paths in their normal form.

A guest is hostile, and so is what it writes: a path is allowed where *every* way that servers are known to read it is
(RFC 3986, section 6, and what is looser than that).  Names are ASCII, as they go over the wire.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from msgspec import Struct

ANY_SUBDOMAIN = "*."  # before a name: one or more labels
NAME_MAX, TARGET_MAX = 253, 8192  # characters
PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_PORT = re.compile(r"[0-9]{1,5}")
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")  # a token, RFC 9110
_TARGET = re.compile(r"[!-~]+")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_DECODINGS = 3  # who decodes more often than that is not read


class HttpRule(Struct, frozen=True, forbid_unknown_fields=True):
    """What it lets out; of each, () is any.

    ``hosts``: names, or addresses; "*.example.com" is one or more labels before example.com, which itself it is not.
    ``methods`` as they are sent, "GET".  ``paths`` without a query, from "/"; with one "*" at the end what begins so.
    ``schemes``: "http", "https".
    """

    hosts: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()

    @property
    def looks_inside(self) -> bool:
        """Whether it takes more than the host's name to decide."""
        return bool(self.methods or self.paths)


ANYTHING = (HttpRule(),)


class Refused(ValueError):
    """``str()`` says why, in a user's words."""


def host_name(text: str) -> str:
    """A name or an address in its normal form: lower case, without the last dot, an IPv6 address without brackets.

    ``Refused`` where it is neither.
    """
    lower = text.lower()
    if address := _address(lower.removeprefix("[").removesuffix("]") if lower.startswith("[") else lower):
        return address
    name = lower.removesuffix(".")
    labels = name.split(".")
    if len(name) > NAME_MAX or not all(map(_LABEL.fullmatch, labels)):
        raise Refused(f"{text[:NAME_MAX]!r} is no host's name")
    if labels[-1].isdigit() or labels[-1].startswith("0x"):  # 127.1, 0x7f000001: addresses in disguise
        raise Refused(f"{text[:NAME_MAX]!r} is no host's name")
    return name


def authority(text: str, scheme: str) -> str:
    """The host of "HOST" or "HOST:PORT", whose port must be the scheme's."""
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text.partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise Refused(f"{text[:NAME_MAX]!r} is no host")
        host, port = host + "]", rest[1:]
    elif ":" in text:
        host, _, port = text.partition(":")
    if port and (not _PORT.fullmatch(port) or int(port) != PORTS[scheme]):
        raise Refused(f"port {port[:8]} is not the one that was connected to")
    return host_name(host)


def target(text: str, scheme: str) -> tuple[str | None, str]:
    """(the host of an absolute form, the path with its query) of a request's target (RFC 9112, section 3.2).

    ``Refused`` for CONNECT's form and what is none.  "*" is a path here, of OPTIONS.
    """
    if len(text) > TARGET_MAX or not _TARGET.fullmatch(text) or "#" in text:
        raise Refused("the request's target is none")
    if text.startswith("/") or text == "*":
        return None, text
    head, mark, rest = text.partition("://")
    if not mark or head.lower() != scheme:
        raise Refused("the request's target is none of this host")
    cut = next((place for place, letter in enumerate(rest) if letter in "/?"), len(rest))
    path = rest[cut:]
    if "@" in rest[:cut]:
        raise Refused("the request's target names a user")
    return authority(rest[:cut], scheme), path if path.startswith("/") else "/" + path


def normal(path: str) -> str:
    """The path, with its query, as it is sent on: unreserved characters as they are, escapes in capitals, without the
    segments "." and ".." (RFC 3986, section 6.2.2).  ``Refused`` where an escape is none."""
    place, mark, query = path.partition("?")
    return _without_dots(_ESCAPE.sub(_escape, place)) + mark + query


def readings(path: str) -> set[str]:
    """The ways in which a path without its query is read, of a normal one: as it is, and as those servers do that
    decode it again, take "\\" for "/", several "/" for one, "..;x" for ".."."""
    found = {path}
    text = path
    for _ in range(_DECODINGS):
        text = unquote_to_bytes(text).decode("latin-1")
        slashed = text.replace("\\", "/")
        bare = "/".join(_bare(segment) for segment in slashed.split("/"))
        found |= {_without_dots(bare), _without_dots(re.sub("/+", "/", bare))}
    return found


def check(rule: HttpRule) -> HttpRule:
    """The rule in its normal form; ``Refused`` with what is wrong."""
    for method in rule.methods:
        if not _METHOD.fullmatch(method):
            raise Refused(f"{method!r} is no method of HTTP")
    for path in rule.paths:
        if not path.startswith("/") or "*" in path[:-1] or "?" in path or not _TARGET.fullmatch(path):
            raise Refused(f'{path!r} is no path: it begins with "/", and may end with "*"')
    return HttpRule(
        tuple(pattern(host) for host in rule.hosts), rule.methods, tuple(normal(path) for path in rule.paths)
    )


def pattern(text: str) -> str:
    """A rule's host in its normal form; "*" is every name of at least one label."""
    if text == "*":
        return text
    if text.startswith(ANY_SUBDOMAIN):
        return ANY_SUBDOMAIN + host_name(text.removeprefix(ANY_SUBDOMAIN))
    return host_name(text)


def hosts(rules: Iterable[HttpRule], host: str) -> tuple[HttpRule, ...]:
    """Those that speak of this host, which is in its normal form."""
    return tuple(rule for rule in rules if not rule.hosts or any(_is_host(each, host) for each in rule.hosts))


def looks_inside(rules: Iterable[HttpRule], host: str) -> bool:
    """Whether it takes a request to decide: some rule would let each one out otherwise.  ``Refused`` where none
    speaks of the host."""
    theirs = hosts(rules, host)
    if not theirs:
        raise Refused(f"nothing lets this pod reach {host}")
    return all(rule.looks_inside for rule in theirs)


def decide(rules: Iterable[HttpRule], host: str, method: str, path: str) -> None:
    """Of a request to a host in its normal form, with a normal path and its query.  ``Refused`` where it may not."""
    if not _METHOD.fullmatch(method):
        raise Refused("the request's method is none")
    theirs = hosts(rules, host)
    if not theirs:
        raise Refused(f"nothing lets this pod reach {host}")
    place = path.partition("?")[0]
    if not any(
        (not rule.methods or method in rule.methods) and _is_path(rule.paths, place) for rule in theirs
    ):
        raise Refused(f"nothing lets this pod {method} {place[:200]} of {host}")


def names_address(rules: Iterable[HttpRule], address: str) -> bool:
    """Whether a rule names this address itself."""
    return any(address in rule.hosts for rule in rules)


def is_address(host: str) -> bool:
    return _address(host) is not None


def _address(text: str) -> str | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if "%" in text else str(address)


def _is_host(wanted: str, host: str) -> bool:
    if is_address(host):
        return host == wanted
    if wanted.startswith(ANY_SUBDOMAIN):
        return host.endswith(wanted[1:])
    return wanted in ("*", host)


def _is_path(paths: tuple[str, ...], path: str) -> bool:
    return not paths or any(
        _begins(path, each.removesuffix("*")) if each.endswith("*") else path == each for each in paths
    )


def _begins(path: str, prefix: str) -> bool:
    begins = (prefix, *readings(prefix))
    return all(way.startswith(begins) for way in readings(path))


def _escape(found: re.Match[str]) -> str:
    digits = found[1]
    if digits is None:
        raise Refused("the request's path has an escape that is none")
    letter = chr(int(digits, 16))
    return letter if letter in _UNRESERVED else f"%{digits.upper()}"


def _bare(segment: str) -> str:
    """ "..;x" as servers of Java read it."""
    bare = segment.partition(";")[0]
    return bare if bare in (".", "..") else segment


def _without_dots(path: str) -> str:
    """RFC 3986, section 5.2.4."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for place, segment in enumerate(segments):
        last = place == len(segments) - 1
        if segment == "..":
            del kept[-1:]
        if segment not in (".", ".."):
            kept.append(segment)
        elif last:
            kept.append("")
    return "/" + "/".join(kept) if path.startswith("/") else path
