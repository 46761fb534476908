from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest
from backports import zstd

import boastful_tar
from hypercontainer.errors import Cancelled, DigestMismatch, HyperError, ImageError, InvalidArgument
from hypercontainer.image.blobs import digest_of
from hypercontainer.image.cancel import Cancellation
from hypercontainer.image.importing import Making
from hypercontainer.image.members import MAX_LINKS
from hypercontainer.image.model import Layer, Progress, RegistriesConfig
from hypercontainer.image.store import ImageStore

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
A, B = b"first layer" * 100, b"second layer" * 100


class Pipe(io.RawIOBase):
    """Standard input: no seeking, and a read gives what happens to be there."""

    def __init__(self, data: bytes) -> None:
        self._source = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        return self._source.read(min(size, 777) if size >= 0 else 777)


def load(store: ImageStore, data: bytes, **options: Any) -> Any:
    return store.load(cast(BinaryIO, Pipe(data)), **options)


def saved(store: ImageStore, *names: str, layout: str = "docker") -> dict[str, bytes]:
    out = io.BytesIO()
    store.save(names, out, format=layout)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        return {info.name: cast(Any, tar.extractfile(info)).read() for info in tar}


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstd.compress])
def test_docker_archive(store: ImageStore, made: Any, compress: Any) -> None:
    archive = made.docker_archive([A, B], ["app:1", "quay.io/app:2"], Cmd=["/x"])
    (image,) = load(store, compress(archive))
    assert image.references == ("docker.io/library/app:1", "quay.io/app:2")
    assert image.id == made.digest(made.config([A, B], Cmd=["/x"]))
    assert [layer.diff_id for layer in image.layers] == [made.digest(A), made.digest(B)]
    assert image.config.cmd == ("/x",)
    assert image.size_bytes == len(A) + len(B)
    layer, path = store.layer_blob(image, 1)
    assert (path.read_bytes(), layer.compression) == (B, "none")
    assert path.stat().st_mode & 0o777 == 0o600


def test_several_images_share_layers_and_progress_ends_with_done(store: ImageStore, made: Any) -> None:
    configs = [made.config([A], Cmd=["1"]), made.config([A, B])]
    manifest = [
        {"Config": "1.json", "RepoTags": None, "Layers": ["a.tar"]},
        {"Config": "2.json", "RepoTags": ["two"], "Layers": ["a.tar", "x/layer.tar"]},
    ]
    files = {
        "manifest.json": json.dumps(manifest).encode(),
        "1.json": configs[0],
        "2.json": configs[1],
        "a.tar": A,
    }
    seen: list[Progress] = []
    prepared: list[Layer] = []
    images = load(
        store,
        made.tar({"./" + name: data for name, data in {**files, "x/layer.tar": B}.items()}),
        progress=seen.append,
        prepare=lambda layer, path: prepared.append(layer),
    )
    assert [image.references for image in images] == [(), ("docker.io/library/two:latest",)]
    assert images[0].dangling
    assert sorted(layer.digest for layer in prepared) == sorted([made.digest(A), made.digest(B)])
    assert {p.layer for p in seen if p.status == "done"} == {made.digest(A), made.digest(B)}


def test_links_between_layers_as_old_docker_wrote_them(store: ImageStore, made: Any) -> None:
    symlink, hardlink = tarfile.TarInfo(), tarfile.TarInfo()
    symlink.type, symlink.linkname = tarfile.SYMTYPE, "../one/layer.tar"
    hardlink.type, hardlink.linkname = tarfile.LNKTYPE, "one/layer.tar"
    names = ["one/layer.tar", "two/layer.tar", "three/layer.tar"]
    manifest = [{"Config": "c.json", "RepoTags": ["x"], "Layers": names}]
    (image,) = load(
        store,
        made.tar(
            {
                "two/layer.tar": symlink,
                "one/layer.tar": A,
                "three/layer.tar": hardlink,
                "c.json": made.config([A, A, A]),
                "manifest.json": json.dumps(manifest).encode(),
            }
        ),
    )
    assert {layer.digest for layer in image.layers} == {made.digest(A)}
    assert image.size_bytes == len(A)


def test_compressed_layers_in_a_docker_archive(store: ImageStore, made: Any) -> None:
    packed = [gzip.compress(A), zstd.compress(B)]
    manifest = [{"Config": "c.json", "RepoTags": ["x"], "Layers": ["0", "1"]}]
    files = {"0": packed[0], "1": packed[1], "c.json": made.config([A, B])}
    (image,) = load(store, made.tar({**files, "manifest.json": json.dumps(manifest).encode()}))
    assert [(x.compression, x.digest) for x in image.layers] == [
        ("gzip", made.digest(packed[0])),
        ("zstd", made.digest(packed[1])),
    ]
    members = saved(store, "x")
    assert members["blobs/sha256/" + made.digest(A)[7:]] == A
    assert members["blobs/sha256/" + made.digest(B)[7:]] == B


def test_oci_layout_keeps_its_manifest(store: ImageStore, made: Any) -> None:
    files = made.oci_files([A, B], "quay.io/app:2")
    (image,) = load(store, made.tar(files))
    assert image.references == ("quay.io/app:2",)
    assert [layer.compression for layer in image.layers] == ["gzip", "gzip"]
    again = saved(store, "quay.io/app:2", image.id, layout="oci")
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert again[name] == data
    (entry,) = json.loads(again["index.json"])["manifests"]
    assert entry["digest"] == image.manifest_digest


def test_sha512_blobs(store: ImageStore, made: Any) -> None:
    blob = gzip.compress(A)
    config = made.config([A])
    layer = {"mediaType": OCI_LAYER, "digest": made.digest(blob, "sha512"), "size": len(blob)}
    document = {"schemaVersion": 2, "config": made.descriptor(config, OCI_CONFIG), "layers": [layer]}
    manifest = json.dumps(document).encode()
    entry = made.descriptor(manifest, OCI_MANIFEST)
    files = {
        "index.json": json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode(),
        f"blobs/{layer['digest'].replace(':', '/')}": blob,
        **{f"blobs/{made.digest(data).replace(':', '/')}": data for data in (config, manifest)},
    }
    (image,) = load(store, made.tar(files))
    assert store.layer_blob(image, 0)[0].digest.startswith("sha512:")
    wrong = {name: blob + b"x" if "sha512" in name else data for name, data in files.items()}
    with pytest.raises(DigestMismatch):
        load(store, made.tar(wrong))


@pytest.mark.parametrize("tag", ["", "latest"])
def test_a_layout_with_a_bare_tag_gives_no_name(store: ImageStore, made: Any, tag: str) -> None:
    (image,) = load(store, made.tar(made.oci_files([A], tag)))
    assert image.references == ()


@pytest.mark.parametrize("layout", ["docker", "oci"])
def test_what_is_saved_is_loaded_again(store: ImageStore, made: Any, tmp_path: Path, layout: str) -> None:
    load(store, made.tar(made.oci_files([A, B], "quay.io/app:2")))
    load(store, made.docker_archive([A], ["app:1"], Env=["A=b"]))
    store.tag("app:1", "localhost/other:3")
    out = io.BytesIO()
    store.save(["app:1", "quay.io/app:2", "localhost/other:3"], out, format=layout)
    other = ImageStore(tmp_path / "other")
    load(other, out.getvalue())
    for name in ("app:1", "quay.io/app:2", "localhost/other:3"):
        assert other.get(name).id == store.get(name).id
        assert other.get(name).config == store.get(name).config
    assert (
        other.get("quay.io/app:2").manifest_digest == store.get("quay.io/app:2").manifest_digest
        or layout == "docker"
    )
    other.close()


def test_a_docker_archive_is_a_layout_too_and_its_manifest_nobodys(
    store: ImageStore, made: Any, tmp_path: Path
) -> None:
    load(store, made.tar(made.oci_files([A, B], "quay.io/app:2")))
    load(store, made.docker_archive([A], ["app:1"]))
    out = io.BytesIO()
    app, other = store.get("app:1"), store.get("quay.io/app:2")
    assert store.save(["app:1", "quay.io/app:2"], out) == [app.id, other.id]
    members = saved(store, "app:1", "quay.io/app:2")
    assert json.loads(members["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    entries = json.loads(members["manifest.json"])
    assert [entry["RepoTags"] for entry in entries] == [["app:1"], ["quay.io/app:2"]]
    described = json.loads(members["index.json"])["manifests"]
    for entry, descriptor in zip(entries, described, strict=True):
        raw = members["blobs/" + descriptor["digest"].replace(":", "/")]
        manifest = json.loads(raw)
        assert (made.digest(raw), len(raw)) == (descriptor["digest"], descriptor["size"])
        layers = [x["digest"].replace("sha256:", "blobs/sha256/") for x in manifest["layers"]]
        assert (entry["Layers"], [len(members[x]) for x in layers]) == (
            layers,
            [x["size"] for x in manifest["layers"]],
        )
    assert described[0]["annotations"]["io.containerd.image.name"] == "docker.io/library/app:1"
    assert json.loads(members["repositories"]) == {
        "app": {"1": made.digest(A)[7:]},
        "quay.io/app": {"2": made.digest(B)[7:]},
    }
    loaded = ImageStore(tmp_path / "other")
    load(loaded, out.getvalue())
    with loaded._operation("compress", None) as guard:
        record = loaded._pushable(loaded._whole(other.id), guard)  # as of an archive without a manifest
    assert {layer.compression for layer in record.layers} == {"gzip"}
    loaded.close()


def test_save_checks_the_diff_id(store: ImageStore, made: Any) -> None:
    manifest = [{"Config": "c.json", "RepoTags": ["x"], "Layers": ["0"]}]
    files = {
        "0": gzip.compress(B),
        "c.json": made.config([A]),
        "manifest.json": json.dumps(manifest).encode(),
    }
    load(store, made.tar(files))
    with pytest.raises(DigestMismatch, match="diff ID"):
        saved(store, "x")


def test_a_loaded_copy_does_not_replace_the_manifest_from_elsewhere(store: ImageStore, made: Any) -> None:
    (first,) = load(store, made.tar(made.oci_files([A], "app:1")))
    out = io.BytesIO()
    store.save(["app:1"], out)
    (second,) = load(store, out.getvalue())
    assert second == first
    assert store.disk_usage().reclaimable_bytes == 0


def docker(made: Any, **files: bytes | tarfile.TarInfo | None) -> bytes:
    """A good archive with members replaced; None takes one away."""
    manifest = [{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["layer"]}]
    good = {"layer": A, "c.json": made.config([A]), "manifest.json": json.dumps(manifest).encode()}
    names = {"c": "c.json", "manifest": "manifest.json"}
    good.update({names.get(k, k): v for k, v in files.items()})
    return cast(bytes, made.tar({name: data for name, data in good.items() if data is not None}))


def loop() -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = tarfile.SYMTYPE, "layer"
    return info


def damaged(made: Any) -> dict[str, tuple[bytes, str]]:
    good = docker(made)
    return {
        "damaged bzip2": (bz2.compress(good)[:-100], "damaged"),
        "bzip2 of nothing known": (b"BZh9" + bytes(1000), "damaged"),
        "truncated xz": (lzma.compress(good)[:-100], "damaged"),
        "xz that wants gigabytes": (hungry(good), "damaged"),
        "truncated gzip": (gzip.compress(good)[:-20], "damaged or ends early"),
        "damaged gzip": (
            gzip.compress(good)[:300] + b"\xff" * 40 + gzip.compress(good)[340:],
            "image archive",
        ),
        "truncated zstd": (zstd.compress(good)[:-20], "damaged or ends early"),
        "truncated tar": (good[:700], "image archive"),
    }


def hungry(data: bytes) -> bytes:
    """xz whose header asks for a dictionary of 2 GiB (the .xz file format, sections 3.1 and 5.3.1)."""
    raw = bytearray(lzma.compress(data))
    end = 12 + (raw[12] + 1) * 4
    raw[raw.index(b"\x21\x01", 12) + 2] = 38
    raw[end - 4 : end] = zlib.crc32(raw[12 : end - 4]).to_bytes(4, "little")
    return bytes(raw)


def hostile(made: Any) -> dict[str, tuple[bytes, str]]:
    entry = {"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["layer"]}

    def manifest(**changes: Any) -> bytes:
        return docker(made, manifest=json.dumps([{**entry, **changes}]).encode())

    oci = made.oci_files([A])
    index = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    return {
        **damaged(made),
        "nothing": (b"", "not a readable tar"),
        "an entry of an exabyte": (boastful_tar.of_unknown_kind(), "larger than"),
        "a hole of an exabyte": (boastful_tar.sparse(), "larger than"),
        "a hole": (boastful_tar.sparse(size_bytes=1 << 20), "sparse"),
        "garbage": (os.urandom(4096), "not a readable tar"),
        "no manifest": (docker(made, manifest=None), "neither manifest.json"),
        "manifest is not JSON": (docker(made, manifest=b"{"), "manifest.json"),
        "manifest of another shape": (docker(made, manifest=b'[{"Config": 1}]'), "manifest.json"),
        "no image": (docker(made, manifest=b"[]"), "no image"),
        "too many images": (docker(made, manifest=json.dumps([entry] * 1025).encode()), "at most 1024"),
        "layer missing": (docker(made, layer=None), "has no entry 'layer'"),
        "config missing": (docker(made, c=None), "has no entry 'c.json'"),
        "a name of the host": (manifest(Config="/../../etc/passwd"), "has no entry"),
        "another layer": (docker(made, layer=B), "diff ID"),
        "more layers than diff IDs": (manifest(Layers=["layer", "layer"]), "diff IDs"),
        "too many layers": (manifest(Layers=["layer"] * 2000), "more than 1024"),
        "a bad tag": (manifest(RepoTags=["x:1:2:!"]), "image reference"),
        "a digest as a tag": (manifest(RepoTags=["x@sha256:" + "0" * 64]), "not a name with a tag"),
        "a link to itself": (docker(made, layer=loop()), f"more than {MAX_LINKS} links"),
        "damaged bzip2 layer": (docker(made, layer=bz2.compress(A)[:-1]), "damaged"),
        "config of a user beyond 32 bits": (made.docker_archive([A], User="4294967296"), "32 bits"),
        "index without images": (made.tar({**oci, "index.json": index}), "no image"),
        "index that is a manifest": (
            made.tar({**oci, "index.json": b'{"schemaVersion":2,"layers":[]}'}),
            "no config",
        ),
        "blob with other content": (
            made.tar({k: v if len(v) > 60 or "blobs" not in k else v + b"x" for k, v in oci.items()}),
            "expected sha256",
        ),
    }


CASES = sorted(
    """an entry of an exabyte|a hole of an exabyte|a hole
nothing|garbage|no manifest|manifest is not JSON|manifest of another shape|no image|too many images|layer missing
config missing|a name of the host|another layer|more layers than diff IDs|too many layers|a bad tag|a digest as a tag
a link to itself|damaged bzip2|bzip2 of nothing known|truncated xz
xz that wants gigabytes|damaged bzip2 layer|truncated gzip|damaged gzip|truncated zstd|truncated tar
config of a user beyond 32 bits|index without images|index that is a manifest|blob with other content""".replace(
        "\n", "|"
    ).split("|")
)


@pytest.mark.parametrize("case", CASES)
def test_hostile_archives_are_refused_and_leave_nothing(store: ImageStore, made: Any, case: str) -> None:
    cases = hostile(made)
    assert sorted(cases) == CASES
    data, says = cases[case]
    with pytest.raises((ImageError, InvalidArgument)) as caught:
        load(store, data)
    assert says in str(caught.value)
    assert store.list() == []


def test_an_extended_header_of_gigabytes_is_not_read_into_memory(store: ImageStore) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 8 << 30
    header = info.tobuf(tarfile.GNU_FORMAT)

    class Endless(io.RawIOBase):
        sent = 0

        def read(self, size: int = -1) -> bytes:
            data = header if not self.sent else b"\0" * size
            self.sent += len(data)
            return data

    source = Endless()
    with pytest.raises(ImageError, match="header of an entry is too large"):
        store.load(cast(BinaryIO, source))
    assert source.sent < 16 << 20


def test_a_bomb_ends_at_the_limit(tmp_path: Path, made: Any) -> None:
    store = ImageStore(tmp_path / "s", RegistriesConfig(max_archive_bytes=1 << 20))
    with pytest.raises(ImageError, match="larger than 1048576 bytes"):
        load(store, gzip.compress(docker(made, layer=b"\0" * (4 << 20))))
    assert list((tmp_path / "s" / "staging").iterdir()) == []
    store.close()


def test_names_never_become_paths(store: ImageStore, made: Any, tmp_path: Path) -> None:
    files = {"../../../../../../../../../.." + str(tmp_path / "out"): b"x", str(tmp_path / "out2"): b"y"}
    manifest = json.dumps([{"Config": "c", "Layers": []}]).encode()
    load(store, made.tar({**files, "c": made.config([]), "manifest.json": manifest}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


def test_a_failed_prepare_registers_nothing(store: ImageStore, made: Any) -> None:
    def fail(layer: Layer, path: Path) -> None:
        raise ImageError(f"no room for {layer.diff_id}")

    with pytest.raises(ImageError, match="no room for"):
        load(store, made.docker_archive([A, B], ["x"]), prepare=fail)
    assert store.list() == []
    assert store.disk_usage().size_bytes == 0  # nobody comes back for what was refused


def test_images_are_assembled_of_prepared_layers_before_they_are_registered(
    store: ImageStore, made: Any
) -> None:
    seen: list[object] = []

    def assemble(diff_ids: Sequence[str]) -> None:
        seen.append(tuple(diff_ids))
        assert store.list() == []
        raise ImageError("do not fit")

    with pytest.raises(ImageError, match="do not fit"):
        load(
            store,
            made.docker_archive([A, B], ["x"]),
            prepare=lambda layer, path: seen.append(layer.diff_id),
            assemble=assemble,
        )
    assert (len(seen), seen[2]) == (3, (digest_of(A), digest_of(B)))
    assert set(seen[:2]) == {digest_of(A), digest_of(B)}
    assert store.list() == []


def test_cancelled(store: ImageStore, made: Any) -> None:
    cancelled = Cancellation()
    cancelled.set()
    with pytest.raises(Cancelled):
        load(store, made.docker_archive([A], ["x"]), cancelled=cancelled)


@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstd.compress])
def test_import(store: ImageStore, made: Any, compress: Any) -> None:
    plain = made.tar({"bin/sh": b"#!"})
    packed = compress(plain)
    changes = ['CMD ["/bin/sh"]', "ENV A=1 B='x y'", "EXPOSE 80 53/udp", "USER 1:2", "WORKDIR /srv"]
    image = store.import_(
        cast(BinaryIO, Pipe(packed)), reference="my/base", making=Making(changes, "by hand")
    )
    assert image.references == ("docker.io/my/base:latest",)
    assert (image.layers[0].digest, image.layers[0].diff_id) == (made.digest(packed), made.digest(plain))
    assert (image.config.cmd, image.config.env) == (("/bin/sh",), ("A=1", "B=x y"))
    assert (image.config.exposed_ports, image.config.user) == (("80/tcp", "53/udp"), "1:2")
    assert image.config.working_dir == "/srv"
    (step,) = store.history("my/base", {image.layers[0].diff_id: 77}.__getitem__)
    assert (step.comment, step.image, step.size_bytes) == ("by hand", image.id, 77)


@pytest.mark.parametrize(
    "data", [b"", b"x" * 2000, gzip.compress(b"x" * 2000), gzip.compress(b"\0" * 2000)[:-9]]
)
def test_an_import_that_is_no_tar(store: ImageStore, data: bytes) -> None:
    with pytest.raises(HyperError):
        store.import_(io.BytesIO(data), reference="x")
    assert store.list() == []
