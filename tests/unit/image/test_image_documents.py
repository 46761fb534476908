from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hypercontainer.errors import ImageError
from hypercontainer.image.documents import Index, Manifest, check_layers, parse_config, parse_manifest

DIGEST = "sha256:" + "a" * 64
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": DIGEST, "size": 2}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": DIGEST, "size": 3}
MANIFEST: dict[str, Any] = {"schemaVersion": 2, "config": CONFIG, "layers": [LAYER]}


def manifest(content_type: str = "", **changes: Any) -> Manifest | Index:
    document = {k: v for k, v in {**MANIFEST, **changes}.items() if v is not ...}
    return parse_manifest(json.dumps(document).encode(), content_type, "test")


def test_manifests_of_both_kinds() -> None:
    found = manifest(unknown={"x": [1]})
    assert isinstance(found, Manifest)
    assert found.media_type == OCI_MANIFEST
    assert [layer.size for layer in found.layers] == [3]
    docker = manifest(content_type=f"{DOCKER_MANIFEST}; charset=utf-8")
    assert docker.media_type == DOCKER_MANIFEST
    for suffix in ("", ".gzip", ".zstd"):
        manifest(layers=[{**LAYER, "mediaType": "application/vnd.docker.image.rootfs.diff.tar" + suffix}])
    foreign = {
        **LAYER,
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "urls": ["http://x"],
    }
    manifest(layers=[foreign])
    index = manifest(
        config=..., layers=..., manifests=[{"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 1}]
    )
    assert isinstance(index, Index)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schemaVersion": 1}, "schema 1"),
        ({"fsLayers": []}, "schema 1"),
        ({"content_type": "application/vnd.docker.distribution.manifest.v1+prettyjws"}, "schema 1"),
        ({"schemaVersion": 3}, "schemaVersion 3"),
        ({"manifests": []}, "both an image and an index"),
        ({"layers": ..., "config": ...}, "neither"),
        ({"layers": ...}, "no layers"),
        ({"config": ...}, "no config"),
        ({"mediaType": OCI_INDEX}, "media type"),
        ({"content_type": OCI_INDEX}, "media type"),
        ({"mediaType": "text/html"}, "text/html"),
        ({"artifactType": "x\x1b[2J"}, "no artifact's type"),
        ({"config": {**CONFIG, "mediaType": ""}}, "no artifact's type"),
        ({"config": {**CONFIG, "digest": "sha256:../../etc/passwd"}}, "digest"),
        ({"config": {**CONFIG, "size": 9 << 20}}, "larger than"),
        ({"layers": [{**LAYER, "size": -1}]}, "size"),
        ({"layers": [{**LAYER, "size": 1.5}]}, "size"),
        (
            {"layers": [{**LAYER, "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"}]},
            "encrypted",
        ),
        ({"layers": [LAYER] * 1025}, "at most 1024"),
        ({"layers": "x"}, "layers"),
    ],
)
def test_refused_manifests(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ImageError) as caught:
        manifest(**changes)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, ""),
        ({"artifactType": "application/x"}, "application/x"),
        ({"config": {**CONFIG, "mediaType": "application/vnd.cncf.helm.config.v1+json"}}, "helm"),
        ({"config": {**CONFIG, "mediaType": "application/vnd.oci.empty.v1+json"}}, "empty"),
    ],
)
def test_artifacts_are_told_by_type_or_config(changes: dict[str, Any], kind: str) -> None:
    found = manifest(**changes)
    assert isinstance(found, Manifest)
    assert kind in found.artifact_type
    assert bool(kind) == bool(found.artifact_type)


@given(st.binary(max_size=100) | st.from_regex(r"[\[{]{1,2000}", fullmatch=True).map(str.encode))
def test_garbage_is_an_image_error(raw: bytes) -> None:
    with pytest.raises(ImageError):
        parse_manifest(raw, "", "test")
    with contextlib.suppress(ImageError):  # an empty object is a config
        assert parse_config(raw, "test").diff_ids == ()


def test_deep_nesting_and_size_are_bounded() -> None:
    with pytest.raises(ImageError):
        parse_manifest(b'{"x":' * 100_000 + b"1" + b"}" * 100_000, "", "test")
    with pytest.raises(ImageError, match="larger than"):
        parse_manifest(b" " * (4 << 20) + b"{}", "", "test")
    with pytest.raises(ImageError, match="larger than"):
        parse_config(b" " * (8 << 20) + b"{}", "test")


def config(**run: Any) -> bytes:
    return json.dumps(
        {"architecture": "arm64", "os": "linux", "config": run, "rootfs": {"diff_ids": [DIGEST]}}
    ).encode()


def test_a_whole_config() -> None:
    raw = config(
        User="1000:staff",
        ExposedPorts={"80/tcp": {}},
        Env=["A=b", "EMPTY=", "bare"],
        Entrypoint=["/e"],
        Cmd=None,
        Volumes={"/data": {}},
        WorkingDir="/w",
        Labels={"a": "b"},
        StopSignal="SIGTERM",
        Healthcheck={"Test": ["CMD", "x"], "Interval": 30_000_000_000, "Retries": 3},
        Shell=["/bin/bash", "-c"],
        OnBuild=["RUN x"],
        Domainname="ignored",
    )
    document = parse_config(raw, "test")
    found = document.config
    assert (found.user, found.env, found.entrypoint, found.cmd) == (
        "1000:staff",
        ("A=b", "EMPTY=", "bare"),
        ("/e",),
        None,
    )
    assert (found.exposed_ports, found.volumes, found.working_dir) == (("80/tcp",), ("/data",), "/w")
    assert found.healthcheck is not None
    assert (found.healthcheck.interval_ns, found.healthcheck.retries) == (30_000_000_000, 3)
    assert (found.shell, found.on_build, found.labels) == (("/bin/bash", "-c"), ("RUN x",), {"a": "b"})
    assert found.raw == raw
    assert str(document.platform) == "linux/arm64"


@pytest.mark.parametrize(
    "user", ["4294967295", "99999999999999999999", "0:4294967295", "1:42949672960", "a\nb", "x" * 513]
)
def test_users_beyond_32_bits_are_refused_naming_the_config(user: str) -> None:
    with pytest.raises(ImageError, match="image config"):
        parse_config(config(User=user), "test")


@pytest.mark.parametrize("user", ["", "root", "0", "4294967294", "app:app", ":5", "0000000001"])
def test_ordinary_users(user: str) -> None:
    assert parse_config(config(User=user), "test").config.user == user


@pytest.mark.parametrize(
    "run",
    [
        {"Cmd": "a string"},
        {"Entrypoint": [1]},
        {"Env": {"A": "b"}},
        {"Env": ["=x"]},
        {"Env": ["A=\0"]},
        {"Env": ["A=b"] * 16_385},
        {"Labels": {"a": 1}},
        {"Labels": {f"{number}": "" for number in range(4097)}},
        {"Labels": {"a": "x" * 200_000, "b": "x" * 100_000}},
        {"Env": ["A=" + "x" * 600_000] * 2},
        {"Cmd": ["x" * 1000] * 1100},
        {"Volumes": {f"/{number}": {} for number in range(16_385)}},
        {"User": 0},
        {"Volumes": ["/a"]},
        {"Healthcheck": {"Interval": "30s"}},
    ],
)
def test_refused_configs(run: dict[str, Any]) -> None:
    with pytest.raises(ImageError):
        parse_config(config(**run), "test")


def test_many_labels_and_long_ones() -> None:
    labels = {f"org.example.label.{number}": "x" * 40 for number in range(4096)}
    assert parse_config(config(Labels=labels), "test").config.labels == labels
    assert parse_config(config(Labels={"a": "x" * 250_000}), "test").config.labels["a"]


@pytest.mark.parametrize(
    "flood",
    [
        b'{"history":[' + b"{}," * 200_000 + b"{}]}",
        b'{"config":{"Volumes":{"/a":[' + b"[]," * 200_000 + b"[]]}}}",
        b'{"config":{"Labels":{' + b'"\\"a":"",' * 200_000 + b'"b":""}}}',
        b'{"unknown":[' + b"1," * 200_000 + b"1]}",
    ],
)
def test_floods_of_small_values_are_refused_before_they_are_values(
    flood: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decoded(*_: object, **__: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("msgspec.json.decode", decoded)
    with pytest.raises(ImageError, match="more than 131072 values"):
        parse_config(flood, "test")


def test_marks_in_strings_are_no_values() -> None:
    step = {"created_by": "RUN echo " + '{[,"\\' * 100_000}
    raw = json.dumps({"rootfs": {"diff_ids": [DIGEST]}, "history": [step]}).encode()
    assert parse_config(raw, "test").history[0].created_by == step["created_by"]
    with pytest.raises(ImageError, match="test"):
        parse_config(b'{"a":"' + b'\\",' * 200_000, "test")  # a string without an end, and linear time


def test_layers_and_diff_ids_must_match() -> None:
    found = manifest(layers=[LAYER, LAYER])
    assert isinstance(found, Manifest)
    with pytest.raises(ImageError, match="2 layers in the manifest, 1 diff IDs"):
        check_layers(found, parse_config(config(), "test"), "test")
