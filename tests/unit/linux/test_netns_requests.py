"""Who keeps a namespace is asked wrongly, by many, without end, with its files full: it refuses, and goes on."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypercontainer.linux import netns
from hypercontainer.linux.netns import Namespace
from kept_space import (
    CLIENTS,
    DEADLINE_S,
    KEPT,
    MESSAGE_BYTES,
    NAME_BYTES,
    asked,
    client,
    gone,
    holds,
    inside,
    kept_space,
    refused,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces")


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Namespace]:
    with kept_space(tmp_path / "space") as made:
        yield made


@pytest.mark.parametrize(
    ("request_", "number"),
    [
        (b"keep x", errno.EINVAL),  # without a descriptor
        (b"keep", errno.EINVAL),
        (b"keep ", errno.EINVAL),
        (b"take", errno.EINVAL),
        (b"take ", errno.EINVAL),
        (b"drop a b", errno.EINVAL),
        (b"part", errno.EINVAL),
        (b"part x", errno.ENOENT),
        (b"take x", errno.ENOENT),
        (b"take " + b"x" * NAME_BYTES, errno.ENOENT),
        (b"drop " + b"x" * NAME_BYTES, errno.ENOENT),
        (b"take ../x", errno.ENOENT),
        (b"no such word", errno.ENOSYS),
        (b"\xff\xfe", errno.ENOSYS),
        (b" ready", errno.ENOSYS),
        (b"READY", errno.ENOSYS),
        (b"\0ready", errno.ENOSYS),
        (b"ready now", errno.EINVAL),
        (b"end it", errno.EINVAL),
        (b"socket", errno.EINVAL),
        (b"socket 2 2", errno.EINVAL),
        (b"socket 2 2 0 0", errno.EINVAL),
        (b"socket 2 -2 0", errno.EINVAL),
        (b"socket 2 2x 0", errno.EINVAL),
        (b"socket 99999999999999999999 2 0", errno.EINVAL),
        (b"sysctl ipv4/ip_forward", errno.EINVAL),
        (b"sysctl ipv4/ip_forward 1 1", errno.EINVAL),
        (b"sysctl  1", errno.EINVAL),
        (b"sysctl " + b"x" * 500 + b" 1", errno.ENOENT),
    ],
)
def test_wrong_requests_are_refused_with_the_reason(space: Namespace, request_: bytes, number: int) -> None:
    assert refused(space, request_) == number
    assert asked(space, b"ready") == b"ok"
    holds(space, 0)


def test_names_of_what_is_kept(space: Namespace) -> None:
    with open(os.devnull, "rb") as null:
        space.keep("x" * (NAME_BYTES - 1), null.fileno())
        for name in ("x" * NAME_BYTES, "", "a b", "a "):
            with pytest.raises(OSError, match="Invalid argument"):
                space.keep(name, null.fileno())
    assert space.take("a") is None


def test_a_message_that_is_too_long_or_empty_costs_the_client_its_connection(space: Namespace) -> None:
    for data in (b"ready " + b"x" * MESSAGE_BYTES, b"take " + b"x" * 65536, b""):
        assert asked(space, data) == b""
    assert asked(space, b"take " + b"x" * (MESSAGE_BYTES - 6)).startswith(b"error 2 ")
    holds(space, 0)


@pytest.mark.parametrize("request_", [b"ready", b"keep x", b"tap t0", b"no such word"])
@pytest.mark.parametrize("count", [1, 2, 3, 50])
def test_no_descriptor_that_comes_along_is_left(space: Namespace, request_: bytes, count: int) -> None:
    """More than one is a wrong message."""
    reads, writes = os.pipe()
    answer = asked(space, request_, *[writes] * count)
    assert (answer == b"") == (count > 1)
    os.close(writes)
    space.drop("x")
    space.drop("t0")
    assert os.read(reads, 1) == b""
    os.close(reads)
    holds(space, 0)


def test_who_goes_away_without_its_answer_disturbs_nobody(space: Namespace) -> None:
    for _ in range(100):
        with client(space) as one:
            one.send(b"socket 2 2 0")
    assert asked(space, b"ready") == b"ok"
    holds(space, 0)


def test_two_clients_take_turns(space: Namespace) -> None:
    with client(space) as one, client(space) as other:
        for _ in range(100):
            one.send(b"ready")
            other.send(b"take nothing")
            assert other.recv(100).startswith(b"error 2 ")
            assert one.recv(100) == b"ok"


def test_who_connects_and_says_nothing_keeps_others_waiting_at_most(space: Namespace) -> None:
    """Of clients there are 16: the next one is answered when one of them goes."""
    with contextlib.ExitStack() as undo:
        idle = [undo.enter_context(client(space)) for _ in range(CLIENTS)]
        for one in idle:
            one.send(b"ready")
            assert one.recv(10) == b"ok"
        last = undo.enter_context(client(space))
        last.send(b"ready")
        idle[3].close()
        assert last.recv(10) == b"ok"


WORDS = b"ready socket tap sysctl keep take drop 2 -1 .. / %s%n ipv4/ip_forward \xff".split()
GARBAGE = [*WORDS, b"", b" ", b"\0", b"x" * 70]


def test_garbage_ends_nobody(space: Namespace) -> None:
    chance = random.Random(7)
    with open(os.devnull, "rb") as null:
        for _ in range(3000):
            data = b" ".join(chance.choices(GARBAGE, k=chance.randrange(1, 7)))
            data = data if chance.random() < 0.8 else chance.randbytes(chance.randrange(1, 600))
            answer = asked(space, data, *[null.fileno()] * chance.choice((0, 0, 0, 1, 2)))
            assert answer in (b"", b"ok") or answer.startswith(b"error ")
    for word in GARBAGE:
        asked(space, b"drop " + word)
    assert asked(space, b"ready") == b"ok"
    holds(space, 0)


def test_a_flood_of_requests_is_answered_in_order_or_costs_the_connection(space: Namespace) -> None:
    """Of who does not read its answers nobody waits for."""
    with client(space) as one:
        for _ in range(5):
            one.send(b"take x")
        for _ in range(5):
            assert one.recv(100).startswith(b"error 2 ")
    with client(space) as one, pytest.raises(OSError):
        for _ in range(10_000):
            one.send(b"take x")
    assert asked(space, b"ready") == b"ok"
    holds(space, 0)


def test_of_descriptors_it_keeps_as_many_as_it_can(space: Namespace) -> None:
    """By its own limit or the system's of open files; full, it answers as before."""
    kept = 0
    with open(os.devnull, "rb") as null, client(space) as one:
        while True:
            socket.send_fds(one, [f"keep {kept}".encode()], [null.fileno()])
            answer = one.recv(100)
            if answer != b"ok":
                break
            kept += 1
    assert answer.startswith(b"error %d " % errno.ENOSPC)
    assert 5000 < kept <= KEPT
    for request in (b"ready", b"socket 2 2 0", b"take 0", b"drop 17"):
        assert asked(space, request) == b"ok"
    with open(os.devnull, "rb") as null:
        space.keep("another", null.fileno())
        with pytest.raises(OSError, match="No space"):
            netns.tap(space.control, "t0")
    assert inside(space) == {"lo"}


def test_a_low_limit_of_open_files_leaves_it_able_to_answer(tmp_path: Path) -> None:
    program = (
        "import resource, sys; from pathlib import Path; from hypercontainer.linux.netns import Namespace\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 100))\n"
        "space = Namespace.start(Path(sys.argv[1]), user=False)\n"
    )
    folder = tmp_path / "space"
    subprocess.run([sys.executable, "-c", program, str(folder)], check=True, timeout=DEADLINE_S)
    space = Namespace.find(folder)
    assert space is not None
    kept = 0
    with contextlib.ExitStack() as undo, open(os.devnull, "rb") as null:
        idle = [undo.enter_context(client(space)) for _ in range(CLIENTS)]
        while True:
            socket.send_fds(idle[0], [f"keep {kept}".encode()], [null.fileno()])
            if idle[0].recv(100) != b"ok":
                break
            kept += 1
        assert 20 < kept < 100
        for one in idle:
            one.send(b"socket 2 2 0")
            answer, fds, _, _ = socket.recv_fds(one, 100, 1)
            assert answer == b"ok"
            os.close(fds[0])
    space.end()  # which is no child of this process
    gone(space)
