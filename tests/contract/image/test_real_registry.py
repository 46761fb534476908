"""Against Debian's docker-registry, with skopeo as the other side."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hypercontainer.errors import NotFound, Unauthorized
from hypercontainer.image.credentials import Credentials
from hypercontainer.image.importing import Making
from hypercontainer.image.model import Progress
from hypercontainer.image.store import ImageStore

NewStore = Callable[..., ImageStore]
NewRegistry = Callable[..., str]
Noise = Callable[[int], bytes]


def skopeo(*arguments: object) -> str:
    done = subprocess.run(["skopeo", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def root_tar(content: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def test_push_pull_and_push_again_keep_the_digest(
    new_registry: NewRegistry, new_store: NewStore, noise: Noise
) -> None:
    host, other = new_registry(), new_registry()
    ours, theirs = new_store("a"), new_store("b")
    image = ours.import_(
        io.BytesIO(root_tar(noise(300_000))),
        reference=f"{host}/base/app:1",
        making=Making(changes=["CMD /x"]),
    )
    seen: list[Progress] = []
    digest = ours.push(f"{host}/base/app:1", progress=seen.append)
    assert {p.status for p in seen} == {"waiting", "uploading", "done"}
    assert ours.get(f"{host}/base/app@{digest}").id == image.id
    assert ours.get(image.id).layers[0].compression == "gzip"
    assert ours.disk_usage().reclaimable_bytes == 0  # the plain layer made room for the compressed one
    pulled = theirs.pull(f"{host}/base/app:1")
    assert (pulled.id, pulled.manifest_digest) == (image.id, digest)
    assert pulled.config == image.config
    theirs.tag(f"{host}/base/app:1", f"{other}/copy:2")
    assert theirs.push(f"{other}/copy:2") == digest
    inspected = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{other}/copy:2"))
    assert inspected["Digest"] == digest


def test_layers_are_found_or_mounted_instead_of_sent(
    new_registry: NewRegistry, new_store: NewStore, noise: Noise
) -> None:
    host = new_registry()
    store = new_store()
    store.import_(io.BytesIO(root_tar(noise(50_000))), reference=f"{host}/one:1")
    store.push(f"{host}/one:1")
    for target, status in ((f"{host}/one:2", "exists"), (f"{host}/two:1", "mounted")):
        store.tag(f"{host}/one:1", target)
        seen: list[Progress] = []
        store.push(target, progress=seen.append)
        assert [p.status for p in seen] == ["waiting", status]
    skopeo("inspect", "--tls-verify=false", f"docker://{host}/two:1")


@pytest.mark.parametrize("kind", ["oci", "v2s2"])
def test_what_skopeo_pushed_is_pulled(
    new_registry: NewRegistry, new_store: NewStore, noise: Noise, tmp_path: Path, kind: str
) -> None:
    host, store = new_registry(), new_store()
    made = store.import_(
        io.BytesIO(root_tar(noise(50_000))),
        reference="app:1",
        making=Making(changes=["USER 5:6", "LABEL a=b"]),
    )
    with (tmp_path / "app.tar").open("wb") as out:
        store.save(["app:1"], out)
    skopeo(
        "copy",
        "--dest-tls-verify=false",
        "--format",
        kind,
        f"docker-archive:{tmp_path}/app.tar",
        f"docker://{host}/app:1",
    )
    pulled = new_store("other").pull(f"{host}/app:1")
    assert pulled.config.user == made.config.user
    assert pulled.config.labels == made.config.labels
    assert [layer.diff_id for layer in pulled.layers] == [layer.diff_id for layer in made.layers]
    assert pulled.layers[0].compression == "gzip"


def test_a_zstd_layer_that_skopeo_pushed(
    new_registry: NewRegistry, new_store: NewStore, noise: Noise, tmp_path: Path
) -> None:
    host, store = new_registry(), new_store()
    store.import_(io.BytesIO(root_tar(noise(50_000))), reference="app:1")
    with (tmp_path / "app.tar").open("wb") as out:
        store.save(["app:1"], out)
    compress = ["--format", "oci", "--dest-compress-format", "zstd"]
    skopeo(
        "copy",
        "--dest-tls-verify=false",
        *compress,
        f"docker-archive:{tmp_path}/app.tar",
        f"docker://{host}/app:1",
    )
    pulled = new_store("other").pull(f"{host}/app:1")
    assert pulled.layers[0].compression == "zstd"


def test_skopeo_reads_what_is_saved(new_store: NewStore, noise: Noise, tmp_path: Path) -> None:
    store = new_store()
    content = root_tar(noise(50_000))
    one = store.import_(io.BytesIO(content), reference="localhost/one:1", making=Making(changes=["ENV A=b"]))
    store.import_(io.BytesIO(root_tar(b"two")), reference="two:2")
    for layout in ("docker", "oci"):
        with (tmp_path / f"{layout}.tar").open("wb") as out:
            store.save(["localhost/one:1", "two:2"], out, format=layout)
    skopeo("copy", f"docker-archive:{tmp_path}/docker.tar:localhost/one:1", f"dir:{tmp_path}/from-docker")
    skopeo("copy", f"oci-archive:{tmp_path}/oci.tar:localhost/one:1", f"dir:{tmp_path}/from-oci")
    for folder in ("from-docker", "from-oci"):
        manifest = json.loads((tmp_path / folder / "manifest.json").read_text())
        assert (tmp_path / folder / manifest["config"]["digest"][7:]).read_bytes() == one.config.raw
    assert (tmp_path / "from-oci" / one.layers[0].digest[7:]).read_bytes() == content


@pytest.mark.parametrize("transport", ["docker-archive", "oci-archive"])
def test_what_skopeo_saved_is_loaded(
    new_store: NewStore, noise: Noise, tmp_path: Path, transport: str
) -> None:
    store = new_store()
    made = store.import_(io.BytesIO(root_tar(noise(9000))), reference="app:1")
    with (tmp_path / "app.tar").open("wb") as out:
        store.save(["app:1"], out)
    skopeo("copy", f"docker-archive:{tmp_path}/app.tar", f"{transport}:{tmp_path}/theirs.tar:quay.io/app:2")
    with (tmp_path / "theirs.tar").open("rb") as stream:
        (loaded,) = new_store("other").load(stream)
    assert loaded.references == ("quay.io/app:2",)
    assert [layer.diff_id for layer in loaded.layers] == [layer.diff_id for layer in made.layers]


def test_a_private_registry(new_registry: NewRegistry, new_store: NewStore, tmp_path: Path) -> None:
    passwords = subprocess.run(
        ["htpasswd", "-nbB", "me", "p:w"], capture_output=True, text=True, check=True
    ).stdout
    (tmp_path / "htpasswd").write_text(passwords)
    host = new_registry({"htpasswd": {"realm": "r", "path": str(tmp_path / "htpasswd")}})
    me = Credentials("me", "p:w")
    store = new_store()
    assert store.inquiries.check_credentials(host, me) == ""
    with pytest.raises(Unauthorized):
        store.inquiries.check_credentials(host, Credentials("me", "no"))
    store.import_(io.BytesIO(root_tar(b"x")), reference=f"{host}/app:1")
    with pytest.raises(Unauthorized) as caught:
        store.push(f"{host}/app:1")
    assert [(remedy.call, remedy.of) for remedy in caught.value.remedies] == [("images.authenticate", host)]
    digest = store.push(f"{host}/app:1", credentials=me)
    assert new_store("b").pull(f"{host}/app@{digest}", credentials=me).manifest_digest == digest
    with pytest.raises(Unauthorized):
        new_store("b").pull(f"{host}/app:1")
    with pytest.raises(NotFound):
        new_store("b").pull(f"{host}/other:1", credentials=me)
