"""Servers of disks on the loopback address, each with one raw file: nbdkit, nbd-server and tgt; and what TLS wants."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from free_port import free_port
from hyper import Hyper
from passing import content, processes, small_files
from until import until

TARGET = "iqn.2026-11.com.example:data"
_OPENSSL = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
_AUTHORITY = ["-addext", "basicConstraints=critical,CA:TRUE"]
_AUTHORITY += ["-addext", "keyUsage=critical,keyCertSign,digitalSignature"]


@contextmanager
def nbdkit(disk: Path, *options: str) -> Iterator[int]:
    """Its port; ``options``: of TLS, or another place."""
    port, ready = free_port(), disk.with_suffix(".pid")
    ready.unlink(missing_ok=True)
    words = [
        "nbdkit",
        "-f",
        "-P",
        str(ready),
        "-i",
        "127.0.0.1",
        "-p",
        str(port),
        *options,
        "file",
        str(disk),
    ]
    with _serving(words, ready.exists):
        yield port


@contextmanager
def nbdkit_socket(disk: Path, path: Path, *options: str) -> Iterator[None]:
    with _serving(["nbdkit", "-f", "-U", str(path), *options, "file", str(disk)], path.exists):
        yield
    path.unlink(missing_ok=True)


@contextmanager
def nbd_server(disk: Path, port: int) -> Iterator[None]:
    """Its export is called "the data".  It serves several only as a daemon, which it makes itself."""
    config, noted = disk.with_suffix(".conf"), disk.with_suffix(".pid")
    lines = ["[generic]", f"port = {port}", "listenaddr = 127.0.0.1", "[the data]", f"exportname = {disk}"]
    config.write_text("\n".join(lines) + "\n")
    subprocess.run(["nbd-server", "-C", str(config), "-p", str(noted)], check=True)
    until(lambda: _listens(port) and noted.exists(), "nbd-server serves")
    pid = int(noted.read_text())
    try:
        yield
    finally:
        os.kill(pid, signal.SIGTERM)
        until(lambda: not Path(f"/proc/{pid}").exists(), "nbd-server ends")


@contextmanager
def tgt(disk: Path, user: str, password: str) -> Iterator[int]:
    """Its port; the disk is unit 1 of ``TARGET``, for this user alone."""
    port = free_port()
    control = str(port % 32768)  # of a socket in a namespace of names

    def said(*words: str) -> bool:
        command = ["tgtadm", "-C", control, "--lld", "iscsi", *words]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def must(*words: str) -> None:
        assert said(*words), words

    words = ["tgtd", "-f", "-C", control, "--iscsi", f"portal=127.0.0.1:{port}"]
    with _serving(words, lambda: said("--mode", "target", "--op", "show")):
        must("--mode", "target", "--op", "new", "--tid", "1", "-T", TARGET)
        must("--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "-b", str(disk))
        must("--mode", "account", "--op", "new", "--user", user, "--password", password)
        must("--mode", "account", "--op", "bind", "--tid", "1", "--user", user)
        must("--mode", "target", "--op", "bind", "--tid", "1", "-I", "ALL")
        yield port


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextmanager
def _serving(words: Sequence[str], ready: Callable[[], bool]) -> Iterator[None]:
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    try:
        until(lambda: ready() or process.poll() is not None, f"{words[0]} serves")
        assert process.poll() is None, f"{words[0]} ended with {process.returncode}"
        yield
    finally:
        process.kill()  # tgtd does not end while somebody may use it
        process.wait()


def certificates(folder: Path, host: str) -> tuple[Path, Path]:
    """Directories of the server's, which is ``host``, and of a client's, as QEMU and nbdkit want them."""
    server, client = folder / "server", folder / "client"
    key, authority = folder / "ca-key.pem", folder / "ca-cert.pem"
    _made([*_OPENSSL, "-subj", "/CN=authority", "-keyout", key, "-out", authority, *_AUTHORITY])
    for place, name, purpose in ((server, host, "serverAuth"), (client, "client", "clientAuth")):
        place.mkdir()
        (place / "ca-cert.pem").write_bytes(authority.read_bytes())
        of_it: list[str | Path] = [
            "-CA",
            authority,
            "-CAkey",
            key,
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ]
        of_it += ["-addext", f"extendedKeyUsage={purpose}", "-addext", f"subjectAltName=DNS:{name}"]
        of_it += ["-addext", "keyUsage=critical,digitalSignature"]
        files: list[str | Path] = [
            "-keyout",
            place / f"{place.name}-key.pem",
            "-out",
            place / f"{place.name}-cert.pem",
        ]
        _made([*_OPENSSL, "-subj", f"/CN={name}", *files, *of_it])
    return server, client


def _made(words: Sequence[str | Path]) -> None:
    subprocess.run(words, check=True, capture_output=True)


def ext4(path: Path) -> Path:
    path.touch()
    os.truncate(path, 32 << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", path], check=True)
    return path


def all_that_can_be_seen(hyper: Hyper) -> str:
    """Command lines of all processes, and all files that hyperd keeps."""
    found = [content(entry / "cmdline") for entry in processes()]
    found += [content(path) for place in (hyper.root, hyper.run_dir) for path in small_files(place, 1 << 20)]
    return b"\n".join(found).decode(errors="replace")
