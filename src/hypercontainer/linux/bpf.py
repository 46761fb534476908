"""Classic BPF, as much of it as seccomp filters need: an assembler without I/O (linux/filter.h).

A program is a list of ``Instruction``; jumps count forward from the next instruction, and conditional ones reach
255 at most.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

LD_WORD: Final = 0x20  # A = 32 bits of the data at k
AND: Final = 0x54  # A &= k
JUMP: Final = 0x05
JEQ: Final = 0x15
JGT: Final = 0x25
JGE: Final = 0x35
RET: Final = 0x06

PROGRAM_MAX: Final = 4096
_NEAR: Final = 255
_INSTRUCTION: Final = "HBBI"  # struct sock_filter


class Instruction(NamedTuple):
    code: int
    k: int
    jt: int = 0
    jf: int = 0


Code = list[Instruction]


def assemble(code: Sequence[Instruction], order: str = "<") -> bytes:
    """struct sock_filter[], in the order of bytes of the machine that it is for, as ``struct`` has it."""
    instruction = struct.Struct(order + _INSTRUCTION)
    return b"".join(instruction.pack(i.code, i.jt, i.jf, i.k) for i in code)


def choose(pieces: Sequence[tuple[int, Code]]) -> Code:
    """Code that runs the piece whose range A is in.

    ``pieces``: (first value, code), ascending, the first from 0; a piece reaches to the next one's first value.
    Every piece's code must end the program.  A balanced tree: two instructions a piece, log2 of them run.
    """
    if len(pieces) == 1:
        return pieces[0][1]
    half = len(pieces) // 2
    below, above = choose(pieces[:half]), choose(pieces[half:])
    return branch(JGE, pieces[half][0], above, below)


def branch(code: int, k: int, taken: Code, otherwise: Code) -> Code:
    """``taken`` if the test of A holds, else ``otherwise``, which must end the program."""
    if len(otherwise) <= _NEAR:
        return [Instruction(code, k, len(otherwise), 0), *otherwise, *taken]
    return [Instruction(code, k, 0, 1), Instruction(JUMP, len(otherwise)), *otherwise, *taken]
