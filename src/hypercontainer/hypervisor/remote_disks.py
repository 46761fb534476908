"""The initiators of disks that servers have: for each disk a process beside the VM, QEMU's storage daemon.

The VM's process has no network.  The daemon has it, and neither the guest's memory nor a file of the host: it reaches
the server, reconnects to it, knows the secrets, and gives the VM's process the disk by NBD, over a connection that this
was handed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec

from hypercontainer.errors import LaunchError, Unavailable
from hypercontainer.hypervisor import helpers, programs
from hypercontainer.hypervisor.driver import Helper
from hypercontainer.hypervisor.launching import MAX_WORDS, Gate, held
from hypercontainer.hypervisor.output import Output
from hypercontainer.hypervisor.remote import RemoteDisk, Tls
from hypercontainer.hypervisor.run_dir import RunDir
from hypercontainer.hypervisor.spec import VMSpec
from hypercontainer.linux import unix
from hypercontainer.linux.confine import OUTWARD, PRIVILEGED, Means, Rights, new_namespaces
from hypercontainer.linux.process import Process
from hypercontainer.linux.seccomp import ALLOW, ERRNO, Arg, Op, Profile, Rule, compile_filter
from hypercontainer.linux.users import as_user, open_theirs
from hypercontainer.linux.waiting import together

PROGRAM = "qemu-storage-daemon"
INSTALL_HINT = "install it: apt-get install qemu-system-common"
BLOCKS_HINT = "install it: apt-get install qemu-block-extra"
# What it is handed: 3 is the launcher's gate.
LISTEN_FD, SERVER_FD = 4, 5
CREDENTIALS = "/credentials"
DEVICES = ("/dev/null", "/dev/urandom")
# Shares' worth of memory for each (``Driver.limits``): its own, and what is on the way.
SHARES_EACH = 3
# Of protocols that are no part of the program itself; below where that is installed.
_MODULES = ("lib*/qemu/block-{}.so", "lib/*/qemu/block-{}.so")
_MODULAR = ("iscsi", "rbd")
# Of librados, among what is secret, since it has the key.
CEPH_CONF = "ceph.conf"
# So long a guest waits for a server that has gone, and then has errors.
RECONNECT_S = 300
READY_S, CONNECT_S = 30.0, 5.0
_GREETING = b"NBDMAGIC"  # doc/proto.md of the NBD project
EPERM, EAFNOSUPPORT = 1, 97
AF_INET, AF_INET6, CLONE_THREAD = 2, 10, 0x10000


@dataclass(frozen=True)
class Serving:
    """One that waits at its gate; ``client`` is the VM's end of its socket, ``folder`` has what is
    secret."""

    disk: RemoteDisk
    process: Process
    gate: Gate
    client: socket.socket
    folder: Path
    command: Sequence[str]

    @property
    def helper(self) -> Helper:
        return Helper(
            f"{helpers.DISK} {self.disk.serial}", self.process.pid, self.process.identity.start_ticks
        )

    def open_gate(self) -> None:
        self.gate.open()


def find(protocols: Sequence[str] = ()) -> Path:
    """The program, which has all of ``protocols``.  Raises ``Unavailable``."""
    path = shutil.which(PROGRAM)
    if path is None:
        raise Unavailable(f"disks of the network cannot be reached: there is no {PROGRAM}", hint=INSTALL_HINT)
    found = Path(path).resolve()
    for protocol in protocols:
        if protocol in _MODULAR and not _modules(found, protocol):
            raise Unavailable(
                f"{protocol} disks cannot be reached: QEMU's module is not there", hint=BLOCKS_HINT
            )
    return found


def is_there() -> bool:
    return shutil.which(PROGRAM) is not None


def _modules(program: Path, protocol: str) -> list[str]:
    patterns = (pattern.format(protocol) for pattern in _MODULES)
    return [str(path) for pattern in patterns for path in program.parent.parent.glob(pattern)]


def _node(disk: RemoteDisk, folder: Path) -> dict[str, object]:
    """Its options of ``-blockdev``, which say nothing that is secret."""
    common = {"driver": disk.protocol, "node-name": "disk", "read-only": disk.read_only, "discard": "unmap"}
    if disk.protocol == "rbd":
        return common | _rbd(disk, folder)
    return common | (_iscsi(disk) if disk.protocol == "iscsi" else _nbd(disk))


def _iscsi(disk: RemoteDisk) -> dict[str, object]:
    address = f"[{disk.address}]" if ":" in disk.address else disk.address
    login = {"user": disk.user, "password-secret": "password"} if disk.user else {}
    where = {"transport": "tcp", "portal": f"{address}:{disk.port}", "target": disk.name, "lun": disk.lun}
    return where | login


def _nbd(disk: RemoteDisk) -> dict[str, object]:
    tls = {"tls-creds": "tls"} if disk.tls else {}
    tls |= {"tls-hostname": disk.tls.hostname} if disk.tls and disk.tls.hostname else {}
    if disk.socket is not None:
        return {"server": {"type": "fd", "str": str(SERVER_FD)}, "export": disk.name, **tls}
    server = {"type": "inet", "host": disk.address, "port": str(disk.port), "numeric": True}
    return {"server": server, "export": disk.name, "reconnect-delay": RECONNECT_S, **tls}


def _rbd(disk: RemoteDisk, folder: Path) -> dict[str, object]:
    where: dict[str, object] = {
        "pool": disk.pool,
        "image": disk.name,
        "user": disk.user,
        "conf": f"{folder}/{CEPH_CONF}",
    }
    where |= {"namespace": disk.namespace} if disk.namespace else {}
    return where | ({"snapshot": disk.snapshot} if disk.snapshot else {})


def argv(program: Path, disk: RemoteDisk, folder: Path) -> list[str]:
    """For the descriptors ``LISTEN_FD`` and, where it is by a unix socket, ``SERVER_FD``."""
    objects: list[dict[str, object]] = []
    if disk.user and disk.protocol == "iscsi":
        objects.append({"qom-type": "secret", "id": "password", "file": f"{folder}/password"})
    if disk.tls:
        objects.append(_tls(disk.tls, folder))
    export = {"type": "nbd", "id": "disk", "node-name": "disk", "name": "", "writable": not disk.read_only}
    listener = {"addr": {"type": "fd", "str": str(LISTEN_FD)}, "max-connections": 1}
    command = [str(program)]
    for made in objects:
        command += ["--object", _json(made)]
    return [
        *(*command, "--blockdev", _json(_node(disk, folder))),
        *("--nbd-server", _json(listener), "--export", _json(export)),
    ]


def _tls(tls: Tls, folder: Path) -> dict[str, object]:
    made: dict[str, object] = {"id": "tls", "endpoint": "client", "dir": str(folder)}
    if tls.hostname:
        return {"qom-type": "tls-creds-x509", **made, "verify-peer": True}
    return {"qom-type": "tls-creds-psk", **made, **({"username": tls.user} if tls.user else {})}


def _json(tree: dict[str, object]) -> str:
    return msgspec.json.encode(tree).decode()


@cache
def call_filter() -> bytes:
    """It makes threads and connections, and no processes."""
    refused = ERRNO | EPERM
    rules = [Rule((*OUTWARD, *PRIVILEGED, "unshare", "fork", "vfork"), refused), *new_namespaces(refused)]
    rules.append(Rule(("clone",), refused, (Arg(0, Op.MASKED_EQ, CLONE_THREAD, 0),)))
    others = (Arg(0, Op.NE, AF_INET), Arg(0, Op.NE, AF_INET6))
    rules.append(Rule(("socket",), ERRNO | EAFNOSUPPORT, others))
    return compile_filter(Profile(ALLOW, tuple(rules), x86=False, x32=False), ())


async def _rights(program: Path, disk: RemoteDisk, folder: Path, seen: Path, uid: int | None) -> Rights:
    modules = _modules(program, disk.protocol) if disk.protocol in _MODULAR else []
    linked = await programs.libraries(program, preloaded=tuple(modules))
    files = [str(program), *linked, *modules, programs.LINKER_CACHE]
    paired = [(name, name) for name in dict.fromkeys(files) if Path(name).exists()]
    return Rights(
        files=(*paired, *([(str(folder), str(seen))] if disk.files else [])),
        devices=tuple((name, name) for name in DEVICES),
        uid=uid,
        filter=call_filter(),
    )


async def serve_all(
    spec: VMSpec,
    run: RunDir,
    means: Means,
    streams: tuple[int, int, int],
    fds: contextlib.ExitStack,
    undo: contextlib.AsyncExitStack,
) -> list[Serving]:
    """Those of the specification, in order, at their gates; ``fds`` gets the descriptors, ``undo`` what ends them.

    Raises ``Unavailable``, ``OSError``.
    """
    if not spec.remotes:
        return []
    program = find([disk.protocol for disk in spec.remotes])

    async def serve(disk: RemoteDisk) -> Serving:
        folder = run.path / f"credentials-{disk.serial}"
        seen = Path(CREDENTIALS) if means.namespaces else folder
        command = argv(program, disk, seen)
        _write(folder, disk, spec.owner_uid)
        with contextlib.ExitStack() as theirs:
            client, inherited = await _sockets(disk, run, fds, theirs)
            gate, process = await held(
                command,
                environment={},
                rights=await _rights(program, disk, folder, seen, spec.owner_uid),
                means=means,
                stdio=streams,
                inherited=inherited,
                fds=fds,
            )
        undo.push_async_callback(helpers.end, process)
        return Serving(disk, process, gate, client, folder, command)

    serving = [asyncio.ensure_future(serve(disk)) for disk in spec.remotes]
    await together(*serving)
    return [one.result() for one in serving]


async def _sockets(
    disk: RemoteDisk, run: RunDir, fds: contextlib.ExitStack, theirs: contextlib.ExitStack
) -> tuple[socket.socket, list[int]]:
    """The VM's end, and what the daemon is handed."""
    path = run.path / f"{disk.serial}.sock"
    handed = [theirs.enter_context(unix.listen(path))]
    client = fds.enter_context(unix.connect(path))
    path.unlink()
    if disk.socket is not None:
        handed.append(theirs.enter_context(await asyncio.to_thread(_connected, disk)))
    return client, [one.fileno() for one in handed]


def _write(folder: Path, disk: RemoteDisk, uid: int | None) -> None:
    """What is secret, for the daemon alone, until it has read it."""
    if not disk.files:
        return
    folder.mkdir(mode=0o700)
    owner = uid if uid is not None and os.geteuid() == 0 else -1
    for name, content in disk.files:
        fd = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
        with open(fd, "wb") as file:
            os.fchown(fd, owner, owner)
            file.write(content)
    os.chown(folder, owner, owner)


def _connected(disk: RemoteDisk) -> socket.socket:
    def connect() -> socket.socket:
        place = open_theirs(str(disk.socket), os.O_PATH)
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(CONNECT_S)
        try:
            made.connect(f"/proc/self/fd/{place}")
        except BaseException:
            made.close()
            raise
        finally:
            os.close(place)
        made.setblocking(True)
        return made

    try:
        return as_user(disk.owner, connect)
    except OSError as error:
        raise Unavailable(f"disk {disk.words}: cannot be reached: {error.strerror or error}") from error


async def answering(spec: VMSpec, serving: Sequence[Serving], output: Output) -> None:
    """That all are there, their gates being open, which have no more use for their secrets then.  Raises
    ``LaunchError`` with what they have said."""
    latest = asyncio.get_running_loop().time() + READY_S
    for one in serving:
        greeted = await _greeted(one.client, latest)
        shutil.rmtree(one.folder, ignore_errors=True)
        if not greeted:
            one.process.kill()
            await one.process.wait()
            said, disk = output.stderr(), one.disk
            reason = _reason(said, one.command)
            raise LaunchError(
                f"VM {spec.name} did not start: disk {disk.words}: {reason}",
                stderr=said,
                hint=_hint(disk, reason),
            )


async def _greeted(client: socket.socket, latest: float) -> bool:
    """Left unread.  Where the daemon has ended its end of the socket has too, and there is nothing to read."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(client, _note, readable)
    try:
        async with asyncio.timeout_at(latest):
            await readable
        return client.recv(len(_GREETING), socket.MSG_PEEK) == _GREETING
    except (TimeoutError, OSError):
        return False
    finally:
        loop.remove_reader(client)


def _note(readable: asyncio.Future[None]) -> None:
    if not readable.done():
        readable.set_result(None)


def _reason(said: str, command: Sequence[str]) -> str:
    """Of the words of all, the last of the one with this command, whose options it repeats; what comes after those is
    advice about them."""
    options = [f"{word}: " for word in command if word.startswith("{")]
    found = [line.partition(option)[2] for line in said.splitlines() for option in options if option in line]
    return found[-1][:MAX_WORDS] if found else f"it did not answer within {READY_S:g} s"


def _hint(disk: RemoteDisk, reason: str) -> str | None:
    """Where QEMU's words for it say less than is known."""
    if disk.protocol != "rbd":
        return None
    image = "/".join(part for part in (disk.pool, disk.namespace, disk.name) if part)
    if reason.startswith("error connecting"):
        return (
            f"its monitors answer and do not let client.{disk.user} in: is the key in the keyring the one that "
            f"`ceph auth get client.{disk.user}` shows, and is there a quorum?"
        )
    return (
        f"`rbd --id {disk.user} info {image}` tells whether it is there, and `ceph status` how its cluster is"
    )
