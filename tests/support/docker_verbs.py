"""What a client of Docker's API may be asking for when something dies, and what has to be seen of it afterwards."""

from __future__ import annotations

import http.client
import io
import json
import random
import socket
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import busybox_image

IMAGE = busybox_image.REFERENCE
ENDS_S = 60.0  # for an answer, or the end of its connection
WEB, IDLE, NETWORK, VOLUME = "web", "idle", "net", "vol"  # what is there; the first one runs
SCRIPT = ["sh", "-c", "trap 'exit 3' TERM; while :; do sleep 1000 & wait $!; done"]
UPGRADE = {"Connection": "Upgrade", "Upgrade": "tcp"}
FILE = random.Random(1).randbytes(3 << 20)
PIECE_BYTES = 1 << 18
DONE = (200, 201, 204)


@dataclass
class Outcome:
    """``status`` 0: no head came.  ``whole``: the answer came to its own end."""

    status: int = 0
    body: bytes = b""
    whole: bool = False

    @property
    def done(self) -> bool:
        """It was said that it is done; in a stream of messages, too."""
        return self.whole and self.status in DONE and b'"errorDetail"' not in self.body

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=ENDS_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self._path))
        self.sock.settimeout(ENDS_S)


@dataclass
class Docker:
    """Behind ``socket``; ``remote``: an image that a registry has."""

    socket: Path
    remote: str

    def ask(
        self,
        method: str,
        target: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
        /,
        **query: Any,
    ) -> Outcome:
        """To its end, whatever that is; TimeoutError where it has none.  ``body``: bytes, pieces of them that are sent
        in chunks, or what becomes JSON."""
        outcome, connection = Outcome(), _Connection(self.socket)
        sent = body if body is None or isinstance(body, bytes | Iterator) else json.dumps(body).encode()
        kind = {"Content-Type": "application/json"} if sent is not None else {}
        try:
            target += "?" + urlencode(query, True) if query else ""
            connection.request(method, target, sent, {**kind, **(headers or {})})
            answer = connection.getresponse()
            outcome.status = answer.status
            if answer.status == 101:
                outcome.body = b"".join(iter(lambda: connection.sock.recv(65536), b""))
            else:
                outcome.body = answer.read()
            outcome.whole = True
        except (http.client.HTTPException, ConnectionError, FileNotFoundError):
            pass  # cut off
        finally:
            connection.close()
        return outcome

    def inspect(self, name: str) -> Any:
        found = self.ask("GET", f"/containers/{name}/json")
        return found.json if found.status == 200 else None

    def is_there(self, path: str) -> bool:
        return self.ask("GET", path).status == 200

    # What can be asked for

    def create(self, name: str, **more: Any) -> Outcome:
        body = {"Image": IMAGE, "Cmd": SCRIPT, "StopTimeout": 0, **more}
        return self.ask("POST", "/containers/create", body, name=name)

    def run(self, name: str, **more: Any) -> Outcome:
        made = self.create(name, **more)
        return self.ask("POST", f"/containers/{name}/start") if made.status in (201, 409) else made

    def execute(self, name: str, *command: str) -> Outcome:
        """Its output has no frames taken off."""
        asked = {"Cmd": command, "AttachStdout": True, "AttachStderr": True}
        made = self.ask("POST", f"/containers/{name}/exec", asked)
        if made.status != 201:
            return made
        return self.ask("POST", f"/exec/{made.json['Id']}/start", {}, UPGRADE)


@dataclass(frozen=True)
class Verb:
    """``most_s``: how long it takes, at most, on a quiet machine.  ``kept``: whether what was said to be done is.
    ``again``: what it may be answered with a second time, whatever became of the first."""

    most_s: float
    ask: Callable[[Docker], Outcome]
    kept: Callable[[Docker, Outcome], bool] = lambda docker, outcome: True
    again: tuple[int, ...] = DONE


def pieces(data: bytes) -> Iterator[bytes]:
    return (data[at : at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES))


def tar(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return made.getvalue()


def _archive(name: str) -> bytes:
    return busybox_image.archive([busybox_image.layer(), tar({"large": FILE})], name)


def _runs(name: str) -> Callable[[Docker, Outcome], bool]:
    return lambda docker, _: docker.inspect(name)["State"]["Running"]


def _there(path: str) -> Callable[[Docker, Outcome], bool]:
    return lambda docker, _: docker.is_there(path)


def _gone(path: str) -> Callable[[Docker, Outcome], bool]:
    return lambda docker, _: docker.ask("GET", path).status == 404


def _post(path: str, body: Any = None, **query: Any) -> Callable[[Docker], Outcome]:
    return lambda docker: docker.ask("POST", path, body, **query)


def _copied(docker: Docker, _: Outcome) -> bool:
    return len(docker.ask("GET", f"/containers/{WEB}/archive", path="/tmp/large").body) > len(FILE)


def _whole_tar(docker: Docker, got: Outcome) -> bool:
    with tarfile.open(fileobj=io.BytesIO(got.body)) as found:
        return bool(found.getnames())


def _renamed(docker: Docker, _: Outcome) -> bool:
    return docker.is_there("/containers/other/json") and not docker.is_there(f"/containers/{IDLE}/json")


def _in_network(there: bool) -> Callable[[Docker, Outcome], bool]:
    return lambda docker, _: (NETWORK in docker.inspect(IDLE)["NetworkSettings"]["Networks"]) == there


VERBS: dict[str, Verb] = {
    "pull": Verb(
        1.0,
        lambda docker: docker.ask("POST", "/images/create", fromImage=docker.remote),
        lambda docker, _: docker.is_there(f"/images/{docker.remote}/json"),
    ),
    "load": Verb(
        1.0,
        lambda docker: docker.ask("POST", "/images/load", pieces(_archive("localhost/loaded:1"))),
        _there("/images/localhost/loaded:1/json"),
    ),
    "import": Verb(
        0.7,
        lambda docker: docker.ask(
            "POST",
            "/images/create",
            pieces(tar({"large": FILE})),
            fromSrc="-",
            repo="localhost/imported",
            tag="1",
        ),
        _there("/images/localhost/imported:1/json"),
    ),
    "create": Verb(
        0.4,
        lambda docker: docker.create("new", Volumes={"/data": {}}, HostConfig={"Binds": ["newvol:/v"]}),
        _there("/containers/new/json"),
        (201, 409),
    ),
    "run": Verb(
        2.0, lambda docker: docker.run("new", HostConfig={"Binds": ["newvol:/v"]}), _runs("new"), (204, 304)
    ),
    "run and remove": Verb(
        2.0, lambda docker: docker.run("brief", Cmd=["true"], HostConfig={"AutoRemove": True})
    ),
    "start": Verb(1.0, _post(f"/containers/{IDLE}/start"), _runs(IDLE), (204, 304)),
    "restart": Verb(1.5, _post(f"/containers/{WEB}/restart", t=0), _runs(WEB)),
    "stop": Verb(
        0.7,
        _post(f"/containers/{WEB}/stop", t=5),
        lambda docker, _: not docker.inspect(WEB)["State"]["Running"],
        (204, 304),
    ),
    "kill": Verb(0.4, _post(f"/containers/{WEB}/kill"), again=(204, 409)),
    "pause": Verb(
        0.3,
        _post(f"/containers/{WEB}/pause"),
        lambda docker, _: docker.inspect(WEB)["State"]["Paused"],
        (204, 409),
    ),
    "attach": Verb(
        0.3,
        lambda docker: docker.ask(
            "POST", f"/containers/{IDLE}/attach", None, UPGRADE, stream=1, stdout=1, stdin=1
        ),
        again=(),
    ),
    "exec": Verb(
        0.6, lambda docker: docker.execute(WEB, "dd", "if=/dev/zero", "bs=1M", "count=4"), again=(101,)
    ),
    "cp in": Verb(
        0.8,
        lambda docker: docker.ask(
            "PUT", f"/containers/{WEB}/archive", pieces(tar({"large": FILE})), path="/tmp"
        ),
        _copied,
    ),
    "cp in, of one that does not run": Verb(
        2.5,
        lambda docker: docker.ask(
            "PUT", f"/containers/{IDLE}/archive", pieces(tar({"large": FILE})), path="/tmp"
        ),
    ),
    "cp out": Verb(
        0.6, lambda docker: docker.ask("GET", f"/containers/{WEB}/archive", path="/bin"), _whole_tar
    ),
    "export": Verb(1.0, lambda docker: docker.ask("GET", f"/containers/{WEB}/export"), _whole_tar),
    "save": Verb(0.6, lambda docker: docker.ask("GET", f"/images/{IMAGE}/get"), _whole_tar),
    "commit": Verb(
        1.5,
        _post("/commit", {}, container=WEB, repo="localhost/committed", tag="1"),
        _there("/images/localhost/committed:1/json"),
    ),
    "commit, of one that does not run": Verb(
        2.5,
        _post("/commit", {}, container=IDLE, repo="localhost/committed", tag="1"),
        _there("/images/localhost/committed:1/json"),
    ),
    "wait": Verb(0.3, _post(f"/containers/{WEB}/wait"), again=()),
    "wait for the removal": Verb(0.3, _post(f"/containers/{WEB}/wait", condition="removed"), again=()),
    "follow": Verb(
        0.3, lambda docker: docker.ask("GET", f"/containers/{WEB}/logs", stdout=1, follow=1), again=()
    ),
    "stats": Verb(0.5, lambda docker: docker.ask("GET", f"/containers/{WEB}/stats"), again=()),
    "events": Verb(0.3, lambda docker: docker.ask("GET", "/events"), again=()),
    "rm -f": Verb(
        0.8,
        lambda docker: docker.ask("DELETE", f"/containers/{WEB}", force=1, v=1),
        _gone(f"/containers/{WEB}/json"),
        (204, 404),
    ),
    "rename": Verb(0.2, _post(f"/containers/{IDLE}/rename", name="other"), _renamed, (204, 404)),
    "update": Verb(
        0.2,
        _post(f"/containers/{IDLE}/update", {"RestartPolicy": {"Name": "always"}}),
        lambda docker, _: docker.inspect(IDLE)["HostConfig"]["RestartPolicy"]["Name"] == "always",
    ),
    "network create": Verb(
        0.3, _post("/networks/create", {"Name": "newnet"}), _there("/networks/newnet"), (201, 409)
    ),
    "network connect": Verb(
        0.3, _post(f"/networks/{NETWORK}/connect", {"Container": IDLE}), _in_network(True), (200, 403)
    ),
    "network rm": Verb(
        0.3,
        lambda docker: docker.ask("DELETE", f"/networks/{NETWORK}"),
        _gone(f"/networks/{NETWORK}"),
        (204, 404),
    ),
    "volume create": Verb(0.3, _post("/volumes/create", {"Name": "newvol"}), _there("/volumes/newvol")),
    "volume rm": Verb(
        0.3,
        lambda docker: docker.ask("DELETE", f"/volumes/{VOLUME}"),
        _gone(f"/volumes/{VOLUME}"),
        (204, 404),
    ),
    "tag": Verb(
        0.2,
        _post(f"/images/{IMAGE}/tag", repo="localhost/tagged", tag="1"),
        _there("/images/localhost/tagged:1/json"),
    ),
    "rmi": Verb(
        0.3,
        lambda docker: docker.ask("DELETE", "/images/localhost/second:1"),
        _gone("/images/localhost/second:1/json"),
        (200, 404),
    ),
    "prune": Verb(0.5, _post("/containers/prune"), _gone(f"/containers/{IDLE}/json")),
    "image prune": Verb(0.5, _post("/images/prune", filters='{"dangling":["false"]}')),
}
