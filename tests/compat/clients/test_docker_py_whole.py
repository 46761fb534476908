"""docker-py's public methods are all asked for somewhere in these tests, or named here with the reason."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from docker import DockerClient
from docker.api.build import BuildApiMixin
from docker.api.container import ContainerApiMixin
from docker.api.daemon import DaemonApiMixin
from docker.api.exec_api import ExecApiMixin
from docker.api.image import ImageApiMixin
from docker.api.network import NetworkApiMixin
from docker.api.volume import VolumeApiMixin
from docker.models import containers, images, networks, volumes

import docker_sdk

CLASSES = (
    *(containers.ContainerCollection, containers.Container, images.ImageCollection, images.Image),
    *(images.RegistryData, networks.NetworkCollection, networks.Network, volumes.VolumeCollection),
    *(volumes.Volume, DockerClient, BuildApiMixin, ContainerApiMixin, DaemonApiMixin, ExecApiMixin),
    *(ImageApiMixin, NetworkApiMixin, VolumeApiMixin),
)
# What the collections and objects call themselves, under other names.
BELOW = (
    "connect_container_to_network create_network disconnect_container_from_network inspect_network prune_networks "
    "prune_images prune_containers prune_volumes create_volume inspect_volume load_image update_container "
    "inspect_distribution"
)
OTHERWISE = {
    "model": "no method: the class of what a collection has",
    "id_attribute": "no method: a name",
    "prepare_model": "asks nobody",
    "configs": "of swarm",
    "nodes": "of swarm",
    "secrets": "of swarm",
    "services": "of swarm",
    "swarm": "of swarm",
    "plugins": "there are none: docs/docker-compat.md",
    "from_context": "reads a file, and then as from_env",
    "import_image_from_url": "hyperd fetches nothing by a URL that a client names",
    "import_image_from_image": "dockerd too takes no image there",
}


def test_every_method_is_asked_for() -> None:
    files = (*Path(__file__).parent.glob("test_docker_py_[bcis]*.py"), Path(docker_sdk.__file__))
    asked = set(re.findall(r"\.(\w+)\b", "".join(path.read_text() for path in files)))
    public = {name for each in CLASSES for name, _ in inspect.getmembers(each) if not name.startswith("_")}
    assert sorted(public - asked - {*OTHERWISE, *BELOW.split()}) == []
