"""``-v`` and ``--mount``: what is asked for, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hypercontainer.cli.container_options import CREATE_OPTIONS, RUN_OPTIONS
from hypercontainer.cli.container_spec import container_spec
from hypercontainer.cli.options import UsageError, parse
from hypercontainer.contract.spec import ContainerSpec
from hypercontainer.errors import NotSupported


@pytest.fixture(autouse=True)
def counted_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of random ones: 0001, 0002, ..."""
    numbers = iter(range(1, 100))
    monkeypatch.setattr(os, "urandom", lambda _count: bytes((0, next(numbers))))


def spec_of(*words: str) -> dict[str, Any]:
    values, arguments = parse(RUN_OPTIONS, (*words, "image"), interspersed=False)
    spec = container_spec(values, arguments[0], arguments[1:])
    msgspec.convert(spec, ContainerSpec)
    del spec["image"]
    return spec


def named(name: str = "data", **more: Any) -> dict[str, Any]:
    return {"name": name, "source": {"kind": "named", "name": name, **more}}


NAMED = {"volumes": [named()], "mounts": [{"volume": "data", "path": "/d", "copy_up": True}]}
ANONYMOUS = {
    "volumes": [{"name": "anonymous-0001", "source": {"kind": "named"}}],
    "mounts": [{"volume": "anonymous-0001", "path": "/d", "copy_up": True}],
}


def image(source: str, **more: str) -> dict[str, Any]:
    mount = {"volume": "image-0001", "path": "/d", "read_only": True, **more}
    return {
        "volumes": [{"name": "image-0001", "source": {"kind": "image", "reference": source}}],
        "mounts": [mount],
    }


def with_(spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The first mount with ``more``."""
    return spec | {"mounts": [spec["mounts"][0] | more]}


def without_copy(spec: dict[str, Any], **more: Any) -> dict[str, Any]:
    found = with_(spec, **more)
    del found["mounts"][0]["copy_up"]
    return found


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        (("-v", "data:/d"), NAMED),
        (("--mount", "type=image,source=m:1,target=/d"), image("m:1")),
        (("--mount", "type=image,src=m:1,dst=/d,readonly=false"), image("m:1")),
        (
            ("--mount", "type=image,source=r.io/a/m,destination=/d,image-subpath=a/b,ro"),
            image("r.io/a/m", sub_path="a/b"),
        ),
        (("-v", "data:/d/:rw,z"), NAMED),
        (("-v", "data:/d:ro"), with_(NAMED, read_only=True)),
        (("-v", "data:/d:nocopy"), without_copy(NAMED)),
        (("-v", "/d"), ANONYMOUS),
        (("-v", "/d:ro"), with_(ANONYMOUS, read_only=True)),
        (("-v", "data:/d", "--volume-size", "2g"), NAMED | {"volumes": [named(size_bytes=2 << 30)]}),
        (
            ("-v", "/d", "--volume-size=1m"),
            ANONYMOUS
            | {"volumes": [{"name": "anonymous-0001", "source": {"kind": "named", "size_bytes": 1 << 20}}]},
        ),
        (("--mount", "source=data,target=/d"), NAMED),
        (("--mount", "type=volume,src=data,dst=/d,readonly"), with_(NAMED, read_only=True)),
        (("--mount", "type=volume,src=data,dst=/d,ro=false"), NAMED),
        (
            ("--mount", "src=data,dst=/d,volume-nocopy,volume-subpath=a/b"),
            without_copy(NAMED, sub_path="a/b"),
        ),
        (
            ("--mount", "src=data,dst=/d,volume-driver=local,volume-opt=size=2g"),
            NAMED | {"volumes": [named(size_bytes=2 << 30)]},
        ),
        (("--mount", "type=volume,destination=/d"), ANONYMOUS),
        (("--mount", '"type=volume","src=data","dst=/d"'), NAMED),
        (
            ("--tmpfs", "/a", "--mount", "type=tmpfs,target=/b,tmpfs-size=1m,tmpfs-mode=1770,ro"),
            {
                "tmpfs": [
                    {"path": "/a", "options": ""},
                    {"path": "/b", "options": "ro,size=1048576,mode=1770"},
                ]
            },
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_volumes(words: tuple[str, ...], spec: dict[str, Any]) -> None:
    assert spec_of(*words) == spec


DISKS = [
    (b"QFI\xfb", "qcow2"),
    (b"KDMV", "vmdk"),
    (b"# Disk DescriptorFile", "vmdk"),
    (b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64, b"\0") + b"\x7f\x10\xda\xbe", "vdi"),
]


@pytest.mark.parametrize(("head", "format_"), DISKS)
def test_a_disk_file_says_its_format_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes, format_: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "d"
    file.write_bytes(head.ljust(4096, b"\0"))
    spec = spec_of("--mount", "type=disk,source=./d,target=/d,ro,subpath=a")
    (volume,) = spec["volumes"]
    assert volume["source"] == {"kind": "disk", "path": str(file), "format": format_}
    assert spec["mounts"] == [{"path": "/d", "volume": volume["name"], "read_only": True, "sub_path": "a"}]
    assert spec_of("--mount", f"type=disk,source={file},target=/e")["volumes"] == [
        volume
    ]  # of one pod: one volume
    said = spec_of("--mount", f"type=disk,source={file},target=/d,format=raw")
    assert said["volumes"][0]["source"]["format"] == "raw"


def test_images_of_ceph() -> None:
    (volume,) = spec_of("--mount", "type=rbd,source=disks/one,target=/d")["volumes"]
    assert volume["source"] == {"kind": "network", "uri": "rbd://ceph/disks/one"}
    spec = spec_of("--mount", "type=rbd,source=disks/team/one@before,cluster=far,target=/d")
    assert spec["volumes"][0]["source"]["uri"] == "rbd://far/disks/team/one@before"
    assert spec["mounts"][0]["read_only"]
    with pytest.raises(UsageError, match="type rbd needs a source, an image"):
        spec_of("--mount", "type=rbd,source=one,target=/d")
    with pytest.raises(NotSupported, match="'user' is not for type rbd"):
        spec_of("--mount", "type=rbd,source=disks/one,target=/d,user=bob")


def test_disks_of_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    spec = spec_of("--mount", "type=nbd,source=nbds://h/x,tls-certificates=./c,tls-hostname=n,target=/d,ro")
    (volume,) = spec["volumes"]
    certificates = {"tls_certificates": f"{tmp_path}/c", "tls_hostname": "n"}
    assert volume["source"] == {"kind": "network", "uri": "nbds://h/x", **certificates}
    assert spec["mounts"] == [{"path": "/d", "volume": volume["name"], "read_only": True}]
    spec = spec_of("--mount", "type=iscsi,source=iscsi://h/iqn.x/1,user=bob,password-file=/w,target=/d")
    login = {"user": "bob", "password_file": "/w"}
    assert spec["volumes"][0]["source"] == {"kind": "network", "uri": "iscsi://h/iqn.x/1", **login}
    for wrong in (
        "type=nbd,target=/d",
        "type=nbd,source=h:/x,target=/d",
        "type=iscsi,source=nbd://h,target=/d",
    ):
        with pytest.raises(UsageError, match="a URI"):
            spec_of("--mount", wrong)
    with pytest.raises(NotSupported, match="'password-file' is not for type nbd"):
        spec_of("--mount", "type=nbd,source=nbd://h,target=/d,password-file=/w")


def test_a_raw_disk_is_never_concluded(tmp_path: Path) -> None:
    (tmp_path / "d").write_bytes(bytes(4096))
    with pytest.raises(UsageError, match="does not say which format") as caught:
        spec_of("--mount", f"type=disk,source={tmp_path}/d,target=/d")
    assert caught.value.hint == "format=raw, where it is raw"
    os.mkfifo(tmp_path / "fifo")  # which would block
    with pytest.raises(UsageError, match="does not say which format"):
        spec_of("--mount", f"type=disk,source={tmp_path}/fifo,target=/d")
    with pytest.raises(UsageError, match="No such file"):
        spec_of("--mount", f"type=disk,source={tmp_path}/gone,target=/d")
    with pytest.raises(UsageError, match="needs a source"):
        spec_of("--mount", "type=disk,target=/d")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("ro,rw", "'ro' and 'rw' are both given"),
        ("ro,ro", "'ro' and 'ro' are both given"),
        ("z,Z", "'z' and 'Z' are both given"),
        ("nocopy,nocopy", "'nocopy' and 'nocopy' are both given"),
        ("cached,delegated", "'cached' and 'delegated' are both given"),
        ("private,rprivate", "'private' and 'rprivate' are both given"),
        ("", "an empty option"),
        ("ro,", "an empty option"),
        (",ro", "an empty option"),
    ],
)
def test_options_are_each_given_once(options: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        spec_of("-v", f"data:/d:{options}")


def test_paths_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    spec = spec_of("-v", "./there:/a", "-v", f"{tmp_path}/there:/b:ro", "-v", "./new:/c", "-v", "./there:/d")
    assert spec["volumes"] == [
        {"name": "host-0001", "source": {"kind": "host", "path": f"{tmp_path}/there"}},
        {"name": "host-0002", "source": {"kind": "host", "path": f"{tmp_path}/there"}, "read_only": True},
        {
            "name": "host-0003",
            "source": {"kind": "host", "path": f"{tmp_path}/new", "expect": "directory-or-create"},
        },
    ]
    assert spec["mounts"] == [
        {"volume": "host-0001", "path": "/a"},
        {"volume": "host-0002", "path": "/b", "read_only": True},
        {"volume": "host-0003", "path": "/c"},
        {"volume": "host-0001", "path": "/d"},
    ]
    assert not (tmp_path / "new").exists()  # hyperd makes it, of whoever asks


def test_bind_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        spec_of("--mount", f"type=bind,src={tmp_path}/none,dst=/d")
    (spec,) = spec_of("--mount", f"type=bind,src={tmp_path},dst=/d,bind-propagation=rprivate")["volumes"]
    assert spec["source"] == {"kind": "host", "path": str(tmp_path)}


def test_one_volume_at_two_places() -> None:
    spec = spec_of("-v", "data:/a", "-v", "data:/b:ro")
    assert spec["volumes"] == [named()]
    assert [mount["path"] for mount in spec["mounts"]] == ["/a", "/b"]


DRIVER = "type=volume,src=v,dst=/d,volume-driver=local"


def share(path: str = "/x", **more: str) -> dict[str, str]:
    return {"kind": "nfs", "server": "nas", "path": path, **more}


@pytest.mark.parametrize(
    ("words", "source"),
    [
        ("type=nfs,src=nas:/x,dst=/d", share()),
        ('type=nfs,src=nas:/,dst=/d,"options=soft,timeo=50"', share("/", options="soft,timeo=50")),
        ("type=nfs,src=[fd00::1]:/x,dst=/d", share(server="fd00::1")),
        (
            f'{DRIVER},volume-opt=type=nfs,"volume-opt=o=addr=nas,rw,nfsvers=4.2",volume-opt=device=:/x',
            share(options="rw,nfsvers=4.2"),
        ),
        (
            "src=v,dst=/d,volume-opt=type=nfs4,volume-opt=o=addr=nas,volume-opt=device=:/x",
            share(options="nfsvers=4"),
        ),
        ("src=v,dst=/d,volume-opt=type=nfs,volume-opt=device=nas:/a:/b", share("/a:/b")),
    ],
)
def test_directories_of_servers(words: str, source: dict[str, str]) -> None:
    found = spec_of("--mount", words)
    volume = found["volumes"][0]["source"]
    if volume["kind"] == "named":
        assert volume == {"kind": "named", "name": "v", "nfs": source}
        assert found["mounts"][0]["copy_up"]
    else:
        assert volume == source
        assert "copy_up" not in found["mounts"][0]


def test_one_share_is_one_volume_of_a_pod() -> None:
    found = spec_of(
        "--mount", "type=nfs,src=nas:/x,dst=/a,subpath=b", "--mount", "type=nfs,src=nas:/x,dst=/c,ro"
    )
    assert len(found["volumes"]) == 1
    assert [mount.get("sub_path") for mount in found["mounts"]] == ["b", None]
    assert [mount.get("read_only") for mount in found["mounts"]] == [None, True]


@pytest.mark.parametrize(
    "words",
    [
        ("-v", "data"),
        ("-v", "data:/"),
        ("-v", "data:d"),
        ("-v", ":/d"),
        ("-v", "a:/b:ro:z"),
        ("-v", "a b:/d"),
        ("-v", "-a:/d"),
        ("-v", "a/b:/d"),
        ("-v", "a" * 256 + ":/d"),
        ("-v", "a:/d", "-v", "b:/d/"),
        ("-v", "a:/d", "--volume-size", "big"),
        ("--mount", "src=a"),
        ("--mount", "src=a,src=b,dst=/d"),
        ("--mount", "src=a,,dst=/d"),
        ("--mount", "src=./a,dst=/d"),
        ("--mount", "src=a,dst=/d,readonly=maybe"),
        ("--mount", "type=bind,dst=/d"),
        ("--mount", "type=tmpfs,dst=d"),
        ("--mount", "type=nfs,src=/x,dst=/d"),
        ("--mount", "type=nfs,src=nas,dst=/d"),
        ("--mount", "type=volume,src=a,dst=/d,volume-opt=type=nfs,volume-opt=device=:/x"),
        ("--mount", "type=volume,src=a,dst=/d,volume-opt=type=nfs,volume-opt=o=addr=nas"),
    ],
)
def test_mounts_that_are_wrong(words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        spec_of(*words)


@pytest.mark.parametrize(
    "words",
    [
        ("-v", "data:/d:shared"),
        ("--mount", "type=npipe,src=a,dst=/d"),
        ("--mount", "type=volume,src=a,dst=/d,volume-driver=nfs"),
        ("--mount", "type=volume,src=a,dst=/d,volume-opt=type=cifs"),
        ("--mount", "type=volume,src=a,dst=/d,volume-opt=type=nfs,volume-opt=size=1g"),
        ("--mount", "type=nfs,src=nas:/x,dst=/d,volume-nocopy"),
        ("--mount", "type=tmpfs,src=a,dst=/d"),
        ("--mount", "type=bind,src=/,dst=/d,bind-propagation=rshared"),
    ],
)
def test_mounts_that_are_not_to_be_had(words: tuple[str, ...]) -> None:
    with pytest.raises(NotSupported, match=words[0]):
        spec_of(*words)


@pytest.mark.parametrize(
    ("words", "spec"),
    [
        (("--pod", "shop"), {"pod": "shop"}),
        (("-c", "shop"), {"pod": "shop"}),
        (("--container=shop", "--pod=shop"), {"pod": "shop"}),
        (("-c", "512"), {"cpu_shares": 512}),
        (("-c", "512", "--cpu-shares", "7"), {"cpu_shares": 7, "pod": "512"}),
    ],
)
def test_create_in_a_pod(words: tuple[str, ...], spec: dict[str, Any]) -> None:
    values, _ = parse(CREATE_OPTIONS, (*words, "image"), interspersed=False)
    assert container_spec(values, "image", []) == {"image": "image", **spec}


def test_two_pods_are_one_too_many() -> None:
    values, _ = parse(CREATE_OPTIONS, ("-c", "a", "--pod", "b", "image"), interspersed=False)
    with pytest.raises(UsageError, match="different pods"):
        container_spec(values, "image", [])
