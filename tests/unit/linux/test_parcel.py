"""Descriptors that lie in a socket."""

from __future__ import annotations

import contextlib
import errno
import os
import socket

import pytest

from hypercontainer.linux import parcel

MANY = 2 * parcel.MESSAGE_FDS + 7


def open_fds() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("count", [0, 1, parcel.MESSAGE_FDS, MANY])
def test_all_come_out_as_they_were_put_in_and_none_twice(count: int) -> None:
    before = open_fds()
    numbers, packed = [], []
    for _ in range(count):
        reading, writing = os.pipe()
        os.close(writing)
        numbers.append(os.fstat(reading).st_ino)
        packed.append(reading)
    with parcel.packed(packed) as one:
        for fd in packed:
            os.close(fd)
        out = parcel.unpacked(one)
        assert [os.fstat(fd).st_ino for fd in out] == numbers
        assert not any(os.get_inheritable(fd) for fd in out)
        assert parcel.unpacked(one) == []
        for fd in out:
            os.close(fd)
    assert open_fds() == before


def test_a_port_is_held_until_its_parcel_is_closed() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        address = holder.getsockname()
        one = parcel.packed([holder.fileno()])

    def bound() -> bool:
        with contextlib.closing(socket.socket()) as other:
            try:
                other.bind(address)
            except OSError as error:
                assert error.errno == errno.EADDRINUSE
                return False
        return True

    assert not bound()
    one.close()
    assert bound()
