"""What Kubernetes lets things be called, and paths that stay where they belong."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from hypercontainer.errors import InvalidArgument

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_VARIABLE = re.compile(r"[ -<>-~]+")  # printable ASCII but for "="
_PULL = {"Always": "always", "IfNotPresent": "missing", "Never": "never"}
LABEL_MAX = 63  # characters
MAX_PATH_CHARS = 4096
MAX_PATH_PARTS = 64
MAX_NAME_CHARS = 63  # of a volume of ours


def invalid(where: str, value: object, what: str, hint: str) -> InvalidArgument:
    return InvalidArgument(f"{where}: {str(value)[:80]!r} is no {what}", hint=hint)


def label(value: str, where: str) -> str:
    """DNS-1123 label."""
    if not _LABEL.fullmatch(value):
        raise invalid(where, value, "DNS label", "1 to 63 of a-z 0-9 -, - neither first nor last")
    return value


def is_subdomain(value: str) -> bool:
    """DNS-1123 subdomain: labels with dots between them."""
    return len(value) <= 253 and all(_LABEL.fullmatch(part) for part in value.split("."))


def subdomain(value: str, where: str) -> str:
    if not is_subdomain(value):
        raise invalid(
            where, value, "DNS name", "at most 253 of a-z 0-9 - ., each part begun and ended by a-z 0-9"
        )
    return value


def port_name(value: str, where: str) -> str:
    if len(value) > 15 or not _PORT_NAME.fullmatch(value):
        raise invalid(where, value, "port's name", "at most 15 of a-z 0-9 -, a letter among them")
    return value


def port(value: int, where: str) -> int:
    if not 1 <= value <= 65535:
        raise invalid(where, value, "port", "1 to 65535")
    return value


def data_key(value: str, where: str) -> str:
    if not _DATA_KEY.fullmatch(value) or value in (".", ".."):
        raise invalid(where, value, "key", "1 to 253 of A-Z a-z 0-9 - _ .")
    return value


def is_variable(value: str) -> bool:
    return len(value) <= MAX_PATH_CHARS and _VARIABLE.fullmatch(value) is not None


def text(value: str, where: str) -> str:
    """What can be an argument or a variable."""
    if "\0" in value:
        raise InvalidArgument(f"{where} has a NUL character")
    return value


def relative_path(value: str, where: str) -> str:
    """A path below something, which it does not leave."""
    parts = value[: MAX_PATH_CHARS + 1].split("/")
    too_long = len(value) > MAX_PATH_CHARS or len(parts) > MAX_PATH_PARTS
    if not value or too_long or "\0" in value or parts[0] == "" or ".." in parts:
        raise invalid(where, value, "relative path", 'without a leading "/" and without ".."')
    path = posixpath.normpath(value)
    if path == ".":
        raise invalid(where, value, "relative path", "name a file or directory")
    return path


def absolute_path(value: str, where: str) -> str:
    if not value.startswith("/") or len(value) > MAX_PATH_CHARS or "\0" in value or ".." in value.split("/"):
        raise invalid(where, value, "absolute path", 'with a leading "/" and without ".."')
    return "/" + posixpath.normpath(value).lstrip("/")


def image(reference: str | None, where: str) -> str:
    if not reference or reference != reference.strip() or "\0" in reference:
        raise InvalidArgument(f"{where}: missing, or not the name of an image")
    return reference


def pull(reference: str, policy: str | None) -> str:
    """As in Kubernetes; what is called localhost/ was made here, and there is nowhere to pull it from."""
    if policy:
        return _PULL[policy]
    if "@" in reference or reference.startswith("localhost/"):
        return "missing"
    _, colon, tag = reference.rpartition("/")[2].partition(":")
    return "always" if not colon or tag == "latest" else "missing"


def qualified(key: str, where: str) -> None:
    """A label's or an annotation's key: perhaps a DNS name and "/", then a name."""
    prefix, slash, name = key.rpartition("/")
    if slash:
        subdomain(prefix, where)
    if not _QUALIFIED.fullmatch(name):
        raise invalid(where, key, "key", "perhaps a DNS name and /, then 1 to 63 of A-Z a-z 0-9 - _ .")


def labels(given: Mapping[Any, Any] | None, where: str) -> dict[str, str]:
    found = strings(given, where)
    for key, value in found.items():
        qualified(key, where)
        if value and not _QUALIFIED.fullmatch(value):
            raise invalid(f"{where}[{key!r}]", value, "label's value", "at most 63 of A-Z a-z 0-9 - _ .")
    return found


def check_annotations(given: Mapping[Any, Any] | None, where: str) -> dict[str, str]:
    found = strings(given, where)
    for key in found:
        qualified(key.lower(), where)
    if sum(len(key) + len(value) for key, value in found.items()) > 256 * 1024:
        raise InvalidArgument(f"{where}: more than 256 KiB of annotations")
    return found


def strings(given: Mapping[Any, Any] | None, where: str) -> dict[str, str]:
    for key, value in (given or {}).items():
        if not isinstance(value, str):
            raise InvalidArgument(f"{where}[{str(key)[:80]!r}] is no text", hint="put quotes around it")
    return dict(given or {})
