"""Keeps a flood out where it costs nothing: the kernel drops what comes from who asks far too much, for a while.

All askers of a network share a socket's buffer, so that whoever fills it takes the others' questions away, even though
none of its own is answered.  A kernel that takes no filter leaves it at that.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import Iterable

from hypercontainer.linux import bpf
from hypercontainer.linux.bpf import Code, Instruction

SHUT_S = 5.0
MAX_SHUT = 32
# asm-generic/socket.h, linux/filter.h
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27
_NETWORK_HEADER = 0xFFF0_0000
_SOURCES = {socket.AF_INET: 12, socket.AF_INET6: 8}  # of the header: where its sender stands
_ALL, _NOTHING = 0xFFFF_FFFF, 0  # of a packet: what is let in
_PROGRAM = struct.Struct("HP")  # struct sock_fprog


class Gate:
    """Of one network's sockets, which are of one family."""

    def __init__(self, *socks: socket.socket) -> None:
        self._socks = socks
        self._shut: dict[str, asyncio.TimerHandle] = {}

    def shut(self, asker: str) -> None:
        if asker in self._shut:  # what was in the buffer already
            return
        if len(self._shut) >= MAX_SHUT:
            self._shut.pop(next(iter(self._shut))).cancel()
        self._shut[asker] = asyncio.get_running_loop().call_later(SHUT_S, self._open, asker)
        self._apply()

    def close(self) -> None:
        for timer in self._shut.values():
            timer.cancel()

    def _open(self, asker: str) -> None:
        del self._shut[asker]
        self._apply()

    def _apply(self) -> None:
        for sock in self._socks:
            with contextlib.suppress(OSError):
                if self._shut:
                    _attach(sock, bpf.assemble(without(sock.family, self._shut)))
                else:
                    sock.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)


def without(family: int, askers: Iterable[str]) -> Code:
    """The filter that lets in all but these."""
    at = _NETWORK_HEADER + _SOURCES[socket.AddressFamily(family)]
    code: Code = []
    for asker in askers:
        words = struct.unpack(">4I" if family == socket.AF_INET6 else ">I", socket.inet_pton(family, asker))
        for number, word in enumerate(words):
            left = 2 * (len(words) - number) - 1  # to the next asker, once this one's drop is passed too
            code += [
                Instruction(bpf.LD_WORD, at + 4 * number),
                Instruction(bpf.JEQ, word, 0, left),
            ]
        code.append(Instruction(bpf.RET, _NOTHING))
    return [*code, Instruction(bpf.RET, _ALL)]


def _attach(sock: socket.socket, program: bytes) -> None:
    buffer = ctypes.create_string_buffer(program, len(program))
    asked = _PROGRAM.pack(len(program) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, asked)
