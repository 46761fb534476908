"""What the builder is told: each field in its own word, and nothing of it read as something else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from hypercontainer.config import Config
from hypercontainer.config.model import Build, Registries
from hypercontainer.contract.builds import BuildSecret, BuildSpec
from hypercontainer.engine.build import command

PLACE = Path("/nowhere")
PLAIN = Config(PLACE, PLACE, PLACE, PLACE)


def test_the_least() -> None:
    assert command.argv(BuildSpec(dockerfile="FROM scratch"), "ID") == (
        *("sh", "-c", command.BUILDX, "buildx", "build", "--progress=plain"),
        "--metadata-file=/var/lib/hyper-build/ID/facts.json",
        "--output=type=image,name=hyper.build/ID:latest,push=false,unpack=false",
        "--network=host",
        "--file=/var/lib/hyper-build/ID/file/Dockerfile",
        *("--", "/var/lib/hyper-build/ID/context"),
    )


EVERYTHING = BuildSpec(
    remote="https://example.com/x.git#main",
    dockerfile_path="docker/Dockerfile",
    target="t",
    args={"A": "b=c,d"},
    labels={"l": ""},
    platform="linux/arm64",
    no_cache=True,
    no_cache_filter=("s",),
    pull=True,
    network="none",
    extra_hosts=("h:1.2.3.4",),
    shm_size_bytes=5,
    ulimits=("nofile=1:2",),
    secrets=(BuildSecret('a,"b', b"x"),),
    ssh=("default", "other"),
    ssh_keys=(BuildSecret("key", b"k"),),
    output="oci",
    progress="tty",
)
EVERYTHING_SAID = (
    "--progress=tty",
    "--output=type=oci,dest=/var/lib/hyper-build/ID/result",
    "--network=none",
    "--file=docker/Dockerfile",
    "--no-cache",
    "--pull",
    "--target=t",
    "--platform=linux/arm64",
    "--shm-size=5",
    "--build-arg=A=b=c,d",
    "--label=l=",
    "--no-cache-filter=s",
    "--add-host=h:1.2.3.4",
    "--ulimit=nofile=1:2",
    '--secret="id=a,""b",src=/run/hyper-build/ID/secret0',
    "--ssh=default=/run/hyper-build/ID/agent0",
    "--ssh=other=/run/hyper-build/ID/agent1",
    "--ssh=key=/run/hyper-build/ID/key0",
)


def test_everything() -> None:
    said = command.argv(EVERYTHING, "ID")
    assert said[-2:] == ("--", "https://example.com/x.git#main")
    for word in EVERYTHING_SAID:
        assert word in said, word


def test_the_builder() -> None:
    config = replace(
        PLAIN,
        build=Build(image="own", memory_bytes=1 << 30, cache_size_bytes=10),
        registries=Registries(mirrors={"docker.io": ("https://m",)}, insecure=("r:5000",)),
    )
    spec = command.container(config)
    assert (spec.image, spec.privileged, spec.memory_bytes) == ("own", True, 1 << 30)
    told = json.loads(spec.files[0].content)
    assert told["registry-mirrors"] == ["https://m"] and told["insecure-registries"] == ["r:5000"]
    assert told["builder"]["gc"]["defaultKeepStorage"] == "5B"
    assert "insecure-registries" not in json.loads(command.daemon_json(PLAIN))


@pytest.mark.parametrize(
    "wrong",
    [
        {"dockerfile_name": "../x"},
        {"dockerfile_name": ".."},
        {"remote": "/etc"},
        {"remote": "file:///etc"},
        {"output": "local"},
        {"secrets": [{"id": "", "content": ""}]},
        {"progress": "loud"},
        {"unknown": 1},
    ],
)
def test_what_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, BuildSpec)
