"""The server of one image's disk: makes it, serves it, and brings what is missing until the image is here whole.

It is started by hyperd and outlives it.  It has hyperd's files and none of root's rights.  When the image is whole, new
VMs have its own files; this process ends when nobody reads from it any more.
"""

from __future__ import annotations

import errno
import logging
import logging.handlers
import os
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from hypercontainer.errors import DigestMismatch, HyperError, LayerError
from hypercontainer.image.ahead import Offer
from hypercontainer.image.blobs import PartialBlob
from hypercontainer.image.cancel import Guard
from hypercontainer.image.documents import Descriptor, Manifest, parse_config, parse_manifest
from hypercontainer.image.model import Layer, RegistriesConfig
from hypercontainer.image.pull import open_blob
from hypercontainer.image.store import ImageStore
from hypercontainer.image.transport import Backoff
from hypercontainer.lazy.assembling import Assembly, Means
from hypercontainer.lazy.job import CONTROL, GO, LEAVE, LOG, MOUNT, RECORD, Answer, Job, State
from hypercontainer.lazy.packed import Packed
from hypercontainer.linux import seclusion, unix
from hypercontainer.linux.fuse import ReadOnlyFile
from hypercontainer.rootfs import LayerStore, chain_id
from hypercontainer.rootfs.table import Unfit

LINGER_S = 10.0  # after the last reader: somebody may be about to open the disk
RETRY_S = 30.0
LOG_BYTES = 64 << 10
MAX_PREFETCH_BYTES = 64 << 20

log = logging.getLogger(__name__)


class Server:
    """``answer`` is told once whether there is a disk."""

    def __init__(self, folder: Path, job: Job, answer: Callable[[Answer], None]) -> None:
        self._folder, self._job, self._answer = folder, job, answer
        self._guard = Guard(f"pull {job.reference}")
        self._lock = threading.Condition()
        self._state = State("coming")
        self._told: list[socket.socket] = []
        self._readers, self._leaving = 0, False

    def run(self, file: ReadOnlyFile) -> None:
        """``file`` is mounted.  Returns when there is no disk, or it is of no use any more."""
        job = self._job
        registries = job.registries
        config = RegistriesConfig(
            mirrors=registries.mirrors,
            insecure=frozenset(registries.insecure),
            ca={name: Path(path) for name, path in registries.ca.items()},
            parallel_downloads=registries.parallel_downloads,
        )
        store = ImageStore(Path(job.images), config)
        self._layers = LayerStore(Path(job.layers), job.limits)
        try:
            manifest = parse_manifest(job.manifest, job.manifest_type, job.reference)
            assert isinstance(manifest, Manifest)
            offer = Offer(job.reference, manifest, job.config, 0)
            assembly = self._assembly(store, config)
            diff_ids = parse_config(job.config, job.reference).diff_ids
            layers = list(zip(manifest.layers, diff_ids, strict=True))
            uuid = bytes.fromhex(chain_id(diff_ids).partition(":")[2])[:16]
            with Path(job.tree).open("x+b") as tree:
                disk = assembly.disk(layers, tree.fileno(), uuid)
                tree_bytes = os.fstat(tree.fileno()).st_size
        except (Unfit, HyperError) as error:
            self._answer(Answer(refused=str(error)))
            return
        file.serve(disk.size_bytes, partial(self._read, disk.read), self._opened)
        listener = unix.listen(self._folder / CONTROL)
        self._answer(Answer(tree_bytes, disk.size_bytes))
        if sys.stdin.buffer.readline() != GO:
            return
        threading.Thread(target=self._listen, args=(listener,), daemon=True).start()
        for packed, end in assembly.prefetch:
            threading.Thread(target=self._prefetch, args=(packed, end), daemon=True).start()
        threading.Thread(target=self._complete, args=(store, offer, assembly), daemon=True).start()
        self._wait()

    def _assembly(self, store: ImageStore, config: RegistriesConfig) -> Assembly:
        job = self._job
        sources = store.arrivals.sources(job.reference, job.credentials, self._guard)
        means = Means(
            layers=self._layers,
            limits=job.limits,
            config=config,
            guard=self._guard,
            open_range=lambda digest, start, end: open_blob(sources, digest, start, end),
            bring=partial(store.arrivals.bring, sources=sources, prepare=self._prepare, guard=self._guard),
            scratch=Path(job.images),
            wait_s=job.wait_s,
        )
        return Assembly(means)

    def _read(self, read: Callable[[int, int], bytes], offset: int, length: int) -> bytes:
        try:
            return read(offset, length)
        except HyperError as error:
            log.error("a guest is told of an input error: %s", error)
            raise OSError(errno.EIO, str(error)) from error

    # ------------------------------------------------------------------------- the rest of the image

    def _prepare(self, layer: Layer, blob: Path) -> None:
        self._layers.convert(
            blob,
            diff_id=layer.diff_id,
            compression=layer.compression,
            layer=layer.digest,
            cancelled=lambda: self._guard.stopped,
        )

    def _prefetch(self, packed: Packed, end: int) -> None:
        try:
            packed.demand(0, min(end, packed.size, MAX_PREFETCH_BYTES), self._guard, self._job.wait_s)
        except HyperError as error:
            log.warning("what the image wants first did not come: %s", error)

    def _complete(self, store: ImageStore, offer: Offer, assembly: Assembly) -> None:
        def bring(layer: Descriptor, blob: PartialBlob, guard: Guard) -> None:
            packed = assembly.packed.get(layer.digest)
            assert packed is not None, "a layer without a table was brought at once"
            packed.fill(blob, guard, Backoff(store.config, guard))

        while True:
            try:
                store.arrivals.complete(offer, bring, prepare=self._prepare, assemble=self._layers.root_disk)
                self._tell(State("whole"))
                return
            except (DigestMismatch, LayerError) as error:
                self._tell(State("wrong", error.message))
                return
            except HyperError as error:
                self._tell(State("stalled", error.message))
            self._guard.wait(RETRY_S)

    # ------------------------------------------------------------------------- who is there

    def _opened(self, readers: int) -> None:
        with self._lock:
            self._readers = readers
            self._lock.notify_all()

    def _tell(self, state: State) -> None:
        log.info("the image is %s %s", state.state, state.why)
        with self._lock:
            self._state = state
            for client in self._told:
                _send(client, state)
            self._lock.notify_all()

    def _listen(self, listener: socket.socket) -> None:
        while True:
            client, _ = listener.accept()
            threading.Thread(target=self._hear, args=(client,), daemon=True).start()

    def _hear(self, client: socket.socket) -> None:
        """hyperd is there, which says only that it leaves."""
        with client:
            with self._lock:
                self._leaving = False
                _send(client, self._state)
                self._told.append(client)
            with client.makefile("rb") as words:
                left = words.readline() == LEAVE
            with self._lock:
                self._told.remove(client)
                self._leaving = left
                self._lock.notify_all()

    def _wait(self) -> None:
        """Until it is of no use any more."""
        with self._lock:
            while True:
                done = self._state.state in ("whole", "wrong")
                if not self._readers and self._leaving:
                    return
                if self._readers or not done:
                    self._lock.wait()
                elif not self._lock.wait(LINGER_S):
                    return


def _send(client: socket.socket, state: State) -> None:
    try:
        client.send(msgspec.json.encode(state) + b"\n", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    except OSError:
        log.info("nobody hears that the image is %s", state.state)


def main() -> None:
    folder = Path(sys.argv[1])
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    handler = logging.handlers.RotatingFileHandler(folder / LOG, maxBytes=LOG_BYTES, backupCount=1)
    logging.basicConfig(
        handlers=[handler], level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s"
    )

    def answer(said: Answer) -> None:
        sys.stdout.buffer.write(msgspec.json.encode(said) + b"\n")
        sys.stdout.buffer.flush()

    file = ReadOnlyFile()
    try:
        file.mount(folder / MOUNT)
        seclusion.give_up_rights()
    except OSError as error:
        answer(Answer(refused=f"no file system can be mounted here: {error.filename}: {error.strerror}"))
        return
    try:
        Server(folder, job, answer).run(file)
    finally:
        for path in (folder / RECORD, folder / CONTROL, Path(job.tree)):
            path.unlink(missing_ok=True)
        logging.shutdown()
        os._exit(0)  # threads that wait for a registry are not waited for
