"""Networks and volumes made by Docker's API, by Docker's own library for Python, in real guests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import docker
import docker.errors
import docker.models.networks
import docker.models.volumes
import pytest

import busybox_image
from hyper import Hyper

BUSYBOX = busybox_image.REFERENCE
IDLE = ("sh", "-c", "sleep 1000")


@pytest.fixture
def client(hyper: Hyper) -> Iterator[docker.DockerClient]:
    hyper("version")
    made = docker.DockerClient(base_url=f"unix://{hyper.run_dir}/docker.sock")
    with contextlib.closing(made):
        yield made
        hyper.remove_all()
        made.networks.prune()
        made.volumes.prune(filters={"all": True})


def reaches(hyper: Hyper, name: str, other: str) -> bool:
    return hyper("exec", name, "ping", "-c", "1", "-W", "2", other, check=False).returncode == 0


def test_two_containers_on_a_network(hyper: Hyper, client: docker.DockerClient) -> None:
    pool = docker.types.IPAMPool(subnet="10.94.7.0/24", gateway="10.94.7.1")
    shop: docker.models.networks.Network = client.networks.create(
        "shop",
        driver="bridge",
        ipam=docker.types.IPAMConfig(pool_configs=[pool]),
        options={"com.docker.network.driver.mtu": "1400"},
        labels={"of": "shop"},
        check_duplicate=True,
    )
    db = hyper.out("run", "-d", "--name", "db", "--network", "shop", BUSYBOX, *IDLE)
    web = hyper.out("run", "-d", "--name", "web", BUSYBOX, *IDLE)
    assert not reaches(hyper, "web", "db")
    shop.connect("web", aliases=["front"], links=[("db", "sql")], ipv4_address="10.94.7.9")
    assert reaches(hyper, "web", "db") and reaches(hyper, "web", "sql")
    assert not reaches(hyper, "db", "sql")
    there = client.containers.get("web").attrs["NetworkSettings"]["Networks"]["shop"]
    assert (there["Links"], there["IPAMConfig"]) == (["db:sql"], {"IPv4Address": "10.94.7.9"})
    assert reaches(hyper, "db", "front")
    assert "mtu 1400" in hyper.out("exec", "db", "ip", "link", "show", "eth0")

    shop.reload()
    inside = shop.attrs["Containers"]
    assert {each: inside[each]["Name"] for each in inside} == {db: "db", web: "web"}
    assert inside[web]["IPv4Address"] == "10.94.7.9/24"
    assert [each.name for each in client.networks.list(filters={"label": "of=shop"})] == ["shop"]
    with pytest.raises(docker.errors.APIError, match="is used by") as refused:
        shop.remove()
    assert refused.value.status_code == 403

    shop.disconnect("web")
    assert not reaches(hyper, "web", "db")
    hyper("rm", "-f", "db")
    shop.remove()
    with pytest.raises(docker.errors.NotFound):
        client.networks.get("shop")


def test_one_volume_in_two_containers(hyper: Hyper, client: docker.DockerClient) -> None:
    """As compose does: all are created before the first one is started."""
    both: docker.models.volumes.Volume = client.volumes.create("both", labels={"of": "shop"})
    assert both.attrs["Options"] is None
    for name in ("db", "web"):
        hyper("create", "--name", name, "-v", "both:/data", BUSYBOX, *IDLE)
    hyper("start", "db", "web")
    hyper("exec", "db", "sh", "-c", "echo hello > /data/said")
    assert hyper.out("exec", "web", "cat", "/data/said") == "hello"
    both.reload()
    assert both.attrs["Options"] == {"type": "shared"}
    with pytest.raises(docker.errors.APIError, match="volume both is used by") as refused:
        both.remove(force=True)
    assert refused.value.status_code == 409
    (used,) = client.df()["Volumes"]
    assert (used["Name"], used["UsageData"]["RefCount"]) == ("both", 2)
    assert client.info()["ContainersRunning"] == 2
