"""The native API as an OpenAPI 3.1 document, made of the routes and of the types that they take and answer.

What the document cannot say as data (frames, lines) it says in words, and refers to docs/api.md.  Run as a program
(``python -m hypercontainer.surfaces.hyper.openapi``), it prints the document.
Source: https://spec.openapis.org/oas/v3.1.0.html
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from hypercontainer import __version__
from hypercontainer.contract.calls import CredentialsBody, Nothing, Request
from hypercontainer.contract.images import LayerProgress
from hypercontainer.contract.routes import (
    BYTES,
    CREDENTIALS_HEADER,
    FRAMES,
    JSON,
    LINES,
    PROTOCOL,
    TAR,
    VERSION,
    Route,
)
from hypercontainer.surfaces.http.reading import is_json
from hypercontainer.surfaces.hyper.faults import FaultBody
from hypercontainer.surfaces.hyper.typed import OPERATIONS, Operation

Json = dict[str, Any]

BINARY: Json = {"type": "string", "format": "binary"}
TAGS = {
    "system": "hyperd itself, and what is common to all",
    "images": "The image store",
    "containers": "Containers and their processes",
    "pods": "Several containers in one VM",
    "volumes": "Storage that outlives containers",
    "networks": "Where pods meet",
    "policies": "What pods may reach",
    "manifests": "Kubernetes' manifests",
}
NAMED = {
    "containers": "A container's name, its ID, or the beginning of its ID where that is one container's only.",
    "execs": "The ID that the process was prepared under.",
    "pods": "A pod's name, its ID, or the beginning of its ID where that is one pod's only.",
    "volumes": "A volume's name.",
    "networks": "A network's name, its ID, or the beginning of its ID where that is one network's only.",
    "policies": "A network policy's name.",
    "cronjobs": "A CronJob's name.",
    "builds": "The ID of a build that goes on, as its first frames tell it.",
}
DESCRIPTION = (
    "hyperd serves HTTP/1.1 on a unix socket. Requests are read strictly: an unknown field is an error. Units stand "
    "in the names; times are RFC 3339 with nanoseconds in UTC, empty where there is none. docs/api.md is the same "
    "for people, and draws the frames."
)
ERROR = {
    "description": "What is wrong, and what helps.",
    "content": {JSON: {"schema": {"$ref": "#/components/schemas/FaultBody"}}},
}


@functools.cache
def document() -> Json:
    return describe(OPERATIONS)


def describe(operations: Sequence[Operation]) -> Json:
    schemas = _Schemas(operations)
    paths: dict[str, Json] = {}
    for each in operations:
        described = _operation(each, schemas)
        paths.setdefault(each.route.path_of("{id}"), {})[each.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "hyperd's native API",
            "summary": "Docker and OCI images, directly on a hypervisor",
            "description": DESCRIPTION,
            "version": f"{VERSION}+{__version__}",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [
            {"url": "http://localhost", "description": "hyperd's unix socket; the host's name is ignored."}
        ],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {"schemas": schemas.components, "responses": {"Error": ERROR}},
    }


class _Schemas:
    """JSON Schemas of all types that the routes name; those of queries are taken apart and are no components."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        kinds = [*dict.fromkeys(_types(operations))]
        found, self.components = msgspec.json.schema_components(
            kinds, ref_template="#/components/schemas/{name}"
        )
        self._of: dict[Any, Json] = dict(zip(kinds, found, strict=True))
        self._queries = {
            kind: self.components.pop(kind.__name__)
            for kind in dict.fromkeys(each.query for each in operations)
        }

    def of(self, kind: Any) -> Json:
        return self._of[kind]

    def parameters(self, kind: type[Request]) -> Iterator[Json]:
        query = self._queries[kind]
        for item in msgspec.structs.fields(kind):
            schema = _present(query["properties"][item.name])
            parameter = {"name": item.name, "in": "query", "required": item.name in query.get("required", ())}
            if is_json(item.type):
                text = 'JSON, such as `{"name": ["web"], "label": ["a=b"]}`; any of the values of each.'
                yield {**parameter, "description": text, "content": {JSON: {"schema": schema}}}
            else:
                yield {**parameter, "schema": schema}


def _types(operations: Iterable[Operation]) -> Iterator[Any]:
    yield from (FaultBody, LayerProgress, CredentialsBody)
    for each in operations:
        yield each.query
        if each.answer is not None:
            yield each.answer
        if each.body is not Nothing:
            yield each.body


def _present(schema: Json) -> Json:
    """Of a query's field that is given: null and the default are what it is when it is not."""
    kept: Json = {key: value for key, value in schema.items() if key not in ("anyOf", "default")}
    default = {"default": schema["default"]} if schema.get("default") not in (None, "", {}, []) else {}
    choices: list[Json] = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        return kept | choices[0] | default
    return kept | ({"anyOf": choices} if choices else {}) | default


def _operation(each: Operation, schemas: _Schemas) -> Json:
    route = each.route
    tag = route.name.partition(".")[0]
    parameters = [*_path_parameters(route), *schemas.parameters(each.query), *_headers(route)]
    operation: Json = {
        "operationId": route.name.replace(".", "_"),
        "tags": [tag],
        "summary": route.summary,
    }
    if parameters:
        operation["parameters"] = parameters
    if route.takes != JSON:
        operation["requestBody"] = {"required": True, "content": {route.takes: {"schema": BINARY}}}
    elif each.body is not Nothing:
        required = any(item.required for item in msgspec.structs.fields(each.body))
        operation["requestBody"] = {
            "required": required,
            "content": {JSON: {"schema": schemas.of(each.body)}},
        }
    operation["responses"] = _responses(each, schemas)
    return operation


def _path_parameters(route: Route) -> Iterator[Json]:
    if "ID" in route.segments:
        yield {
            "name": "id",
            "in": "path",
            "required": True,
            "description": NAMED[route.segments[2]],
            "schema": {"type": "string", "minLength": 1},
        }


def _headers(route: Route) -> Iterator[Json]:
    if route.credentials:
        yield {
            "name": CREDENTIALS_HEADER,
            "in": "header",
            "description": "For the registry: base64url of the JSON of `CredentialsBody`.",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]*={0,2}$"},
        }


def _responses(each: Operation, schemas: _Schemas) -> Json:
    route = each.route
    responses: Json = {}
    if route.upgrade:
        responses["101"] = {
            "description": f"The connection goes on as frames: send `Connection: Upgrade`, `Upgrade: {PROTOCOL}`.",
            "headers": {"Upgrade": {"schema": {"const": PROTOCOL}}},
        }
    if route.status != 200 and each.answer is None:
        responses[str(route.status)] = {"description": "Done." if route.status == 204 else "It begins."}
    elif not route.upgrade:
        responses[str(route.status)] = {"description": _says(route), "content": _content(each, schemas)}
        if route.tells:
            responses[str(route.status)]["headers"] = {
                name: {"description": says, "required": True, "schema": {"type": "string"}}
                for name, says in route.tells.items()
            }
    error = {"$ref": "#/components/responses/Error"}
    return responses | {"4XX": error, "5XX": error}


def _says(route: Route) -> str:
    if route.progress:
        return "A line of JSON for each step, and a last one with the result or with the error."
    if route.gives == LINES:
        return "A line of JSON for each; an error is the last line."
    return {FRAMES: "Frames of channels 1 and 2.", TAR: "A tar.", BYTES: "Its bytes."}.get(
        route.gives, "Done."
    )


def _content(each: Operation, schemas: _Schemas) -> Json:
    route = each.route
    if route.gives in (FRAMES, TAR, BYTES):
        return {route.gives: {"schema": BINARY}}
    answer = schemas.of(each.answer)
    if route.gives == JSON:
        return {JSON: {"schema": answer}}
    lines: list[Json] = [schemas.of(FaultBody)]
    lines += (
        [_only("result", answer), _only("progress", schemas.of(LayerProgress))]
        if route.progress
        else [answer]
    )
    content: Json = {LINES: {"schema": {"anyOf": lines, "description": "Of one line."}}}
    if any(item.name == "stream" for item in msgspec.structs.fields(each.query)):
        content[JSON] = {"schema": answer}  # without `stream`
    return content


def _only(name: str, schema: Json) -> Json:
    return {"type": "object", "properties": {name: schema}, "required": [name]}


def main() -> None:
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(document())) + b"\n")


if __name__ == "__main__":
    main()
