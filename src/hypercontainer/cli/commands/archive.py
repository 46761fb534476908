"""hyper load, save, import and export."""

from __future__ import annotations

import contextlib
import os
import sys
from _socket import SHUT_WR

from hypercontainer.cli.options import Call, Command, UsageError, flag, many, refused, text
from hypercontainer.cli.progress import Display, follow
from hypercontainer.cli.signals import raise_interrupts
from hypercontainer.errors import NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket as Socket  # noqa: N812
    from collections.abc import Callable
    from typing import Any, BinaryIO

    from hypercontainer.client.http import Response

CHUNK_BYTES = 1024 * 1024


def sender(source: BinaryIO) -> Callable[[Socket], None]:
    """What sends ``source`` as a chunked body; it ends quietly where hyperd stops reading, for hyperd says why.

    A source that cannot be read to its end leaves the body unfinished, which hyperd takes for a failure.
    """

    def send(sock: Socket) -> None:
        buffer = bytearray(CHUNK_BYTES)
        view = memoryview(buffer)
        try:
            while count := source.readinto(buffer):  # type: ignore[attr-defined]
                sock.sendall(b"%x\r\n" % count)
                sock.sendall(view[:count])
                sock.sendall(b"\r\n")
            sock.sendall(b"0\r\n\r\n")
        except OSError:
            with contextlib.suppress(OSError):
                sock.shutdown(SHUT_WR)

    return send


def write_out(response: Response, fd: int) -> None:
    """The body, as it comes."""
    for piece in response.chunks():
        view = memoryview(piece)
        while view:
            view = view[os.write(fd, view) :]


def _open(path: str, verb: str) -> BinaryIO:
    if path not in ("", "-"):
        if os.path.isdir(path):  # noqa: PTH112
            return _directory(path)
        return open(path, "rb", buffering=0)
    if os.isatty(0):
        raise UsageError(
            f"requested {verb} from standard input, but that is a terminal", hint="name a file", exit_status=1
        )
    return open(0, "rb", buffering=0, closefd=False)


def _directory(path: str) -> BinaryIO:
    """A directory (an OCI layout) as a tar stream, made in a thread as it is read."""
    import tarfile
    import threading

    reading, writing = os.pipe()

    def write() -> None:
        try:
            with open(writing, "wb") as file, tarfile.open(fileobj=file, mode="w|") as tar:
                tar.add(path, arcname=".")
        except OSError:  # the reader has left, or a file cannot be read: the archive stays unfinished
            pass

    threading.Thread(target=write, name="archive", daemon=True).start()
    return open(reading, "rb", buffering=0)


def load(call: Call) -> int:
    values = call.options
    display = Display(quiet=values.flag("quiet"))
    path = values.text("input") or (call.arguments[0] if call.arguments else "")
    with _open(path, "load") as source:
        query = {"platform": values.text("platform") or None}
        lines = call.session.client.lines("images.load", query=query, upload=sender(source))
        answer = follow(lines, display)
    loaded = answer["images"] if isinstance(answer, dict) else answer
    from hypercontainer.image.reference import parse

    for image in loaded:
        for reference in image["references"]:
            print(f"Loaded image: {parse(reference).familiar()}")
        if not image["references"]:
            print(f"Loaded image ID: {image['id']}")
    return 0


def import_(call: Call) -> int:
    values = call.options
    source_path = call.arguments[0]
    if "://" in source_path:
        raise NotSupported(f"import {source_path}: files and '-' only", hint="curl URL | hyper import - NAME")
    query: dict[str, Any] = {
        "reference": call.arguments[1] if len(call.arguments) > 1 else None,
        "message": values.text("message"),
        "change": values.many("change"),
        "platform": values.text("platform") or None,
    }
    with _open(source_path, "import") as source:
        lines = call.session.client.lines("images.import", query=query, upload=sender(source))
        image = follow(lines, Display())
    print(image["id"])
    return 0


class Target:
    """The file that an archive is written to: complete under its name, or not there."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._temporary = ""
        if not path:
            self.fd = 1
        elif os.path.lexists(path) and not os.path.isfile(path):  # noqa: PTH113 - a pipe or a device
            self.fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        else:
            import tempfile

            raise_interrupts()
            folder = os.path.dirname(path) or "."  # noqa: PTH120
            self.fd, self._temporary = tempfile.mkstemp(prefix=".hyper-save-", dir=folder)
            mask = os.umask(0o077)
            os.umask(mask)
            os.fchmod(self.fd, 0o666 & ~mask)

    def __enter__(self) -> Target:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self.fd != 1:
            os.close(self.fd)
        if self._temporary and kind is None:
            os.replace(self._temporary, self._path)  # noqa: PTH105
        elif self._temporary:
            os.unlink(self._temporary)  # noqa: PTH108


def save(call: Call) -> int:
    values = call.options
    path = _output(call, "save")
    if values.text("format") not in ("docker", "oci"):
        raise UsageError(f"invalid --format {values.text('format')!r}", hint="docker or oci")
    query = {"ref": call.arguments, "format": values.text("format")}
    return _write(call.session.client.open("images.save", query=query, timeout_s=None), path)


def export(call: Call) -> int:
    path = _output(call, "export")
    return _write(call.session.client.open("containers.export", call.arguments[0], timeout_s=None), path)


def _output(call: Call, verb: str) -> str:
    """ "": standard output."""
    path = call.options.text("output")
    if not path and os.isatty(1):
        raise UsageError(
            f"cowardly refusing to {verb} to a terminal", hint="use -o FILE, or redirect", exit_status=1
        )
    return path


def _write(response: Response, path: str) -> int:
    sys.stdout.flush()
    try:
        with Target(path) as target:
            write_out(response, target.fd)
    finally:
        response.close()
    return 0


LOAD = Command(
    load,
    "[OPTIONS] [FILE|DIRECTORY]",
    count=(0, 1),
    options=(
        text("-i --input", "FILE", "read this archive (or directory) in place of standard input"),
        text("--platform", "OS/ARCH", "of an archive with several, in place of this machine's"),
        flag("-q --quiet", "no progress"),
    ),
    text="Takes what docker save writes and OCI layouts, plain or compressed with gzip, zstd, xz or bzip2.",
    examples=("hyper load -i debian.tar", "docker save debian:12 | hyper load"),
)
SAVE = Command(
    save,
    "[OPTIONS] IMAGE...",
    count=(1, None),
    options=(
        text("-o --output", "FILE", "write here in place of standard output"),
        text("--format", "FORMAT", "docker or oci", "docker"),
        refused("--platform", "OS/ARCH", "an image here is of one platform"),
    ),
    text="A repository without a tag is all of its tags.",
    examples=(
        "hyper save -o debian.tar debian:12",
        "hyper save --format oci debian:12 | gzip > debian.oci.tar.gz",
    ),
)
EXPORT = Command(
    export,
    "[OPTIONS] CONTAINER",
    count=(1, 1),
    options=(text("-o --output", "FILE", "write here in place of standard output"),),
    text=(
        "As docker export: the container's root, its image's files and its own, without volumes and what else is\n"
        "mounted there. A stopped container's files are reached in a VM in which none of its programs runs."
    ),
    examples=("hyper export -o web.tar web", "hyper export web | hyper import - web:flat"),
)
IMPORT = Command(
    import_,
    "[OPTIONS] FILE|- [NAME[:TAG]]",
    count=(1, 2),
    options=(
        many("-c --change", "INSTRUCTION", "apply a line of a Dockerfile"),
        text("-m --message", "TEXT", "for the image's history"),
        text("--platform", "OS/ARCH", "what its programs are for, in place of this machine"),
    ),
    text="Takes a tar, plain or compressed with gzip, zstd, xz or bzip2.",
    examples=(
        "hyper import rootfs.tar localhost/mine:1",
        "tar -C root -c . | hyper import -c 'CMD /bin/sh' - mine",
    ),
)
