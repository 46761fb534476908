"""Containers in real guests, looked at through Docker's API by Docker's own library for Python."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
import time
from collections.abc import Iterator
from typing import Any

import docker
import docker.errors
import pytest

import busybox_image
from hyper import Hyper

BUSYBOX = busybox_image.REFERENCE
SPEAKS = "echo out; echo err >&2; echo more; exec sleep 1000"


@pytest.fixture
def api(hyper: Hyper) -> Iterator[Any]:
    hyper("version")
    with contextlib.closing(docker.APIClient(base_url=f"unix://{hyper.run_dir}/docker.sock")) as made:
        yield made


def tar(**files: bytes) -> bytes:
    with io.BytesIO() as made:
        with tarfile.open(fileobj=made, mode="w") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return made.getvalue()


def contents(pieces: Any) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as archive:
        return {each.name: archive.extractfile(each).read() for each in archive if each.isreg()}  # type: ignore[union-attr]


def test_what_runs(hyper: Hyper, api: Any) -> None:
    hyper("run", "-d", "--name", "web", "--label", "a=b", "--memory", "128m", BUSYBOX, "sh", "-c", SPEAKS)
    hyper.wait_for_log("web", b"more")
    # docker-py's own `logs` asks for the container's inspection first.
    said = api._get(api._url("/containers/{0}/logs", "web"), params={"stdout": 1, "tail": "all"})
    assert b"".join(api._multiplexed_buffer_helper(said)) == b"out\nmore\n"

    top = api.top("web", ps_args="-o pid,user,comm,args")
    assert top == {
        "Titles": ["PID", "USER", "COMMAND", "COMMAND"],
        "Processes": [["1", "root", "sleep", "sleep 1000"]],
    }
    [row] = api.top("web")["Processes"]
    assert row[:3] == ["root", "1", "0"] and row[-1] == "sleep 1000"

    now = api.stats("web", stream=False)
    spent = now["cpu_stats"]["system_cpu_usage"] - now["precpu_stats"]["system_cpu_usage"]
    assert 5 * 10**8 < spent / now["cpu_stats"]["online_cpus"] < 60 * 10**9
    assert now["cpu_stats"]["cpu_usage"]["total_usage"] >= now["precpu_stats"]["cpu_usage"]["total_usage"] > 0
    assert 0 < now["memory_stats"]["usage"] < now["memory_stats"]["limit"] == 128 << 20
    assert now["memory_stats"]["stats"]["anon"] > 0
    assert set(now["networks"]) == {"eth0"} and "rx_dropped" in now["networks"]["eth0"]
    assert sum(each["value"] for each in now["blkio_stats"]["io_service_bytes_recursive"]) > 0
    assert now["pids_stats"]["current"] == 1 and now["name"] == "/web"

    [line] = api.containers(filters={"label": ["a=b"]}, size=True)
    assert line["State"] == "running" and line["SizeRootFs"] > line["SizeRw"] > 0
    hyper("kill", "web")
    [line] = api.containers(limit=1)
    assert line["State"] == "exited" and line["Status"].startswith("Exited (137)")
    assert api.stats("web", stream=False, one_shot=True)["memory_stats"] == {}


@pytest.mark.parametrize("runs", [True, False])
def test_files(hyper: Hyper, api: Any, runs: bool) -> None:
    verb = ("run", "-d") if runs else ("create",)
    hyper(*verb, "--name", "web", BUSYBOX, "sleep", "1000")
    assert api.put_archive("web", "/tmp", gzip.compress(tar(given=b"data")))
    archive, facts = api.get_archive("web", "/tmp/given")
    assert contents(archive) == {"given": b"data"}
    assert (facts["name"], facts["size"], facts["linkTarget"]) == ("given", 4, "")
    archive, facts = api.get_archive("web", "/tmp/.")
    assert contents(archive) == {"./given": b"data"}
    assert facts["mode"] >> 31 == 1
    assert {"Path": "/tmp/given", "Kind": 1} in api.diff("web")
    assert contents(api.export("web"))["tmp/given"] == b"data"
    with pytest.raises(docker.errors.NotFound):
        api.get_archive("web", "/nowhere")
    with pytest.raises(docker.errors.NotFound):
        api.put_archive("web", "/nowhere", tar(given=b""))
    with pytest.raises(docker.errors.APIError, match="not a directory") as refused:
        api.put_archive("web", "/tmp/given", tar(given=b""))
    assert refused.value.status_code == 400


def test_nothing_is_written_where_nothing_may_be(hyper: Hyper, api: Any) -> None:
    hyper("run", "-d", "--name", "web", "--read-only", BUSYBOX, "sleep", "1000")
    with pytest.raises(docker.errors.APIError) as refused:
        api.put_archive("web", "/tmp", tar(given=b""))
    assert refused.value.status_code == 403


def test_what_happens(hyper: Hyper, api: Any) -> None:
    begun = int(time.time())
    following = api.events(since=begun, decode=True, filters={"container": "heard"})
    hyper("run", "--rm", "--name", "heard", "-v", "/data", BUSYBOX, "true")
    seen: list[str] = []
    for event in following:
        identifier = event["Actor"]["ID"]
        assert event["id"] == event["Actor"]["ID"] if "id" in event else True
        seen.append(event["Action"])
        if event["Action"] == "destroy":
            break
    following.close()
    assert seen == ["create", "attach", "start", "die", "destroy"]
    told = [*api.events(since=begun, until=int(time.time()) + 1, decode=True, filters={"type": "network"})]
    # In the same second the test before may have had some.
    own = [each["Action"] for each in told if each["Actor"]["Attributes"].get("container") == identifier]
    assert own == ["connect", "disconnect"]
