"""VMs of other architectures than this machine's, which QEMU emulates: the same commands, the same guest."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import busybox_image
import other_machines
from free_port import free_port
from hyper import NO_POOL, Hyper
from hyper import hyper as hyper_context
from pools import ready, started_as
from reach import http_get

TIMEOUT_S = 300
POOL_OF_1 = "[factory]\ncache = 1\n"
MACHINES = {"arm64": "aarch64", "riscv64": "riscv64", "ppc64le": "ppc64le", "s390x": "s390x"}
SOAKS = pytest.mark.skipif("HYPER_SOAK" not in os.environ, reason="boots and clones many machines: minutes")
SOAKED = [pytest.param(each, marks=SOAKS) for each in MACHINES if each != "arm64"]


@pytest.fixture(scope="module")
def engine() -> Iterator[Hyper]:
    """A hyperd with busybox for this machine and for others."""
    with hyper_context(NO_POOL) as made:
        made("load", stdin=busybox_image.archive([busybox_image.layer()]))
        for architecture in MACHINES:
            made("load", stdin=other_machines.busybox(architecture))
        yield made
        made.remove_all()


@pytest.mark.parametrize("architecture", [each for each in MACHINES if each != "arm64"])
def test_an_image_for_another_machine_runs_in_a_vm_of_its_architecture(
    engine: Hyper, architecture: str
) -> None:
    """With no word of it but the image's, and a note; its calls are judged by its own architecture's filter."""
    script = "uname -m; grep Seccomp: /proc/self/status; unshare -m true; echo $?; exit 3"
    image = other_machines.reference(architecture)
    done = engine("run", "--rm", image, "sh", "-c", script, check=False, timeout_s=TIMEOUT_S)
    lines = done.stdout.decode().splitlines()
    assert (done.returncode, lines[0], lines[1].split()[1], lines[-1]) == (
        *(3, architecture),
        *("2", "1"),
    )
    assert (
        f"image {image} is for linux/{architecture}: it runs in a VM for {architecture}"
        in done.stderr.decode()
    )


@pytest.mark.parametrize("architecture", ["arm64", *SOAKED])
def test_a_container_of_another_machine_does_what_any_does(engine: Hyper, architecture: str) -> None:
    """Ports, volumes, exec, logs, cp; and another hyperd finds it again, beside one of this machine's."""
    port, image, uname = free_port(), other_machines.reference(architecture), MACHINES[architecture]
    serve = "mkdir /www; uname -m > /www/index.html; echo up; echo kept > /data/file; exec httpd -f -h /www"
    words = (
        "-d",
        "--name",
        "there",
        "--platform",
        f"linux/{architecture}",
        "-v",
        "data:/data",
        "-p",
        f"{port}:80",
    )
    done = engine("run", *words, image, "sh", "-c", serve, timeout_s=TIMEOUT_S)
    assert b"WARNING" not in done.stderr, "it was asked for"
    engine("run", "-d", "--name", "here", busybox_image.REFERENCE, "sleep", "1000")
    assert engine.out("exec", "there", "uname", "-m") == uname
    assert engine.out("exec", "here", "uname", "-m") == "x86_64"
    assert http_get(f"127.0.0.1:{port}") == (200, f"{uname}\n".encode())
    engine("system", "stop")  # which leaves what runs to the next hyperd
    assert engine.out("exec", "there", "cat", "/data/file") == "kept"
    assert engine.out("logs", "there") == "up"
    assert b"kept" in engine("cp", "there:/data/file", "-").stdout
    engine("rm", "-f", "there", "here")
    engine("volume", "rm", "data")


def test_a_pod_is_of_one_architecture(engine: Hyper) -> None:
    engine("pod", "create", "one")
    words = ("create", "--pod", "one")
    engine(*words, other_machines.reference("arm64"), "true")
    engine(*words, other_machines.reference("arm64"), "true")
    done = engine(*words, busybox_image.REFERENCE, "true", check=False)
    assert done.returncode != 0
    assert "pod one is one VM, for arm64" in done.stderr.decode()
    engine("pod", "rm", "-f", "one")


def test_what_other_machines_there_are(engine: Hyper) -> None:
    assert {"amd64", *MACHINES} <= set(engine.json("info", "--format", "json")["Architectures"])
    found = engine.out("kernel", "ls", "--format", "{{.Architecture}} {{.Default}}").splitlines()
    assert {f"{architecture} yes" for architecture in MACHINES} <= set(found)


@SOAKS
@pytest.mark.parametrize("architecture", [each for each in MACHINES if each != "ppc64le"])
def test_another_machine_is_cloned_too(architecture: str) -> None:
    with hyper_context(POOL_OF_1) as made:
        made("load", stdin=other_machines.busybox(architecture))
        for name in ("first", "second"):
            words = ("run", "--name", name, other_machines.reference(architecture), "uname", "-m")
            assert made.out(*words, timeout_s=TIMEOUT_S) == MACHINES[architecture]
            made.until(lambda: ready(made) or None, "a clone that stands ready", deadline_s=TIMEOUT_S)
        assert started_as(made, "second") == "warm"
        made.remove_all()
