"""What tests of Docker's Python client share: small archives, and a container that stays."""

from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterable, Iterator
from typing import Any

import docker as docker_py

import busybox_image
from docker_clients import Clients

BUSYBOX = "busybox:latest"
BUILDER = "localhost/builder:latest"
STAYS = ("sleep", "300")


def tar_of(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def files_of(pieces: Iterable[bytes]) -> dict[str, bytes]:
    """The files of a tar, "" for what is none."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        return {each.name: _data(tar, each) for each in tar}


def _data(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    data = tar.extractfile(entry) if entry.isfile() else None
    return data.read() if data else b""


def staying(sdk: Any, **more: Any) -> Any:
    """A container that runs until it is killed, which is at once."""
    return sdk.containers.run(BUSYBOX, list(STAYS), detach=True, init=True, **more)


def load(sdk: docker_py.DockerClient) -> None:
    sdk.images.load(busybox_image.archive([busybox_image.layer()], BUSYBOX))


@contextlib.contextmanager
def sdk_of(clients: Clients) -> Iterator[docker_py.DockerClient]:
    made = docker_py.DockerClient(base_url=clients.host, timeout=60)
    try:
        yield made
    finally:
        made.close()


def clear(clients: Clients) -> None:
    """All but the images of busybox and the builder."""
    with sdk_of(clients) as sdk:
        _clear(sdk)


def _clear(sdk: docker_py.DockerClient) -> None:
    for container in sdk.api.containers(all=True):
        sdk.api.remove_container(container["Id"], force=True, v=True)
    for network in sdk.api.networks(filters={"type": "custom"}):
        sdk.api.remove_network(network["Id"])
    for volume in sdk.api.volumes()["Volumes"] or ():
        sdk.api.remove_volume(volume["Name"], force=True)
    sdk.api.prune_images()
    for image in sdk.api.images():
        names = [*(image["RepoTags"] or ()), *(image["RepoDigests"] or ())]
        for name in names or [image["Id"]]:
            if name not in (BUSYBOX, BUILDER):
                with contextlib.suppress(docker_py.errors.ImageNotFound):
                    sdk.api.remove_image(name, force=True)
    if not sdk.api.images(BUSYBOX):
        load(sdk)
