"""The OpenAPI document that hyperd serves, run against that hyperd: whatever is asked, it does not fail.

One call is left out: shutdown, after which there would be nobody to ask.  Calls that go on as frames are made as plain
requests, which is all that OpenAPI knows.  No network: a registry is never reached.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests

import api_schema
import busybox_image
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from hypercontainer.surfaces.hyper.openapi import document
from soak import rounds

DOCUMENT = json.loads(json.dumps(document()))
LEFT_OUT = "system_shutdown"
SEED = 20260101
RIGHT, WRONG = rounds(short=2, soak=40), rounds(short=1, soak=20)  # requests, for each call
NAME, POD, VOLUME, NETWORK = "box", "crate", "barrel", "rope"
POLICY = "hoop"
NO_BUILD = "0" * 64  # a build is there as long as its connection, which no plain request has
SPEC = {
    "image": busybox_image.REFERENCE,
    "pull": "never",
    "command": ["sleep", "1000"],
    "stop_signal": "KILL",  # or stopping it would take as long as a request says, which may be for ever
}
MANIFEST = {
    "refs": [POD],
    "text": f"""
apiVersion: v1
kind: Pod
metadata: {{name: played}}
spec:
  containers:
  - name: main
    image: {busybox_image.REFERENCE}
    imagePullPolicy: Never
    command: [sleep, "1000"]
  terminationGracePeriodSeconds: 0
""",
}
# A registry that does not answer is no failure of hyperd's, but it is told as 502; nothing answers here.
NOWHERE = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": ""}
REGISTRY_CALLS = {"images_pull", "images_push", "images_authenticate"}


def order(name: str) -> int:
    """What makes things comes first, what removes them last."""
    return {"create": 0, "remove": 2, "prune": 3, "down": 3}.get(name.rpartition("_")[2], 1)


OPERATIONS = api_schema.operations(DOCUMENT)
NAMES = sorted((name for name in OPERATIONS if name != LEFT_OUT), key=order)


CRON_JOB_NAME = "nightly"
CRON_JOB = f"""\
apiVersion: batch/v1
kind: CronJob
metadata: {{name: {CRON_JOB_NAME}}}
spec:
  schedule: "@yearly"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{{name: a, image: {busybox_image.REFERENCE}, imagePullPolicy: Never, command: ["true"]}}]
"""


class Relay:
    """A port of this host in front of a unix socket; schemathesis knows only the former."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._server: asyncio.Server

    async def _carry(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with contextlib.closing(back), contextlib.suppress(OSError):
            reader, writer = await asyncio.open_unix_connection(self._path)
            with contextlib.closing(writer):
                ways = [
                    asyncio.ensure_future(_copy(client, writer)),
                    asyncio.ensure_future(_copy(reader, back)),
                ]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)

    def __enter__(self) -> str:
        self._thread.start()
        starting = asyncio.start_server(self._carry, "127.0.0.1", 0, family=socket.AF_INET)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@pytest.fixture(scope="module")
def daemon() -> Iterator[Hyper]:
    with hyper_context(NO_POOL, **NOWHERE) as made:
        load(made)
        yield made


def load(daemon: Hyper) -> None:
    daemon("load", stdin=busybox_image.archive([busybox_image.layer()]))


@pytest.fixture(scope="module")
def address(daemon: Hyper) -> Iterator[str]:
    with Relay(str(daemon.run_dir / "hyper.sock")) as where:
        yield where


class World:
    """What requests may name: a container and a pod that run, a prepared process, a volume, a network, a CronJob.  Made
    again where the requests before have ended, renamed or removed them."""

    def __init__(self, daemon: Hyper, address: str) -> None:
        self._address = address
        self._count = itertools.count()
        self._host_file = str(daemon.base / "shared")
        image = requests.get(f"{address}/v1/images/inspect", {"ref": busybox_image.REFERENCE}, timeout=60)
        if image.status_code == 404:
            load(daemon)
        self.post(f"/v1/containers/{NAME}/unpause")
        started = self.post(f"/v1/containers/{NAME}/start")
        if started.status_code == 404:
            self.post("/v1/containers", {**SPEC, "name": NAME})
            started = self.post(f"/v1/containers/{NAME}/start")
        assert started.status_code == 204, started.text
        made = self.post(f"/v1/containers/{NAME}/exec", {"command": ["true"]})
        pod = {"name": POD, "containers": [SPEC]}
        assert self.post("/v1/pods", pod).status_code in (201, 409)
        self.post(f"/v1/pods/{POD}/unpause")
        assert self.post(f"/v1/pods/{POD}/start").status_code == 204
        assert self.post("/v1/volumes", {"name": VOLUME}).status_code in (201, 409)
        assert self.post("/v1/networks", {"name": NETWORK}).status_code in (201, 409)
        assert self.post("/v1/policies", {"name": POLICY, "policy": {"egress": []}}).status_code in (201, 409)
        daemon("play", "-", stdin=CRON_JOB.encode())
        self._names = {
            "builds": NO_BUILD,
            "containers": NAME,
            "cronjobs": CRON_JOB_NAME,
            "execs": made.json()["id"],
            "networks": NETWORK,
            "policies": POLICY,
            "pods": POD,
            "volumes": VOLUME,
        }
        self._made = {kind: itertools.cycle(self._all(kind)) for kind in ("containers", "pods")}

    def _all(self, kind: str) -> list[str]:
        answer = requests.get(
            f"{self._address}/v1/{kind}?{'all=1' if kind == 'containers' else ''}", timeout=60
        )
        return [line["id"] for line in answer.json()[kind]]

    def post(self, path: str, body: Any = None) -> requests.Response:
        return requests.post(self._address + path, json=body, timeout=60)

    def change(self, case: Any) -> None:
        """Every second request names what there is, so that not all end at a name that there is not."""
        here = next(self._count) % 2 == 0
        kind = case.operation.path.split("/")[2]
        if here and "id" in case.path_parameters:
            case.path_parameters["id"] = self._names[kind]
        if case.operation.path in ("/v1/containers/{id}/start", "/v1/pods/{id}/start"):
            case.path_parameters["id"] = next(self._made[kind])  # whatever came of the requests to create one
        if here and "ref" in case.query:
            case.query["ref"] = busybox_image.REFERENCE
        if here and kind == "networks" and isinstance(case.body, dict) and "ref" in case.body:
            case.body["ref"] = NAME
        if here and kind == "manifests" and isinstance(case.body, dict):
            case.body |= {key: value for key, value in MANIFEST.items() if key in case.body}
        if case.operation.path == "/v1/events":
            case.query.setdefault("until", "0s")  # or it would have no end
        for spec in _specs(case.body):
            spec |= {"image": busybox_image.REFERENCE, "pull": "never"}
        for source in _sources(case.body):
            source["path"] = (
                self._host_file
            )  # none of the machine's own files, whatever comes to schemathesis' mind


def _sources(value: Any) -> Iterator[dict[str, Any]]:
    """Of volumes that are files of the host."""
    if isinstance(value, dict):
        if value.get("kind") in ("host", "disk"):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from _sources(inner)


def _specs(body: Any) -> list[dict[str, Any]]:
    """Of containers, in the body of a call that creates some."""
    if not isinstance(body, dict):
        return []
    inside = body.get("containers")
    found = [body] if "image" in body else inside if isinstance(inside, list) else []
    return [spec for spec in found if isinstance(spec, dict) and "image" in spec]


def test_what_is_served_is_what_is_tested(daemon: Hyper, address: str) -> None:
    assert requests.get(f"{address}/v1/openapi.json", timeout=30).json() == DOCUMENT


@pytest.mark.parametrize("name", NAMES)
def test_hyperd_does_not_fail(name: str, daemon: Hyper, address: str) -> None:
    before = len(daemon.log())
    api_schema.examine(
        OPERATIONS[name],
        address,
        right=RIGHT,
        wrong=WRONG,
        seed=SEED,
        change=World(daemon, address).change,
        may={502} if name in REGISTRY_CALLS else set(),
    )
    said = daemon.log()[before:]
    assert "internal error" not in said
    assert "Traceback" not in said
