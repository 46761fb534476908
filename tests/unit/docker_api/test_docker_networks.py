"""Networks by Docker's API: what is asked for, what is shown, who is in them, and how errors are said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from docker_stage import Play, Stage, filters, player
from hypercontainer.contract.networks import Join
from stories import have_any_kernel


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    have_any_kernel(monkeypatch)
    return player(tmp_path)


async def made(s: Stage, name: str, **more: Any) -> str:
    status, body = await s.call("POST", "/networks/create", {"Name": name, **more})
    assert status == 201, body
    assert body == {"Id": body["Id"], "Warning": ""}
    identifier: str = body["Id"]
    return identifier


async def names(s: Stage, query: str = "") -> list[str]:
    """Without those that this machine's configurations of CNI say."""
    found = [each["Name"] for each in await s.got(f"/networks?{query}")]
    return sorted(name for name in found if not name.startswith("cni:"))


def test_what_clients_send_is_made_and_shown(play: Play) -> None:
    async def story(s: Stage) -> None:
        identifier = await made(
            s,
            "back",
            Driver="",
            IPAM={
                "Driver": "default",
                "Config": [{"Subnet": "10.99.0.0/24", "IPRange": "10.99.0.128/25", "Gateway": "10.99.0.9"}],
            },
            Internal=True,
            Attachable=True,
            CheckDuplicate=True,
            ConfigFrom=None,
            Options={
                "com.docker.network.driver.mtu": "1400",
                "com.docker.network.bridge.name": "br9",
                "of": "me",
            },
            Labels={"com.docker.compose.network": "back"},
        )
        shown = await s.got("/v1.51/networks/back")
        assert shown["Id"] == identifier
        assert shown["Options"] == {
            "com.docker.network.driver.mtu": "1400",
            "com.docker.network.bridge.name": "br9",
            "of": "me",
        }
        assert shown["IPAM"]["Config"] == [
            {"Subnet": "10.99.0.0/24", "IPRange": "10.99.0.128/25", "Gateway": "10.99.0.9"}
        ]
        assert (shown["Internal"], shown["Attachable"]) == (True, True)
        assert (shown["EnableIPv4"], shown["EnableIPv6"]) == (True, False)
        assert (shown["Driver"], shown["Scope"], shown["Containers"]) == ("bridge", "local", {})
        assert shown["Labels"] == {"com.docker.compose.network": "back"}
        (mtu,) = [each.mtu for each in await s.world.engine.real.networks.find() if each.name == "back"]
        assert mtu == 1400

    play(story)


def test_nothing_but_a_name_is_enough(play: Play) -> None:
    async def story(s: Stage) -> None:
        await made(s, "back", IPAM=None, Labels=None, Options=None, EnableIPv6=True)
        shown = await s.got("/networks/back")
        assert (shown["Options"], shown["Labels"], shown["EnableIPv6"]) == ({}, {}, True)
        assert len(shown["IPAM"]["Config"]) == 2

    play(story)


def test_a_field_is_of_its_versions(play: Play) -> None:
    async def story(s: Stage) -> None:
        await made(s, "back", IPAM={"Config": [{"Subnet": "10.99.0.0/24"}]})
        for version, fields in (
            ("1.41", set()),
            ("1.47", set()),
            ("1.48", {"EnableIPv4"}),
            ("1.51", {"EnableIPv4"}),
            ("1.52", {"EnableIPv4", "Status"}),
        ):
            shown = await s.got(f"/v{version}/networks/back")
            assert {"EnableIPv4", "Status"} & shown.keys() == fields, version
        assert shown["Status"] == {
            "IPAM": {"Subnets": {"10.99.0.0/24": {"IPsInUse": 3, "DynamicIPsAvailable": 253}}}
        }

    play(story)


def test_those_that_nobody_makes_are_there(play: Play) -> None:
    async def story(s: Stage) -> None:
        assert await names(s) == ["bridge", "host", "none"]
        await made(s, "back")
        assert await names(s, filters(type=["custom"])) == ["back"]
        assert await names(s, filters(type={"builtin": True})) == ["bridge", "host", "none"]
        assert await names(s, filters(driver=["null"])) == ["none"]
        assert (await s.got("/networks/bridge"))["IPAM"]["Config"][0]["Gateway"]
        none = await s.got("/networks/none")
        assert await s.got(f"/networks/{none['Id'][:12]}") == none
        assert (await s.got("/networks/host"))["Driver"] == "host"
        for name in ("bridge", "host", "none"):
            assert (await s.call("DELETE", f"/networks/{name}"))[0] == 403
            assert (await s.call("POST", "/networks/create", {"Name": name}))[0] == 403

    play(story)


def test_without_networks_the_names_are_there_all_the_same(play: Play) -> None:
    async def story(s: Stage) -> None:
        assert await names(s) == ["bridge", "host", "none"]
        assert (await s.got("/networks/bridge"))["IPAM"]["Config"] == []
        await s.container("web")  # which is in the network that a pod has for itself
        assert await names(s) == ["bridge", "host", "none", "user"]
        status, body = await s.call("POST", "/networks/create", {"Name": "back"})
        assert (status, body["message"].partition(":")[0]) == (503, "there are no networks here")

    play(story, networks=False)


@pytest.mark.parametrize("go", [True, False], ids=["go", "others"])
def test_filters_are_exact(play: Play, go: bool) -> None:
    def given(name: str, *values: str) -> str:
        return filters(**{name: dict.fromkeys(values, True) if go else list(values)})

    async def story(s: Stage) -> None:
        a = await made(s, "shop_back", Labels={"com.docker.compose.project": "shop", "of": "a"})
        await made(s, "shop_front", Labels={"com.docker.compose.project": "shop"})
        await made(s, "other_back", Labels={"com.docker.compose.project": "other"})
        assert await names(s, given("label", "com.docker.compose.project=shop")) == [
            "shop_back",
            "shop_front",
        ]
        assert await names(s, given("label", "com.docker.compose.project")) == [
            "other_back",
            "shop_back",
            "shop_front",
        ]
        assert await names(s, given("label", "com.docker.compose.project=shop", "of=a")) == ["shop_back"]
        assert await names(s, given("name", "^shop_back$")) == ["shop_back"]
        assert await names(s, given("name", "_back")) == ["other_back", "shop_back"]
        assert await names(s, given("id", a[:12])) == ["shop_back"]
        assert await names(s, given("scope", "swarm")) == []
        await s.container("web", networks=(Join("shop_back"),))
        assert await names(s, given("dangling", "true")) == ["other_back", "shop_front"]
        status, body = await s.call("GET", f"/networks?{given('colour', 'red')}")
        assert (status, body["message"][:16]) == (400, "unknown filter '")

    play(story)


def test_who_is_in_a_network(play: Play) -> None:
    async def story(s: Stage) -> None:
        await made(s, "back", IPAM={"Config": [{"Subnet": "10.99.0.0/24"}]})
        web = await s.container("web", start=True)
        idle = await s.container("idle")
        body = {
            "Container": "web",
            "EndpointConfig": {
                "Aliases": ["store"],
                "IPAMConfig": {"IPv4Address": "10.99.0.7"},
                "GwPriority": -1,
            },
        }
        assert await s.call("POST", "/networks/back/connect", body) == (200, b"")
        assert await s.call("POST", "/networks/back/connect", {"Container": idle[:12]}) == (200, b"")
        shown = await s.got("/v1.52/networks/back")
        member = shown["Containers"].pop(web)
        assert shown["Containers"] == {}  # those that run
        assert (member["Name"], member["IPv4Address"], member["IPv6Address"]) == ("web", "10.99.0.7/24", "")
        assert member["EndpointID"]
        assert member["MacAddress"]
        assert shown["Status"]["IPAM"]["Subnets"]["10.99.0.0/24"] == {
            "IPsInUse": 4,
            "DynamicIPsAvailable": 252,
        }
        (listed,) = await s.got(f"/networks?{filters(name=['back'])}")
        assert listed["Containers"] == {}
        found = await (await s.world.engine.real.containers.held(web)).inspect()
        assert [each.aliases for each in found.network.endpoints if each.network == "back"] == [("store",)]

        status, body = await s.call("POST", "/networks/back/connect", {"Container": "web"})
        assert (status, body["message"]) == (403, "container web is in network back already")
        status, body = await s.call("DELETE", "/networks/back")
        assert (status, body["message"][:27]) == (403, "network back is used by web")
        for name in ("web", "idle"):
            assert await s.call("POST", "/networks/back/disconnect", {"Container": name}) == (200, b"")
        assert (await s.call("POST", "/networks/back/disconnect", {"Container": "web"}))[0] == 403
        assert (await s.call("DELETE", "/networks/back"))[0] == 204
        assert (await s.call("GET", "/networks/back"))[0] == 404

    play(story)


def test_who_does_not_run_is_connected_twice(play: Play) -> None:
    """testcontainers of npm does it with every container, once it has led one to a port of the host."""

    async def story(s: Stage) -> None:
        await made(s, "back")
        await s.container("idle", networks=(Join("back", aliases=("store",)),))
        again = {"Container": "idle", "EndpointConfig": {"Aliases": ["other"]}}
        assert await s.call("POST", "/networks/back/connect", again) == (200, b"")
        shown = await s.got("/containers/idle/json")
        assert shown["NetworkSettings"]["Networks"]["back"]["Aliases"] == ["store"]

    play(story)


ERRORS: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/networks/nope", b"", 404, "network nope not found"),
    ("GET", "/networks/back?scope=swarm", b"", 404, "network back not found"),
    ("DELETE", "/networks/nope", b"", 404, "network nope not found"),
    ("POST", "/networks/nope/connect", {"Container": "web"}, 404, "network nope not found"),
    ("POST", "/networks/back/connect", {"Container": "nope"}, 404, "No such container: nope"),
    (
        "POST",
        "/networks/none/connect",
        {"Container": "web"},
        403,
        "container web cannot come into the network",
    ),
    ("POST", "/networks/nope/disconnect", {"Container": "web"}, 404, "network nope not found"),
    (
        "POST",
        "/networks/back/connect",
        {"Container": "web", "EndpointConfig": {"DriverOpts": {"a": "b"}}},
        501,
        "network back: DriverOpts: the driver has no options",
    ),
    ("POST", "/networks/create", {"Name": "back"}, 409, "network with name back already exists"),
    ("POST", "/networks/create", {}, 400, "a network needs a name"),
    ("POST", "/networks/create", b"", 400, "invalid JSON: got EOF while reading request body"),
    ("POST", "/networks/create", {"Name": 7}, 400, "invalid JSON: "),
    ("POST", "/networks/create", {"Name": "x", "Driver": "weird"}, 404, 'plugin "weird" not found'),
    (
        "POST",
        "/networks/create",
        {"Name": "x", "Driver": "macvlan"},
        404,
        'plugin "macvlan" not found (pods are on hyperd',
    ),
    ("POST", "/networks/create", {"Name": "x", "IPAM": {"Driver": "dhcp"}}, 404, 'plugin "dhcp" not found'),
    ("POST", "/networks/create", {"Name": "x", "Scope": "swarm"}, 501, "scope swarm: there is no swarm"),
    ("POST", "/networks/create", {"Name": "x", "Ingress": True}, 501, "there is no swarm"),
    ("POST", "/networks/create", {"Name": "x", "ConfigFrom": {"Network": "y"}}, 501, "a network is made by"),
    ("POST", "/networks/create", {"Name": "x", "EnableIPv4": False}, 501, "every network has IPv4"),
    (
        "POST",
        "/networks/create",
        {"Name": "x", "Options": {"com.docker.network.bridge.enable_icc": "false"}},
        501,
        "option com.docker.network.bridge.enable_icc=false: pods of a network reach each other",
    ),
    (
        "POST",
        "/networks/create",
        {"Name": "x", "IPAM": {"Config": [{"Subnet": "10.99.0.0/25"}]}},
        403,
        "10.99.0.0/25 overlaps",
    ),
    (
        "POST",
        "/networks/create",
        {"Name": "x", "IPAM": {"Config": [{"Gateway": "10.98.0.1"}]}},
        400,
        "a gateway, or a range of addresses, needs a subnet to be in",
    ),
    (
        "POST",
        "/networks/create",
        {
            "Name": "x",
            "IPAM": {"Config": [{"Subnet": "10.98.0.0/24", "AuxiliaryAddresses": {"a": "10.98.0.9"}}]},
        },
        501,
        "auxiliary addresses are not kept",
    ),
]


def test_errors_are_said_as_clients_know_them(play: Play) -> None:
    async def story(s: Stage) -> None:
        await made(s, "back", IPAM={"Config": [{"Subnet": "10.99.0.0/24"}]})
        await s.container("web")
        for method, path, body, status, says in ERRORS:
            told, answer = await s.call(method, path, body)
            assert (told, answer["message"][: len(says)]) == (status, says), (path, body, answer)
        assert await names(s, filters(type=["custom"])) == ["back"]

    play(story)


def test_prune_takes_those_that_nobody_is_in(play: Play) -> None:
    async def story(s: Stage) -> None:
        await made(s, "used")
        await made(s, "kept", Labels={"keep": ""})
        await made(s, "free")
        await s.container("web", networks=(Join("used"),), start=True)
        assert await s.call("POST", f"/networks/prune?{filters(**{'label!': ['keep']})}") == (
            200,
            {"NetworksDeleted": ["free"]},
        )
        assert (await s.call("POST", f"/networks/prune?{filters(until=['1h'])}"))[1] == {
            "NetworksDeleted": None
        }
        assert (await s.call("POST", "/networks/prune"))[1] == {"NetworksDeleted": ["kept"]}
        assert await names(s) == ["bridge", "host", "none", "used"]

    play(story)
