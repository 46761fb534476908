"""Configurations of CNI: which files count, what is refused, and what a plugin is told of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cni_stage import parsed
from hypercontainer.contract.spec import PortMapping
from hypercontainer.errors import InvalidArgument, NotFound
from hypercontainer.network.cni import config, requests, results
from hypercontainer.network.cni.config import FILE_BYTES, PLUGINS
from hypercontainer.network.cni.requests import Attached
from hypercontainer.network.cni.results import PluginError


def put(folder: Path, name: str, tree: Any) -> None:
    (folder / name).write_text(tree if isinstance(tree, str) else json.dumps(tree))


def test_files_count_in_the_order_of_their_names_and_by_their_suffix(tmp_path: Path) -> None:
    put(tmp_path, "20-list.conflist", {"cniVersion": "1.0.0", "name": "a", "plugins": [{"type": "second"}]})
    put(tmp_path, "10-one.conf", {"cniVersion": "0.4.0", "name": "a", "type": "first"})
    put(tmp_path, "30-json.json", {"cniVersion": "0.3.1", "name": "b", "type": "third"})
    put(tmp_path, "40-text.txt", {"cniVersion": "1.0.0", "name": "c", "type": "none"})
    put(tmp_path, "50-broken.conf", "{")
    found = config.find(tmp_path)
    assert [(each.name, each.version, each.plugins[0]["type"]) for each in found.configs] == [
        ("a", "0.4.0", "first"),
        ("b", "0.3.1", "third"),
    ]
    assert len(found.problems) == 1 and "50-broken.conf: it is no JSON" in found.problems[0]
    assert found.get("b", tmp_path).name == "b"
    with pytest.raises(NotFound, match=r"no network cni:c: .*50-broken.* \(there are cni:a, cni:b\)"):
        found.get("c", tmp_path)
    assert config.find(tmp_path / "nowhere").configs == ()


@pytest.mark.parametrize(
    ("tree", "why"),
    [
        ([], "no JSON object"),
        ({"name": "a/b", "type": "x"}, "its name is none"),
        ({"name": "n" * 256, "type": "x"}, "its name is none"),
        ({"name": "a", "cniVersion": "0.2.0", "type": "x"}, "its cniVersion is 0.2.0"),
        ({"name": "a", "type": "x"}, "its cniVersion is 0.1.0"),
        ({"name": "a", "cniVersion": "1.0.0", "type": "../x"}, "no program's name"),
        ({"name": "a", "cniVersion": "1.0.0", "type": ".."}, "no program's name"),
        ({"name": "a", "cniVersion": "1.0.0", "plugins": []}, "a list of 1 to"),
        ({"name": "a", "cniVersion": "1.0.0", "plugins": [{"type": "x"}] * (PLUGINS + 1)}, "a list of 1 to"),
        ({"name": "a", "cniVersion": "1.0.0", "plugins": [3]}, "no program's name"),
    ],
)
def test_what_is_refused_is_named_with_its_file(tree: Any, why: str) -> None:
    with pytest.raises(InvalidArgument, match=why) as refused:
        config.parse(json.dumps(tree).encode(), "/dir/file.conf")
    assert refused.value.message.startswith("/dir/file.conf: ")


def test_a_file_that_is_too_large_and_one_that_nests_too_deep(tmp_path: Path) -> None:
    put(tmp_path, "large.conf", " " * FILE_BYTES + "{}")
    put(tmp_path, "deep.conf", "[" * 100_000)
    found = config.find(tmp_path)
    assert found.configs == () and len(found.problems) == 2


def test_the_newest_of_several_versions_that_both_speak() -> None:
    made = parsed(
        name="a", cniVersion="0.4.0", cniVersions=["1.0.0", "1.1.0", "9.0.0"], plugins=[{"type": "x"}]
    )
    assert made.version == "1.1.0" and made.since("1.1.0")
    assert not parsed(name="a", cniVersion="1.0.0", plugins=[{"type": "x"}]).since("1.1.0")


def test_a_configuration_comes_back_as_it_was_written_down() -> None:
    made = parsed(
        name="a", cniVersion="1.0.0", disableCheck=True, disableGC=True, plugins=[{"type": "x", "y": 1}]
    )
    assert not made.checked and not made.collected
    again = parsed(**made.tree)
    assert (again.plugins, again.checked, again.collected) == (made.plugins, False, False)


def test_a_plugin_is_told_of_capabilities_that_it_declares_and_of_no_others() -> None:
    plugin = {"type": "portmap", "capabilities": {"portMappings": True, "mac": False}, "snat": True}
    made = parsed(
        name="a", cniVersion="1.0.0", plugins=[plugin, {"type": "tuning", "capabilities": {"mac": True}}]
    )
    assert made.capabilities == {"portMappings", "mac"}
    said = {"portMappings": [1], "mac": "02:00:00:00:00:09"}
    told = requests.configuration(made, made.plugins[0], said, {"ips": []})
    assert told == {
        "type": "portmap",
        "snat": True,
        "cniVersion": "1.0.0",
        "name": "a",
        "runtimeConfig": {"portMappings": [1]},
        "prevResult": {"ips": []},
    }
    assert "runtimeConfig" not in requests.configuration(made, made.plugins[0], {})


def test_the_environment_says_whose_place_it_is() -> None:
    attached = Attached(
        "id", "eth0", "/proc/7/ns/net", {}, {"K8S_POD_NAME": "web", "BAD": "a;b", "EMPTY": ""}
    )
    assert requests.environment("ADD", (Path("/a"), Path("/b")), attached) == {
        "CNI_COMMAND": "ADD",
        "CNI_PATH": "/a:/b",
        "CNI_CONTAINERID": "id",
        "CNI_NETNS": "/proc/7/ns/net",
        "CNI_IFNAME": "eth0",
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web",
    }
    assert "CNI_NETNS" not in requests.environment("GC", (Path("/a"),), None)


def test_what_is_to_be_kept_is_named_for_gc() -> None:
    made = parsed(name="a", cniVersion="1.1.0", plugins=[{"type": "x"}])
    told = requests.configuration(made, made.plugins[0], {}, attachments=[("id", "eth0")])
    assert told["cni.dev/valid-attachments"] == [{"containerID": "id", "ifname": "eth0"}]


def test_port_mappings_name_an_address_where_there_is_one() -> None:
    ports = [PortMapping(80, 8080), PortMapping(53, 5353, "127.0.0.1", "udp")]
    assert requests.port_mappings(ports) == [
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": 5353, "containerPort": 53, "protocol": "udp", "hostIP": "127.0.0.1"},
    ]


@pytest.mark.parametrize(
    ("output", "stderr", "said"),
    [
        (
            b'{"code": 7, "msg": "no subnet", "details": "of bridge"}',
            b"",
            "no subnet; of bridge .*configuration is wrong",
        ),
        (b'{"code": 100, "msg": "own"}', b"", r"own \(code 100\)"),
        (b'{"code": "x", "msg": "a\\u001b[2Jb"}', b"", r"a\?\[2Jb$"),
        (b"", b"panic: x\n\tat y", "panic: x at y"),
        (b"\xff", b"", "."),
        (b"", b"", "it failed, and said nothing"),
        (b"[" * 100_000, b"", r"\.\.\.\[+$"),
    ],
)
def test_a_refusal_in_the_plugins_own_words(output: bytes, stderr: bytes, said: str) -> None:
    error = results.refusal("network cni:a: ADD by x", output, stderr)
    with pytest.raises(PluginError, match=said):
        raise error
    assert len(error.message) < 1000


@pytest.mark.parametrize(
    "output", [b"", b"[]", b'{"ips": {}}', b'{"interfaces": 3}', b'{"code": 11, "msg": "later"}']
)
def test_what_is_no_result(output: bytes) -> None:
    with pytest.raises(PluginError):
        results.result(output, "test")


def test_of_a_result_what_is_no_address_is_left_out() -> None:
    tree = results.result(
        json.dumps(
            {
                "cniVersion": "1.0.0",
                "ips": [{"address": "10.1.0.2/24", "gateway": "10.1.0.1"}, {"gateway": "x"}, 3],
                "dns": {"nameservers": ["10.1.0.1", "x", 3, *["10.0.0.1"] * 20]},
            }
        ).encode(),
        "test",
    )
    assert results.gateways(tree) == {4: "10.1.0.1"}
    assert results.name_servers(tree)[:2] == ("10.1.0.1", "10.0.0.1") and len(results.name_servers(tree)) == 8
    assert results.name_servers({"dns": None}) == ()
