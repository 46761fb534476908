"""What no two machines may have in common, by a program that needs nothing of the image (identity.c)."""

from __future__ import annotations

import io
import re
import subprocess
import tarfile
import tempfile
from pathlib import Path

import busybox_image

SOURCE = Path(__file__).with_name("identity.c")
IMAGE = "localhost/identity:latest"
KEY = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"  # as a TLS server's, 256 bits of it fresh
_LIBRARY = re.compile(r"(/\S+) \(0x")


def archive() -> bytes:
    """An image of busybox, with ``identity`` and this machine's own ``openssl`` and what that needs."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder, "identity")
        flags = ["-std=gnu11", "-D_GNU_SOURCE", "-Os", "-static", "-s", "-Wall", "-Wextra", "-Werror"]
        subprocess.run(["musl-gcc", *flags, "-o", program, SOURCE], check=True)
        layer = _layer({"bin/identity": program} | {str(path)[1:]: path for path in _openssl()})
    return busybox_image.archive([busybox_image.layer(), layer], IMAGE, config={"Cmd": ["identity"]})


def _openssl() -> list[Path]:
    needs = subprocess.run(["ldd", "/usr/bin/openssl"], check=True, capture_output=True, text=True).stdout
    return [Path("/usr/bin/openssl"), *(Path(match[1]) for match in _LIBRARY.finditer(needs))]


def _layer(files: dict[str, Path]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, path in files.items():
            data = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def parse(text: str) -> dict[str, str]:
    """By name; what is no line of ``identity`` is the key that was made, if there was one."""
    found, key = {}, []
    for line in text.splitlines():
        name, space, value = line.partition(" ")
        if space and name.islower():
            found[name] = value
        else:
            key.append(line)
    return found | ({"key": "\n".join(key)} if key else {})
