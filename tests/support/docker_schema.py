"""Answers of Docker's API, held against the description of the version that was asked for
(`surfaces/docker/openapi`): what is wrong with one, in words, and of all that pass through a socket.

    with validating(path_of_hyperds_docker_sock) as checked:
        ...  # clients connect to checked.socket
    # raises Violations when the block is left, if anything was wrong

`check` looks at one answer, for tests that have it in their hands.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs

import docker_tap
from hypercontainer.errors import InvalidArgument
from hypercontainer.surfaces.docker import versions
from hypercontainer.surfaces.docker.openapi.document import document
from hypercontainer.surfaces.docker.openapi.notation import JSON, Media, Operation, source
from hypercontainer.surfaces.docker.versions import Version

# In front of every answer but an upgrade's.
COMMON_HEADERS = ("api-version", "docker-experimental", "ostype", "server")
SHOWN = 300  # characters of a value


class Violations(AssertionError):
    def __init__(self, found: list[str]) -> None:
        unique = sorted(set(found))
        super().__init__("\n".join([f"{len(unique)} kinds of wrong answers:", *unique]))


def check(
    version: Version,
    method: str,
    template: str,
    status: int,
    content_type: str | None,
    body: bytes,
    *,
    newer: bool = False,
    cut: bool = False,
) -> list[str]:
    """``template``: as in the description, "/containers/{id}/json".  ``content_type``: None where there is none.
    ``newer``: the server is one of a later version, which does not hide its fields (Docker's); ``cut``: the client
    left before the end."""
    operation = source().operations.get(f"{method} {template}")
    if operation is None or version not in operation.span:
        return [] if status >= 400 and _is_error(body) else [f"{status}, though there is no such call"]
    media = None if content_type is None else content_type.partition(";")[0].strip()
    if status in operation.replies:
        return _right(operation, status, version, media, body, newer=newer, cut=cut)
    if status not in operation.errors:
        return [f"status {status} is none of this call's: {body[:SHOWN]!r}"]
    if media in operation.refuses:
        return []
    if media != JSON:
        return [f"{status} with Content-Type {media}: {body[:SHOWN]!r}"]
    return [] if cut or method == "HEAD" else _value(_schema(operation, status, version, newer), body)


def _is_error(body: bytes) -> bool:
    with contextlib.suppress(ValueError):
        return set(json.loads(body)) == {"message"}
    return not body  # of HEAD


def _right(
    operation: Operation,
    status: int,
    version: Version,
    media: str | None,
    body: bytes,
    *,
    newer: bool,
    cut: bool,
) -> list[str]:
    reply = operation.replies[status]
    if reply.kind == "nothing" or operation.method == "HEAD":
        return [f"a body, where there is none: {body[:SHOWN]!r}"] if body else []
    if reply.kind == "upgrade":
        known = [each for other in operation.replies.values() for each in other.media]
        return [] if media is None else _media(known, version, media)
    if wrong := _media(reply.media, version, media):
        return wrong
    if reply.kind not in ("value", "lines"):
        return []
    schema = _schema(operation, status, version, newer)
    if reply.kind == "lines":
        return _lines(schema, body, cut=cut)
    return [] if cut else _value(schema, body)


def _media(known: Iterable[Media], version: Version, media: str | None) -> list[str]:
    has = {each.name for each in known if version in each.span}
    return [] if (media or "") in has else [f"Content-Type {media} is none of {sorted(has)}"]


def _value(schema: Any, body: bytes) -> list[str]:
    try:
        return _errors(schema, json.loads(body))
    except ValueError as error:
        return [f"no JSON ({error}): {body[:SHOWN]!r}"]


def _lines(schema: Any, body: bytes, *, cut: bool) -> list[str]:
    found: list[str] = []
    decoder, text, at = json.JSONDecoder(), body.decode(errors="replace"), 0
    while rest := text[at:].lstrip("\r\n \x1e"):
        try:
            value, length = decoder.raw_decode(rest)
        except ValueError:
            return found if cut else [*found, f"no JSON: {rest[:SHOWN]!r}"]
        found += _errors(schema, value)
        at = len(text) - len(rest) + length
    return found


def wrong_with(kind: str, version: Version, value: object, *, newer: bool = False) -> list[str]:
    """``kind``: a type of the description, as "ContainerInspect"."""
    return _errors(_compiled({"$ref": f"#/components/schemas/{kind}"}, version, newer), value)


def _errors(schema: Any, value: object) -> list[str]:
    errors = schema.iter_errors(value)
    return [f"at {_place(error.instance_path)}: {error.message[:SHOWN]}" for error in errors]


def _place(path: list[str | int]) -> str:
    """Without the numbers of lists' items, so that the same fault is told once."""
    return "/" + "/".join("*" if isinstance(part, int) else _plain(part) for part in path)


def _plain(part: str) -> str:
    return re.sub("[0-9a-f]{12,}", "ID", part)


def _schema(operation: Operation, status: int, version: Version, newer: bool) -> Any:
    described = document(version, newer=newer)["paths"][operation.path][operation.method.lower()]
    return _compiled(described["responses"][str(status)]["content"][JSON]["schema"], version, newer)


def _compiled(schema: Any, version: Version, newer: bool) -> Any:
    return _validator(json.dumps(schema), version, newer)


@functools.cache
def _validator(schema: str, version: Version, newer: bool) -> Any:
    """With no more of the document than it refers to: all of it takes long to compile."""
    known = document(version, newer=newer)["components"]["schemas"]
    needed: dict[str, Any] = {}
    texts = [schema]
    while texts:
        for name in re.findall('"#/components/schemas/([^"]+)"', texts.pop()):
            if name not in needed:
                needed[name] = known[name]
                texts.append(json.dumps(known[name]))
    return jsonschema_rs.Draft202012Validator({**json.loads(schema), "components": {"schemas": needed}})


# What passes through a socket


@functools.cache
def _patterns() -> list[tuple[str, re.Pattern[str], str]]:
    """Method, pattern, template: those that say most come first."""
    known = sorted(source().operations.values(), key=lambda each: each.path.count("{"))
    return [(each.method, re.compile(_pattern(each.path)), each.path) for each in known]


def _pattern(template: str) -> str:
    whole = re.escape(template).replace(r"\{name\}", "(.+)")
    return re.sub(r"\\{\w+\\}", "([^/]+)", whole)


def template_of(method: str, path: str) -> str:
    """``path`` has no version; "" where it is no call's."""
    for known, pattern, template in _patterns():
        if known == method and pattern.fullmatch(path):
            return template
    return ""


def wrong_answer(
    method: str,
    target: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    newest: Version = versions.NEWEST,
    newer: bool = False,
    cut: bool = False,
) -> list[str]:
    """``target``: as it was asked for.  The names of ``headers`` are in small letters."""
    try:
        version, path = _asked(target, newest)
    except InvalidArgument:
        wrong = [] if status == 400 else ["for a version that is not served"]
        return [f"{method} {_plain(target)} {status}: {words}" for words in wrong]
    template, missing = template_of(method, path), [name for name in COMMON_HEADERS if name not in headers]
    found = [f"without the headers {missing}"] if missing and status != 101 else []
    kind = headers.get("content-type")
    found += check(version, method, template, status, kind, body, newer=newer, cut=cut)
    where = f"{versions.words(version)} {method} {template or _plain(path)} {status}: "
    return [where + each for each in found]


def _asked(target: str, newest: Version) -> tuple[Version, str]:
    whole = target.partition("?")[0]
    version, path = versions.split(whole)
    return (newest if path == whole else version), path


class Checked(docker_tap.Watcher):
    """``socket``: for clients.  ``seen``: (version, method, template, status) of each answer that was looked at."""

    def __init__(self, socket: Path, newest: Version, *, newer: bool) -> None:
        self.socket = socket
        self.violations: list[str] = []
        self.seen: list[tuple[Version, str, str, int]] = []
        self._newest = newest
        self._newer = newer

    def answered(self, exchange: docker_tap.Exchange) -> None:
        self.violations += wrong_answer(
            exchange.method,
            exchange.target,
            exchange.status,
            exchange.headers,
            bytes(exchange.body),
            newest=self._newest,
            newer=self._newer,
            cut=exchange.cut,
        )
        with contextlib.suppress(InvalidArgument):
            version, path = _asked(exchange.target, self._newest)
            self.seen.append((version, exchange.method, template_of(exchange.method, path), exchange.status))

    def broken(self, words: str) -> None:
        self.violations.append(words)

    def raise_if_wrong(self) -> None:
        if self.violations:
            raise Violations(self.violations)


@contextlib.contextmanager
def validating(
    socket: Path | str, *, newest: Version = versions.NEWEST, newer: bool = False
) -> Iterator[Checked]:
    """``newest``: what a request without a version gets.  ``newer``: as for `check`."""
    with tempfile.TemporaryDirectory(prefix="hyper-tap-") as folder:
        checked = Checked(Path(folder, "docker.sock"), newest, newer=newer)
        with docker_tap.between(checked.socket, Path(socket), checked):
            yield checked
        checked.raise_if_wrong()
