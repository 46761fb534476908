"""Serves directories of the host to a guest: a server for each, shut in with what it serves.

virtiofsd speaks vhost-user over a socket that it and the VM's process inherit, with QEMU, or with the guest's kernel
itself where that is a process; and it reads and writes the guest's memory, which is therefore shared.  Where there is
none, QEMU serves the guest by 9p itself, and has the files opened for it by virtfs-proxy-helper: QEMU gets the
descriptors, and never a way to the files.  A directory that several VMs write to is served by a program of our own
(``sharefs``): neither of those keeps locks between VMs.  A server ends with its VM, and is ended with it in any case;
where it ends first, so does the VM, whose guest would wait for its files for ever.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import platform
import re
import shutil
import socket
import stat
import struct
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

import msgspec

from hypercontainer.errors import HyperError, InvalidArgument, Unavailable
from hypercontainer.hypervisor import helpers, jail, programs, share_jail, sharefs
from hypercontainer.hypervisor.driver import Check, Helper
from hypercontainer.hypervisor.facts import FactCache
from hypercontainer.hypervisor.run_dir import read_stderr
from hypercontainer.hypervisor.spec import P9, VIRTIOFS, ShareSpec
from hypercontainer.hypervisor.text import printable
from hypercontainer.linux import capabilities, unix
from hypercontainer.linux.confine import GATE_OPEN, OUTWARD, PRIVILEGED, gated, new_namespaces
from hypercontainer.linux.process import Process
from hypercontainer.linux.seccomp import ALLOW, ENOSYS, ERRNO, Arg, Op, Profile, Rule, compile_filter
from hypercontainer.linux.users import User, as_user, open_theirs

PROGRAM, PROXY = "virtiofsd", "virtfs-proxy-helper"
# What a server takes; the files themselves are in the host's page cache, which gives way.
SHARE_MIB = 16
INSTALL_HINT = "install virtiofsd, or QEMU before 8.0, which comes with it"
UNSHARED = f"{share_jail.FAILURE}: Operation not permitted: unshare"
PLACES = ("/usr/libexec", "/usr/lib/qemu", "/usr/libexec/qemu")
MODERN_VERSION = re.compile(r"virtiofsd (backend )?v?\d")
# What virtiofsd says when a VM has ended without taking leave of it: the VM's own last words are more to the point.
FAREWELL = re.compile(r"^virtio_loop: Unexpected poll revents .*\n?", re.MULTILINE)
EPERM = 1
# For a user's share, whose files are all that user's: the server is told that it has become who asks.
SQUASHED = ("setresuid", "setresgid", "setgroups")
# Which arguments are an owner and a group.
OWNERS = (("fchownat", (2, 3)), ("fchown lchown chown", (1, 2)))
KEPT = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "SETGID", "SETUID", "SETPCAP", "SYS_CHROOT")
PROXY_KEPT = (*KEPT, "MKNOD")  # which it insists on; the filter leaves it nothing to make by it
REFUSED = (*OUTWARD, *PRIVILEGED, *"kill tgkill socket socketpair connect bind".split())
# Which argument is a mode; a file that gets its owner's rights to whoever runs it is nothing that a guest makes.
MODES = (("chmod mkdir creat mknod fchmod", 1), ("fchmodat fchmodat2 open mkdirat mknodat", 2), ("openat", 3))
UNCHANGED = (0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)  # -1, however a compiler extends it
CLONE_FS = 0x200
S_ISUID, S_ISGID, S_IFMT, S_IFCHR, S_IFBLK = 0o4000, 0o2000, 0o170000, 0o020000, 0o060000

PROBE_TIMEOUT_S = 10.0
# What is asked, and how long an answer is at least: none of it is to be left for the VM, and it comes in parts.
# Of vhost-user: request 1, version 1, no payload.
_GET_FEATURES = struct.pack("<3I", 1, 1, 0), 20
# Of the proxy: lstat, 3 bytes that follow, a string of one.
_STAT_ROOT = struct.pack("<2IH", 8, 3, 1) + b"/", 1


class Kind(Enum):
    """Their options differ."""

    OLD = "virtiofsd of QEMU"
    MODERN = "virtiofsd in Rust"
    PROXY = "virtfs-proxy-helper"
    TOGETHER = "sharefs"


@dataclass(frozen=True)
class Server:
    """One that is installed."""

    path: Path
    kind: Kind

    @property
    def filesystem(self) -> str:
        """By which the guest mounts what it serves."""
        return P9 if self.kind is Kind.PROXY else VIRTIOFS


@dataclass(frozen=True)
class Usable:
    """What a test of it has found: the file system to mount, "" for none, with why and what helps."""

    filesystem: str
    reason: str = ""
    remedy: str = ""


async def find(cache: FactCache, *, p9: bool = True) -> Server:
    """virtiofsd, or else, where ``p9`` will do, QEMU's helper for 9p.  Raises ``Unavailable``."""
    if path := _installed(PROGRAM):
        key = f"server of a kind {programs.file_key(path)}"
        return await cache.learned(key, Server, partial(_virtiofsd, path))
    if p9 and (path := _installed(PROXY)):
        return Server(path, Kind.PROXY)
    raise Unavailable("directories of the host cannot be shared: there is no virtiofsd", hint=INSTALL_HINT)


async def _virtiofsd(path: Path) -> Server:
    _, text = await programs.ask(path, "--version")
    # QEMU's gives up its groups before it reads its options, which only root may: then it says no version.
    return Server(path, Kind.MODERN if MODERN_VERSION.match(text) else Kind.OLD)


async def find_all(cache: FactCache, wanted: Sequence[ShareSpec], *, p9: bool = True) -> Server | None:
    """The server of directories of the host among them, ``find``; None where there are none."""
    return await find(cache, p9=p9) if any(not share.together for share in wanted) else None


def together() -> Server:
    """Of directories that several VMs write to.  Raises ``Unavailable``."""
    if not sharefs.PROGRAM.is_file():
        raise Unavailable(
            f"no volume can be shared by VMs: there is no {sharefs.PROGRAM}", hint=sharefs.MISSING_HINT
        )
    return Server(sharefs.PROGRAM, Kind.TOGETHER)


def _installed(program: str) -> Path | None:
    """In PATH, or where distributions put it, which is not meant for PATH."""
    places = (f"{place}/{program}" for place in PLACES)
    found = shutil.which(program) or next((place for place in places if os.access(place, os.X_OK)), None)
    return Path(found).resolve() if found else None


def server_argv(server: Server, *, squash: bool, socket_fd: int = share_jail.SOCKET_FD) -> list[str]:
    """In its jail.  Neither special files of devices nor capabilities of files, whoever asks for them."""
    path, caps = str(server.path), "-mknod:-setfcap"
    match server.kind:
        case Kind.TOGETHER:
            return sharefs.argv(socket_fd, squash=squash)
        case Kind.PROXY:
            return [path, "--nodaemon", "--fd", str(socket_fd), "--path", "/share"]
        case Kind.MODERN:
            options = ["--shared-dir=/share", "--sandbox=chroot", "--cache=auto", f"--modcaps={caps}"]
            options.append("--log-level=error")
        case Kind.OLD:
            options = ["-f", "-o", f"source=/share,sandbox=chroot,cache=auto,modcaps={caps},log_level=err"]
    return [path, f"--fd={socket_fd}", *options, "--rlimit-nofile=0"]


def filter_for(*, squash: bool) -> bytes:
    """What a server may not do, whatever its guest makes of it; ``squash``: all it makes is one user's."""
    refused = ERRNO | EPERM
    rules = [Rule(REFUSED, refused), *new_namespaces(refused)]
    rules.append(Rule(("openat2",), ENOSYS))  # its mode lies in memory; programs fall back to the older call
    rules.append(Rule(("unshare",), refused, (Arg(0, Op.NE, CLONE_FS),)))  # which its threads do
    for names, index in MODES:
        masks = [Arg(index, Op.MASKED_EQ, bit, bit) for bit in (S_ISUID, S_ISGID)]
        rules += [Rule(tuple(names.split()), refused, (mask,)) for mask in masks]
    for kind in (S_IFCHR, S_IFBLK):
        rules.append(Rule(("mknodat",), refused, (Arg(2, Op.MASKED_EQ, S_IFMT, kind),)))
        rules.append(Rule(("mknod",), refused, (Arg(1, Op.MASKED_EQ, S_IFMT, kind),)))
    if squash:
        rules.append(Rule(SQUASHED, ERRNO))  # without an error number: done
        for names, indexes in OWNERS:
            for index in indexes:
                others = tuple(Arg(index, Op.NE, value) for value in (0, *UNCHANGED))
                rules.append(Rule(tuple(names.split()), refused, others))
    return compile_filter(Profile(ALLOW, tuple(rules), x86=False, x32=False), ())


def jail_argv(server: Server, share: ShareSpec) -> list[str]:
    user = share.user
    if user is None and os.geteuid() != 0:
        user = User(os.geteuid(), os.getegid(), tuple(os.getgroups()))
    squash = user is not None
    together = server.kind is Kind.TOGETHER
    kept = {Kind.PROXY: PROXY_KEPT, Kind.TOGETHER: sharefs.KEPT}.get(server.kind, KEPT)
    program_filter = sharefs.call_filter() if together else filter_for(squash=squash)
    jail = {
        "server": str(server.path),
        "alone": together,
        "argv": server_argv(server, squash=squash),
        "user": None if user is None else (user.uid, user.gid, user.groups),
        "read_only": share.read_only,
        "filter": base64.b64encode(program_filter).decode(),
        "keep": capabilities.mask(f"CAP_{name}" for name in kept),
    }
    program = str(Path(share_jail.__file__).resolve())
    return [sys.executable, "-I", "-S", program, msgspec.json.encode(jail).decode()]


@dataclass(frozen=True)
class Serving:
    """A share's server that waits at its gate; ``client`` is the VM's end of its socket."""

    server: Server
    tag: str
    process: Process
    opener: int
    client: int

    @property
    def helper(self) -> Helper:
        return Helper(f"share {self.tag}", self.process.pid, self.process.identity.start_ticks)

    def open_gate(self) -> None:
        os.write(self.opener, GATE_OPEN)


def serve(
    server: Server, share: ShareSpec, directory: Path, stdio: tuple[int, int, int], fds: contextlib.ExitStack
) -> Serving:
    """Its server; ``directory`` is a private one of ours.  ``fds`` gets the descriptors; the process is the caller's.

    Raises ``OSError`` and ``InvalidArgument`` for what cannot be shared.
    """
    share_fd = _opened(share, fds)
    theirs, client = _sockets(server, directory, fds)
    gate, opener = os.pipe2(os.O_CLOEXEC)
    fds.callback(os.close, opener)
    fds.callback(os.close, gate)
    launcher = gated(Path("/"), jail_argv(server, share))
    inherited = [gate, theirs.fileno(), share_fd]
    process = Process.spawn(launcher, env={}, stdio=stdio, inherited=inherited)
    return Serving(server, share.tag, process, opener, client.fileno())


def serve_all(
    wanted: Sequence[ShareSpec],
    server: Server | None,
    directory: Path,
    stdio: tuple[int, int, int],
    fds: contextlib.ExitStack,
    undo: contextlib.AsyncExitStack,
) -> list[Serving]:
    """In order, at their gates; ``undo`` gets what ends them, and ``server`` is of ``find_all``."""
    serving = []
    for share in wanted:
        one = together() if share.together else server
        assert one is not None
        serving.append(serve(one, share, directory, stdio, fds))
        undo.push_async_callback(helpers.end, serving[-1].process)
    return serving


def _sockets(
    server: Server, directory: Path, fds: contextlib.ExitStack
) -> tuple[socket.socket, socket.socket]:
    """What the server takes, and the VM's end of it: virtiofsd takes one on which to listen."""
    if server.kind in (Kind.PROXY, Kind.TOGETHER):
        first, second = socket.socketpair()
        return fds.enter_context(first), fds.enter_context(second)
    path = directory / "share.sock"
    listener = fds.enter_context(unix.listen(path))
    client = fds.enter_context(unix.connect(path))
    path.unlink()
    return listener, client


def _opened(share: ShareSpec, fds: contextlib.ExitStack) -> int:
    fd = as_user(share.user, partial(open_theirs, str(share.path), os.O_PATH))
    fds.callback(os.close, fd)
    kind = os.fstat(fd).st_mode
    if not stat.S_ISDIR(kind) and not stat.S_ISREG(kind):
        raise InvalidArgument(f"share {share.tag}: {share.path} is neither a directory nor a regular file")
    return fd


async def probe(cache: FactCache, *, refresh: bool = False, p9: bool = True) -> Usable:
    """Whether a server runs here, shut in as it is: found out by one that answers, and remembered."""
    try:
        return await _probed(await find(cache, p9=p9), cache, refresh=refresh)
    except HyperError as error:
        return Usable("", error.message, error.hint or "")
    except OSError as error:
        return Usable("", str(error))


async def probe_together(cache: FactCache, *, refresh: bool = False) -> Usable:
    """As ``probe``, of directories that several VMs write to."""
    try:
        return await _probed(together(), cache, refresh=refresh)
    except HyperError as error:
        return Usable("", error.message, error.hint or "")
    except OSError as error:
        return Usable("", str(error))


async def _probed(server: Server, cache: FactCache, *, refresh: bool) -> Usable:
    key = f"share {programs.file_key(server.path)} {platform.release()} {os.geteuid()}"
    return await cache.learned(key, Usable, partial(_tried, server), refresh=refresh)


def check_together(usable: Usable) -> Check:
    """What there is to say of it to who examines the host."""
    name = "volumes that several VMs write to"
    if usable.filesystem:
        return Check(name, True, "our own server has them, confined")
    return Check(name, None, f"cannot be: {usable.reason}", usable.remedy)


async def _tried(server: Server) -> Usable:
    """Shares an empty directory and asks what a VM would."""
    with contextlib.ExitStack() as fds:
        directory = Path(fds.enter_context(tempfile.TemporaryDirectory(prefix="hyper-share-")))
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        fds.callback(os.close, null)
        words, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        fds.callback(os.close, words)
        fds.callback(os.close, write)
        share = ShareSpec("probe", directory, read_only=True)
        serving = serve(server, share, directory, (null, write, write), fds)
        try:
            serving.open_gate()
            usable = await answers(serving)
        finally:
            await helpers.end(serving.process)
        return Usable(server.filesystem) if usable else _unusable(server, read_stderr(words))


async def answers(serving: Serving) -> bool:
    """Once its gate is open: whether it does what it is there for.  It is asked what its VM may ask again."""
    question = _STAT_ROOT if serving.server.kind is Kind.PROXY else _GET_FEATURES
    with socket.socket(fileno=os.dup(serving.client)) as client:
        return await _asked(client, question, serving.process)


def without_farewells(said: str) -> str:
    return FAREWELL.sub("", said)


def _unusable(server: Server, said: bytes) -> Usable:
    """Where the server has ended, or says nothing, having said this."""
    lines = [line for line in printable(said).splitlines() if line.strip()]
    reason = f"{server.path}: {lines[-1].strip()[:200]}" if lines else f"{server.path} does not answer"
    return Usable("", reason, jail.NAMESPACES_HINT if UNSHARED in reason else "")


async def _asked(client: socket.socket, question: tuple[bytes, int], server: Process) -> bool:
    """False once it has ended: somebody else holds the socket's other end, so that tells nothing."""
    client.setblocking(False)
    answering = asyncio.create_task(_answer(client, question))
    ending = asyncio.create_task(server.wait())
    try:
        await asyncio.wait([answering, ending], timeout=PROBE_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        return answering.done() and answering.result()
    finally:
        for task in (answering, ending):
            task.cancel()
        await asyncio.wait([answering, ending])


async def _answer(client: socket.socket, question: tuple[bytes, int]) -> bool:
    loop = asyncio.get_running_loop()
    said, missing = question
    with contextlib.suppress(OSError):
        await loop.sock_sendall(client, said)
        while missing > 0 and (part := await loop.sock_recv(client, missing)):
            missing -= len(part)
    return missing <= 0
