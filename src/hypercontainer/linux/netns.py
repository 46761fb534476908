"""A network namespace that outlives this process, and what is made in it: sockets, tap devices, settings.

A small program keeps it (native/netns.c) and answers at a socket in a directory that nobody else may enter.  Calls
are made of one message each way and take well under a millisecond; they block and raise ``OSError``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

import hypercontainer
from hypercontainer.linux import unix
from hypercontainer.linux.process import Identity, Process

PROGRAM = Path(hypercontainer.__file__).parent / "_native" / "netns"
CONTROL, KEEPER = "control.sock", "keeper.json"
DEADLINE_S = 10.0
BACKLOG = 1024  # of those who ask at the same moment, who would be refused
_CONTROL_FD = 3
_ANSWER_BYTES = 512
_FD = struct.Struct("=i")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def tap(control: Path, name: str) -> int:
    """The descriptor of a new tap device, which goes when it is dropped by its name and nobody else holds it any more.
    Its frames have a ``virtio_net_hdr`` of 10 bytes before them, and may be large ones without a checksum
    (if_tun.h)."""
    return _descriptor(control, f"tap {name}")


def make_socket(control: Path, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """As ``socket.socket``, in the namespace."""
    fd = _descriptor(control, f"socket {int(family)} {int(kind)} {int(protocol)}")
    return socket.socket(family, kind, protocol, fileno=fd)


def drop(control: Path, name: str) -> None:
    """What is kept by this name is let go of; nothing happens where it is gone, or its keeper is."""
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        _ask(control, f"drop {name}")


def part(control: Path, name: str) -> None:
    """As ``drop``, and its keeper has it no more when this returns: of what lasts, and has one opener."""
    _ask(control, f"part {name}")


@contextlib.contextmanager
def entered(pid: int) -> Iterator[None]:
    """This thread is in the network namespace of that process: for what is started within.  Takes root; ``OSError``."""
    with contextlib.ExitStack() as fds:
        theirs, ours = (
            os.open(f"/proc/{who}/ns/net", os.O_RDONLY | os.O_CLOEXEC) for who in (pid, "thread-self")
        )
        fds.callback(os.close, theirs)
        fds.callback(os.close, ours)
        _enter(theirs)
        try:
            yield
        finally:
            _enter(ours)


def _enter(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "network namespace")


@dataclass(frozen=True)
class Namespace:
    """One that is kept; ``identity`` is its keeper's."""

    folder: Path
    identity: Identity

    @property
    def control(self) -> Path:
        return self.folder / CONTROL

    @property
    def pid(self) -> int:
        """Of a process in it."""
        return self.identity.pid

    @classmethod
    def start(cls, folder: Path, *, user: bool) -> Namespace:
        """Makes one; ``folder``, which must not exist, says where it is found.  ``user``: in a user namespace, where
        this process's user is root.  Raises ``OSError`` with what the keeper said."""
        folder.mkdir(mode=0o700)
        with contextlib.ExitStack() as undo:
            undo.callback(_forget, folder)
            with contextlib.ExitStack() as fds:
                listener = fds.enter_context(
                    unix.listen(folder / CONTROL, BACKLOG, kind=socket.SOCK_SEQPACKET)
                )
                null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
                fds.callback(os.close, null)
                said, says = os.pipe2(os.O_CLOEXEC)
                fds.callback(os.close, said)
                argv = [str(PROGRAM), str(_CONTROL_FD), str(folder), *(["user"] if user else [])]
                try:
                    keeper = Process.spawn(
                        argv, env={}, stdio=(null, null, says), inherited=[listener.fileno()]
                    )
                finally:
                    os.close(says)
                made = cls(folder, keeper.identity)
                undo.callback(made.end)
                keeper.close()
                listener.close()  # a keeper that has died is noticed
                made._begin(said)
            (folder / KEEPER).write_bytes(msgspec.json.encode(made.identity))
            undo.pop_all()
        return made

    def _begin(self, said: int) -> None:
        try:
            _ask(self.control, "ready")
        except OSError as error:
            self._ended()
            words = os.read(said, 4096).decode(errors="replace").strip()
            raise OSError(error.errno, words or error.strerror) from error

    @classmethod
    def find(cls, folder: Path) -> Namespace | None:
        """The one that was made there; None, and nothing of it is left, where it is no more."""
        try:
            found = cls(folder, msgspec.json.decode((folder / KEEPER).read_bytes(), type=Identity))
        except (OSError, ValueError):
            with contextlib.suppress(OSError):  # who was to write down which keeper it is ended before
                _ask(folder / CONTROL, "end")
            _forget(folder)
            return None
        if found.alive():
            return found
        found.end()
        return None

    def alive(self) -> bool:
        process = Process.open(self.identity)
        if process is None:
            return False
        try:
            return not process.ended()
        finally:
            process.close()

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        return make_socket(self.control, family, kind, protocol)

    def set(self, name: str, value: str | int) -> None:
        """A setting below ``/proc/sys/net``: "ipv4/ip_forward"."""
        _ask(self.control, f"sysctl {name} {value}")

    def keep(self, name: str, fd: int) -> None:
        """Holds a descriptor by a name of at most 63 bytes, in place of another of this name, until it is dropped."""
        _ask(self.control, f"keep {name}", fd)

    def take(self, name: str) -> int | None:
        """Another descriptor of what is kept by this name; None where nothing is."""
        try:
            return _descriptor(self.control, f"take {name}")
        except FileNotFoundError:
            return None

    def drop(self, name: str) -> None:
        drop(self.control, name)

    def end(self) -> None:
        """Ends its keeper, and it where nobody else is in it; nothing happens where that has ended."""
        self._ended()
        _forget(self.folder)

    def _ended(self) -> None:
        """Its keeper, by now, whoever's child it is."""
        if (process := Process.open(self.identity)) is not None:
            process.kill()
            process.wait_now()
            process.close()


def _forget(folder: Path) -> None:
    for name in (KEEPER, CONTROL):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()


def _descriptor(control: Path, request: str) -> int:
    fd = _ask(control, request)
    if fd is None:
        raise OSError(None, f"{request.partition(' ')[0]}: no descriptor came")
    return fd


def _ask(control: Path, request: str, fd: int | None = None) -> int | None:
    """The descriptor that came with the answer."""
    with contextlib.closing(unix.connect(control, kind=socket.SOCK_SEQPACKET)) as client:
        client.settimeout(DEADLINE_S)
        socket.send_fds(client, [request.encode()], [] if fd is None else [fd])
        # Python's recv_fds takes flags and forgets them (3.11).
        room = socket.CMSG_LEN(_FD.size)
        answer, came, _, _ = client.recvmsg(_ANSWER_BYTES, room, socket.MSG_CMSG_CLOEXEC)
    fds = [_FD.unpack_from(data)[0] for _, _, data in came]
    word, _, problem = answer.decode(errors="replace").partition(" ")
    if word == "ok":
        return fds[0] if fds else None
    number, _, words = problem.partition(" ")
    name = request.partition(" ")[0]
    raise OSError(int(number) if number.isdigit() else None, words or f"{name}: no answer", name)
