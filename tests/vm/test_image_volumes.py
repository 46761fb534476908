"""Images and artifacts as volumes of real guests: read-only, shared, and kept for as long as somebody has them."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

import artifacts
import busybox_image
from audit import kill_process
from hyper import Hyper
from registry import Registry

BUSYBOX = busybox_image.REFERENCE
SITE = "localhost/site:1"


def site(hyper: Hyper) -> None:
    """An image without a program."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in (("www/index.html", b"<p>"), ("www/deep/x", b"deep"), ("top", b"top")):
            info = tarfile.TarInfo(name)
            info.size, info.mode, info.uid = len(content), 0o640, 33
            tar.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("out")
        link.type, link.linkname = tarfile.SYMTYPE, "../../etc"
        tar.addfile(link)
    hyper("import", "-", SITE, stdin=out.getvalue())


@pytest.mark.each_driver
def test_an_image_is_a_volume(hyper: Hyper) -> None:
    site(hyper)
    mount = f"type=image,source={SITE},target"
    look = "cat /s/top /w/x; stat -c '%a %u' /s/top; touch /s/new || umount /s || echo sealed"
    out = hyper("run", "--mount", f"{mount}=/s", "--mount", f"{mount}=/w,image-subpath=www/deep", "--name", "c",
                BUSYBOX, "sh", "-c", look)  # fmt: skip
    assert out.stdout == b"topdeep640 33\nsealed\n"
    assert b"Read-only file system" in out.stderr
    (found,) = (each for each in hyper.inspect("c")["Mounts"] if each["Destination"] == "/s")
    identifier = hyper.json("image", "inspect", SITE)[0]["Id"]
    assert found == {"Type": "image", "Name": SITE, "Source": identifier, "Destination": "/s", "Mode": "",
                     "RW": False, "Propagation": ""}  # fmt: skip
    # A file of it, and one image beside itself.
    one = ("--mount", f"{mount}=/f,image-subpath=top", "--mount", f"type=image,source={BUSYBOX},target=/b")
    assert (
        hyper.out("run", "--rm", *one, BUSYBOX, "sh", "-c", "cat /f && cmp /bin/busybox /b/bin/busybox")
        == "top"
    )
    for path, says in (
        ("www/none", b"no 'www/none' in it"),
        ("top/x", b"in it"),
        ("out", b"out: no such file"),
    ):
        refused = hyper("run", "--rm", "--mount", f"{mount}=/s,image-subpath={path}", BUSYBOX, check=False)
        assert refused.returncode == 125
        assert says in refused.stderr, refused.stderr


def test_what_a_pod_has_stays(hyper: Hyper) -> None:
    """Whatever is removed and pruned, and over a restart of hyperd; in a pod that runs it comes and goes."""
    site(hyper)
    hyper("pod", "create", "--name", "p")
    hyper("run", "-d", "--pod", "p", "--name", "a", BUSYBOX, "sleep", "1000")
    mount = ("--mount", f"type=image,source={SITE},target=/s")
    hyper("run", "-d", "--pod", "p", "--name", "b", *mount, BUSYBOX, "sleep", "1000")
    hyper("create", "--name", "alone", *mount, BUSYBOX, "cat", "/s/top")
    identifier = hyper.json("image", "inspect", SITE)[0]["Id"]
    refused = hyper("rmi", SITE, check=False)
    assert b"used by container b, alone" in refused.stderr
    hyper("rmi", "-f", SITE)  # its names alone
    kill_process(hyper.daemon_pid())
    hyper("image", "prune", "-a", "-f")
    assert hyper.out("exec", "b", "cat", "/s/www/index.html") == "<p>"
    assert hyper.out("start", "-a", "alone") == "top"
    hyper("rm", "-f", "b", "alone")
    hyper("image", "prune", "-a", "-f")
    assert identifier not in hyper.out("images", "-q", "--no-trunc")
    hyper("run", "-d", "--pod", "p", "--name", "d", BUSYBOX, "sleep", "1000")  # the VM goes on
    hyper("pod", "rm", "-f", "p")


def test_artifacts(hyper: Hyper, tmp_path: Path) -> None:
    card, model = b"# card\n", bytes(range(256)) * 5000
    raw = artifacts.manifest(artifacts.file(card, "README.md"), artifacts.file(model, "model.bin"))
    with Registry() as registry:
        reference = f"{registry.address}/models/small:1"
        artifacts.push(tmp_path, reference, artifacts.layout(raw, card, model))
        refused = hyper("run", "--rm", reference, check=False)
        assert b"is no container image but an artifact, application/vnd.test.model" in refused.stderr
        look = "cat /m/README.md; sha256sum /m/model.bin; ls /m"
        out = hyper.out("run", "--rm", "--mount", f"type=image,source={reference},target=/m", BUSYBOX,
                        "sh", "-c", look)  # fmt: skip
    shown = ["#", "card", artifacts.digest_of(model)[7:], "/m/model.bin", "README.md", "model.bin"]
    assert out.split() == shown
    assert "application/vnd.test.model" in hyper.out("images")
    assert hyper.json("image", "inspect", reference)[0]["ArtifactType"] == "application/vnd.test.model"
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "k"},
        "spec": {
            "restartPolicy": "Never",
            "volumes": [{"name": "m", "image": {"reference": reference, "pullPolicy": "IfNotPresent"}}],
            "containers": [
                {
                    "name": "c",
                    "image": BUSYBOX,
                    "imagePullPolicy": "Never",
                    "command": ["cat", "/m"],
                    "volumeMounts": [{"name": "m", "mountPath": "/m", "subPath": "README.md"}],
                }
            ],
        },
    }
    hyper("play", "-", stdin=json.dumps(manifest).encode())
    hyper("wait", "k-c")
    assert hyper.out("logs", "k-c") == "# card"
    assert f"reference: {reference}" in hyper.out("generate", "kube", "k")
    hyper("pod", "rm", "-f", "k")
    hyper("rmi", reference)
    assert reference.rpartition(":")[0] not in hyper.out("images")
