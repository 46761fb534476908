"""hyperd's side of a server: started, found again, heard, ended.  Calls block.

FOLDER/server.json    which process it is, and how large its disk is
FOLDER/control.sock   where it says how far it is
FOLDER/mnt            where it has mounted the disk, in a namespace of its own
FOLDER/log            the last that it has said
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from hypercontainer.errors import Unavailable
from hypercontainer.image.cancel import Cancellation
from hypercontainer.lazy.job import CONTROL, GO, LOG, MOUNT, RECORD, Answer, Job
from hypercontainer.linux.fuse import NAME
from hypercontainer.linux.process import Identity, Process
from hypercontainer.rootfs import Extent

START_S = 120.0  # tables of contents come from the registry first, and small layers
_ANSWER_BYTES = 1 << 16


class Refused(Exception):
    """Why an image cannot be had in pieces here."""


@dataclass(frozen=True)
class Served:
    """The disk of an image that is coming, or has come by now; ``identity`` is its server's."""

    folder: Path
    image: str
    identity: Identity
    tree: Path
    tree_bytes: int
    data_bytes: int

    @property
    def extents(self) -> tuple[Extent, ...]:
        """Its metadata, which is a file like any other, and the rest."""
        data = Path(f"/proc/{self.identity.pid}/root{self.folder / MOUNT / NAME}")
        extents = (Extent(self.tree, self.tree_bytes), Extent(data, self.data_bytes))
        return tuple(extent for extent in extents if extent.size_bytes)

    @property
    def control(self) -> Path:
        return self.folder / CONTROL

    def end(self) -> None:
        """At once; who reads from it is told of an input error."""
        if (process := Process.open(self.identity)) is not None:
            process.kill()
            process.wait_now()
            process.close()
        forget(self.folder, self.tree)


class _Record(msgspec.Struct):
    image: str
    identity: Identity
    tree: str
    answer: Answer


def find(folder: Path) -> Served | None:
    """The server that is there; None, and nothing of it is left, where it is no more."""
    try:
        record = msgspec.json.decode((folder / RECORD).read_bytes(), type=_Record)
    except (OSError, msgspec.MsgspecError):
        shutil.rmtree(folder, ignore_errors=True)
        return None
    if (process := Process.open(record.identity)) is not None:
        ended = process.ended()
        process.close()
        if not ended:
            return _served(folder, record)
    forget(folder, Path(record.tree))
    return None


def _served(folder: Path, record: _Record) -> Served:
    answer = record.answer
    return Served(
        folder, record.image, record.identity, Path(record.tree), answer.tree_bytes, answer.data_bytes
    )


def forget(folder: Path, tree: Path) -> None:
    """What a server that is no more has left."""
    shutil.rmtree(folder, ignore_errors=True)
    tree.unlink(missing_ok=True)


class Starting:
    """A server that has a disk and waits for the word to go on, without which it ends."""

    def __init__(self, folder: Path, record: _Record, process: Process, stdin: int) -> None:
        self.served = _served(folder, record)
        self._record, self._process, self._stdin = record, process, stdin

    def go(self) -> None:
        (self.served.folder / RECORD).write_bytes(msgspec.json.encode(self._record))
        os.write(self._stdin, GO)
        os.close(self._stdin)
        self._process.close()


def start(folder: Path, job: Job, cancelled: Cancellation | None = None) -> Starting:
    """A server of its own for the job.  Raises Refused, Unavailable; nothing is left of what fails."""
    tree = Path(job.tree)
    forget(folder, tree)
    tree.parent.mkdir(mode=0o700, exist_ok=True)
    (folder / MOUNT).mkdir(mode=0o700, parents=True)
    with contextlib.ExitStack() as undo:
        undo.callback(forget, folder, tree)
        process, stdin, stdout = _spawned(folder)
        undo.callback(process.close)
        undo.callback(process.wait_now)
        undo.callback(process.kill)
        undo.callback(os.close, stdin)
        try:
            with cancelled.calling(process.kill) if cancelled else contextlib.nullcontext():
                answer = _answer(job, stdin, stdout)
        finally:
            os.close(stdout)
        if answer is None:
            said = (folder / LOG).read_text(errors="replace").strip().rpartition("\n")[2]
            raise Unavailable(f"the server of image {job.reference} did not begin: {said[:300]}")
        if answer.refused:
            raise Refused(answer.refused)
        undo.pop_all()
    return Starting(folder, _Record(job.image, process.identity, job.tree, answer), process, stdin)


def _spawned(folder: Path) -> tuple[Process, int, int]:
    """The process, and our ends of what it reads and says."""
    with contextlib.ExitStack() as fds:
        read, stdin = os.pipe2(os.O_CLOEXEC)
        fds.callback(os.close, read)
        stdout, write = os.pipe2(os.O_CLOEXEC)
        fds.callback(os.close, write)
        words = os.open(folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fds.callback(os.close, words)
        try:
            process = Process.spawn(
                [sys.executable, "-P", "-m", "hypercontainer.lazy", str(folder)],
                env=os.environ,
                stdio=(read, write, words),
            )
        except BaseException:
            os.close(stdin)
            os.close(stdout)
            raise
    return process, stdin, stdout


def _answer(job: Job, stdin: int, stdout: int) -> Answer | None:
    with contextlib.suppress(BrokenPipeError):
        _write_all(stdin, msgspec.json.encode(job) + b"\n")
    said = b""
    poll = select.poll()
    poll.register(stdout, select.POLLIN)
    while not said.endswith(b"\n"):
        if not poll.poll(START_S * 1000) or not (more := os.read(stdout, _ANSWER_BYTES)):
            return None
        said += more
    return msgspec.json.decode(said, type=Answer)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
