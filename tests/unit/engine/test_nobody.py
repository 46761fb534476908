"""Who comes by TLS and is no administrator has nothing of this machine's files."""

from __future__ import annotations

from pathlib import Path

import pytest

from fake_world import IMAGE, World
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.contract.volumes import DiskImage, HostPath, NetworkDisk, Source, Volume, VolumeMount
from hypercontainer.engine.interface import NOBODY
from hypercontainer.errors import InvalidArgument
from stories import Tell

SOURCES: tuple[Source, ...] = (
    HostPath("/etc"),
    DiskImage("/etc/hostname", "raw"),
    NetworkDisk("nbd+unix:///x?socket=/run/x"),
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: type(source).__name__)
def test_no_file_of_the_host_is_theirs(tell: Tell, source: Source) -> None:
    """Also of those that everybody may read."""

    async def story(w: World) -> None:
        volumes, mounts = (Volume("it", source),), (VolumeMount("it", "/it"),)
        spec = ContainerSpec(image=IMAGE, command=("true",), volumes=volumes, mounts=mounts)
        with pytest.raises(InvalidArgument, match="who asks is none"):
            await w.engine.containers.create(spec, asked_by=NOBODY)

    tell(story)


def test_no_kernel_of_theirs_is_booted(tell: Tell, tmp_path: Path) -> None:
    kernel = tmp_path / "vmlinux"
    kernel.write_bytes(b"kernel")
    kernel.chmod(0o644)

    async def story(w: World) -> None:
        member = ContainerSpec(image=IMAGE, command=("true",))
        with pytest.raises(InvalidArgument, match=r"kernel: .*who asks is none"):
            await w.engine.pods.create(PodSpec(kernel=str(kernel), containers=(member,)), asked_by=NOBODY)

    tell(story)


def test_the_docker_socket_is_not_theirs(tell: Tell) -> None:
    async def story(w: World) -> None:
        spec = ContainerSpec(image=IMAGE, command=("true",), api_socket="/run/docker.sock")
        with pytest.raises(InvalidArgument, match="api_socket"):
            await w.engine.containers.create(spec, asked_by=NOBODY)

    tell(story)
