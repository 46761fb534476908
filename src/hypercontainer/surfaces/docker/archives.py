"""A container's files: what has changed, all of them, and trees in and out."""

from __future__ import annotations

import contextlib
import stat as st
from base64 import b64encode
from collections.abc import Iterator

import msgspec

from hypercontainer.contract.answers import PathFacts
from hypercontainer.engine import times
from hypercontainer.errors import InvalidArgument, NotFound
from hypercontainer.surfaces.docker.call import Call, done, found
from hypercontainer.surfaces.http.answers import Chunks, Reply, passed_on

STAT_HEADER = "X-Docker-Container-Path-Stat"
TAR = (("Content-Type", "application/x-tar"),)
PATH_MAX_BYTES = 4095
TIMES_S = (0, 253_402_300_799)  # to the end of the year 9999, which is all that a time can say
_KINDS = {"modified": 0, "added": 1, "deleted": 2}

# Go's os.FileMode: bits of its own above those of permission.
_SETUID, _SETGID, _STICKY = 1 << 23, 1 << 22, 1 << 20
_DEVICE, _CHARACTER = 1 << 26, 1 << 21
_TYPES = {
    st.S_IFDIR: 1 << 31,
    st.S_IFLNK: 1 << 27,
    st.S_IFBLK: _DEVICE,
    st.S_IFCHR: _DEVICE | _CHARACTER,
    st.S_IFIFO: 1 << 25,
    st.S_IFSOCK: 1 << 24,
}


async def changes(call: Call) -> Reply:
    changed = await (await call.entered()).changes()
    return found([{"Path": each.path, "Kind": _KINDS[each.kind]} for each in changed])


async def export(call: Call) -> Chunks:
    archive = await (await call.entered()).export()
    return Chunks(200, (("Content-Type", "application/octet-stream"),), passed_on(archive))


async def stat(call: Call) -> Reply:
    path, container = _path(call), await call.entered()
    with _found_there(call, path):
        facts = await container.stat_path(path)
    return Reply(200, (_told(path, facts),))


async def pack(call: Call) -> Chunks:
    path, container = _path(call), await call.entered()
    with _found_there(call, path):
        facts, archive = await container.pack(path)
    return Chunks(200, (*TAR, _told(path, facts)), passed_on(archive))


async def unpack(call: Call) -> Reply:
    path, container = _path(call), await call.entered()
    replace, own = not call.query.flag("noOverwriteDirNonDir"), call.query.flag("copyUIDGID")
    with _found_there(call, path):
        await container.unpack(path, call.body, replace=replace, own=own)
    return done(200)


@contextlib.contextmanager
def _found_there(call: Call, path: str) -> Iterator[None]:
    """In Docker's words, where nothing is."""
    try:
        yield
    except NotFound:
        raise NotFound(f"Could not find the file {path} in container {call.name}") from None


def _path(call: Call) -> str:
    """Absolute: one that is not begins in the root.  What ends it, "/" or "/.", stays."""
    given = call.query.text("path")
    if not given:
        raise InvalidArgument("invalid value for path: it cannot be empty")
    if "\0" in given or len(given.encode()) >= PATH_MAX_BYTES:
        raise InvalidArgument("invalid value for path: it is none that a file can have")
    return "/" + given.lstrip("/")


def _told(path: str, facts: PathFacts) -> tuple[str, str]:
    said = {
        "name": facts.name if path.strip("/") else "/",
        "size": facts.size_bytes,
        "mode": file_mode(facts.mode),
        "mtime": times.from_ns(max(TIMES_S[0], min(facts.modified_s, TIMES_S[1])) * 10**9),
        "linkTarget": facts.leads_to,
    }
    return STAT_HEADER, b64encode(msgspec.json.encode(said)).decode()


def file_mode(mode: int) -> int:
    """Of a mode as stat(2) has it, what Go's os.FileMode is."""
    bits = ((st.S_ISUID, _SETUID), (st.S_ISGID, _SETGID), (st.S_ISVTX, _STICKY))
    return mode & 0o777 | _TYPES.get(st.S_IFMT(mode), 0) | sum(go for bit, go in bits if mode & bit)
