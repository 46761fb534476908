"""Files and disks, to vSphere and back: HTTPS beside its API.  All of it blocks.

A disk goes in and out by a lease (NFC), as a stream of compressed grains, of which the host makes a disk of the kind
that its datastore has; one that is put there as a file is of no use to a machine.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from pyVmomi import vim

from hypercontainer.errors import HypervisorError
from hypercontainer.hypervisor.esx import vmdk
from hypercontainer.hypervisor.esx.faults import of_answer
from hypercontainer.hypervisor.esx.inventory import Place
from hypercontainer.hypervisor.esx.session import Live
from hypercontainer.hypervisor.esx.trust import pinned
from hypercontainer.hypervisor.extents import open_extents
from hypercontainer.hypervisor.spec import DiskSpec

SOCKET_S = 60.0
PROGRESS_S = 20.0  # a lease that nothing is heard of ends after 300 s
_CHUNK = 1 << 18
_LAST_NUMBER = re.compile(r":([0-9]{1,3})$")


def put_file(live: Live, place: Place, path: str, source: IO[bytes]) -> None:
    """Into the place's datastore, in a directory that is there."""
    query = urllib.parse.urlencode({"dcPath": place.path, "dsName": place.datastore_name})
    target = f"/folder/{urllib.parse.quote(path)}?{query}"
    cookie = str(live.stub.cookie).partition(";")[0]
    settings = live.settings
    with _connected(live, settings.host, settings.port) as connection:
        headers = {"Cookie": cookie, "Content-Type": "application/octet-stream"}
        _send(connection, "PUT", target, source, headers, lambda: None)
        _answered(live, f"writing [{place.datastore_name}] {path}", connection)


def packed(disk: DiskSpec, folder: Path) -> IO[bytes]:
    """A disk as a stream, in a file without a name.  Raises ``OSError``, and what ``open_extents`` does."""
    stream = spool(folder)
    try:
        with contextlib.ExitStack() as stack:
            sizes = [size for _, size in disk.extents]
            files = [*zip(open_extents(disk, stack), sizes, strict=True)]
            for piece in vmdk.write(vmdk.capacity_of(sum(sizes)), grains(files)):
                stream.write(piece)
        stream.seek(0)
    except BaseException:
        stream.close()
        raise
    return stream


def grains(files: Sequence[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    """Of ``(descriptor, bytes of it)`` one after the other, but for what is a hole."""
    last, begin = -1, 0
    for fd, size in files:
        for start, end in _data(fd, size):
            first = max((begin + start) // vmdk.GRAIN, last + 1)
            for number in range(first, (begin + end - 1) // vmdk.GRAIN + 1):
                yield number * vmdk.GRAIN, _read_at(files, number * vmdk.GRAIN)
                last = number
        begin += size


def _data(fd: int, size: int) -> Iterator[tuple[int, int]]:
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            return
        at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        if start < size:
            yield start, at


def _read_at(files: Sequence[tuple[int, int]], offset: int) -> bytes:
    """A grain, shorter at the end of the disk."""
    parts, begin, end = [], 0, offset + vmdk.GRAIN
    for fd, size in files:
        low, high = max(offset, begin), min(end, begin + size)
        if low < high:
            parts.append(os.pread(fd, high - low, low - begin))
        begin += size
    return b"".join(parts)


def take_in(live: Live, place: Place, config: Any, streams: Sequence[IO[bytes]]) -> Any:
    """A new machine, whose disks, in order, have these contents."""
    lease = place.pool.ImportVApp(vim.vm.VmImportSpec(configSpec=config), place.folder, place.host)
    with _leased(live, lease) as urls:
        if len(urls) != len(streams):
            raise HypervisorError(f"{live.settings.where} asks for {len(urls)} disks, not for {len(streams)}")
        for url, stream in zip(urls, streams, strict=True):
            with _to(live, url) as (connection, target):
                headers = {"Content-Type": "application/x-vnd.vmware-streamVmdk"}
                _send(connection, "POST", target, stream, headers, _progress(lease))
                _answered(live, "writing a disk", connection)
        return lease.info.entity


def give_out(live: Live, machine: Any, disks: Sequence[DiskSpec], folder: Path) -> None:
    """Writes what the machine's disks have, in order, into the files that they are of.

    A file is written when the whole disk is in ``folder``, under no name.  While one is, it is neither as it was nor as
    it will be; the machine is still there then, for who comes after a process that was killed.
    """
    lease = machine.ExportVm()
    with contextlib.ExitStack() as spools, _leased(live, lease) as urls:
        if len(urls) != len(disks):
            raise HypervisorError(
                f"{live.settings.where} has {len(urls)} disks of a machine, not {len(disks)}"
            )
        streams = [_fetched(live, url, spools.enter_context(spool(folder)), _progress(lease)) for url in urls]
        for stream in streams:
            for _ in vmdk.read(stream.read):
                pass
            stream.seek(0)
        for stream, disk in zip(streams, disks, strict=True):
            _write_back(disk, stream.read)


def spool(folder: Path) -> IO[bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)


def _fetched(live: Live, url: Any, into: IO[bytes], told: Callable[[], None]) -> IO[bytes]:
    with _to(live, url) as (connection, target):
        connection.request("GET", target)
        answer = connection.getresponse()
        if answer.status != 200:
            raise of_answer("reading a disk", answer.status, live.settings)
        while piece := answer.read(_CHUNK):
            into.write(piece)
            told()
    into.seek(0)
    return into


def _write_back(disk: DiskSpec, take: Callable[[int], bytes]) -> None:
    (path, size) = disk.extents[0]
    with path.open("r+b") as file:
        file.truncate(0)  # what is not written is a hole
        file.truncate(size)
        for offset, data in vmdk.read(take):
            fits = data[: max(0, size - offset)]
            if fits.strip(b"\0"):
                os.pwrite(file.fileno(), fits, offset)
        os.fsync(file.fileno())


@contextlib.contextmanager
def _leased(live: Live, lease: Any) -> Iterator[list[Any]]:
    """The disks of a lease, which is completed if all goes well, and given up else."""
    try:
        live.settled(lease, "state", ("ready", "error"))
        if lease.state == "error":
            raise lease.error
        yield sorted((url for url in lease.info.deviceUrl if url.disk), key=_place)
    except BaseException:
        with contextlib.suppress(Exception):
            lease.HttpNfcLeaseAbort(None)
        raise
    lease.HttpNfcLeaseComplete()


def _place(url: Any) -> int:
    """On its bus, which its key ends with."""
    found = _LAST_NUMBER.search(url.key or "")
    return int(found[1]) if found else 0


@contextlib.contextmanager
def _to(live: Live, url: Any) -> Iterator[tuple[http.client.HTTPSConnection, str]]:
    """Where a lease leads, which may be another host than the one that was asked."""
    parts = urllib.parse.urlsplit(url.url)
    if parts.scheme != "https":
        raise HypervisorError(f"{live.settings.where} leads to {parts.scheme}, which is not encrypted")
    same = parts.hostname in ("*", None)
    host, port = live.settings.host if same else str(parts.hostname), parts.port or live.settings.port
    with _connected(live, host, port, (url.sslThumbprint or "").replace(":", "").lower()) as connection:
        yield connection, parts.path + (f"?{parts.query}" if parts.query else "")


@contextlib.contextmanager
def _connected(
    live: Live, host: str, port: int, thumbprint: str = ""
) -> Iterator[http.client.HTTPSConnection]:
    context = pinned(host, port, thumbprint) if thumbprint else live.context
    connection = http.client.HTTPSConnection(host, port, timeout=SOCKET_S, context=context)
    try:
        yield connection
    finally:
        connection.close()


def _send(
    connection: http.client.HTTPSConnection,
    verb: str,
    target: str,
    source: IO[bytes],
    headers: dict[str, str],
    told: Callable[[], None],
) -> None:
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    connection.putrequest(verb, target)
    for name, value in {**headers, "Content-Length": str(size)}.items():
        connection.putheader(name, value)
    connection.endheaders()
    while piece := source.read(_CHUNK):
        connection.send(piece)
        told()


def _answered(live: Live, what: str, connection: http.client.HTTPSConnection) -> None:
    answer = connection.getresponse()
    answer.read(_CHUNK)
    if answer.status not in (200, 201, 204):
        raise of_answer(what, answer.status, live.settings)


def _progress(lease: Any) -> Callable[[], None]:
    """Says now and then that the transfer is still under way."""
    last = time.monotonic()

    def told() -> None:
        nonlocal last
        if time.monotonic() - last > PROGRESS_S:
            lease.HttpNfcLeaseProgress(50)
            last = time.monotonic()

    return told
