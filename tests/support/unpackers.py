"""podman and containerd, as they come, as programs that make a tree of an image's layers."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from pathlib import Path

import dockerd
import layer_tar
from hypercontainer.rootfs import chain_id

TIMEOUT_S = 600.0
AT_ONCE = 20  # images that containerd is asked to take within its deadline
Layers = Sequence[bytes]
# mode, uid, gid, mtime in ns, content, xattrs, links; a directory's time and links are nobody's promise.
Facts = tuple[
    int, int, int, int | None, bytes | tuple[int, int] | None, tuple[tuple[bytes, bytes], ...], int | None
]
Tree = dict[bytes, Facts]

CONTAINERD = """
version = 2
root = "{work}/root"
state = "{work}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{work}/containerd.sock"
"""


def ours(layers: Layers) -> Tree:
    with tempfile.TemporaryDirectory(prefix="hyper-layers-") as folder:
        found = layer_tar.contents(layer_tar.root_disk(Path(folder), *layers))
    return {path.lstrip(b"/"): _facts(each) for path, each in found.items() if path}


def _facts(found: layer_tar.Found) -> Facts:
    content: bytes | tuple[int, int] | None = None
    if isinstance(found.content, bytes):
        content = found.content
    elif isinstance(found.content, int) and stat.S_ISCHR(found.mode):
        content = (os.major(found.content), os.minor(found.content))
    directory = stat.S_ISDIR(found.mode)
    time, links = (None, None) if directory else (found.mtime_ns, found.links)
    return found.mode, found.uid, found.gid, time, content, found.xattrs, links


def walked(root: Path) -> Tree:
    found: Tree = {}
    stack = [b""]
    while stack:
        below = stack.pop()
        for entry in os.scandir(os.path.join(os.fsencode(root), below)):
            name = os.path.join(below, entry.name)
            info = entry.stat(follow_symlinks=False)
            content: bytes | tuple[int, int] | None = None
            if stat.S_ISDIR(info.st_mode):
                stack.append(name)
            elif stat.S_ISREG(info.st_mode):
                content = Path(os.fsdecode(entry.path)).read_bytes()
            elif stat.S_ISLNK(info.st_mode):
                content = os.readlink(entry.path)
            elif stat.S_ISCHR(info.st_mode):
                content = (os.major(info.st_rdev), os.minor(info.st_rdev))
            listed = os.listxattr(entry.path, follow_symlinks=False)
            xattrs = tuple(
                sorted(
                    (os.fsencode(each), os.getxattr(entry.path, each, follow_symlinks=False))
                    for each in listed
                )
            )
            directory = stat.S_ISDIR(info.st_mode)
            time, links = (None, None) if directory else (info.st_mtime_ns, info.st_nlink)
            found[name] = (info.st_mode, info.st_uid, info.st_gid, time, content, xattrs, links)
    return found


def podman(images: Mapping[int, Layers]) -> dict[int, Tree]:
    with dockerd.podman() as peer:
        client = [*peer.client, "--storage-driver", "vfs"]
        _output([*client, "load"], archive(images))
        mounted = json.loads(_output([*client, "image", "mount", "-a", "--format", "json"]))
        places = {each["Repositories"][0].rpartition(":")[2]: Path(each["mountpoint"]) for each in mounted}
        return {number: walked(places[str(number)]) for number in images}


def containerd(images: Mapping[int, Layers]) -> dict[int, Tree]:
    with dockerd.workspace() as (work, _), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        (work / "config.toml").write_text(CONTAINERD.format(work=work))
        notified.bind(str(work / "notify"))
        paths = {"PATH": dockerd.search_path(), "NOTIFY_SOCKET": str(work / "notify")}
        environment = {**os.environ, **paths}
        with dockerd.namespaces(
            work, ["containerd", "--config", str(work / "config.toml")], environment
        ) as first:
            dockerd.await_datagram(notified, first, work)
            client = ["ctr", "-a", str(work / "containerd.sock"), "--timeout", "300s"]
            load = [*client, "images", "import", "--snapshotter", "native", "-"]
            for some in zip_longest(*[iter(images.items())] * AT_ONCE):
                _output(load, archive(dict(filter(None, some))), environment)
            view = [*client, "snapshots", "--snapshotter", "native"]
            found = {}
            for number, layers in images.items():
                _output([*view, "view", f"v{number}", _chain(layers)], environment=environment)
                shown = _output([*view, "mounts", "/at", f"v{number}"], environment=environment)
                place = re.search(rb"bind (\S+) /at", shown)
                assert place is not None, shown
                found[number] = walked(Path(os.fsdecode(place[1])))
            return found


def _chain(layers: Layers) -> str:
    return chain_id([layer_tar.digest(layer) for layer in layers])


def archive(images: Mapping[int, Layers]) -> bytes:
    """As `docker save` writes several."""
    files: dict[str, bytes] = {}
    manifest = []
    for number, layers in images.items():
        digests = [layer_tar.digest(layer) for layer in layers]
        config = {"architecture": "amd64", "os": "linux", "config": {"Labels": {"number": str(number)}},
                  "rootfs": {"type": "layers", "diff_ids": digests}}  # fmt: skip
        names = [f"{digest[7:]}.tar" for digest in digests]
        files |= dict(zip(names, layers, strict=True))
        files[f"{number}.json"] = json.dumps(config).encode()
        manifest.append(
            {"Config": f"{number}.json", "RepoTags": [f"localhost/layers:{number}"], "Layers": names}
        )
    files["manifest.json"] = json.dumps(manifest).encode()
    return layer_tar.tar(*(layer_tar.entry(name.encode(), data=data) for name, data in files.items()))


def _output(argv: Sequence[str], stdin: bytes = b"", environment: Mapping[str, str] | None = None) -> bytes:
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=TIMEOUT_S, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
