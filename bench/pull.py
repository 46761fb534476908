"""Pulling and preparing a 250 MB gzip layer, against `skopeo copy` to a directory and `tar -x` of the layer."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import busybox_image
import real_images
from bench.measure import Row, in_turns, median, spread
from hyper import Hyper
from registry import Registry

LAYER_BYTES = 250_000_000
MEMORY_LIMIT_MB = 150.0


def big_layer() -> bytes:
    """250 MB of a real root file system: the beginning of a Debian image's layer."""
    out = io.BytesIO()
    with tarfile.open(real_images.path("postgres")) as image:
        manifest = json.load(image.extractfile("manifest.json") or io.BytesIO())
        layer = image.extractfile(manifest[0]["Layers"][0])
        assert layer is not None
        with tarfile.open(fileobj=layer) as tar, tarfile.open(fileobj=out, mode="w") as cut:
            for entry in tar:
                if out.tell() + entry.size > LAYER_BYTES:
                    continue
                cut.addfile(entry, tar.extractfile(entry) if entry.isreg() else None)
    return out.getvalue()


def measure(hyper: Hyper, rounds: int) -> list[Row]:
    with tempfile.TemporaryDirectory() as name, Registry() as registry:
        work = Path(name)
        archive = work / "big.tar"
        archive.write_bytes(busybox_image.archive([big_layer()], "localhost/big:latest"))
        reference = f"{registry.address}/big:latest"
        plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
        subprocess.run(
            ["skopeo", "copy", "-q", *plain, f"docker-archive:{archive}", f"docker://{reference}"], check=True
        )
        archive.unlink()
        hyper("images")  # hyperd runs

        def pull() -> None:
            hyper("pull", "-q", reference)

        def skopeo_and_tar() -> None:
            shutil.rmtree(work / "copy", ignore_errors=True)
            shutil.rmtree(work / "tree", ignore_errors=True)
            subprocess.run(
                ["skopeo", "copy", "-q", *plain, f"docker://{reference}", f"dir:{work / 'copy'}"], check=True
            )
            layer = max((work / "copy").iterdir(), key=lambda path: path.stat().st_size)
            (work / "tree").mkdir()
            subprocess.run(["tar", "-xzf", layer, "-C", work / "tree"], check=True)

        def forget() -> None:
            if hyper.out("images", "-q", reference):
                hyper("rmi", "-f", reference)
            hyper("system", "prune", "-af")

        taken = in_turns(rounds, forget=forget, hyper=pull, peer=skopeo_and_tar)
        peak_mb = peak_memory_kib(hyper.daemon_pid()) / 1024
    ours, theirs = median(taken["hyper"]), median(taken["peer"])
    against = f"skopeo copy + tar -xz ({spread(taken['peer'])}); hyper {spread(taken['hyper'])}"
    return [
        Row("pull and prepare a 250 MB gzip layer", ours, "s", theirs, against, tuple(taken["hyper"])),
        Row("peak memory of hyperd meanwhile", peak_mb, "MB", MEMORY_LIMIT_MB, "VmHWM"),
    ]


def peak_memory_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise AssertionError(f"no VmHWM for {pid}")
