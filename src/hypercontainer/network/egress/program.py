"""The proxy's process: ``python -m hypercontainer.network.egress.program LISTENERS NAMESPACES UID``.

Descriptors, from 3 on: the control socket (``wire``), so many sockets that listen, so many namespaces to be entered.
Once it is loaded it shuts itself in: an empty root, no capability, no user's rights, no system call that opens what is
outside; it makes TCP connections of IP and reads what hyperd says.  Then it says ``Ready``.

It ends with its control socket: exit status 0; 1 where it could not begin, with a line on standard error.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import resource
import socket
import ssl
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hypercontainer.linux import seclusion
from hypercontainer.linux.seccomp import ALLOW, ERRNO, Arg, Op, Profile, Rule, compile_filter
from hypercontainer.network.egress import authority, wire
from hypercontainer.network.egress.authority import Authority
from hypercontainer.network.egress.proxy import Limits, Proxy, trusting
from hypercontainer.network.egress.rules import Refused

CONTROL_FD = 3
RESOLVE_S = 10.0
DENIALS_MAX = 1 << 20  # bytes of them that hyperd has not read; more are not told
_TMP_KIB = 256
_SPARE_FDS = 64
_EPERM = 1
_EXECUTABLE = 4  # PROT_EXEC
_IP, _IP6, _STREAM, _KIND = 2, 10, 1, 0xF
CALLS = (
    "accept4 bind brk clock_gettime clock_nanosleep close connect epoll_create1 epoll_ctl epoll_pwait epoll_wait "
    "exit exit_group fchmod fcntl fstat futex getcwd getdents64 getpeername getpid getppid getrandom getsockname "
    "getsockopt gettid gettimeofday ioctl lseek lstat madvise mremap munmap newfstatat nanosleep open openat poll "
    "ppoll pread64 read readv recvfrom recvmsg restart_syscall rt_sigaction rt_sigprocmask rt_sigreturn sched_yield "
    "sendmsg sendto setsockopt shutdown sigaltstack stat statx time unlink unlinkat utimensat write writev"
).split()
# Where systems have the authorities of the world's servers, all in one file.
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def call_filter() -> bytes:
    """All that it may call; of memory, none that is run."""
    rules = [
        *(
            Rule(("socket",), ALLOW, (Arg(0, Op.EQ, family), Arg(1, Op.MASKED_EQ, _KIND, _STREAM)))
            for family in (_IP, _IP6)
        ),
        Rule(("mmap", "mprotect"), ALLOW, (Arg(2, Op.MASKED_EQ, _EXECUTABLE, 0),)),
        Rule(tuple(CALLS), ALLOW),
    ]
    return compile_filter(Profile(ERRNO | _EPERM, tuple(rules), x86=False, x32=False), ())


def authorities() -> str:
    """The host's, as PEM; those of a library where it has none."""
    named = os.environ.get("SSL_CERT_FILE", "")
    for path in (named, *BUNDLES):
        if path and Path(path).is_file():
            return Path(path).read_text(encoding="ascii", errors="ignore")
    import certifi

    return certifi.contents()


def rehearse() -> None:
    """Has everything loaded that is loaded when it is first used."""
    pair = authority.make("rehearsal", ("localhost",))
    with tempfile.TemporaryDirectory() as folder:
        server = Authority(pair, Path(folder)).context("localhost")
    client = trusting(pair.certificate)
    one, other = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(one, other, server_hostname="localhost"),
        server.wrap_bio(other, one, server_side=True),
    ]
    for end in itertools.islice(itertools.cycle(ends), 6):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()


class _Program:
    def __init__(
        self, control: socket.socket, listeners: Sequence[socket.socket], roots: ssl.SSLContext
    ) -> None:
        self._control, self._listeners = control, listeners
        self._serving: list[asyncio.Task[None]] = []
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Sequence[str]]] = {}
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        limits = Limits(total=min(Limits.total, max((files - _SPARE_FDS) // 2, 1)))
        self.proxy = Proxy(self._resolve, self._denied, roots, Path("/"), limits)
        self._says = bytearray()
        self._more = asyncio.Event()

    async def run(self) -> None:
        says = asyncio.create_task(self._say())
        self._tell(wire.Ready())
        try:
            await self._hear()
        finally:
            for each in (says, *self._serving):
                each.cancel()
            await asyncio.gather(says, *self._serving, return_exceptions=True)

    async def _hear(self) -> None:
        loop, lines = asyncio.get_running_loop(), wire.Lines(wire.ToProxy)
        while data := await loop.sock_recv(self._control, 1 << 16):
            for message in lines.feed(data):
                self._obey(message)

    def _obey(self, message: object) -> None:
        if isinstance(message, wire.Tell):
            problem = ""
            try:
                self.proxy.tell(message)
            except ValueError as error:
                problem = str(error)
            self._tell(wire.Told(message.pod, problem))
        elif isinstance(message, wire.Serve):
            self._serving += [asyncio.create_task(self.proxy.serve(each)) for each in self._listeners]
        elif isinstance(message, wire.Forget):
            self.proxy.forget(message.pod)
        elif isinstance(message, wire.Resolved):
            future = self._asked.pop(message.number, None)
            if future is not None and not future.done():
                if message.problem:
                    future.set_exception(Refused(message.problem))
                else:
                    future.set_result(message.addresses)

    async def _resolve(self, pod: str, host: str) -> Sequence[str]:
        number = next(self._numbers)
        future: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
        self._asked[number] = future
        self._tell(wire.Resolve(number, pod, host))
        try:
            async with asyncio.timeout(RESOLVE_S):
                return await future
        finally:
            self._asked.pop(number, None)

    def _denied(self, denied: wire.Denied) -> None:
        if len(self._says) < DENIALS_MAX:
            self._tell(denied)

    def _tell(self, message: wire.FromProxy) -> None:
        self._says += wire.line(message)
        self._more.set()

    async def _say(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._more.wait()
            self._more.clear()
            says, self._says = bytes(self._says), bytearray()
            await loop.sock_sendall(self._control, says)


async def _main(listeners: int, namespaces: int, uid: int) -> None:
    roots = trusting(authorities())
    rehearse()
    control = socket.socket(fileno=CONTROL_FD)
    places = range(CONTROL_FD + 1, CONTROL_FD + 1 + listeners)
    own = [socket.socket(fileno=fd) for fd in places]
    for each in (control, *own):
        each.setblocking(False)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    seclusion.enter(range(places.stop, places.stop + namespaces))
    program = _Program(control, own, roots)
    seclusion.seclude(uid if os.geteuid() == 0 and uid else None, call_filter(), tmp_kib=_TMP_KIB)
    await program.run()


def main(arguments: Sequence[str]) -> int:
    try:
        listeners, namespaces, uid = map(int, arguments)
        asyncio.run(_main(listeners, namespaces, uid))
    except OSError as error:
        sys.stderr.write(f"egress: {error.filename or ''} {error.strerror}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
