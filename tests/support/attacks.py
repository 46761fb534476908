"""What a member of the group, a registry, a guest or whoever reaches a NodePort can do to hyperd, as much of each at
once as one asks for.  Each flood is a context: it goes on while the block does.

Clients are raw sockets.  Where the test is root they are another user's (SO_PEERCRED of the connect), who must reach
the socket by its group.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import busybox_image
from hyper import Hyper
from hypercontainer.client import http

USER = 12345
BODY_BYTES = 8 << 20
LABELS = {
    f"label-{number:05}": "x" * 200 for number in range(800)
}  # of an image, which an exec's events tell
LABELLED = "localhost/labelled:latest"

Flood = Callable[["Attacker"], contextlib.AbstractContextManager[None]]


class Attacker:
    """Of one hyperd.  ``many``: how much of each; ``transfers``: loads and registries; ``group``: the socket's."""

    def __init__(
        self, hyper: Hyper, many: int, group: int | None = None, transfers: int | None = None
    ) -> None:
        self.hyper = hyper
        self.many = many
        self.transfers = many if transfers is None else transfers
        self._group = group
        self._lock = threading.Lock()

    def of(self, many: int) -> Attacker:
        """The same one with another strength: its group, its turn as another user."""
        made = copy.copy(self)
        made.many = made.transfers = many
        return made

    def connect(self) -> socket.socket:
        path = str(self.hyper.run_dir / "hyper.sock")
        with self._lock:  # the effective user is the whole process's
            if os.geteuid() != 0 or self._group is None:
                return _connected(path)
            os.setegid(self._group)
            os.seteuid(USER)
            try:
                return _connected(path)
            finally:
                os.seteuid(0)
                os.setegid(0)

    def ask(self, head: str, data: bytes = b"") -> socket.socket:
        """One that has sent so much of a request; hyperd may have broken it off."""
        made = self.connect()
        with contextlib.suppress(OSError):
            made.sendall(f"{head}\r\nHost: x\r\n".encode() + data)
        return made

    def post(self, path: str, body: object) -> socket.socket:
        """A whole request, whose answer nobody reads."""
        data = json.dumps(body).encode()
        return self.ask(f"POST {path} HTTP/1.1", b"Content-Length: %d\r\n\r\n" % len(data) + data)

    def prepare(self) -> None:
        """What the floods need to be there."""
        layer = busybox_image.layer()
        self.hyper("load", stdin=busybox_image.archive([layer], LABELLED, config={"Labels": LABELS}))
        self.hyper("run", "-d", "--name", "labelled", LABELLED, "sleep", "100000")


def _connected(path: str) -> socket.socket:
    made = socket.socket(fileno=http.connect(path).detach())
    made.settimeout(30)
    return made


@contextlib.contextmanager
def _held(made: Callable[[], socket.socket], many: int) -> Iterator[None]:
    held = []
    try:
        for _ in range(many):
            with contextlib.suppress(OSError):
                held.append(made())
        yield
    finally:
        for each in held:
            each.close()


@contextlib.contextmanager
def _again(act: Callable[[], object]) -> Iterator[None]:
    """In a thread, until the end."""
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                act()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def broken_off_loads(attacker: Attacker) -> Iterator[None]:
    """Each has sent the beginning of an archive when it goes; as many others stay and say nothing more."""
    head = "POST /v1/images/load HTTP/1.1"
    data = busybox_image.archive([busybox_image.layer()])[:65536]
    body = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % (2 * len(data)) + data
    for _ in range(attacker.transfers):
        attacker.ask(head, body).close()
    with _held(lambda: attacker.ask(head, body), attacker.transfers):
        yield


@contextlib.contextmanager
def dripping_registries(attacker: Attacker) -> Iterator[None]:
    """They accept and say a byte now and then; half of those who pull leave."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as registry:
        port = registry.getsockname()[1]
        ended = threading.Event()
        taken: list[socket.socket] = []

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(registry.accept()[0])

        def drip() -> None:
            while not ended.wait(0.5):
                for each in taken:
                    with contextlib.suppress(OSError):
                        each.send(b"H")

        threads = [threading.Thread(target=each) for each in (accept, drip)]
        for thread in threads:
            thread.start()
        numbers = iter(range(2 * attacker.transfers))

        def pull() -> socket.socket:
            return attacker.post("/v1/images/pull", {"reference": f"127.0.0.1:{port}/drips:{next(numbers)}"})

        try:
            for _ in range(attacker.transfers):
                pull().close()
            with _held(pull, attacker.transfers):
                yield
        finally:
            ended.set()
            registry.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for each in taken:
                each.close()


def idle_connections(attacker: Attacker) -> contextlib.AbstractContextManager[None]:
    return _held(attacker.connect, 40 * attacker.many)


def unfinished_bodies(attacker: Attacker) -> contextlib.AbstractContextManager[None]:
    data = b"Content-Length: %d\r\n\r\n" % BODY_BYTES + b" " * (BODY_BYTES - 1)
    return _held(lambda: attacker.ask("POST /v1/containers HTTP/1.1", data), 6 * attacker.many)


def execs_with_labels(attacker: Attacker) -> contextlib.AbstractContextManager[None]:
    def execute() -> None:
        attacker.hyper("exec", "labelled", "true", check=False)

    return _again(execute)


@contextlib.contextmanager
def console_and_output(attacker: Attacker) -> Iterator[None]:
    """A guest that says all it can, on its console and on its standard output, which nobody reads."""
    script = "mknod /serial c 4 64; yes > /serial & yes"
    words = ("run", "-d", "--name", "noisy", "--privileged", busybox_image.REFERENCE, "sh", "-c", script)
    attacker.hyper(*words)
    try:
        yield
    finally:
        attacker.hyper("rm", "-f", "noisy")


FLOODS: dict[str, Flood] = {
    "console and output": console_and_output,
    "broken-off loads": broken_off_loads,
    "dripping registries": dripping_registries,
    "idle connections": idle_connections,
    "unfinished bodies": unfinished_bodies,
    "labels x exec": execs_with_labels,
}


@contextlib.contextmanager
def all_at_once(attacker: Attacker) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for flood in FLOODS.values():
            stack.enter_context(flood(attacker))
        yield


def held_by(pid: int) -> dict[str, int]:
    """What a process holds: threads, descriptors, KiB of memory."""
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {
        "threads": int(status["Threads"]),
        "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
        "memory_kib": int(status["VmRSS"].split()[0]),
    }
