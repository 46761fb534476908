"""`hyper network`, and what run, create and pod create are told of networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fake_hyperd import FakeHyperd
from hypercontainer.cli.container_options import POD_OPTIONS, RUN_OPTIONS
from hypercontainer.cli.container_spec import container_spec
from hypercontainer.cli.options import UsageError, parse
from hypercontainer.cli.pod_spec import pod_spec
from hypercontainer.contract import calls as messages
from hypercontainer.contract.networks import NetworkSpec
from hypercontainer.contract.spec import ContainerSpec, PodSpec
from hypercontainer.errors import NotSupported
from hypercontainer.semantics import network_shape
from listed import BACK, JOINS, NETWORKS, STATE

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]
MAC = "02:00:00:00:00:01"


# The place of a container or a pod in networks


def spec_of(*words: str) -> dict[str, Any]:
    """Of a container; a pod that is told the same has the same."""
    values, arguments = parse(RUN_OPTIONS, (*words, "image"), interspersed=False)
    spec = container_spec(values, arguments[0], arguments[1:])
    msgspec.convert(spec, ContainerSpec)
    del spec["image"]
    if "pod" not in spec:
        values, _ = parse(POD_OPTIONS, words)
        assert pod_spec(values, "") == spec
        msgspec.convert(spec, PodSpec)
    return spec


@pytest.mark.parametrize(
    ("words", "networks"),
    [
        (["--network", "back"], [{"name": "back"}]),
        (["--net=back", "--network", "front"], [{"name": "front"}, {"name": "back"}]),
        (["--network", "bridge"], [{"name": "bridge"}]),
        (["--network", "none"], [{"name": "none"}]),
        (["--network", "user"], [{"name": "user"}]),
        (["--network", "default", "--network", "back"], [{"name": "bridge"}, {"name": "back"}]),
        (
            [
                "--network",
                f"name=back,alias=db,alias=store,ip=10.9.0.7,ip6=fd00::7,mac-address={MAC},gw-priority=-1",
            ],
            [
                {
                    "name": "back",
                    "aliases": ["db", "store"],
                    "ip": "10.9.0.7",
                    "ip6": "fd00::7",
                    "mac_address": MAC,
                    "priority": -1,
                }
            ],
        ),
        (["--network", "Name=back, IP=10.9.0.7"], [{"name": "back", "ip": "10.9.0.7"}]),
        (
            [
                "--network",
                "back",
                "--network",
                "name=front,alias=x",
                "--network-alias=db",
                "--net-alias=store",
            ],
            [{"name": "back", "aliases": ["db", "store"]}, {"name": "front", "aliases": ["x"]}],
        ),
        (
            ["--network", "name=back,alias=db", "--ip", "10.9.0.7", "--ip6=fd00::7", "--mac-address", MAC],
            [{"name": "back", "aliases": ["db"], "ip": "10.9.0.7", "ip6": "fd00::7", "mac_address": MAC}],
        ),
        (["--network-alias", "db"], [{"name": "bridge", "aliases": ["db"]}]),
        (["--net=default", "--ip", "10.9.0.7"], [{"name": "bridge", "ip": "10.9.0.7"}]),
    ],
)
def test_places_in_networks(words: list[str], networks: list[dict[str, Any]]) -> None:
    assert spec_of(*words) == {"networks": networks}


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        (["--network", "default"], {}),
        (["--net="], {}),
        (["--mac-address", MAC], {"mac_address": MAC}),
        (["--net=default", "--mac-address", MAC], {"mac_address": MAC}),
        (["--net=user", "--mac-address", MAC], {"networks": [{"name": "user"}], "mac_address": MAC}),
        (["--network", "pod:shop"], {"pod": "shop"}),
        (["--network", "container:web"], {"pod": "container:web"}),
    ],
)
def test_what_is_left_to_hyperd(words: list[str], spec: dict[str, Any]) -> None:
    assert spec_of(*words) == spec


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--network", "a", "--network", "name=a,ip=1.2.3.4"], "--network a is said twice"),
        (["--network", "default", "--network", "bridge"], "--network bridge is said twice"),
        (["--network", "a", "--network", "none"], "--network none goes with no other network"),
        (["--network", "pod:shop", "--network", "a"], "--network pod:shop goes with no other network"),
        (["--network", "name=a,alias=x", "--network-alias", "y"], "and --network-alias: alias is said twice"),
        (["--network", "name=a,ip=1.2.3.4", "--ip", "1.2.3.4"], "and --ip: IPv4 address is said twice"),
        (["--network", "name=a,ip6=::1", "--ip6", "::1"], "and --ip6: IPv6 address is said twice"),
        (["--network", f"name=a,mac-address={MAC}", "--mac-address", MAC], "and --mac-address: MAC address"),
        (["--network", "name=a,ip=1.2.3.4,ip=1.2.3.5"], "ip is said twice"),
        (["--network", "ip=1.2.3.4"], "it names no network"),
        (["--network", "name=,ip=1.2.3.4"], "it names no network"),
        (["--network", "name=a,speed=9"], "there is no field 'speed'"),
        (["--network", "name=a,ip"], "there is no field 'ip'"),
        (["--network", "name=a,ip=fd00::7"], "'fd00::7' is no address of IPv4"),
        (["--network", "name=a,gw-priority=high"], "'high' is no number"),
        (["--ip6", "1.2.3.4"], "--ip6: '1.2.3.4' is no address of IPv6"),
        (["--network", "none", "--ip", "1.2.3.4"], "--network none has no addresses to choose"),
        (["--network", "name=user,alias=db"], "--network user has no names to choose"),
        (["--network", "ns:/proc/1/ns/net"], "invalid --network 'ns:/proc/1/ns/net'"),
        (["--network", "pod:"], "invalid --network 'pod:'"),
        (["--network", "pod:shop", "--pod", "shop"], "--network pod:shop and --pod"),
        (
            ["--network", "container:web", "--network-alias", "x"],
            "and --network-alias: its pod has them already",
        ),
    ],
)
def test_places_that_cannot_be(words: list[str], why: str) -> None:
    with pytest.raises(UsageError) as caught:
        spec_of(*words)
    assert why in caught.value.message


def test_links_and_devices_are_as_typed() -> None:
    words = ("--link", "db:sql", "--link", "web", "--device", "/dev/fuse", "image")
    made = container_spec(parse(RUN_OPTIONS, words, interspersed=False)[0], "image", [])
    assert (made["links"], made["devices"]) == (["db:sql", "web"], ["/dev/fuse"])


@pytest.mark.parametrize(
    ("words", "why", "remedy"),
    [
        (["--network", "host"], "--network host: a virtual machine has a network of its own", "-p publishes"),
        (["--net=name=host"], "--network name=host: ", "host-gateway"),
        (["--network", "name=a,driver-opt=b=c"], "driver-opt: the driver has no options", ""),
        (["--link-local-ip", "169.254.1.1"], "--ip and --ip6 choose", ""),
    ],
)
def test_networks_that_are_not_to_be_had(words: list[str], why: str, remedy: str) -> None:
    with pytest.raises(NotSupported) as caught:
        spec_of(*words)
    assert why in caught.value.message
    assert remedy in (caught.value.hint or "")


def test_a_pod_is_no_part_of_another() -> None:
    values, _ = parse(POD_OPTIONS, ["--network", "container:web"])
    with pytest.raises(NotSupported, match="a pod is a virtual machine of its own"):
        pod_spec(values, "")


@pytest.mark.parametrize("verb", ["create", "run"])
def test_the_network_of_a_container_is_its_pods(hyperd: FakeHyperd, run: Run, verb: str) -> None:
    hyperd.answer("GET", "/v1/containers/web", {"id": "1", "name": "web", "pod": "f00d"})
    hyperd.answer("POST", "/v1/containers", {"id": "2", "name": "x", "warnings": []}, 201)
    hyperd.answer("POST", "/v1/containers/2/start", status=204)
    assert run(verb, *(["-d"] if verb == "run" else []), "--network", "container:web", "image") == 0
    assert hyperd.asked("POST", "/v1/containers").json["pod"] == "f00d"


def test_a_new_pod_is_in_the_networks(hyperd: FakeHyperd, run: Run) -> None:
    hyperd.answer("POST", "/v1/pods", {"id": "p", "name": "shop", "containers": [], "warnings": []}, 201)
    hyperd.answer("POST", "/v1/containers", {"id": "2", "name": "x", "warnings": []}, 201)
    words = ["--pod", "new:shop", "--network", "name=back,alias=db", "--network", "front", "image"]
    assert run("create", *words) == 0
    places = [{"name": "back", "aliases": ["db"]}, {"name": "front"}]
    assert hyperd.asked("POST", "/v1/pods").json == {"name": "shop", "networks": places}
    assert "networks" not in hyperd.asked("POST", "/v1/containers").json


# inspect


def found(**more: Any) -> dict[str, Any]:
    return {"spec": {"networks": JOINS}, "network": STATE, "networks": ["back", "front"], **more}


def test_what_does_not_run_is_in_its_networks_all_the_same() -> None:
    still = found(network={"address": "", "gateway": "", "mac_address": MAC, "endpoints": []})
    places = network_shape.places(still, "f00d", ["web"])
    assert list(places) == ["back", "front"]
    assert (places["back"]["IPAMConfig"], places["back"]["Aliases"]) == (
        {"IPv4Address": "10.89.0.7"},
        ["www"],
    )
    for place in (*places.values(), network_shape.first(still, "f00d")):
        assert (place["IPAddress"], place["IPPrefixLen"], place["EndpointID"]) == ("", 0, "")


def test_an_endpoint_is_called_the_same_everywhere() -> None:
    (member, *_) = NETWORKS[0]["members"]
    shown = network_shape.network(NETWORKS[0])["Containers"][member["pod"]]
    place = network_shape.places(found(), member["pod"], ["web"])["front"]
    assert shown["EndpointID"] == place["EndpointID"]
    assert len({place["EndpointID"], network_shape.first(found(), member["pod"])["EndpointID"]}) == 2


@pytest.mark.parametrize(
    ("joins", "networks", "mode"),
    [(JOINS, ["front"], "back"), ([], ["user"], "user"), ([], [], "bridge")],
)
def test_the_mode_is_the_first_network(joins: list[Any], networks: list[str], mode: str) -> None:
    assert network_shape.mode(found(spec={"networks": joins}, networks=networks)) == mode


def test_the_place_behind_the_hosts_addresses() -> None:
    user = BACK | {"network": "user", "network_id": "", "aliases": []}
    state = {"endpoints": [user]}
    places = network_shape.places(
        found(network=state, spec={"networks": []}, networks=["user"]), "f00d", ["web"]
    )
    assert list(places) == ["user"]
    assert (places["user"]["NetworkID"], places["user"]["DNSNames"]) == ("", None)
    assert places["user"]["IPAddress"] == "10.89.0.7"


# hyper network

MTU = "com.docker.network.driver.mtu"
BRIDGE = "com.docker.network.bridge"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], {}),
        (["-d", "bridge", "--attachable", "--scope", "local", "--ipv4", "--ipam-driver", "default"], {}),
        (["--label", "of=shop", "--label", "x"], {"labels": {"of": "shop", "x": ""}}),
        (["--internal", "--ipv6"], {"internal": True, "ipv6": True}),
        (["-o", f"{MTU}=1400"], {"mtu": 1400}),
        (["--opt", "mtu=1400", "-o", "com.docker.network.enable_ipv6=true"], {"mtu": 1400, "ipv6": True}),
        (["-o", f"{BRIDGE}.enable_icc=true", "-o", f"{BRIDGE}.gateway_mode_ipv4=nat"], {}),
        (["--subnet", "10.89.0.0/24"], {"subnets": [{"subnet": "10.89.0.0/24"}]}),
        (
            ["--subnet=10.89.0.0/24", "--gateway", "10.89.0.9", "--ip-range", "10.89.0.128/25"],
            {"subnets": [{"subnet": "10.89.0.0/24", "gateway": "10.89.0.9", "ip_range": "10.89.0.128/25"}]},
        ),
        (
            ["--gateway=fd00::1,10.89.0.9", "--subnet=10.89.0.0/24", "--subnet=fd00::/64"],
            {
                "subnets": [
                    {"subnet": "10.89.0.0/24", "gateway": "10.89.0.9"},
                    {"subnet": "fd00::/64", "gateway": "fd00::1"},
                ]
            },
        ),
    ],
)
def test_create(
    hyperd: FakeHyperd, run: Run, capsys: Capture, words: list[str], said: dict[str, Any]
) -> None:
    hyperd.answer("POST", "/v1/networks", NETWORKS[0], 201)
    assert run("network", "create", *words, "back") == 0
    assert capsys.readouterr().out == "feed" * 16 + "\n"
    body = hyperd.asked("POST", "/v1/networks").json
    assert body == {"name": "back", **said}
    msgspec.convert(body, NetworkSpec)


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["-d", "macvlan"], 1, "--driver macvlan: pods are on hyperd's own bridges"),
        (["-d", "overlay"], 1, "--driver overlay: there is no swarm"),
        (["-d", "host"], 1, "--driver host: a virtual machine has a network of its own"),
        (["-d", "weave"], 1, "--driver weave: there are no plugins"),
        (["--scope", "swarm"], 1, "--scope swarm: there is no swarm"),
        (["--ipv4=false"], 1, "--ipv4=false: every network has IPv4"),
        (["--ipam-driver", "dhcp"], 1, "--ipam-driver dhcp: there are no plugins"),
        (["--config-only"], 1, "--config-only: a network is made by what is said of it"),
        (["--config-from", "x"], 1, "--config-from: a network is made by what is said of it"),
        (["--ingress"], 1, "--ingress: there is no swarm"),
        (["--aux-address", "a=1.2.3.4"], 1, "--aux-address: --ip-range says which addresses"),
        (["-o", f"{BRIDGE}.name=br9"], 1, f"--opt {BRIDGE}.name=br9: hyperd names its bridges itself"),
        (["-o", f"{BRIDGE}.enable_icc=false"], 1, "two networks keep them apart"),
        (["-o", f"{BRIDGE}.enable_ip_masquerade=false"], 1, "an internal one lets nothing out"),
        (["-o", "parent=eth0"], 1, "--opt parent: there is no such option here"),
        (["-o", f"{MTU}=big"], 125, f"--opt {MTU}=big: a number of bytes is wanted"),
        (["--gateway", "10.0.0.1"], 125, "--gateway needs a subnet to be in"),
        (["--ip-range", "10.0.0.0/25"], 125, "--ip-range needs a subnet to be in"),
        (
            ["--subnet", "10.89.0.1/24"],
            125,
            "invalid --subnet '10.89.0.1/24': 10.89.0.1/24 has host bits set",
        ),
        (["--subnet", "10.89.0.0/24", "--gateway", "x"], 125, "invalid --gateway 'x'"),
        (["--subnet", "10.89.0.0/24", "--gateway", "10.90.0.1"], 125, "--gateway 10.90.0.1 is in no subnet"),
        (
            ["--subnet", "10.89.0.0/24", "--ip-range", "fd00::/80"],
            125,
            "--ip-range fd00::/80 is in no subnet",
        ),
        (
            ["--subnet=10.89.0.0/24", "--gateway=10.89.0.1", "--gateway=10.89.0.2"],
            125,
            "--gateway: 10.89.0.1 and 10.89.0.2 are of one subnet, 10.89.0.0/24",
        ),
    ],
)
def test_networks_that_are_not_made(
    run: Run, capsys: Capture, words: list[str], status: int, why: str
) -> None:
    assert run("network", "create", *words, "back") == status
    assert why in capsys.readouterr().err


def test_ls_asks_for_what_was_typed(hyperd: FakeHyperd, run: Run) -> None:
    hyperd.answer("GET", "/v1/networks", {"networks": []})
    assert run("network", "ls", "-f", "name=back", "--filter", "dangling=true") == 0
    assert hyperd.requests[0].target == (
        "/v1/networks?filters=%7B%22name%22%3A%5B%22back%22%5D%2C%22dangling%22%3A%5B%22true%22%5D%7D"
    )


def test_a_network_is_inspected_by_whatever_name(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    hyperd.answer("GET", "/v1/networks/back", NETWORKS[1])
    for words in (("network", "inspect"), ("inspect", "--type", "network"), ("inspect",)):
        assert run(*words, "-f", "{{.Name}} {{.Labels}} {{len .Containers}}", "back") == 0
    assert capsys.readouterr().out == "back map[] 0\n" * 3


@pytest.mark.parametrize("verb", ["rm", "remove"])
def test_rm(hyperd: FakeHyperd, run: Run, capsys: Capture, verb: str) -> None:
    hyperd.answer("DELETE", "/v1/networks/back", status=204)
    hyperd.fail("DELETE", "/v1/networks/busy", 409, code="conflict", message="network busy: pod a is in it")
    assert run("network", verb, "busy", "back") == 1
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("back\n", "hyper: network busy: pod a is in it\n")
    assert run("network", verb, "-f", "nobody") == 0
    assert hyperd.requests[-1].target == "/v1/networks/nobody?force=true"


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ([], {"ref": "web"}),
        (
            [
                "--alias",
                "db,store",
                "--ip",
                "10.89.0.7",
                "--ip6",
                "fd00::7",
                "--gw-priority",
                "3",
            ],
            {
                "ref": "web",
                "join": {
                    "name": "back",
                    "aliases": ["db", "store"],
                    "ip": "10.89.0.7",
                    "ip6": "fd00::7",
                    "priority": 3,
                },
            },
        ),
        (["--mac-address", MAC], {"ref": "web", "join": {"name": "back", "mac_address": MAC}}),
    ],
)
def test_connect(
    hyperd: FakeHyperd, run: Run, capsys: Capture, words: list[str], body: dict[str, Any]
) -> None:
    hyperd.answer("POST", "/v1/networks/back/connect", status=204)
    assert run("network", "connect", *words, "back", "web") == 0
    assert capsys.readouterr().out == ""
    asked = hyperd.asked("POST", "/v1/networks/back/connect").json
    assert asked == body
    msgspec.convert(asked, messages.ConnectBody)


@pytest.mark.parametrize(
    ("words", "status", "why"),
    [
        (["--link", "db"], 1, "--link: containers of one network find each other by name"),
        (["--driver-opt", "a=b"], 1, "--driver-opt: the driver has no options"),
        (["--link-local-ip", "169.254.0.7"], 1, "--link-local-ip: "),
        (["--ip", "fd00::7"], 125, "--ip: 'fd00::7' is no address of IPv4"),
        (["--gw-priority", "x"], 125, "--gw-priority: 'x' is no number"),
    ],
)
def test_places_that_nobody_is_put_into(
    run: Run, capsys: Capture, words: list[str], status: int, why: str
) -> None:
    assert run("network", "connect", *words, "back", "web") == status
    assert why in capsys.readouterr().err


def test_disconnect(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    hyperd.answer("POST", "/v1/networks/back/disconnect", status=204)
    assert run("network", "disconnect", "back", "web") == 0
    assert run("network", "disconnect", "-f", "back", "web") == 0
    assert [request.json for request in hyperd.requests] == [{"ref": "web"}, {"ref": "web", "force": True}]
    assert capsys.readouterr().out == ""
    msgspec.convert(hyperd.requests[1].json, messages.DisconnectBody)


def test_prune(hyperd: FakeHyperd, run: Run, capsys: Capture) -> None:
    hyperd.answer("POST", "/v1/networks/prune", {"removed": ["back", "front"]})
    hyperd.answer("POST", "/v1/networks/prune", {"removed": []})
    assert run("network", "prune", "-f") == 0
    assert capsys.readouterr().out == "Deleted Networks:\nback\nfront\n\n"
    words = ("--filter", "label!=keep", "--filter", "until=2026-01-01T00:00:00Z")
    assert run("network", "prune", "--force", *words) == 0
    assert capsys.readouterr().out == ""
    first, second = (request.json for request in hyperd.requests)
    assert (first, second) == (
        {"filters": {}},
        {"filters": {"label!": ["keep"], "until": ["1767225600.000000000"]}},
    )
    msgspec.convert(second, messages.PruneNetworksBody)


def test_prune_asks_first(run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert run("network", "prune") == 1
    assert capsys.readouterr().err.startswith("WARNING! This will remove all networks that no pod is in.\n")
