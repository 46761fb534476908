"""A container's changes, listed, written out, and made an image of; whether or not it runs."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

import busybox_image
from docker_client import DockerClient
from hyper import Hyper
from registry import Registry

BUSYBOX = busybox_image.REFERENCE
SLEEP = ("sh", "-c", "sleep 100000")


def changes(hyper: Hyper, name: str) -> list[str]:
    return hyper.out("diff", name).splitlines()


def test_of_one_that_runs_and_of_one_that_does_not(hyper: Hyper) -> None:
    hyper("run", "-d", "--name", "box", BUSYBOX, "sh", "-c", "echo 1 >> /runs; sleep 100000")
    hyper.until(lambda: hyper("exec", "box", "cat", "/runs", check=False).stdout, "its program")
    hyper("exec", "box", "sh", "-c", "rm /bin/busybox.copy 2>&-; mkdir /new; echo 1 > /new/file")
    wanted = ["A /new", "A /new/file", "A /runs"]
    assert changes(hyper, "box") == wanted
    hyper("stop", "-t", "0", "box")
    assert changes(hyper, "box") == wanted
    hyper("commit", "box", "localhost/stopped:1")
    assert hyper.inspect("box")["State"]["Status"] == "exited"
    assert hyper.out("run", "--rm", "localhost/stopped:1", "cat", "/runs") == "1"
    hyper("create", "--name", "fresh", BUSYBOX)
    assert changes(hyper, "fresh") == []


@pytest.mark.each_driver
def test_an_image_of_an_image_of_a_container(hyper: Hyper) -> None:
    reference = BUSYBOX
    for number in range(3):
        name = f"box{number}"
        hyper(
            "run",
            "--name",
            name,
            reference,
            "sh",
            "-c",
            f"cat /all 2>&-; echo {number} >> /all; rm -f /own*; > /own{number}",
        )
        reference = f"localhost/step:{number}"
        hyper("commit", "-m", f"step {number}", name, reference)
    shown = hyper.out("run", "--rm", reference, "sh", "-c", "cat /all; ls /")
    assert shown.split()[:3] == ["0", "1", "2"]
    assert [line for line in shown.split() if line.startswith("own")] == ["own2"]
    history = hyper.out("history", "--format", "{{.Comment}}", reference).split("\n")
    assert history[:3] == ["step 2", "step 1", "step 0"]


def test_those_of_a_pod_each_its_own(hyper: Hyper) -> None:
    hyper("pod", "create", "--name", "pod")
    for name in ("one", "two"):
        hyper("run", "-d", "--pod", "pod", "--name", name, BUSYBOX, *SLEEP)
        hyper("exec", name, "sh", "-c", f"echo {name} > /{name}")
    assert changes(hyper, "one") == ["A /one"]
    hyper("commit", "two", "localhost/two:1")
    assert hyper.out("run", "--rm", "localhost/two:1", "cat", "/two") == "two"
    hyper("rm", "-f", "one")
    assert changes(hyper, "two") == ["A /two"]


def test_a_paused_one_stays_so_and_one_that_runs_goes_on(hyper: Hyper) -> None:
    hyper("run", "-d", "--name", "box", BUSYBOX, *SLEEP)
    hyper("commit", "box")
    assert hyper.inspect("box")["State"]["Status"] == "running"
    hyper("pause", "box")
    hyper("commit", "box")
    assert hyper.inspect("box")["State"]["Status"] == "paused"
    hyper("unpause", "box")


def test_a_root_that_is_read_only_has_no_changes(hyper: Hyper) -> None:
    hyper("run", "-d", "--read-only", "--name", "box", BUSYBOX, *SLEEP)
    assert changes(hyper, "box") == []
    hyper("commit", "box", "localhost/same:1")
    assert hyper.out("run", "--rm", "localhost/same:1", "echo", "as it was") == "as it was"


def test_pushed_and_run_by_podman(hyper: Hyper, tmp_path: Path) -> None:
    """Whose storage is another's than Docker's: whiteouts, links, modes."""
    script = "mkdir /d; echo 1 > /d/a; ln /d/a /d/b; chmod 4711 /d/a; rm /bin/vi; mknod /d/null c 1 3; mkfifo /d/pipe"
    hyper("run", "--name", "box", BUSYBOX, "sh", "-c", script)
    with Registry() as registry:
        reference = f"{registry.address}/committed:1"
        hyper("commit", "box", reference)
        hyper("push", reference)
        copy = [
            "skopeo",
            "copy",
            "--src-tls-verify=false",
            f"docker://{reference}",
            f"dir:{tmp_path / 'image'}",
        ]
        subprocess.run(copy, check=True, capture_output=True, timeout=120)
    manifest = json.loads((tmp_path / "image/manifest.json").read_bytes())
    top = manifest["layers"][-1]["digest"].partition(":")[2]
    with tarfile.open(tmp_path / "image" / top) as layer:
        entries = {entry.name: entry for entry in layer}
    assert entries["d/b"].islnk() and entries["d/a"].mode == 0o4711 and entries["bin/.wh.vi"].size == 0
    assert entries["d/null"].ischr() and entries["d/pipe"].isfifo()


def test_all_files_go_out_as_an_archive(hyper: Hyper, tmp_path: Path) -> None:
    hyper("run", "--name", "box", "-v", "/volume", BUSYBOX, "sh", "-c", "echo 1 > /volume/in; echo 2 > /own")
    hyper("export", "-o", str(tmp_path / "box.tar"), "box")
    with tarfile.open(tmp_path / "box.tar") as archive:
        names = set(archive.getnames())
    assert {"own", "bin/busybox", "volume"} <= names
    assert not {"volume/in", "."} & names
    hyper("import", str(tmp_path / "box.tar"), "localhost/flat:1")
    assert hyper.out("run", "--rm", "localhost/flat:1", "cat", "/own") == "2"
    with tarfile.open(fileobj=io.BytesIO(hyper("export", "box").stdout)) as again:
        assert set(again.getnames()) == names


@pytest.mark.parametrize("words", [("diff", "nobody"), ("export", "nobody"), ("commit", "nobody")])
def test_of_nobody(hyper: Hyper, words: tuple[str, ...]) -> None:
    done = hyper(*words, check=False)
    assert done.returncode == 1
    assert "nobody" in done.stderr.decode()


def test_what_cannot_be_is_refused_before_anything_is_read(hyper: Hyper) -> None:
    hyper("run", "-d", "--name", "box", BUSYBOX, *SLEEP)
    for words in (("-c", "FROM other", "box"), ("box", "No Name")):
        assert hyper("commit", *words, check=False).returncode == 1
    assert hyper.inspect("box")["State"]["Status"] == "running"


def test_docker_s_clients_commit(hyper: Hyper) -> None:
    hyper("run", "--name", "box", BUSYBOX, "sh", "-c", "echo 1 > /made")
    docker = DockerClient(hyper.run_dir / "docker.sock", None)
    asked = "/commit?container=box&repo=localhost%2Fbox&tag=1&comment=hello&author=me&changes=ENV%20A%3Db"
    said = {"Labels": {"a": "b"}, "Cmd": ["cat", "/made"]}
    made = asyncio.run(docker.ask("POST", asked, said))
    image = asyncio.run(docker.ask("GET", "/images/localhost/box:1/json")).json
    assert (made.status, made.json) == (201, {"Id": image["Id"]})
    assert (image["Comment"], image["Author"]) == ("hello", "me")
    assert (image["Config"]["Labels"], image["Config"]["Env"][-1]) == ({"a": "b"}, "A=b")
    assert hyper.out("run", "--rm", "localhost/box:1") == "1"
