"""The OpenAPI 3.1 document of one version.  Source: https://spec.openapis.org/oas/v3.1.0.html"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from typing import Any

from hypercontainer import __version__
from hypercontainer.surfaces.docker.openapi.notation import JSON, Field, Operation, Reply, source
from hypercontainer.surfaces.docker.versions import Version, words

Json = dict[str, Any]

BASIC: dict[str, Json] = {
    "string": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "any": {},
    "object": {"type": "object", "additionalProperties": False},
    "time": {
        "type": "string",
        "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$",
    },
    "id": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "digest": {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"},
    "apiversion": {"type": "string", "pattern": r"^\d+\.\d+$"},
}
ERROR = "ErrorAnswer"
GIVEN = "Given"  # behind the name of a type as requests have it: all may be left out, and more be said
_BINARY: Json = {"type": "string", "format": "binary"}


@functools.cache
def document(version: Version, *, newer: bool = False) -> Json:
    """``newer``: as a server may answer that knows later versions and does not hide their fields from clients of
    ``version``, as Docker's does not."""
    known = source()
    paths: Json = {}
    for each in known.operations.values():
        if version in each.span:
            paths.setdefault(each.path, {})[each.method.lower()] = _operation(each, version)
    schemas: Json = {name: _object(fields, version, newer=newer) for name, fields in known.types.items()}
    schemas |= {name + GIVEN: _given(fields, version) for name, fields in known.types.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Docker's API as Hyper serves it",
            "version": words(version),
            "description": f"Hyper {__version__}. What is honoured, and how: docs/docker-compat.md.",
        },
        "servers": [{"url": f"/v{words(version)}"}],
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _object(fields: Mapping[str, Field], version: Version, *, newer: bool) -> Json:
    has = [each for each in fields.values() if version in each.span]
    ahead = [each for each in fields.values() if newer and version < each.span.since]
    return {
        "type": "object",
        "properties": {each.name: _value(each, version) for each in (*has, *ahead)},
        "required": [each.name for each in has if version not in each.optional],
        "additionalProperties": False,
    }


def _value(each: Field, version: Version) -> Json:
    schema = _type(each.type, _named)
    if each.choices:
        integer = each.type == "integer"
        schema = {**schema, "enum": [int(choice) if integer else choice for choice in each.choices]}
    return _or_null(schema) if version in each.null else schema


def _given(fields: Mapping[str, Field], version: Version) -> Json:
    """Clients send null for what they do not say."""
    has = [each for each in fields.values() if version in each.span]
    return {
        "type": "object",
        "properties": {each.name: _or_null(_type(each.type, _named_given)) for each in has},
    }


def _type(text: str, named: Callable[[str], str]) -> Json:
    if text.endswith("?"):
        return _or_null(_type(text[:-1], named))
    if text.startswith("["):
        return {"type": "array", "items": _type(text[1:-1], named)}
    if text.startswith("{"):
        return {"type": "object", "additionalProperties": _type(text[1:-1], named)}
    return BASIC.get(text) or ({} if text == "any" else {"$ref": f"#/components/schemas/{named(text)}"})


def _named(name: str) -> str:
    return name


def _named_given(name: str) -> str:
    return name + GIVEN


def _or_null(schema: Json) -> Json:
    """What may be anything, or null already, stays as it is."""
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]} if isinstance(schema.get("type"), str) else schema


def _operation(each: Operation, version: Version) -> Json:
    described: Json = {
        "operationId": _identifier(each),
        "responses": {
            **{str(status): _response(reply, each, version) for status, reply in each.replies.items()},
            **{str(status): _refusal(each) for status in each.errors},
        },
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", each.path)
    ]
    parameters += [
        {"name": item.name, "in": "query", "schema": _type(item.type, _named)}
        for item in each.query
        if version in item.span
    ]
    if parameters:
        described["parameters"] = parameters
    if each.body:
        schema = {"$ref": f"#/components/schemas/{each.body}{GIVEN}"}
        described["requestBody"] = {"content": {JSON: {"schema": schema}}}
    elif each.takes:
        described["requestBody"] = {"content": {each.takes: {"schema": _BINARY}}}
    return described


def _identifier(each: Operation) -> str:
    return "_".join([each.method.lower(), *re.findall(r"\w+", each.path)])


def _response(reply: Reply, each: Operation, version: Version) -> Json:
    described: Json = {"description": _WORDS[reply.kind].format(reply.protocol)}
    schema = (
        _BINARY if reply.kind == "bytes" else _type(reply.type, _named) if reply.type else {"type": "string"}
    )
    content = {
        media.name: {"schema": schema} for media in reply.media if media.name and version in media.span
    }
    if content:
        described["content"] = content
    if each.headers:
        described["headers"] = {name: {"schema": {"type": "string"}} for name in each.headers}
    return described


_WORDS = {
    "value": "Done.",
    "lines": "Values one after the other, as they come.",
    "bytes": "Bytes as they come.",
    "text": "Words.",
    "nothing": "Done; there is no body.",
    "upgrade": "The connection is no longer HTTP's, but {}.",
}


def _refusal(each: Operation) -> Json:
    content: Json = {JSON: {"schema": {"$ref": f"#/components/schemas/{ERROR}"}}}
    content |= {media: {"schema": {"type": "string"}} for media in each.refuses}
    return {"description": "It is refused, or failed: the message says why.", "content": content}
