"""Dockerfile instructions applied to an image's configuration (import, commit).

Source: the Dockerfile reference for CMD ENTRYPOINT ENV EXPOSE HEALTHCHECK LABEL ONBUILD STOPSIGNAL USER
VOLUME WORKDIR, which are those that `docker import` and `docker commit` take.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from hypercontainer.contract.times import duration_ns
from hypercontainer.errors import ImageError, InvalidArgument
from hypercontainer.image.documents import check_user
from hypercontainer.linux import signals

Config = dict[str, Any]  # the "config" object of an image's configuration

_WORD = re.compile(r"""(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+""", re.DOTALL)
_PORT = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?(?:/(tcp|udp|sctp))?")
_HEALTH_OPTIONS = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}


def apply(config: Config, changes: Sequence[str]) -> None:
    """Change ``config`` by each instruction in order; InvalidArgument names the one that is wrong."""
    for change in changes:
        instruction, _, rest = change.strip().partition(" ")
        handler = _HANDLERS.get(instruction.upper())
        if handler is None:
            raise InvalidArgument(
                f"{change!r}: {instruction.upper()} is not supported",
                field="change",
                takes=f"one of {' '.join(sorted(_HANDLERS))}",
            )
        if not rest.strip():
            raise InvalidArgument(f"{change!r}: {instruction.upper()} needs an argument", field="change")
        try:
            handler(config, rest.strip())
        except (ValueError, ImageError) as error:
            raise InvalidArgument(f"{change!r}: {error}", field="change") from error


def _arguments(text: str) -> list[str]:
    """The JSON form, or the shell form run by ``/bin/sh -c``."""
    exact = _json_list(text)
    return ["/bin/sh", "-c", text] if exact is None else exact


def _json_list(text: str) -> list[str] | None:
    if not text.startswith("["):
        return None
    try:
        return msgspec.json.decode(text, type=list[str])
    except msgspec.MsgspecError:
        return None  # like Docker: what is not a JSON list of strings is a shell line


def _words(text: str) -> list[str]:
    """Words split at blanks, with quotes and backslashes taken away."""
    return [_unquoted(word) for word in _WORD.findall(text)]


def _unquoted(word: str) -> str:
    out, position, quote = [], 0, ""
    while position < len(word):
        char = word[position]
        if quote == "'" and char != "'":
            out.append(char)
        elif char == "\\" and position + 1 < len(word):
            position += 1
            following = word[position]
            out.append(following if not quote or following in '"\\$' else "\\" + following)
        elif char == quote:
            quote = ""
        elif not quote and char in "\"'":
            quote = char
        else:
            out.append(char)
        position += 1
    return "".join(out)


def _pairs(text: str) -> dict[str, str]:
    """``a=b c="d e"``, or the old form ``a the rest``."""
    head, _, rest = text.partition(" ")
    if "=" not in head:
        if not rest.strip():
            raise ValueError("it needs NAME=VALUE")
        return {head: rest.strip()}
    found = {}
    for word in _words(text):
        name, equals, value = word.partition("=")
        if not name or not equals:
            raise ValueError(f"{word!r} is not NAME=VALUE")
        found[name] = value
    return found


def _env(config: Config, text: str) -> None:
    # A variable that is there keeps its place: a dictionary does exactly that.
    values = {entry.partition("=")[0]: entry for entry in config.get("Env") or []}
    values.update({name: f"{name}={value}" for name, value in _pairs(text).items()})
    config["Env"] = list(values.values())


def _label(config: Config, text: str) -> None:
    config["Labels"] = {**(config.get("Labels") or {}), **_pairs(text)}


def _expose(config: Config, text: str) -> None:
    ports = dict(config.get("ExposedPorts") or {})
    for word in _words(text):
        match = _PORT.fullmatch(word)
        if match is None:
            raise ValueError(f"{word!r} is not PORT[-PORT][/tcp|udp|sctp]")
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 < first <= last < 65536:
            raise ValueError(f"{word!r} is not within 1 to 65535")
        for port in range(first, last + 1):
            ports[f"{port}/{match[3] or 'tcp'}"] = {}
    config["ExposedPorts"] = ports


def _volume(config: Config, text: str) -> None:
    paths = _json_list(text) or _words(text)
    if any(not path.strip() for path in paths):
        raise ValueError("a volume's path is empty")
    config["Volumes"] = {**(config.get("Volumes") or {}), **{path: {} for path in paths}}


def _workdir(config: Config, text: str) -> None:
    path = " ".join(_words(text))
    config["WorkingDir"] = posixpath.normpath(posixpath.join("/", config.get("WorkingDir") or "/", path))


def _user(config: Config, text: str) -> None:
    check_user(text, "USER")
    config["User"] = text


def _entrypoint(config: Config, text: str) -> None:
    config["Entrypoint"] = _arguments(text)


def _cmd(config: Config, text: str) -> None:
    config["Cmd"] = _arguments(text)


def _stop_signal(config: Config, text: str) -> None:
    try:
        signals.parse(text)
    except InvalidArgument as error:
        raise ValueError(error.why) from error
    config["StopSignal"] = text


def _on_build(config: Config, text: str) -> None:
    if text.split()[0].upper() in ("ONBUILD", "FROM", "MAINTAINER"):
        raise ValueError(f"ONBUILD may not hold {text.split()[0]}")
    config["OnBuild"] = [*(config.get("OnBuild") or []), text]


def _healthcheck(config: Config, text: str) -> None:
    check: dict[str, Any] = {}
    while text.startswith("--"):
        option, _, text = text.partition(" ")
        name, _, value = option[2:].partition("=")
        if name == "retries":
            check["Retries"] = int(value)
        elif name in _HEALTH_OPTIONS:
            check[_HEALTH_OPTIONS[name]] = _duration_ns(value)
        else:
            raise ValueError(f"unknown option --{name}")
        text = text.strip()
    kind, _, rest = text.partition(" ")
    if kind.upper() == "NONE" and not rest:
        check["Test"] = ["NONE"]
    elif kind.upper() == "CMD" and rest.strip():
        exact = _json_list(rest.strip())
        check["Test"] = ["CMD-SHELL", rest.strip()] if exact is None else ["CMD", *exact]
    else:
        raise ValueError("it is [OPTIONS] CMD command, or NONE")
    config["Healthcheck"] = check


def _duration_ns(text: str) -> int:
    try:
        return duration_ns(text)
    except ValueError as error:
        raise ValueError(f"{text!r} {error} such as 30s or 1m30s") from None


_HANDLERS: dict[str, Callable[[Config, str], None]] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
