"""docker-py's images: each public method of the collection, of an image and of what a registry has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from docker_clients import Clients
from docker_sdk import BUSYBOX, files_of, tar_of
from registry import Registry

Sdk = Any


@pytest.fixture
def registry() -> Iterator[str]:
    with Registry() as made:
        yield made.address


@pytest.fixture
def hyperd(daemons: Callable[[str], Clients]) -> Iterator[Sdk]:
    """For what talks to a registry on loopback, where dockerd has a loopback of its own."""
    made = docker.DockerClient(base_url=daemons("hyperd").host, timeout=60)
    yield made
    made.close()


def test_list_and_get(sdk: Sdk) -> None:
    (listed,) = sdk.images.list()
    assert listed.tags == [BUSYBOX]
    assert listed.id.startswith("sha256:")
    assert listed.short_id == listed.id[:19]
    for name in (BUSYBOX, "busybox", listed.id, listed.id[7:19]):
        assert sdk.images.get(name).id == listed.id
    with pytest.raises(docker.errors.ImageNotFound):
        sdk.images.get("none")
    assert sdk.images.list(name="none") == []
    assert sdk.images.list(name="busybox")[0].id == listed.id
    assert sdk.images.list(filters={"dangling": True}) == []
    assert sdk.images.list(filters={"reference": "busy*"})[0].id == listed.id
    assert sdk.images.list(all=True)[0].attrs["Os"] == "linux"
    assert sdk.api.images(quiet=True) == [listed.id]


def test_what_an_image_says(sdk: Sdk) -> None:
    image = sdk.images.get(BUSYBOX)
    assert image.labels == {}
    (line,) = image.history()
    assert line["CreatedBy"] == "busybox-static"
    assert line["Id"] == image.id
    assert image.attrs["Config"]["Cmd"] == ["sh"]
    assert image.attrs["RootFS"]["Type"] == "layers"
    image.reload()
    assert image.tags == [BUSYBOX]


def test_tag_and_remove(sdk: Sdk) -> None:
    image = sdk.images.get(BUSYBOX)
    assert image.tag("other/name", "1") is True
    assert sdk.api.tag(BUSYBOX, "other/name", "2") is True
    image.reload()
    assert sorted(image.tags) == ["busybox:latest", "other/name:1", "other/name:2"]
    with pytest.raises(docker.errors.APIError) as refused:
        image.remove()
    assert refused.value.response.status_code == 409
    sdk.images.remove("other/name:1")
    sdk.api.remove_image("other/name:2")
    with pytest.raises(docker.errors.ImageNotFound):
        sdk.images.get("other/name:1")
    assert sdk.images.get(BUSYBOX).id == image.id


def test_remove_of_what_is_used_is_a_conflict(sdk: Sdk) -> None:
    sdk.containers.create(BUSYBOX, ["true"])
    with pytest.raises(docker.errors.APIError) as refused:
        sdk.images.remove(BUSYBOX)
    assert refused.value.response.status_code == 409


def test_save_and_load(sdk: Sdk) -> None:
    image = sdk.images.get(BUSYBOX)
    image.tag("saved", "1")
    archive = b"".join(sdk.images.get("saved:1").save(named="saved:1"))
    files = files_of([archive])
    assert b"saved:1" in files["manifest.json"]
    sdk.images.remove("saved:1")
    (loaded,) = sdk.images.load(archive)
    assert (loaded.id, "saved:1" in loaded.tags) == (image.id, True)
    assert "manifest.json" in files_of(sdk.api.get_image(BUSYBOX))
    with pytest.raises((docker.errors.ImageLoadError, docker.errors.APIError)):
        sdk.images.load(b"no archive")


def test_import(sdk: Sdk, tmp_path: Path) -> None:
    archive = tar_of(hello=b"x")
    (tmp_path / "root.tar").write_bytes(archive)
    sdk.api.import_image_from_data(archive, repository="imported", tag="data")
    sdk.api.import_image_from_file(str(tmp_path / "root.tar"), repository="imported", tag="file")
    sdk.api.import_image_from_stream(iter([archive]), repository="imported", tag="stream")
    sdk.api.import_image(src=str(tmp_path / "root.tar"), repository="imported", tag="any", changes=["CMD /x"])
    assert len(sdk.images.list(name="imported")) >= 1
    assert sdk.images.get("imported:any").attrs["Config"]["Cmd"] == ["/bin/sh", "-c", "/x"]
    for tag in ("data", "file", "stream"):
        made = sdk.images.get(f"imported:{tag}")
        assert made.attrs["RootFS"]["Layers"]
    made.remove()


def test_push_and_pull(hyperd: Sdk, registry: str) -> None:
    name = f"{registry}/pushed"
    image = hyperd.images.get(BUSYBOX)
    image.tag(name, "1")
    lines = list(hyperd.images.push(name, tag="1", stream=True, decode=True))
    (aux,) = [each["aux"] for each in lines if "aux" in each]
    assert aux["Tag"] == "1" and aux["Digest"].startswith("sha256:")
    data = hyperd.images.get_registry_data(f"{name}:1")
    assert data.id == aux["Digest"]
    assert data.has_platform("linux/amd64") and not data.has_platform("linux/s390x")
    assert data.attrs["Descriptor"]["size"] > 0
    assert data.short_id
    hyperd.images.remove(f"{name}:1")
    pulled = hyperd.images.pull(name, tag="1")
    assert f"{name}:1" in pulled.tags
    hyperd.images.remove(f"{name}:1")
    assert data.pull().attrs["RepoDigests"] == [f"{name}@{aux['Digest']}"]
    image.tag(name, "2")
    hyperd.images.push(name)
    assert len(hyperd.images.pull(name, all_tags=True)) >= 1
    statuses = [each.get("status", "") for each in hyperd.api.pull(name, tag="2", stream=True, decode=True)]
    assert any(each.startswith("Digest: sha256:") for each in statuses)
    assert any(each.startswith("Status: ") for each in statuses)
    hyperd.images.remove(f"{name}@{aux['Digest']}", force=True)


def test_pull_of_what_is_not_there(hyperd: Sdk, registry: str) -> None:
    with pytest.raises(docker.errors.NotFound):
        hyperd.images.pull(f"{registry}/none", tag="1")
    said = hyperd.images.push(f"{registry}/none", tag="1")
    assert "errorDetail" in said
    assert hyperd.api.inspect_image(BUSYBOX)["Id"]
