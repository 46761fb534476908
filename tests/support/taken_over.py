"""A process that somebody has taken over: it makes whatever system calls one tells it, with all that it is shut in by.

By ptrace(2), which only root, or its parent, may; x86-64.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from contextlib import AbstractContextManager
from types import TracebackType

GETREGS, SETREGS, SINGLESTEP, DETACH, SEIZE, INTERRUPT = 12, 13, 9, 17, 0x4206, 0x4207
WALL = 0x40000000
# struct user_regs_struct
REGISTERS = (
    "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es "
    "fs gs"
).split()
LAYOUT = struct.Struct(f"{len(REGISTERS)}Q")
ARGUMENTS = ("rdi", "rsi", "rdx", "r10", "r8", "r9")
SYSCALL = b"\x0f\x05"
BELOW_THE_STACK = 1 << 14
NOTHING = 0xFFFFFFFFFFFFFFFF
TRAPPED = -(1 << 16)  # in place of an error's number: its filter has it told of the call, which was not made

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, pid: int, data: object = None) -> None:
    if _libc.ptrace(request, pid, None, data) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class TakenOver(AbstractContextManager["TakenOver"]):
    """Goes on where it was, when it is let go of."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        _ptrace(SEIZE, pid)
        _ptrace(INTERRUPT, pid)
        self._wait()
        self._former = self._registers()
        self._code = self._find_syscall()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._set(self._former)
        _ptrace(DETACH, self._pid)

    def call(self, number: int, *arguments: int | bytes) -> int:
        """What the system call returns, an error as its negative number; bytes are put into memory, with a NUL."""
        registers = dict(self._former)
        place = registers["rsp"] - BELOW_THE_STACK
        for name, argument in zip(ARGUMENTS, arguments, strict=False):
            if isinstance(argument, int):
                registers[name] = argument & NOTHING
            else:
                self._write(place, argument + b"\0")
                registers[name], place = place, place + len(argument) + 1
        registers |= {"rax": number, "orig_rax": NOTHING, "rip": self._code}
        self._set(registers)
        _ptrace(SINGLESTEP, self._pid)
        while (stop := self._wait()) not in (signal.SIGTRAP, signal.SIGSYS):
            _ptrace(SINGLESTEP, self._pid)  # it was a signal, which is lost
        (result,) = struct.unpack("q", struct.pack("Q", self._registers()["rax"]))
        if result == number and stop == signal.SIGTRAP:  # as it was: it is told so next
            _ptrace(SINGLESTEP, self._pid)
            stop = self._wait()
        return TRAPPED if stop == signal.SIGSYS else int(result)

    def _wait(self) -> int:
        _, status = os.waitpid(self._pid, WALL)
        assert os.WIFSTOPPED(status), f"it has ended: {status}"
        return os.WSTOPSIG(status)

    def _registers(self) -> dict[str, int]:
        buffer = ctypes.create_string_buffer(LAYOUT.size)
        _ptrace(GETREGS, self._pid, ctypes.addressof(buffer))
        return dict(zip(REGISTERS, LAYOUT.unpack(buffer.raw), strict=True))

    def _set(self, registers: dict[str, int]) -> None:
        buffer = ctypes.create_string_buffer(LAYOUT.pack(*(registers[name] for name in REGISTERS)))
        _ptrace(SETREGS, self._pid, ctypes.addressof(buffer))

    def _find_syscall(self) -> int:
        with open(f"/proc/{self._pid}/maps") as maps, open(f"/proc/{self._pid}/mem", "rb", 0) as memory:
            for line in maps:
                span, rights, *_ = line.split()
                if rights.startswith("r-x"):
                    start, end = (int(part, 16) for part in span.split("-"))
                    memory.seek(start)
                    if (at := memory.read(end - start).find(SYSCALL)) >= 0:
                        return start + at
        raise AssertionError("it has no system call to make")

    def _write(self, place: int, data: bytes) -> None:
        with open(f"/proc/{self._pid}/mem", "r+b", 0) as memory:
            memory.seek(place)
            memory.write(data)
