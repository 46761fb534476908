"""Requests of Docker's API, made of its description and then bent: wrong types, numbers out of all bounds, names that
lead elsewhere, JSON that breaks off.  Seeded: the same seed makes the same requests.
"""

from __future__ import annotations

import json
import random
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h11

from hypercontainer.surfaces.docker import routes
from hypercontainer.surfaces.docker.openapi.document import document
from hypercontainer.surfaces.docker.openapi.notation import Operation, source
from hypercontainer.surfaces.docker.versions import LEAST, NEWEST, Version, words

SILENCE_S = 0.3  # of an answer that may have no end
TIMEOUT_S = 60.0
DEEP = 2000

NO_NAMES = ("nosuchthing", "..", ".", "%2e%2e%2f", "%00", "%ff", "a" * 3000, "%E2%98%83", " ")
TEXTS = (
    "",
    "a",
    "../../../etc/passwd",
    "/",
    "a" * 5000,
    "a\0b",
    "-1",
    "%s%n",
    "\N{PILE OF POO}",
    "null",
    "a=b=c",
    "[::]:80",
    "99999/tcp",
    "8000-1/udp",
    "sha256:" + "0" * 64,
    "localhost/busybox:latest",
)
NUMBERS = (0, 1, -1, 2**31, -(2**31) - 1, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 2**64, 10**40, 0.5, 1e300)
RIGHT_TEXTS = ("", "a", "b=c", "80/tcp", "/data", "localhost/busybox:latest", "0", "bridge", "local", "none")
RIGHT_NUMBERS = (0, 0, 1, 2, 100, 64 << 20)
NASTY: tuple[Any, ...] = (None, True, False, [], {}, [[]], {"": None}, [None], *TEXTS, *NUMBERS)
QUERIES = (
    "",
    "0",
    "1",
    "true",
    "False",
    "-1",
    "1e3",
    "99999999999999999999",
    "[",
    "{}",
    "null",
    '{"a":1}',
    "\0",
)
MADE = "made"  # what requests make, and remove again
FILTERS = (
    '{"label":["a=b"]}',
    '{"label":{"a":true}}',
    '{"until":["x"]}',
    '{"name":[1]}',
    '{"":[]}',
    "[]",
    "{",
)
RIGHT_QUERIES: dict[str, tuple[str, ...]] = {
    "filters": FILTERS,
    "name": (MADE,),
    "repo": ("localhost/made",),
    "tag": ("1",),
    "container": (MADE,),
    "signal": ("TERM", "9"),
    "path": ("/", "/etc/passwd"),
    "fromImage": ("localhost:1/made",),
}
# Of which the answer may go on for ever: the client leaves when there has been silence.
ENDLESS = re.compile(r"/events|/logs|/stats|/attach|/wait|/start$|/grpc|/session")


@dataclass(frozen=True)
class Asked:
    """``data``: all that is sent."""

    method: str
    target: str
    data: bytes


class Fuzzer:
    """``names``: of things that are there, by the first part of the path that they stand in."""

    def __init__(self, seed: int, names: Mapping[str, tuple[str, ...]]) -> None:
        self._random = random.Random(seed)
        self._names = names
        self._wrong = 0.0  # how likely each value of a request is a wrong one
        self._operations = tuple(each for each in source().operations.values() if _is_served(each))

    def one(self) -> Asked:
        self._wrong = self._random.choice([0.0, 0.02, 0.1, 0.3])
        each = self._random.choice(self._operations)
        version = (LEAST[0], self._random.randint(LEAST[1], NEWEST[1]))
        path = re.sub(r"{\w+}", lambda _: quote(self._name(each), safe="%/:"), each.path)
        prefix = self._random.choice(["", f"/v{words(version)}"])
        target = prefix + path + self._query(each)
        body = self._body(each, version)
        kind = self._random.choice(["application/json"] * 5 + ["text/plain", "application/x-tar", "\x7f"])
        head = f"{each.method} {target} HTTP/1.1\r\nHost: d\r\nContent-Type: {kind}\r\n"
        if each.path.endswith(("/attach", "/start")) and self._random.random() < 0.5:
            head += "Connection: Upgrade\r\nUpgrade: tcp\r\n"
        if self._random.random() < 0.1:
            head += f"X-Registry-Auth: {self._random.choice(['e30=', '!!', 'bnVsbA==', 'W10='])}\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        return Asked(each.method, target, head.encode("latin-1") + body)

    def _name(self, each: Operation) -> str:
        """What is there stays there."""
        known = self._names.get(each.path.split("/")[1], ())
        if self._random.random() < 0.1 or not known:
            return self._random.choice(NO_NAMES)
        changes = each.method == "DELETE" or each.path.endswith("/rename")
        return MADE if changes or self._random.random() < 0.2 else self._random.choice(known)

    def _query(self, each: Operation) -> str:
        given: list[str] = []
        for item in each.query:
            if self._random.random() < 0.3:
                values: tuple[str, ...] = RIGHT_QUERIES.get(item.name, QUERIES[:4])
                if self._random.random() < self._wrong:
                    values = QUERIES + TEXTS[:6]
                given.append(f"{item.name}={quote(self._random.choice(values))}")
        if self._random.random() < self._wrong / 5:
            given.append(self._random.choice(["%ff=%fe", "&&&=", "a" * 2000, "&".join(["x=1"] * 1200)]))
        return "?" + "&".join(given) if given else ""

    def _body(self, each: Operation, version: Version) -> bytes:
        if not each.body:
            if self._random.random() > self._wrong:
                return b""
            return self._random.choice([b"{}", b"\0" * 600, b"null", self._random.randbytes(700)])
        schemas = document(version)["components"]["schemas"]
        value = self._value(schemas[each.body + "Given"], schemas, 0)
        data = json.dumps(value).encode()
        return self._bent(data) if self._random.random() < self._wrong else data

    def _value(self, schema: Any, schemas: Any, depth: int) -> Any:
        chance = self._random.random
        if chance() < self._wrong or depth > 8:
            return self._random.choice(NASTY)
        if "$ref" in schema:
            return self._value(schemas[schema["$ref"].rpartition("/")[2]], schemas, depth)
        if "anyOf" in schema:
            return self._value(self._random.choice(schema["anyOf"]), schemas, depth)
        kind = schema.get("type")
        match kind[0] if isinstance(kind, list) else kind:
            case "object" if "properties" in schema:
                known = schema["properties"].items()
                return {name: self._value(of, schemas, depth + 1) for name, of in known if chance() < 0.3}
            case "object":
                of = schema.get("additionalProperties") or {}
                texts = self._random.sample(self._texts(), self._random.randint(0, 1))
                return {text: self._value(of, schemas, depth + 1) for text in texts}
            case "array":
                return [
                    self._value(schema["items"], schemas, depth + 1)
                    for _ in range(self._random.randint(0, 3))
                ]
            case "integer" | "number":
                return self._random.choice(NUMBERS if chance() < self._wrong else RIGHT_NUMBERS)
            case "boolean":
                return chance() < 0.5
            case "string":
                return self._random.choice(self._texts())
        return self._random.choice(NASTY)

    def _texts(self) -> tuple[str, ...]:
        return TEXTS if self._random.random() < self._wrong else RIGHT_TEXTS

    def _bent(self, data: bytes) -> bytes:
        at = self._random.randint(0, len(data))
        return self._random.choice(
            [
                data[:at],
                data[:at] + self._random.randbytes(3) + data[at:],
                data[:at] + b"\xff\xfe" + data[at:],
                data.replace(b"null", b"NaN"),
                data.replace(b":", b"::", 1),
                b"\xef\xbb\xbf" + data,
                data + data,
                b"[" * DEEP + b"]" * DEEP,
                b'{"Cmd":' * DEEP + b"1" + b"}" * DEEP,
                b"1e999999",
            ]
        )


def _is_served(each: Operation) -> bool:
    return any(
        each.method in route.methods and route.match(each.method, each.path) for route in routes.ROUTES
    )


@dataclass(frozen=True)
class Got:
    """``status`` 0: the connection was closed without an answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    cut: bool


def ask(path: Path, asked: Asked) -> Got:
    """Whole, or as much of it as came until there was silence; TimeoutError where nothing has come for long."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))  # waits for its turn, as one with a timeout does not
        sock.settimeout(TIMEOUT_S)
        sock.sendall(asked.data)
        return read(sock, asked.method, endless=bool(ENDLESS.search(asked.target.partition("?")[0])))


def read(sock: socket.socket, method: str, *, endless: bool = False) -> Got:
    wire = h11.Connection(h11.CLIENT)
    wire.send(h11.Request(method=method, target="/", headers=[("Host", "d"), ("Upgrade", "tcp")]))
    wire.send(h11.EndOfMessage())
    status, body = 0, b""
    headers: dict[str, str] = {}
    while True:
        try:
            event = wire.next_event()
        except h11.RemoteProtocolError:
            return Got(status, headers, body, True)
        if event is h11.NEED_DATA:
            if status and endless:
                sock.settimeout(SILENCE_S)
            try:
                wire.receive_data(sock.recv(65536))
            except TimeoutError:
                if not status:
                    raise
                return Got(status, headers, body, True)
            except ConnectionResetError:
                return Got(status, headers, body, True)
        elif isinstance(event, h11.Response | h11.InformationalResponse):
            status = event.status_code
            headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            if status == 101:
                return Got(status, headers, b"", True)
        elif isinstance(event, h11.Data):
            body += event.data
        else:
            return Got(status, headers, body, False)
