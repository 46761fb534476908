"""What a podfile may not say, and that the message says where and what instead."""

from __future__ import annotations

import json
from typing import Any

import pytest

from hypercontainer import podfile
from hypercontainer.contract.limits import CONTAINERS_MAX
from hypercontainer.errors import InvalidArgument, NotFound, Unavailable


def nothing(uri: str) -> bytes:
    raise AssertionError(f"{uri} was fetched")


def refusal(value: Any, text: bool = False) -> str:
    with pytest.raises(InvalidArgument) as caught:
        podfile.read(value if text else json.dumps(value), where="web.json", fetch=nothing)
    return str(caught.value)


def pod(**fields: Any) -> dict[str, Any]:
    return {"id": "p", "containers": [{"image": "busybox"}]} | fields


SERVICE = {
    "serviceIP": "10.254.0.1",
    "servicePort": 80,
    "hosts": [{"hostIP": "10.1.0.2", "hostPort": "8080"}],
}


def container(**fields: Any) -> dict[str, Any]:
    return pod(containers=[{"image": "other"}, {"image": "busybox"} | fields])


def volume(**fields: Any) -> dict[str, Any]:
    return pod(volumes=[{"name": "v"} | fields])


def file(reference: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    used = [{"path": "/f", "filename": "f"} | reference] if reference is not None else []
    return container(files=used) | {"files": [{"name": "f", "content": "x"} | fields]}


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    # the pod
    ({}, "containers", "one at least"),
    (pod(containers=None), "containers", "one at least"),
    (pod(containers={"image": "x"}), "containers", "a mapping where a list"),
    (pod(containers=["busybox"]), "containers[0]", "text where a mapping"),
    (pod(containers=[None]), "containers[0]", "nothing where a mapping"),
    (
        pod(containers=[{"image": "x"}] * (CONTAINERS_MAX + 1)),
        "containers",
        f"a pod has {CONTAINERS_MAX} containers at most",
    ),
    (pod(id="../p"), "id", "is no name"),
    (pod(hostname="a" * 64), "hostname", "64 characters, at most 63"),
    (pod(hostname="/myname"), "hostname", "'/myname' is no host name"),
    (pod(hostname="a..b"), "hostname", "is no host name"),
    (pod(hostname="Web"), "hostname", "'Web' is no host name (small letters, digits and hyphens)"),
    (pod(hostname="-a"), "hostname", "is no host name"),
    (pod(hostname="under_score"), "hostname", "is no host name"),
    (pod(restartPolicy="sometimes"), "restartPolicy", "never, onFailure or always"),
    (pod(tty="perhaps"), "tty", "'perhaps' is neither true nor false"),
    (pod(tty=[]), "tty", "a list is neither"),
    (pod(resource={"memory": "128m"}), "resource.memory", "'128m' is no whole number"),
    (pod(resource={"memory": 3}), "resource.memory", "a number of MB"),
    (pod(resource={"memory": -1}), "resource.memory", "-1 is not within"),
    (pod(resource={"vcpu": 1.5}), "resource.vcpu", "'1.5' is no whole number"),
    (pod(resource={"vcpu": True}), "resource.vcpu", "true is no whole number"),
    (pod(resource={"vcpu": 10**30}), "resource.vcpu", "is no whole number"),
    (pod(resource="large"), "resource", "text where a mapping"),
    (pod(dns=["192.0.2.1", "ns.example"]), "dns[1]", "'ns.example' is no address"),
    (pod(dns=["fe80::1%eth0"]), "dns[0]", "is no address"),
    (pod(dnsSearch=["a b"]), "dnsSearch[0]", "is no word"),
    (pod(dnsOptions=["a\nnameserver 192.0.2.1"]), "dnsOptions[0]", "is no word"),
    (pod(log={"type": "syslog"}), "log.type", "json-file or none"),
    (pod(log={"config": {"max-size": "big"}}), "log.config.max-size", "'big' is no size"),
    (pod(labels=["a"]), "labels", "a list where a mapping"),
    (pod(labels={"a": {"b": "c"}}), "labels.'a'", "a mapping where text"),
    (pod(kind="Pod", apiVersion="v1"), "kind", "a Kubernetes manifest"),
    (pod(ID="q"), "", "'id' and 'ID' are one key"),
    # what needs networks
    (pod(services=[{"serviceIP": "10.0.0.1", "servicePort": 80}]), "services[0].hosts", "stand behind"),
    (pod(services=[SERVICE | {"serviceIP": "fd00::1"}]), "services[0].serviceIP", "no address of IPv4"),
    (pod(services=[SERVICE | {"protocol": "sctp"}]), "services[0].protocol", "not known"),
    (pod(services=[SERVICE | {"servicePort": 70000}]), "services[0].servicePort", "70000"),
    (pod(services=[SERVICE, SERVICE]), "services[1].servicePort", "another service's too"),
    (pod(services=[SERVICE] * 101), "services", "100 at most"),
    (pod(interfaces=[{"bridge": "br0", "ip": "10.0.0"}]), "interfaces[0].ip", "no address of IPv4"),
    (pod(interfaces=[{}] * 9), "interfaces", "8 at most"),
    (
        pod(portmappingWhiteLists={"internalNetworks": ["10.0.0.0/8"]}),
        "portmappingWhiteLists",
        "not filtered",
    ),
    # ports
    (pod(portmappings=[{"hostPort": 80}]), "portmappings[0].containerPort", "missing"),
    (
        pod(portmappings=[{"containerPort": "80-90", "hostPort": "8000-8011"}]),
        "portmappings[0].hostPort",
        "12 ports for 11 in the container",
    ),
    (
        pod(portmappings=[{"containerPort": "90-80"}]),
        "portmappings[0].containerPort",
        "'90-80' ends before it begins",
    ),
    (pod(portmappings=[{"containerPort": 0}]), "portmappings[0].containerPort", "not within 1 to 65535"),
    (pod(portmappings=[{"containerPort": "http"}]), "portmappings[0].containerPort", "'http' is no port"),
    (
        pod(portmappings=[{"containerPort": 1, "protocol": "sctp"}]),
        "portmappings[0].protocol",
        "tcp or udp",
    ),
    (
        pod(portmappings=[{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]),
        "portmappings[1].hostPort",
        "9/tcp is taken",
    ),
    (pod(portmappings=[{"containerPort": "1-5000"}]), "portmappings[0]", "more than 4096 ports"),
    # volumes
    (
        volume(format="rbd", source="p/x", option={"user": "a", "monitors": ["m"], "keyring": "AQBoSRhq=="}),
        "volumes[0].option.keyring",
        "no absolute path",
    ),
    (volume(format="rbd", source="p/x", option={"user": "a"}), "volumes[0].option", "that is no cluster"),
    (
        volume(
            format="rbd",
            source="p/x",
            option={"keyring": "/k", "user": "a", "monitors": ["m"], "cluster": "c"},
        ),
        "volumes[0].option",
        "that is no cluster",
    ),
    (volume(format="nas", source="/x"), "volumes[0].source", "SERVER:/PATH"),
    (volume(format="nas", source="h:/x", fstype="ext4"), "volumes[0].fstype", "nfs, nfs4 or none"),
    (
        volume(format="zip", source="/x"),
        "volumes[0].format",
        "raw, qcow2, vdi, vmdk, nbd, iscsi, rbd, vfs, nas, image",
    ),
    (volume(source="/x"), "volumes[0].format", "never guessed"),
    (volume(format="nbd", source="/x"), "volumes[0].source", "nbd://HOST/"),
    (volume(format="iscsi", source="nbd://h/"), "volumes[0].source", "iscsi://HOST/"),
    (volume(source="x", format="vfs"), "volumes[0].source", "'x' is no absolute path"),
    (volume(source="/a/../b", format="raw"), "volumes[0].source", "without .."),
    (volume(source="/x", format="raw", fstype="xfs"), "volumes[0].fstype", "'xfs' cannot be mounted (ext4)"),
    (volume(cache="fast"), "volumes[0].cache", "writeback"),
    (volume(name=""), "volumes[0].name", "empty"),
    (pod(volumes=[{"name": "v"}, {"name": "v"}]), "volumes[1].name", "a second volume 'v'"),
    # files
    (pod(files=[{"content": "x"}]), "files[0].name", "missing"),
    (pod(files=[{"name": "f"}, {"name": "f"}]), "files[1].name", "a second file 'f'"),
    (file(encoding="hex"), "files[0].encoding", "raw or base64"),
    (file(content=["x"]), "files[0].content", "a list where text"),
    (file(uri="ftp://h/x"), "files[0].uri", "file:///PATH, http://... or https://..."),
    (file(uri="/etc/passwd"), "files[0].uri", "is not read"),
    (file(uri="http://[::1"), "files[0].uri", "is not read"),
    (file(uri="file:"), "files[0].uri", "is not read"),
    (file({"perm": "755"}), "containers[1].files[0].perm", "'755' is no permission"),
    (file({"perm": "0888"}), "containers[1].files[0].perm", "four octal digits"),
    (file({"perm": "04755"}), "containers[1].files[0].perm", "four octal digits"),
    (file({"path": "etc/f"}), "containers[1].files[0].path", "is no absolute path"),
    (file({"path": "/../f"}), "containers[1].files[0].path", "without .."),
    (file({"filename": "g"}), "containers[1].files[0].filename", "there is no file 'g'"),
    (
        container(files=[{"path": "/f", "detail": {"name": "f"}}, {"path": "/f", "detail": {"name": "g"}}]),
        "containers[1].files[1].path",
        "a second file at '/f'",
    ),
    (
        container(files=[{"path": "/d/", "detail": {"name": "../../x"}}]),
        "containers[1].files[0].path",
        "is no path of a file",
    ),
    # containers
    (pod(containers=[{"name": "c"}]), "containers[0].image", "missing"),
    (container(image=""), "containers[1].image", "empty"),
    (container(image="a b"), "containers[1].image", "is no name of an image"),
    (container(name="a/b"), "containers[1].name", "is no name"),
    (
        pod(containers=[{"name": "c", "image": "x"}, {"name": "c", "image": "x"}]),
        "containers[1].name",
        "a second container 'c'",
    ),
    (
        container(envs=[{"env": "A"}, {"env": "A", "value": "b"}]),
        "containers[1].envs[1].env",
        "a second value",
    ),
    (container(envs=[{"value": "b"}]), "containers[1].envs[0].env", "missing"),
    (container(envs=[{"env": "A=B"}]), "containers[1].envs[0].env", "has a = in it"),
    (container(envs=[{"env": "A", "value": "b\0c"}]), "containers[1].envs[0].value", "NUL"),
    (container(envs=[{"env": "A", "value": "\ud800"}]), "containers[1].envs[0].value", "surrogate"),
    (container(command="sh -c 'x"), "containers[1].command", "no closing quotation"),
    (container(command=[["sh"]]), "containers[1].command[0]", "a list where text"),
    (container(volumes=[{"volume": "w", "path": "/w"}]), "containers[1].volumes[0].volume", "no volume 'w'"),
    (
        container(volumes=[{"volume": "v", "path": "/"}]) | {"volumes": [{"name": "v"}]},
        "containers[1].volumes[0].path",
        "cannot take the place of /",
    ),
    (
        container(volumes=[{"volume": "v", "path": "/v"}, {"volume": "v", "path": "/v/"}])
        | {"volumes": [{"name": "v"}]},
        "containers[1].volumes[1].path",
        "a second volume at '/v'",
    ),
    (
        container(volumes=[{"path": "/v", "detail": {"name": "v", "source": "/x", "format": "vfs"}}])
        | {"volumes": [{"name": "v"}]},
        "containers[1].volumes[0].detail",
        "another volume",
    ),
    (container(user={"group": "staff"}), "containers[1].user.name", "a group is named"),
    (container(user={"name": "a:b"}), "containers[1].user.name", "has a : in it"),
    (container(user=["root"]), "containers[1].user", "a list where a mapping"),
    (container(ulimits=[{"soft": 1}]), "containers[1].ulimits[0].name", "missing"),
    (container(ulimits=[{"name": "core", "soft": "x"}]), "containers[1].ulimits[0].soft", "no whole number"),
    (
        container(ulimits=[{"name": "core"}, {"name": "CORE"}]),
        "containers[1].ulimits[1].name",
        "a second limit 'core'",
    ),
    (container(StopSignal="SIG TERM"), "containers[1].StopSignal", "such as SIGTERM"),
    (
        pod(
            containers=[
                {"image": "x", "sysctl": {"a.b": "1"}},
                {"image": "x", "sysctl": {"a.b": "2"}},
            ]
        ),
        "containers[1].sysctl.'a.b'",
        "says otherwise",
    ),
]


@pytest.mark.parametrize(
    ("value", "path", "text"), REFUSED, ids=[f"{path}-{text}" for _, path, text in REFUSED]
)
def test_refused_and_said_where(value: dict[str, Any], path: str, text: str) -> None:
    message = refusal(value)
    assert message.startswith(f"podfile web.json: {path}: " if path else "podfile web.json: ")
    assert text in message


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ('{"id": "p", "containers" [', "not JSON: Expecting ':' delimiter: line 1, column 26"),
        ('{"id": "p", "id": "q"}', "the key 'id' is there twice"),
        ("a: 1\na: 2", "the key 'a' is there twice"),
        ("a: [", "not YAML: did not find expected node content: line 2, column 1"),
        ("", "not a podfile"),
        ("null", "not a podfile"),
        ("- a", "not a podfile"),
        ("just words", "not a podfile"),
        ("a: 1\n---\nb: 2", "more than one document"),
        ("a: &a [*a]", "the alias *a names no anchor before it"),
        ("a: *b", "names no anchor"),
        ("a: !!python/object/apply:os.system [x]", "is not read"),
        ("a: !own x", "the YAML tag '!own' is not read"),
        ("<<: {a: b}", "merge key"),
        ("? [a]\n: b", "a key is no text: line 1"),
        ("~: b", "a key is no text"),
        ("[" * 40 + "]" * 40, "more than 32 deep"),
        ('{"a": ' * 100_000, "more than 32 deep"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "more than 32 deep"),
        ('{"a": [' + "0," * 100_000 + "0]}", "more than 100000 values"),
        ("- a\n" * 100_001, "more than 100000 values"),
        ("a: " + "x" * (8 << 20), "more than 8 MiB"),
        ("a: \x01", "not YAML"),
        ("a: \ud800", "not UTF-8"),
    ],
)
def test_text_that_is_no_podfile(source: str, text: str) -> None:
    message = refusal(source, text=True)
    assert message.startswith("podfile web.json: ")
    assert text in message


def test_aliases_are_counted_as_what_they_stand_for() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than 100000 values" in refusal("\n".join(lines), text=True)


def test_aliases_do_not_hide_depth() -> None:
    lines = ["services:", "- &a0 [x]"]
    lines += [f"- &a{n} {'[' * 20}*a{n - 1}{']' * 20}" for n in range(1, 60)]
    assert "more than 32 deep" in refusal("\n".join(lines), text=True)


def test_a_key_there_twice_among_many_is_found_in_time() -> None:
    keys = ",".join(f'"{n}": 1' for n in range(90_000))
    assert "the key '89999' is there twice" in refusal(f'{{{keys}, "89999": 1}}', text=True)


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(InvalidArgument, match="not UTF-8"):
        podfile.read(b"a: \xff", where="x", fetch=nothing)


def test_control_characters_do_not_reach_the_terminal() -> None:
    value = container(**{"\x1b[2J": 1}, envs=[{"env": "A\x1b="}])
    assert "\x1b" not in refusal(value)
    value = pod(**{"\x1b[2J": 1})
    _, warnings = podfile.read(json.dumps(value), where="a\x1b[2J", fetch=nothing)
    assert len(warnings) == 1
    assert "\x1b" not in warnings[0]


def test_warnings_are_bounded() -> None:
    value = pod(
        containers=[{"image": "x", f"k{n}": 1, f"l{n}": 1} for n in range(100)],
        **{f"k{n}": 1 for n in range(50)},
    )
    _, warnings = podfile.read(json.dumps(value), where="w", fetch=nothing)
    assert len(warnings) == 101
    assert warnings[-1] == "podfile w: there are more warnings"


def test_the_files_together_are_bounded() -> None:
    value = container(files=[{"path": f"/{n}", "filename": "f"} for n in range(3)])
    value |= {"files": [{"name": "f", "uri": "http://h/f"}]}
    with pytest.raises(
        InvalidArgument, match=r"containers\[1\].files\[2\]: the files come to more than 3 MiB"
    ):
        podfile.read(json.dumps(value), where="w", fetch=lambda uri: bytes(3 << 19))


@pytest.mark.parametrize("kind", [InvalidArgument, NotFound, Unavailable])
def test_what_cannot_be_fetched_is_said_where(kind: type[Exception]) -> None:
    def fetch(uri: str) -> bytes:
        raise kind(f"{uri} has gone")

    value = file({}, uri="http://h/f")
    with pytest.raises(kind, match=r"podfile w: files\[0\].uri: http://h/f has gone"):
        podfile.read(json.dumps(value), where="w", fetch=fetch)


def test_a_file_is_fetched_once_and_only_when_it_is_used() -> None:
    fetched = []

    def fetch(uri: str) -> bytes:
        fetched.append(uri)
        return b"x"

    value = container(files=[{"path": "/a", "filename": "f"}, {"path": "/b", "filename": "f"}])
    value |= {"files": [{"name": "f", "uri": "http://h/f"}, {"name": "g", "uri": "http://h/g"}]}
    podfile.read(json.dumps(value), where="w", fetch=fetch)
    assert fetched == ["http://h/f"]
