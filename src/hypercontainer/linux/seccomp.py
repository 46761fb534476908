"""Seccomp profiles, from Docker's JSON or Docker's default, compiled to the kernel's filter programs.

What a profile means, for a system call of one of its architectures:

1. Rules whose conditions (capabilities, kernel, architecture) do not hold, and rules that say what the default
   says, do not count; nor do names that this architecture does not have.
2. A rule without arguments decides, the first one if there are several.  Otherwise the first rule decides whose
   arguments all match.  (In the JSON several comparisons of one argument mean any of them, as in runc.)
3. Otherwise the default action; but a call younger than every call that the profile names gives ENOSYS where
   the default refuses, so that programs fall back to older calls instead of failing (as in runc).

Calls of an architecture that the profile does not name kill the thread.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final

import msgspec

from hypercontainer.contract.reading import why
from hypercontainer.errors import InvalidArgument
from hypercontainer.linux import bpf, syscalls
from hypercontainer.linux.architectures import AMD64, ARM64, BIG_ENDIAN, PPC64LE, RISCV64, S390X
from hypercontainer.linux.bpf import Code, Instruction

KILL_PROCESS: Final = 0x80000000
KILL_THREAD: Final = 0x00000000
TRAP: Final = 0x00030000
ERRNO: Final = 0x00050000
LOG: Final = 0x7FFC0000
ALLOW: Final = 0x7FFF0000
ENOSYS: Final = ERRNO | errno.ENOSYS

PROFILE_MAX_BYTES: Final = 1 << 20
NAMES_MAX: Final = 32768
_ERRNO_MAX: Final = 4095

AUDIT_X86_64: Final = 0xC000003E
AUDIT_I386: Final = 0x40000003
AUDIT_ARM64: Final = 0xC00000B7
AUDIT_ARM: Final = 0x40000028
AUDIT_RISCV64: Final = 0xC00000F3
AUDIT_PPC64LE: Final = 0xC0000015
AUDIT_S390X: Final = 0x80000016
# Calls with which arm's kernel helps the processor, in a range of their own.
_HELPS: Final = range(0x0F0000, 0x100000)
# struct seccomp_data
_NR, _ARCH, _ARGS = 0, 4, 16


class Op(Enum):
    NE = "SCMP_CMP_NE"
    LT = "SCMP_CMP_LT"
    LE = "SCMP_CMP_LE"
    EQ = "SCMP_CMP_EQ"
    GE = "SCMP_CMP_GE"
    GT = "SCMP_CMP_GT"
    MASKED_EQ = "SCMP_CMP_MASKED_EQ"  # argument & value == value_two


@dataclass(frozen=True, slots=True)
class Arg:
    """A comparison of argument ``index`` (0-5) as 64 bits without sign."""

    index: int
    op: Op
    value: int
    value_two: int = 0

    def holds(self, argument: int) -> bool:
        if self.op is Op.MASKED_EQ:
            return argument & self.value == self.value_two & self.value
        order = (argument > self.value) - (argument < self.value)
        return {
            Op.NE: order != 0,
            Op.LT: order < 0,
            Op.LE: order <= 0,
            Op.EQ: order == 0,
            Op.GE: order >= 0,
            Op.GT: order > 0,
        }[self.op]


@dataclass(frozen=True, slots=True)
class Condition:
    """When a rule counts; ``arches`` in Go's words ("amd64"), of the machine, not of the call."""

    caps: frozenset[str] = frozenset()
    arches: frozenset[str] = frozenset()
    min_kernel: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """``action`` is what a filter returns."""

    names: tuple[str, ...]
    action: int
    args: tuple[Arg, ...] = ()
    includes: Condition = Condition()
    excludes: Condition = Condition()

    def counts(self, granted: frozenset[str], kernel: tuple[int, int], machine: str = AMD64) -> bool:
        wanted, unwanted = self.includes, self.excludes
        if (wanted.arches and machine not in wanted.arches) or machine in unwanted.arches:
            return False
        if not wanted.caps <= granted or unwanted.caps & granted:
            return False
        if wanted.min_kernel is not None and kernel < wanted.min_kernel:
            return False
        return unwanted.min_kernel is None or kernel < unwanted.min_kernel


@dataclass(frozen=True, slots=True)
class Profile:
    """``x86`` and ``x32``: whether calls of these two are judged as well, beside x86_64's, and ``arm``: beside arm64's;
    of others the action is ``foreign``."""

    default: int
    rules: tuple[Rule, ...]
    x86: bool = True
    x32: bool = True
    arm: bool = True
    foreign: int = KILL_THREAD


# ------------------------------------------------------------------------------------------- meaning


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is done with one call: the first of ``conditional`` whose arguments hold, else ``otherwise``."""

    otherwise: int
    conditional: tuple[tuple[tuple[Arg, ...], int], ...] = ()

    def of(self, args: tuple[int, ...]) -> int:
        for wanted, action in self.conditional:
            if all(arg.holds(args[arg.index]) for arg in wanted):
                return action
        return self.otherwise


def verdicts(
    profile: Profile,
    numbers: Mapping[str, int],
    granted: frozenset[str],
    kernel: tuple[int, int],
    machine: str = AMD64,
) -> tuple[dict[int, Verdict], int]:
    """(number -> verdict for every call that a rule decides, the highest number that the profile names)."""
    counting = [rule for rule in profile.rules if rule.counts(granted, kernel, machine)]
    found: dict[int, list[Rule]] = {}
    highest = -1
    for rule in counting:
        for name in rule.names:
            if (number := numbers.get(name)) is not None:
                highest = highest if number in _HELPS else max(highest, number)
                if rule.action != profile.default:
                    found.setdefault(number, []).append(rule)
    decided = {}
    for number, rules in found.items():
        plain = next((rule.action for rule in rules if not rule.args), None)
        if plain is not None:
            decided[number] = Verdict(plain)
        else:
            decided[number] = Verdict(profile.default, tuple((rule.args, rule.action) for rule in rules))
    return decided, highest


# ------------------------------------------------------------------------------------------ compiling


def compile_filter(
    profile: Profile, granted: Iterable[str], kernel: tuple[int, int] = (6, 1), machine: str = AMD64
) -> bytes:
    """The program, as struct sock_filter[], for a process with the capabilities ``granted``; ``machine``: Go's word."""
    caps = frozenset(granted)
    pieces = partial(_pieces, profile, granted=caps, kernel=kernel, machine=machine)
    audit, own = _NATIVE[machine]
    native = pieces(own)
    if machine == AMD64:
        x32 = pieces(syscalls.X32, first=syscalls.X32_BIT)
        native += x32 if profile.x32 else [(syscalls.X32_BIT, Verdict(profile.foreign))]
    load = [Instruction(bpf.LD_WORD, _NR)]
    foreign = [Instruction(bpf.RET, profile.foreign)]
    other = foreign
    if machine in _NARROW and (profile.x86 if machine == AMD64 else profile.arm):
        narrow, numbers = _NARROW[machine]
        other = bpf.branch(bpf.JEQ, narrow, [*load, *_choose(pieces(numbers), machine)], foreign)
    code = [
        Instruction(bpf.LD_WORD, _ARCH),
        *bpf.branch(bpf.JEQ, audit, [*load, *_choose(native, machine)], other),
    ]
    if len(code) > bpf.PROGRAM_MAX:
        raise InvalidArgument(
            f"the profile needs {len(code)} instructions, the kernel takes {bpf.PROGRAM_MAX}",
            field="seccomp",
            hint="name fewer calls with arguments",
        )
    return bpf.assemble(code, ">" if machine in BIG_ENDIAN else "<")


# A machine's own calls, and those of the narrower one whose programs it runs as well.
_NATIVE: Final[dict[str, tuple[int, Mapping[str, int]]]] = {
    AMD64: (AUDIT_X86_64, syscalls.X86_64),
    ARM64: (AUDIT_ARM64, syscalls.ARM64),
    RISCV64: (AUDIT_RISCV64, syscalls.RISCV64),
    PPC64LE: (AUDIT_PPC64LE, syscalls.PPC64LE),
    S390X: (AUDIT_S390X, syscalls.S390X),
}
_NARROW: Final[dict[str, tuple[int, Mapping[str, int]]]] = {
    AMD64: (AUDIT_I386, syscalls.I386),
    ARM64: (AUDIT_ARM, syscalls.ARM),
}


def _pieces(
    profile: Profile,
    numbers: Mapping[str, int],
    granted: frozenset[str],
    kernel: tuple[int, int],
    machine: str,
    *,
    first: int = 0,
) -> list[tuple[int, Verdict]]:
    """The line of numbers from ``first`` on, cut where the verdict changes."""
    decided, highest = verdicts(profile, numbers, granted, kernel, machine)
    default = younger = Verdict(profile.default)
    if profile.default not in (ALLOW, LOG, ENOSYS):
        younger = Verdict(ENOSYS)
    pieces = [(first, default)]

    def add(number: int, verdict: Verdict) -> None:
        if pieces[-1][0] == number:
            pieces.pop()
        if not pieces or pieces[-1][1] != verdict:
            pieces.append((number, verdict))

    for number in sorted({*decided, *([highest] if highest >= 0 else [])}):
        add(number, decided.get(number, default))
        add(number + 1, default if number < highest else younger)
    return pieces


def _choose(pieces: list[tuple[int, Verdict]], machine: str) -> Code:
    return bpf.choose([(number, _decide(verdict, machine)) for number, verdict in pieces])


def _decide(verdict: Verdict, machine: str) -> Code:
    """Ends the program with what ``verdict`` says; A is the number, and is not needed any more."""
    code: Code = []
    for args, action in verdict.conditional:
        block: Code = [Instruction(bpf.RET, action)]
        for arg in reversed(args):
            block = [*_compare(arg, len(block), machine), *block]
        code += block
    return [*code, Instruction(bpf.RET, verdict.otherwise)]


def _compare(arg: Arg, skip: int, machine: str) -> Code:
    """Goes on behind itself if ``arg`` holds, else behind the next ``skip`` instructions too.

    ``test(code, k, yes, no)`` jumps: "on" to what follows, "off" past the block, "low" to the low word's test.
    """
    first, second = _ARGS + 8 * arg.index, _ARGS + 8 * arg.index + 4
    low, high = (second, first) if machine in BIG_ENDIAN else (first, second)
    k_low, k_high = arg.value & 0xFFFFFFFF, arg.value >> 32
    masks: tuple[Code, Code] = ([], [])
    if arg.op is Op.MASKED_EQ:
        masks = ([Instruction(bpf.AND, k_low)], [Instruction(bpf.AND, k_high)])
        wanted = arg.value_two & arg.value
        k_low, k_high = wanted & 0xFFFFFFFF, wanted >> 32
    high_tests, low_test = _TESTS[arg.op]
    tail = [Instruction(bpf.LD_WORD, low), *masks[0]]
    code, (yes, no) = low_test
    at_end = {"on": 0, "off": skip}
    tail.append(Instruction(code, k_low, at_end[yes], at_end[no]))
    head: Code = []
    for code, (yes, no) in reversed(high_tests):
        to = {"next": 0, "low": len(head), "on": len(head) + len(tail), "off": len(head) + len(tail) + skip}
        head.insert(0, Instruction(code, k_high, to[yes], to[no]))
    return [Instruction(bpf.LD_WORD, high), *masks[1], *head, *tail]


# Per comparison: the tests of the high word, then the one of the low word, each (code, (if true, if false)).
_Test = tuple[int, tuple[str, str]]
_TESTS: Final[dict[Op, tuple[tuple[_Test, ...], _Test]]] = {
    Op.EQ: (((bpf.JEQ, ("low", "off")),), (bpf.JEQ, ("on", "off"))),
    Op.MASKED_EQ: (((bpf.JEQ, ("low", "off")),), (bpf.JEQ, ("on", "off"))),
    Op.NE: (((bpf.JEQ, ("low", "on")),), (bpf.JEQ, ("off", "on"))),
    Op.GT: (((bpf.JGT, ("on", "next")), (bpf.JEQ, ("low", "off"))), (bpf.JGT, ("on", "off"))),
    Op.GE: (((bpf.JGT, ("on", "next")), (bpf.JEQ, ("low", "off"))), (bpf.JGE, ("on", "off"))),
    Op.LT: (((bpf.JGT, ("off", "next")), (bpf.JEQ, ("low", "on"))), (bpf.JGE, ("off", "on"))),
    Op.LE: (((bpf.JGT, ("off", "next")), (bpf.JEQ, ("low", "on"))), (bpf.JGT, ("off", "on"))),
}


# -------------------------------------------------------------------------------------- Docker's JSON


class _JsonArg(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    index: int
    value: int
    op: str
    value_two: int = 0


class _JsonFilter(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    caps: list[str] = []
    arches: list[str] = []
    min_kernel: str = ""


class _JsonRule(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    action: str
    names: list[str] = []
    name: str = ""
    args: list[_JsonArg] | None = None
    errno_ret: int | None = None
    errno: str = ""  # Podman writes the name beside the number
    comment: str = ""
    includes: _JsonFilter | None = None
    excludes: _JsonFilter | None = None


class _JsonArchMap(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    architecture: str
    sub_architectures: list[str] | None = None


class _JsonProfile(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    default_action: str
    default_errno_ret: int | None = None
    default_errno: str = ""
    arch_map: list[_JsonArchMap] | None = None
    architectures: list[str] | None = None
    flags: list[str] | None = None  # how the kernel loads and logs, not what it allows
    syscalls: list[_JsonRule] | None = None


_ACTIONS: Final = {
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_TRAP": TRAP,
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
}
_OPS: Final = {op.value: op for op in Op}
_U64: Final = range(1 << 64)


def parse_profile(text: str) -> Profile:
    """A profile in the JSON that Docker and Podman take; InvalidArgument says what is wrong with it."""
    if len(text) > PROFILE_MAX_BYTES:
        raise _wrong(f"{len(text)} bytes are too many, at most {PROFILE_MAX_BYTES}")
    try:
        given = msgspec.json.decode(text, type=_JsonProfile)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError) as error:
        raise _wrong(why(error)) from None
    rules: list[Rule] = []
    names = 0
    for number, entry in enumerate(given.syscalls or ()):
        rules += _rules(entry, f"syscalls[{number}]")
        names += len(entry.names) * max(1, len(entry.args or ()))
    if names > NAMES_MAX:
        raise _wrong(f"more than {NAMES_MAX} names of system calls")
    arches = set(given.architectures or ())
    for mapped in given.arch_map or ():
        if mapped.architecture in ("SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"):
            arches.update(mapped.sub_architectures or ())
    default = _action(given.default_action, given.default_errno_ret, "defaultAction")
    x86, x32, arm = (f"SCMP_ARCH_{name}" in arches for name in ("X86", "X32", "ARM"))
    return Profile(default, tuple(rules), x86, x32, arm)


def _rules(entry: _JsonRule, where: str) -> list[Rule]:
    names = tuple(entry.names) or ((entry.name,) if entry.name else ())
    if not names or (entry.names and entry.name):
        raise _wrong(f'{where}: wants "names"')
    action = _action(entry.action, entry.errno_ret, where)
    includes, excludes = _condition(entry.includes, where), _condition(entry.excludes, where)
    args = tuple(_arg(arg, where) for arg in entry.args or ())
    if len({arg.index for arg in args}) == len(args):
        return [Rule(names, action, args, includes, excludes)]
    return [Rule(names, action, (arg,), includes, excludes) for arg in args]


def _arg(given: _JsonArg, where: str) -> Arg:
    if given.op not in _OPS:
        raise _wrong(f"{where}: unknown comparison {given.op!r}, one of {', '.join(_OPS)}")
    if not 0 <= given.index <= 5 or given.value not in _U64 or given.value_two not in _U64:
        raise _wrong(f"{where}: an argument is one of 0 to 5, and a value has 64 bits")
    return Arg(given.index, _OPS[given.op], given.value, given.value_two)


def _condition(given: _JsonFilter | None, where: str) -> Condition:
    if given is None:
        return Condition()
    kernel = None
    if given.min_kernel:
        match = re.fullmatch(r"(\d{1,4})\.(\d{1,4})", given.min_kernel)
        if match is None:
            raise _wrong(f"{where}: minKernel {given.min_kernel!r} is no version like 4.8")
        kernel = (int(match[1]), int(match[2]))
    return Condition(frozenset(given.caps), frozenset(given.arches), kernel)


def _action(name: str, errno_ret: int | None, where: str) -> int:
    if name == "SCMP_ACT_ERRNO":
        number = errno.EPERM if errno_ret is None else errno_ret
        if not 0 <= number <= _ERRNO_MAX:
            raise _wrong(f"{where}: errno {number} is out of range, 0 to {_ERRNO_MAX}")
        return ERRNO | number
    if name not in _ACTIONS:
        raise _wrong(f"{where}: action {name!r} is not supported, only SCMP_ACT_ERRNO, {', '.join(_ACTIONS)}")
    return _ACTIONS[name]


def _wrong(reason: str) -> InvalidArgument:
    return InvalidArgument(reason, field="seccomp", takes='a profile in Docker\'s JSON, or "unconfined"')
