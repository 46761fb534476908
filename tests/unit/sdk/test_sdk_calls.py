"""Requests as hyperd must see them, and runs whose frames are scripted."""

from __future__ import annotations

import base64
import io
import json
import struct
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

import hypercontainer
from fake_hyperd import (
    CREDIT,
    STDERR,
    STDIN,
    STDOUT,
    WINDOW,
    FakeHyperd,
    Peer,
    Request,
    control,
    frame,
)
from hypercontainer import Client, ContainerSpec, InvalidArgument, Join, PodSpec, Subnet
from hypercontainer.client.http import BrokenAnswer
from hypercontainer.contract.answers import Endpoint
from hypercontainer.contract.calls import ConnectBody
from listed import FRONT, NETWORKS

CREATED = {"id": "abc", "name": "web", "warnings": []}
IMAGE = {
    "id": "sha256:1",
    "references": ["docker.io/library/x:latest"],
    "repo_digests": [],
    "created": "",
    "size_bytes": 1,
    "architecture": "amd64",
    "os": "linux",
}
ENDS = frame(STDOUT) + frame(STDERR)


def credit(channel: int, count: int) -> bytes:
    return frame(CREDIT, struct.pack(">BxxxI", channel, count))


def test_a_run_from_beginning_to_end(hyperd: FakeHyperd, client: Client) -> None:
    def script(peer: Peer) -> None:
        peer.send(control(created=CREATED) + control(started=True) + control(unheard_of=1))
        assert peer.read_input() == b"hello"
        peer.send(frame(STDOUT, b"out") + frame(STDERR, b"err") + ENDS)
        peer.send(control(timings={"vm": "warm", "stages_ms": {"vm": 1.5}}) + control(exit=3))

    hyperd.stream("/v1/run", script)
    result = client.run("x", ["cat"], input="hello", env={"A": "b"})
    assert (result.exit_status, result.stdout, result.stderr, result.ok) == (3, b"out", b"err", False)
    assert result.timings is not None and result.timings.vm == "warm"
    asked = hyperd.asked("POST", "/v1/run").json
    assert {
        name: asked[name] for name in ("image", "command", "env", "pull", "auto_remove", "stdin_once")
    } == {
        "image": "x",
        "command": ["cat"],
        "env": ["A=b"],
        "pull": "never",
        "auto_remove": True,
        "stdin_once": True,
    }


def test_a_run_that_was_cut_off_says_why(hyperd: FakeHyperd, client: Client) -> None:
    hyperd.stream(
        "/v1/run", lambda peer: peer.send(ENDS + control(failed="its VM was lost") + control(exit=137))
    )
    with pytest.raises(hypercontainer.ContainerFailed, match="x: its VM was lost"):
        client.run("x", check=True)


def test_much_output_is_acknowledged_and_input_waits_for_credit(hyperd: FakeHyperd, client: Client) -> None:
    size = 3 * WINDOW

    def script(peer: Peer) -> None:
        peer.send(control(created=CREATED) + control(started=True))
        received = sent = acknowledged = 0
        while received < size or sent < size:
            if sent < size and sent - acknowledged + 65536 <= WINDOW:
                peer.send(frame(STDOUT, bytes(65536)))
                sent += 65536
                continue
            channel, payload = peer.receive()
            if channel == CREDIT:
                of, count = struct.unpack(">BxxxI", payload)
                assert of == STDOUT
                acknowledged += count
            else:
                assert channel == STDIN
                received += len(payload)
                peer.send(credit(STDIN, len(payload)))
        peer.send(ENDS + control(exit=0))

    hyperd.stream("/v1/run", script)
    assert client.run("x", input=bytes(size)).stdout == bytes(size)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (frame(STDOUT, bytes(65536)) * 5, BrokenAnswer),
        (b"\x07" + bytes(7), BrokenAnswer),
        (b"", BrokenAnswer),
        (frame(STDOUT, b"x")[:-1], BrokenAnswer),
        (control(exit="zero"), BrokenAnswer),
        (control(detached=True), BrokenAnswer),
        (control(error={"code": "agent_protocol", "message": "m"}), hypercontainer.AgentProtocolError),
    ],
)
def test_a_stream_that_is_broken(
    hyperd: FakeHyperd, client: Client, data: bytes, error: type[Exception]
) -> None:
    # A reader that does not read: what comes is held, as far as the window goes.
    hyperd.answer("POST", "/v1/containers", CREATED, 201)
    hyperd.stream("/v1/containers/abc/attach", lambda peer: peer.send(data))
    box = client.containers.create("x")
    stream = box.attach()
    with pytest.raises(error), stream:
        threading.Event().wait(0.05)
        stream.wait()


def test_a_run_that_takes_too_long_is_removed(hyperd: FakeHyperd, client: Client) -> None:
    def script(peer: Peer) -> None:
        peer.send(control(created=CREATED) + control(started=True))
        assert peer.at_end()

    hyperd.stream("/v1/run", script)
    hyperd.answer("DELETE", "/v1/containers/abc", None, 204)
    with pytest.raises(hypercontainer.TimedOut, match=r"run x: not done after 0\.1 s"):
        client.run("x", timeout_s=0.1)
    assert hyperd.asked("DELETE", "/v1/containers/abc").target.endswith("?force=true&volumes=true")


def test_a_run_that_is_kept_is_killed(hyperd: FakeHyperd, client: Client) -> None:
    hyperd.stream("/v1/run", lambda peer: peer.send(control(created=CREATED) + frame(STDOUT, b"x" * 1000)))
    hyperd.answer("POST", "/v1/containers/abc/kill", None, 204)
    with pytest.raises(hypercontainer.TooMuchOutput) as caught:
        client.run("x", auto_remove=False, max_output_bytes=10)
    assert caught.value.stdout == b"x" * 1000
    assert hyperd.asked("POST", "/v1/containers/abc/kill").json == {"signal": "KILL"}


def test_a_missing_image_is_pulled_with_the_users_credentials(
    hyperd: FakeHyperd, client: Client, tmp_path: Path
) -> None:
    auth = base64.b64encode(b"me:secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"quay.io": {"auth": auth}}}))
    missing = {"error": {"code": "not_found", "message": "no image"}}
    hyperd.answer("POST", "/v1/containers", missing, 404)
    hyperd.answer("POST", "/v1/containers", CREATED, 201)
    hyperd.answer("GET", "/v1/images/inspect", missing, 404)
    progress = {"layer": "a", "status": "done", "current": 1, "total": 1}
    hyperd.lines("POST", "/v1/images/pull", {"message": "m"}, {"progress": progress}, {"result": IMAGE})
    seen: list[str] = []
    box = client.containers.create("quay.io/a/b", progress=lambda news: seen.append(news.layer))
    assert (box.id, box.name, repr(box), seen) == ("abc", "web", "<Container web abc>", ["a"])
    asked = hyperd.asked("POST", "/v1/images/pull").json
    assert asked["credentials"]["username"] == "me"
    assert asked["reference"] == "quay.io/a/b"


def test_a_container_that_does_not_start_is_removed(hyperd: FakeHyperd, client: Client) -> None:
    hyperd.answer("POST", "/v1/containers", CREATED, 201)
    hyperd.fail("POST", "/v1/containers/abc/start", 409, code="conflict", message="port taken")
    hyperd.answer("DELETE", "/v1/containers/abc", None, 204)
    with pytest.raises(hypercontainer.Conflict, match="port taken"):
        client.containers.start("x")
    hyperd.asked("DELETE", "/v1/containers/abc")


def test_an_upload_is_sent_whole(hyperd: FakeHyperd, client: Client, tmp_path: Path) -> None:
    hyperd.lines("POST", "/v1/images/load", {"result": {"images": [IMAGE]}})
    data = bytes(range(256)) * 4000
    path = tmp_path / "a.tar"
    path.write_bytes(data)
    for archive in (data, path, io.BytesIO(data)):
        assert client.images.load(archive)[0].id == "sha256:1"
    assert [request.body for request in hyperd.requests] == [data] * 3


def test_an_upload_whose_source_fails_says_so(hyperd: FakeHyperd, client: Client) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError("no more tape")

    with pytest.raises(OSError, match="no more tape"):
        client.images.load(Broken())


def test_an_answer_that_comes_before_the_upload_has_been_read(hyperd: FakeHyperd, client: Client) -> None:
    hyperd.serve = early(hyperd)  # type: ignore[method-assign]
    with pytest.raises(hypercontainer.ImageError, match="no tar"):
        client.images.load(bytes(50_000_000))


def early(hyperd: FakeHyperd) -> Any:
    """Answers when the head has come, and reads on for a while."""

    def serve(sock: Any) -> None:
        with sock:
            sock.settimeout(20)
            peer = Peer(sock)
            while peer.line():
                pass
            body = json.dumps({"error": {"code": "image", "message": "no tar"}}).encode()
            peer.send(b"HTTP/1.1 422 X\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            peer.sock.recv(65536)

    return serve


def test_save_writes_what_comes(hyperd: FakeHyperd, client: Client, tmp_path: Path) -> None:
    hyperd.raw("GET", "/v1/images/save", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata")
    out = io.BytesIO()
    client.images.save(["a", "b"], out)
    client.images.save("a", tmp_path / "x.tar", format="oci")
    assert (out.getvalue(), (tmp_path / "x.tar").read_bytes()) == (b"data", b"data")
    assert [request.target.partition("?")[2] for request in hyperd.requests] == [
        "ref=a&ref=b&format=docker",
        "ref=a&format=oci",
    ]


def test_an_absent_image_makes_no_file(hyperd: FakeHyperd, client: Client, tmp_path: Path) -> None:
    hyperd.fail("GET", "/v1/images/save", 404, code="not_found", message="no image")
    with pytest.raises(hypercontainer.NotFound):
        client.images.save(["a"], tmp_path / "x.tar")
    assert not (tmp_path / "x.tar").exists()


def test_files(hyperd: FakeHyperd, client: Client) -> None:
    hyperd.answer("POST", "/v1/containers", CREATED, 201)
    box = client.containers.create("x")
    files = "/v1/containers/abc/files"
    hyperd.answer("PUT", files, None, 204)
    data = bytes(range(256)) * 4000
    box.write_file("/a b", data, mode=0o4750, uid=7, gid=8)
    asked = hyperd.asked("PUT", files)
    assert asked.target.endswith("?path=%2Fa%20b&mode=4750&uid=7&gid=8")
    assert (asked.body, asked.headers["content-type"]) == (data, "application/octet-stream")
    hyperd.raw("GET", files, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndata")
    assert box.read_file("/a b") == box.read_file("/a b", max_bytes=4) == b"data"
    with pytest.raises(hypercontainer.TooMuchOutput, match="/a b in web: more than 3 bytes"):
        box.read_file("/a b", max_bytes=3)


def pod_with(hyperd: FakeHyperd, client: Client) -> hypercontainer.Pod:
    hyperd.answer("GET", "/v1/images/inspect", IMAGE | {"config": {}})
    made = {"id": "p1", "name": "duo", "containers": [CREATED], "warnings": ["w"]}
    hyperd.answer("POST", "/v1/pods", made, 201)
    spec = PodSpec(containers=(ContainerSpec("x"), ContainerSpec("y", pull="never")))
    pod = client.pods.start(spec)
    assert (pod.id, pod.name, pod.warnings) == ("p1", "duo", ("w",))
    return pod


def test_a_pod_is_made_and_started(hyperd: FakeHyperd, client: Client) -> None:
    pod_with(hyperd, client)
    asked = hyperd.asked("POST", "/v1/pods")
    assert asked.target == "/v1/pods?start=true"
    assert [one["pull"] for one in asked.json["containers"]] == ["never", "never"]
    assert len([request for request in hyperd.requests if "inspect" in request.path]) == 1


@pytest.mark.parametrize(
    ("verb", "given", "body"),
    [
        ("start", {}, None),
        ("stop", {"grace_s": 3}, {"timeout_s": 3}),
        ("restart", {}, {"timeout_s": None}),
        ("kill", {"signal": "TERM"}, {"signal": "TERM"}),
        ("pause", {}, None),
        ("unpause", {}, None),
    ],
)
def test_what_a_pod_is_told(
    hyperd: FakeHyperd, client: Client, verb: str, given: dict[str, Any], body: object
) -> None:
    hyperd.answer("POST", f"/v1/pods/p1/{verb}", None, 204)
    getattr(pod_with(hyperd, client), verb)(**given)
    assert hyperd.asked("POST", f"/v1/pods/p1/{verb}").json == body


def test_what_a_pod_answers(hyperd: FakeHyperd, client: Client) -> None:
    pod = pod_with(hyperd, client)
    hyperd.answer("GET", "/v1/pods/p1/wait", {"exit_status": 4})
    assert pod.wait() == 4
    data = base64.b64encode(b"line\n").decode()
    hyperd.lines("GET", "/v1/pods/p1/logs", {"container": "web", "channel": 2, "data": data})
    assert list(pod.logs(tail=1)) == [("web", "stderr", b"line\n")]
    port = {"host_ip": "0.0.0.0", "host_port": 5, "container_port": 80, "protocol": "tcp"}
    hyperd.answer("POST", "/v1/pods/p1/ports", {"ports": [port]})
    hyperd.answer("DELETE", "/v1/pods/p1/ports", None, 204)
    assert pod.add_ports({80: 0})[0].host_port == 5
    pod.remove_ports({80: 5})
    assert hyperd.asked("DELETE", "/v1/pods/p1/ports").json["ports"][0]["host_port"] == 5
    hyperd.answer("DELETE", "/v1/pods/p1", None, 204)
    with pod:
        pass
    assert hyperd.asked("DELETE", "/v1/pods/p1").target.endswith("?force=true")


def test_a_program_in_a_pods_vm(hyperd: FakeHyperd, client: Client) -> None:
    pod = pod_with(hyperd, client)
    hyperd.answer("POST", "/v1/pods/p1/exec", {"id": "e1"}, 201)
    hyperd.stream("/v1/execs/e1/start", lambda peer: peer.send(frame(STDOUT, b"hi") + ENDS + control(exit=0)))
    assert pod.exec(["hostname"], check=True).stdout == b"hi"


def test_a_podfile_is_read_here(hyperd: FakeHyperd, client: Client, tmp_path: Path) -> None:
    pod_with(hyperd, client)
    file = tmp_path / "web.yaml"
    file.write_text("containers: [{image: x, command: [sleep, '5']}]\n")
    client.pods.from_podfile(file, start=False)
    (_, asked) = [request for request in hyperd.requests if request.path == "/v1/pods"]
    assert asked.target == "/v1/pods?start=false"
    assert asked.json["containers"][0]["image"] == "x"


def test_manifests_and_volumes(hyperd: FakeHyperd, client: Client) -> None:
    played = {"kind": "Pod", "name": "web", "action": "created", "pods": ["web"], "warnings": []}
    hyperd.lines("POST", "/v1/manifests/play", {"result": [played]})
    hyperd.lines("POST", "/v1/manifests/down", {"result": [played | {"action": "removed"}]})
    hyperd.answer("POST", "/v1/manifests/generate", {"text": "kind: Pod\n"})
    assert client.play("text", replace=True)[0].pods == ("web",)
    asked = {"text": "text", "replace": True, "start": True, "dry_run": False, "skip_unsupported": False}
    assert hyperd.asked("POST", "/v1/manifests/play").json == asked
    assert client.down("text")[0].action == "removed"
    assert client.generate(["web"]) == "kind: Pod\n"
    volume = {"name": "a/b", "created": "", "size_bytes": 1, "used_bytes": 0}
    hyperd.answer("POST", "/v1/volumes", volume, 201)
    hyperd.answer("GET", "/v1/volumes/a%2Fb", volume)
    hyperd.answer("POST", "/v1/volumes/prune", {"removed": ["a/b"], "space_reclaimed_bytes": 7})
    client.volumes.create("a/b", size="1m", labels={"x": "y"})
    assert hyperd.asked("POST", "/v1/volumes").json == {
        "name": "a/b",
        "size_bytes": 1 << 20,
        "labels": {"x": "y"},
        "kind": None,
        "nfs": None,
    }
    assert client.volumes.inspect("a/b").name == "a/b"
    assert client.volumes.prune().space_reclaimed_bytes == 7


def test_networks(hyperd: FakeHyperd, client: Client) -> None:
    hyperd.answer("POST", "/v1/networks", NETWORKS[0], 201)
    made = client.networks.create(
        "front", subnets=["10.89.1.0/24", Subnet("fd00:89::/64", "fd00:89::1")], mtu=1400
    )
    assert (made.name, made.subnets[1].gateway, made.members[0].endpoint) == (
        "front",
        "fd00:89::1",
        msgspec.convert(FRONT, Endpoint),
    )
    asked = hyperd.asked("POST", "/v1/networks").json
    assert asked["subnets"] == [
        {"subnet": "10.89.1.0/24", "gateway": "", "ip_range": ""},
        {"subnet": "fd00:89::/64", "gateway": "fd00:89::1", "ip_range": ""},
    ]
    assert (asked["mtu"], asked["ipv6"], asked["labels"]) == (1400, False, {})
    hyperd.answer("GET", "/v1/networks", {"networks": NETWORKS})
    hyperd.answer("GET", "/v1/networks/front", NETWORKS[0])
    hyperd.answer("DELETE", "/v1/networks/front", None, 204)
    hyperd.answer("POST", "/v1/networks/prune", {"removed": ["back"]})
    assert [one.name for one in client.networks.list(filters={"label": ["a"]})] == ["front", "back"]
    assert [one.name for one in client.networks.inspect("front").members] == ["web", "shop"]
    client.networks.remove("front", force=True)
    assert hyperd.asked("DELETE", "/v1/networks/front").target.endswith("?force=true")
    assert client.networks.prune(filters={"until": ["24h"]}).removed == ("back",)
    assert hyperd.asked("POST", "/v1/networks/prune").json == {"filters": {"until": ["24h"]}}


def test_places_in_networks(hyperd: FakeHyperd, client: Client) -> None:
    for verb in ("connect", "disconnect"):
        hyperd.answer("POST", f"/v1/networks/back/{verb}", None, 204)
    client.networks.connect("back", "web", aliases=["db"], ip="10.89.0.7", priority=2)
    body = msgspec.convert(hyperd.asked("POST", "/v1/networks/back/connect").json, ConnectBody)
    assert body == ConnectBody("web", Join("back", ("db",), "10.89.0.7", priority=2))
    client.networks.disconnect("back", "web", force=True)
    assert hyperd.asked("POST", "/v1/networks/back/disconnect").json == {"ref": "web", "force": True}
    with pytest.raises(InvalidArgument, match="aliases is a list of words"):
        client.networks.connect("back", "web", aliases="db")


def test_queries(hyperd: FakeHyperd, client: Client) -> None:
    hyperd.answer("GET", "/v1/containers", {"containers": []})
    client.containers.list(all=True, filters={"label": ["a=b"]})
    (asked,) = hyperd.requests
    assert asked.target == "/v1/containers?all=true&filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D&size=false"


def test_threads_may_share_a_client(hyperd: FakeHyperd, client: Client) -> None:
    meeting = threading.Barrier(4)

    def script(peer: Peer, _request: Request) -> None:
        meeting.wait(20)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    hyperd.on("GET", "/v1/version", script)
    threads = [threading.Thread(target=client.version) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hyperd.requests) == 4


def test_closing_a_client_ends_what_waits(hyperd: FakeHyperd, client: Client) -> None:
    begun = threading.Event()
    caught: list[BaseException] = []

    def script(peer: Peer, _request: Request) -> None:
        begun.set()
        assert peer.at_end()

    def wait() -> None:
        try:
            client.version()
        except hypercontainer.Cancelled as error:
            caught.append(error)

    hyperd.on("GET", "/v1/version", script)
    waiting = threading.Thread(target=wait)
    waiting.start()
    assert begun.wait(20)
    client.close()
    waiting.join()
    assert len(caught) == 1
