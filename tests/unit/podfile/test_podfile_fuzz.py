"""Whatever is in a podfile, it is read or refused as the caller's mistake, and nothing else happens."""

from __future__ import annotations

import json
import string

import msgspec
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hypercontainer import podfile
from hypercontainer.contract.spec import PodSpec
from hypercontainer.errors import InvalidArgument
from hypercontainer.podfile.storage import decode_base64
from soak import rounds

FIELDS = """
id name hostname type restartPolicy tty labels resource vcpu memory log config dns dnsOptions dnsSearch containers files
volumes interfaces services portmappings portmappingWhiteLists internalNetworks image workdir sysctl envs env value
command entrypoint ports path volume readOnly detail filename perm user group additionalGroups StopSignal ulimits soft
hard logPath cache source format driver fstype option encoding uri content containerPort hostPort protocol IMAGE Path
""".split()
WORDS = """
a b /a /b/ busybox 0644 0755 raw base64 qcow2 vfs rbd vdi tcp udp 80 80-90 8080-8090 always onFailure true no 1 -1 128
http://h/x file:///x aGVsbG8= aGVs!bG8 192.0.2.1 json-file nofile SIGTERM
""".split()

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner, max_size=8)
    ),
    max_leaves=60,
)


def some(*names: str, **known: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    fields = {name: st.sampled_from(WORDS) | values for name in names} | known
    return st.fixed_dictionaries({}, optional=fields)


volumes = some("source", "format", "fstype", "cache", "option", name=st.sampled_from("ab"))
files = some("encoding", "uri", "content", name=st.sampled_from("ab"))
containers = some(
    "name", "command", "entrypoint", "workdir", "user", "labels", "sysctl", "StopSignal", "tty", "restartPolicy",
    image=st.just("busybox"),
    envs=st.lists(some("env", "value"), max_size=3) | values,
    volumes=st.lists(some("path", "readOnly", volume=st.sampled_from("ab"), detail=volumes), max_size=2),
    files=st.lists(some("path", "perm", "user", filename=st.sampled_from("ab"), detail=files), max_size=2),
    ulimits=st.lists(some("name", "soft", "hard"), max_size=2) | values,
    ports=st.lists(some("containerPort", "hostPort", "protocol"), max_size=2) | values,
)  # fmt: skip
pods = some(
    "id", "hostname", "type", "restartPolicy", "tty", "labels", "dns", "dnsSearch", "interfaces", "services",
    containers=st.lists(containers, max_size=3),
    volumes=st.lists(volumes, max_size=2),
    files=st.lists(files, max_size=2),
    resource=some("vcpu", "memory"),
    log=some("type", "config"),
    portmappings=st.lists(some("containerPort", "hostPort", "protocol"), max_size=3),
)  # fmt: skip


def read(text: str | bytes) -> None:
    try:
        spec, warnings = podfile.read(text, where="w", fetch=lambda uri: uri.encode())
    except InvalidArgument as error:
        assert error.message.startswith("podfile w")
    else:
        assert msgspec.json.decode(msgspec.json.encode(spec), type=PodSpec) == spec
        assert all(warning.startswith("podfile w") for warning in warnings)


@settings(max_examples=rounds(short=100, soak=10000))
@given(pods)
def test_what_looks_like_a_podfile(value: dict[str, object]) -> None:
    read(json.dumps(value))


@settings(max_examples=rounds(short=150, soak=15000))
@given(values)
def test_any_json(value: object) -> None:
    read(json.dumps(value))


@settings(max_examples=rounds(short=50, soak=5000))
@given(pods)
def test_what_looks_like_a_podfile_in_yaml(value: dict[str, object]) -> None:
    read(yaml.safe_dump(value))


@settings(max_examples=rounds(short=150, soak=15000))
@given(st.text(max_size=200) | st.text("{}[]:,&*!|>-'\"~# \n\tab0", max_size=80) | st.binary(max_size=100))
def test_any_text(text: str | bytes) -> None:
    read(text)


@settings(max_examples=rounds(short=150, soak=15000))
@given(st.binary(max_size=50), st.text(string.printable, max_size=50))
def test_base64_that_is_whole_is_what_it_was_and_any_other_decodes_in_part(data: bytes, rest: str) -> None:
    import base64

    encoded = base64.b64encode(data)
    assert decode_base64(encoded) == (data, True)
    decoded, _ = decode_base64(encoded.rstrip(b"=") + b"*" + rest.encode())
    assert decoded == data
    decode_base64(rest.encode())
