"""A walk over the calls of Docker's API, at one version, on a server of any make: what it answers is for a tap to look
at (`docker_schema`).  The server has the image that the walk is told; what the walk makes it removes.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import busybox_image

TIMEOUT_S = 60.0
ELSEWHERE = "localhost:1/nothing"  # no registry
ABSENT = "nosuchthing"


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))
        self.sock.settimeout(TIMEOUT_S)


@dataclass
class Walker:
    """``version``: "1.41", or "" for none.  ``refused``: calls that did not come to the status that was expected."""

    socket: Path
    version: str
    image: str = busybox_image.REFERENCE
    create: dict[str, Any] = field(default_factory=dict)  # what the server wants in a HostConfig
    refused: list[str] = field(default_factory=list)

    def call(
        self, method: str, path: str, body: Any = None, /, *, want: int | tuple[int, ...] = 200, **query: Any
    ) -> Any:
        """The answer, parsed where it is JSON.  ``body``: bytes are a tar."""
        prefix, target = f"/v{self.version}" if self.version else "", path
        if query:
            target += "?" + urlencode({name.replace("_", "-"): value for name, value in query.items()}, True)
        kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        connection = _Connection(self.socket)
        with contextlib.closing(connection):
            connection.request(
                method, prefix + target, data, {"Content-Type": kind} if body is not None else {}
            )
            answer = connection.getresponse()
            content = answer.read()
        if answer.status not in ((want,) if isinstance(want, int) else want):
            self.refused.append(f"{self.said(method, target)}: {answer.status} {content[:300]!r}")
        try:
            return json.loads(content)
        except ValueError:
            return content

    def said(self, method: str, target: str) -> str:
        return f"{self.version} {method} {target}".strip()

    # Looking only

    def looks_at_the_engine(self) -> None:
        for method in ("GET", "HEAD"):
            self.call(method, "/_ping")
        self.call("GET", "/version")
        self.call("GET", "/info")
        self.call("GET", "/events", since="0", until="1")
        self.call("GET", "/system/df")
        self.call("GET", f"/distribution/{ELSEWHERE}/json", want=(404, 500))

    def looks_at_images(self) -> None:
        name = quote(self.image, safe="/:")
        self.call("GET", "/images/json", all="1", digests="1")
        self.call("GET", "/images/json", filters=json.dumps({"reference": [self.image]}))
        self.call("GET", f"/images/{name}/json")
        self.call("GET", f"/images/{name}/history")
        self.call("GET", f"/images/{ABSENT}/json", want=404)
        self.call("GET", f"/images/{ABSENT}/history", want=404)

    def looks_at_container(self, name: str) -> None:
        """``name`` runs."""
        self.call("GET", "/containers/json", all="1", size="1")
        self.call("GET", f"/containers/{name}/json", size="1")
        self.call("GET", f"/containers/{name}/top")
        self.call("GET", f"/containers/{name}/stats", stream="0", one_shot="1")
        self.call("GET", f"/containers/{name}/changes")
        self.call("GET", f"/containers/{name}/logs", stdout="1", stderr="1", tail="all")
        self.call("HEAD", f"/containers/{name}/archive", path="/etc/passwd")
        self.call("GET", f"/containers/{name}/archive", path="/etc/passwd")
        self.call("GET", f"/containers/{name}/archive", path="/no/such", want=404)

    def looks_at_places(self, network: str, volume: str) -> None:
        self.call("GET", "/networks")
        self.call("GET", f"/networks/{network}")
        self.call("GET", "/networks/bridge")
        self.call("GET", f"/networks/{ABSENT}", want=404)
        self.call("GET", "/volumes")
        self.call("GET", f"/volumes/{volume}")
        self.call("GET", f"/volumes/{ABSENT}", want=404)

    def looks_for_what_is_not_there(self) -> None:
        for what in ("json", "top", "logs?stdout=1", "changes", "export", "stats", "archive?path=/"):
            self.call("GET", f"/containers/{ABSENT}/{what}", want=404)
        for what in ("start", "stop", "restart", "kill", "pause", "unpause", "rename?name=other", "wait"):
            self.call("POST", f"/containers/{ABSENT}/{what}", want=404)
        for kind in ("containers", "images", "networks", "volumes"):
            self.call("DELETE", f"/{kind}/{ABSENT}", want=404)
        self.call("POST", f"/containers/{ABSENT}/exec", {"Cmd": ["true"]}, want=404)
        self.call("POST", f"/exec/{ABSENT}/start", {"Detach": True}, want=404)
        self.call("GET", f"/exec/{ABSENT}/json", want=404)
        self.call("POST", "/commit", {}, want=404, container=ABSENT)
        self.call("POST", f"/images/{ABSENT}/tag", want=404, repo="x", tag="1")
        self.call("GET", f"/plugins/{ABSENT}/json", want=404)

    # Making, and removing again

    def makes_places(self, network: str, volume: str) -> None:
        self.call("POST", "/networks/create", {"Name": network, "Labels": {"a": "b"}}, want=201)
        self.call("POST", "/networks/create", {"Name": network, "CheckDuplicate": True}, want=409)
        self.call("POST", "/volumes/create", {"Name": volume, "Labels": {"a": "b"}}, want=201)

    def removes_places(self, network: str, volume: str) -> None:
        self.call("DELETE", f"/networks/{network}", want=204)
        self.call("DELETE", f"/volumes/{volume}", want=204)
        for kind in ("networks", "volumes"):
            self.call("POST", f"/{kind}/prune", filters=json.dumps({"label": ["of=the-walk"]}))

    def runs(self, name: str, **asked: Any) -> None:
        body = {"Image": self.image, "Cmd": ["sleep", "600"], "HostConfig": self.create, **asked}
        self.call("POST", "/containers/create", body, want=201, name=name)
        self.call("POST", f"/containers/{name}/start", want=204)

    def lives(self, name: str, network: str) -> None:
        """``name`` runs, and does not afterwards."""
        self.call("POST", f"/containers/{name}/start", want=304)
        self.execs(name)
        self.call("PUT", f"/containers/{name}/archive", _tar({"said": b"hello"}), path="/tmp")
        self.call("POST", f"/containers/{name}/update", {"RestartPolicy": {"Name": "no"}})
        self.call("POST", f"/containers/{name}/pause", want=204)
        self.call("POST", f"/containers/{name}/unpause", want=204)
        self.call("POST", f"/networks/{network}/connect", {"Container": name})
        self.call("GET", f"/networks/{network}")
        self.call("POST", f"/networks/{network}/disconnect", {"Container": name})
        self.call("POST", f"/containers/{name}/rename", want=204, name=f"{name}-2")
        self.call("POST", f"/containers/{name}-2/rename", want=204, name=name)
        self.call("POST", f"/containers/{name}/restart", want=204, t="0")
        self.call("POST", f"/containers/{name}/kill", want=204, signal="KILL")
        self.call("POST", f"/containers/{name}/wait")
        self.call("POST", f"/containers/{name}/stop", want=304)
        self.call("POST", f"/containers/{name}/kill", want=409)
        self.call("GET", f"/containers/{name}/json")
        self.call("GET", f"/containers/{name}/export")
        self.call("POST", "/commit", {}, want=201, container=name, repo="localhost/walked", tag="1")
        self.call("DELETE", "/images/localhost/walked:1")

    def execs(self, name: str) -> None:
        asked = {"Cmd": ["true"], "AttachStdout": True}
        made = self.call("POST", f"/containers/{name}/exec", asked, want=201)
        if isinstance(made, dict) and (identifier := made.get("Id")):
            self.call("POST", f"/exec/{identifier}/start", {"Detach": False})
            self.call("GET", f"/exec/{identifier}/json")

    def removes(self, name: str) -> None:
        self.call("DELETE", f"/containers/{name}", want=204, force="1", v="1")
        self.call("POST", "/containers/prune", filters=json.dumps({"label": ["of=the-walk"]}))

    def moves_images(self) -> None:
        name = quote(self.image, safe="/:")
        self.call("POST", f"/images/{name}/tag", want=201, repo="localhost/other", tag="1")
        self.call("GET", "/images/localhost/other:1/get")
        self.call("GET", "/images/get", names="localhost/other:1")
        self.call("DELETE", "/images/localhost/other:1")
        archive = busybox_image.archive([busybox_image.layer()], "localhost/loaded:1")
        self.call("POST", "/images/load", archive, quiet="1")
        self.call("DELETE", "/images/localhost/loaded:1")
        self.call(
            "POST", "/images/create", _tar({"file": b"x"}), fromSrc="-", repo="localhost/imported", tag="1"
        )
        self.call("DELETE", "/images/localhost/imported:1")
        self.call("POST", "/images/create", want=(404, 500), fromImage=ELSEWHERE, tag="1")
        self.call("POST", f"/images/{ELSEWHERE}/push", want=(200, 404), tag="1")
        self.call("POST", "/images/prune", filters=json.dumps({"label": ["of=the-walk"]}))

    def builds(self) -> None:
        recipe = f"FROM {self.image}\nRUN true\n".encode()
        self.call("POST", "/build", _tar({"Dockerfile": recipe}), t="localhost/built:1")
        self.call("DELETE", "/images/localhost/built:1")
        self.call("POST", "/build", _tar({"Dockerfile": b"NONSENSE\n"}), want=(200, 400))
        self.call("POST", "/build/prune")

    def asks_wrongly(self) -> None:
        self.call("POST", "/containers/create", {"Image": 5}, want=400)
        self.call("POST", "/containers/create", {"Image": ABSENT}, want=404)
        self.call("GET", "/containers/json", want=400, filters="[")
        self.call("GET", "/containers/json", want=400, filters=json.dumps({"nosuchfilter": ["x"]}))
        self.call("POST", "/networks/create", {"Name": 1}, want=400)
        self.call("POST", "/volumes/create", {"Name": 1}, want=400)


def _tar(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return made.getvalue()


def whole(walker: Walker, *, builds: bool = True) -> None:
    """All of it, at the walker's version.  ``builds``: there is a builder."""
    looks(walker)
    walker.makes_places("walknet", "walkvol")
    walker.looks_at_places("walknet", "walkvol")
    walker.runs("walked")
    walker.looks_at_container("walked")
    walker.lives("walked", "walknet")
    walker.removes("walked")
    walker.removes_places("walknet", "walkvol")
    walker.moves_images()
    if builds:
        walker.builds()


def looks(walker: Walker) -> None:
    walker.looks_at_the_engine()
    walker.looks_at_images()
    walker.looks_for_what_is_not_there()
    walker.asks_wrongly()
