"""docker-py's networks, volumes and system: each public method."""

from __future__ import annotations

import threading
import time
from typing import Any

import docker
import pytest
from docker.types import IPAMConfig, IPAMPool

from docker_clients import Clients
from docker_sdk import BUSYBOX, staying

Sdk = Any


def test_networks(sdk: Sdk) -> None:
    pool = IPAMConfig(pool_configs=[IPAMPool(subnet="10.77.0.0/24", gateway="10.77.0.1")])
    made = sdk.networks.create("net", driver="bridge", ipam=pool, labels={"a": "b"}, check_duplicate=True)
    assert (made.name, made.short_id) == ("net", made.id[:12])
    assert made.attrs["IPAM"]["Config"][0]["Subnet"] == "10.77.0.0/24"
    for name in ("net", made.id, made.short_id):
        assert sdk.networks.get(name).id == made.id
    with pytest.raises(docker.errors.NotFound):
        sdk.networks.get("nowhere")
    with pytest.raises(docker.errors.APIError) as refused:
        sdk.networks.create("net", check_duplicate=True)
    assert refused.value.response.status_code == 409
    for filters, found in (
        ({"label": "a=b"}, ["net"]),
        ({"label": "a=c"}, []),
        ({"type": "custom"}, ["net"]),
        ({"type": "builtin"}, ["bridge", "host", "none"]),
        ({"driver": "host"}, ["host"]),
        ({"scope": "swarm"}, []),
        ({"dangling": True}, ["net"]),
    ):
        assert sorted(each.name for each in sdk.networks.list(filters=filters)) == found, filters
    assert [each.id for each in sdk.networks.list(names=["net"])] == [made.id]
    assert [each.id for each in sdk.networks.list(ids=[made.id])] == [made.id]
    made.remove()
    with pytest.raises(docker.errors.NotFound):
        made.reload()


def test_builtin_networks_stay(sdk: Sdk) -> None:
    with pytest.raises(docker.errors.APIError) as refused:
        sdk.networks.get("bridge").remove()
    assert refused.value.response.status_code == 403


def test_connect_and_disconnect(sdk: Sdk) -> None:
    pool = IPAMConfig(pool_configs=[IPAMPool(subnet="10.78.0.0/24")])
    net = sdk.networks.create("net", ipam=pool)
    one = staying(sdk, name="one")
    other = staying(sdk, name="other", network="net")
    net.connect(one, aliases=["alias"], ipv4_address="10.78.0.9")
    net.reload()
    assert {each.name for each in net.containers} == {"one", "other"}
    assert net.attrs["Containers"][one.id]["IPv4Address"] == "10.78.0.9/24"
    (listed,) = sdk.networks.list(names=["net"], greedy=True)
    assert len(listed.attrs["Containers"]) == 2
    assert other.exec_run("nslookup -type=a alias").output.count(b"10.78.0.9") == 1
    with pytest.raises(docker.errors.APIError) as refused:
        net.remove()
    assert refused.value.response.status_code == 403
    with pytest.raises(docker.errors.APIError) as refused:
        net.connect(one)
    assert refused.value.response.status_code == 403
    net.disconnect(one)
    net.disconnect(other, force=True)
    net.reload()
    assert net.containers == []
    one.reload()
    assert list(one.attrs["NetworkSettings"]["Networks"]) == ["bridge"]
    with pytest.raises(docker.errors.NotFound):
        sdk.api.connect_container_to_network("none", net.id)


def test_internal_networks_and_their_options(sdk: Sdk) -> None:
    made = sdk.networks.create("inner", internal=True, attachable=True, options={"some.option": "x"})
    assert made.attrs["Internal"] is True
    assert made.attrs["Attachable"] is True
    assert made.attrs["Options"]["some.option"] == "x"


def test_prune_of_networks(sdk: Sdk) -> None:
    sdk.networks.create("gone", labels={"go": "1"})
    sdk.networks.create("kept")
    assert sdk.networks.prune(filters={"label": "go"})["NetworksDeleted"] == ["gone"]
    assert sdk.networks.prune()["NetworksDeleted"] == ["kept"]


def test_volumes(sdk: Sdk) -> None:
    made = sdk.volumes.create("vol", driver="local", labels={"a": "b"})
    assert (made.name, made.id, made.short_id) == ("vol", "vol", "vol")
    assert made.attrs["Driver"] == "local" and made.attrs["Labels"] == {"a": "b"}
    assert sdk.volumes.create("vol").id == "vol"
    anonymous = sdk.volumes.create()
    assert len(anonymous.name) == 64
    for filters, found in (
        ({"label": "a"}, {"vol"}),
        ({"label": "a=c"}, set()),
        ({"name": "vo"}, {"vol"}),
        ({"driver": "local"}, {"vol", anonymous.name}),
        ({"dangling": True}, {"vol", anonymous.name}),
    ):
        assert {each.name for each in sdk.volumes.list(filters=filters)} == found, filters
    user = sdk.containers.create(BUSYBOX, ["true"], volumes=["vol:/v"])
    assert {each.name for each in sdk.volumes.list(filters={"dangling": False})} == {"vol"}
    with pytest.raises(docker.errors.APIError) as refused:
        made.remove()
    assert refused.value.response.status_code == 409
    user.remove()
    made.reload()
    made.remove()
    with pytest.raises(docker.errors.NotFound):
        sdk.volumes.get("vol")
    with pytest.raises(docker.errors.NotFound):
        sdk.api.remove_volume("vol")


def test_prune_of_volumes(sdk: Sdk) -> None:
    sdk.volumes.create("named")
    anonymous = sdk.volumes.create()
    answer = sdk.volumes.prune()
    assert answer["VolumesDeleted"] == [anonymous.name]
    assert answer["SpaceReclaimed"] >= 0
    assert sdk.volumes.prune(filters={"all": True})["VolumesDeleted"] == ["named"]


def test_what_the_daemon_says(sdk: Sdk) -> None:
    assert sdk.ping() is True
    version = sdk.version()
    assert version["ApiVersion"] >= "1.51" and version["Os"] == "linux"
    assert version["MinAPIVersion"]
    assert sdk.api.version(api_version=False)["ApiVersion"] == version["ApiVersion"]
    staying(sdk)
    info = sdk.info()
    assert (info["Containers"], info["ContainersRunning"], info["Images"]) == (1, 1, 1)
    assert info["OSType"] == "linux" and info["NCPU"] >= 1 and info["MemTotal"] > 0
    assert info["Swarm"]["LocalNodeState"] == "inactive"
    used = sdk.df()
    assert [each["RepoTags"] for each in used["Images"]] == [[BUSYBOX]]
    assert len(used["Containers"]) == 1
    assert used["LayersSize"] > 0


def test_versions_are_as_asked_for(daemon: Clients) -> None:
    for asked in ("1.40", "1.44", "1.51"):
        made = docker.DockerClient(base_url=daemon.host, version=asked)
        assert made.api.api_version == asked
        assert made.containers.list() == []
        made.close()
    made = docker.DockerClient(base_url=daemon.host, version="1.99")
    with pytest.raises(docker.errors.APIError, match=r"client version 1\.99 is too new"):
        made.ping()
    made.close()


def test_login_without_a_registry_is_refused(sdk: Sdk) -> None:
    with pytest.raises(docker.errors.APIError):
        sdk.login("me", "secret", registry="127.0.0.1:9")


def test_search_has_no_registry_to_ask(sdk: Sdk) -> None:
    with pytest.raises(docker.errors.APIError):
        sdk.images.search("127.0.0.1:9/x")


def test_events(sdk: Sdk) -> None:
    seen: list[Any] = []
    stream = sdk.events(decode=True, filters={"type": ["container", "network"]})

    def read() -> None:
        for event in stream:
            seen.append((event["Type"], event["Action"]))
            if event["Action"] == "destroy":
                return

    reader = threading.Thread(target=read)
    reader.start()
    sdk.containers.run(BUSYBOX, "true", remove=True, labels={"x": "y"})
    reader.join(60)
    stream.close()
    wanted = [
        ("container", "create"),
        ("network", "connect"),
        ("container", "start"),
        ("network", "disconnect"),
        ("container", "die"),
        ("container", "destroy"),
    ]
    assert [each for each in seen if each in wanted] == wanted


def test_past_events(sdk: Sdk) -> None:
    begun = int(time.time()) - 1
    sdk.volumes.create("told", labels={"k": "v"})
    stream = sdk.events(since=begun, until=int(time.time()) + 1, decode=True, filters={"volume": "told"})
    (event,) = list(stream)
    assert (event["Type"], event["Action"], event["Actor"]["ID"]) == ("volume", "create", "told")
    assert event["scope"] == "local" and event["timeNano"] // 10**9 == event["time"]


def test_from_env_finds_the_daemon(daemon: Clients) -> None:
    made = docker.from_env(environment={"DOCKER_HOST": daemon.host})
    assert made.ping() is True
    made.close()
