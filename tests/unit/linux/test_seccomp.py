"""The compiled filter says, for every call and telling arguments, what the profile says; the kernel agrees."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import random
import re
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from hypercontainer.errors import InvalidArgument
from hypercontainer.linux import bpf, syscalls
from hypercontainer.linux.capabilities import ALL, DEFAULT
from hypercontainer.linux.seccomp import (
    ALLOW,
    AUDIT_ARM,
    AUDIT_ARM64,
    AUDIT_I386,
    AUDIT_PPC64LE,
    AUDIT_RISCV64,
    AUDIT_S390X,
    AUDIT_X86_64,
    ENOSYS,
    ERRNO,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    TRAP,
    Arg,
    Op,
    Profile,
    Rule,
    compile_filter,
    parse_profile,
    verdicts,
)
from hypercontainer.linux.seccomp_default import CLONE_NAMESPACES, PROFILE

EPERM = ERRNO | errno.EPERM
U64 = (1 << 64) - 1
ZERO = (0,) * 6


def disassembled(program: bytes, order: str = "<") -> bpf.Code:
    return [bpf.Instruction(c, k, jt, jf) for c, jt, jf, k in struct.iter_unpack(order + "HBBI", program)]


def run(
    program: list[bpf.Instruction], number: int, arch: int = AUDIT_X86_64, args: tuple[int, ...] = ZERO
) -> int:
    """The kernel's interpreter, in small, with its checks."""
    order = ">" if arch == AUDIT_S390X else "<"
    data = struct.pack(order + "IIQ6Q", number, arch, 0, *args)
    at = a = 0
    for _ in range(len(program)):
        code, k, jt, jf = program[at]
        at += 1
        if code == bpf.LD_WORD:
            assert k % 4 == 0
            a = struct.unpack_from(order + "I", data, k)[0]
        elif code == bpf.AND:
            a &= k
        elif code == bpf.JUMP:
            at += k
        elif code == bpf.JEQ:
            at += jt if a == k else jf
        elif code == bpf.JGT:
            at += jt if a > k else jf
        elif code == bpf.JGE:
            at += jt if a >= k else jf
        else:
            assert code == bpf.RET
            return k
    raise AssertionError("the program does not end")


TABLES = (
    (AUDIT_X86_64, syscalls.X86_64, 0),
    (AUDIT_X86_64, syscalls.X32, syscalls.X32_BIT),
    (AUDIT_I386, syscalls.I386, 0),
)


def expected(
    profile: Profile,
    granted: frozenset[str],
    kernel: tuple[int, int],
    table: dict[str, int],
    number: int,
    args: tuple[int, ...],
) -> int:
    """The profile's meaning, from its rules, without any of the compiler's steps."""
    rules = [rule for rule in profile.rules if rule.counts(granted, kernel)]
    named = [table[name] for rule in rules for name in rule.names if name in table]
    mine = [
        rule
        for rule in rules
        if rule.action != profile.default and any(table.get(name) == number for name in rule.names)
    ]
    for rule in sorted(mine, key=lambda rule: bool(rule.args)):
        if all(arg.holds(args[arg.index]) for arg in rule.args):
            return rule.action
    if named and number > max(named) and profile.default not in (ALLOW, LOG):
        return ENOSYS
    return profile.default


def telling_args(profile: Profile, generator: random.Random) -> Iterator[tuple[int, ...]]:
    yield ZERO
    yield (U64,) * 6
    values = {0, 1, 1 << 31, 1 << 32, 1 << 63}
    for rule in profile.rules:
        for arg in rule.args:
            for value in (arg.value, arg.value_two):
                values |= {value, (value + 1) & U64, (value - 1) & U64, value ^ 1 << 32, value & 0xFFFFFFFF}
    listed = sorted(values)
    for value in listed:
        yield (value,) * 6
    for _ in range(20):
        yield tuple(generator.choice(listed) for _ in range(6))


def check(
    profile: Profile, granted: frozenset[str], kernel: tuple[int, int] = (6, 1)
) -> list[bpf.Instruction]:
    program = disassembled(compile_filter(profile, granted, kernel))
    assert len(program) <= 4096
    generator = random.Random(1)
    for arch, table, bit in TABLES:
        judged = {AUDIT_I386: profile.x86}.get(arch, profile.x32 if bit else True)
        conditional = {table[n] for rule in profile.rules if rule.args for n in rule.names if n in table}
        for number in [*range(bit, bit + 620), bit | 0x3FFFFFFF]:
            for args in telling_args(profile, generator) if number in conditional else [ZERO]:
                want = expected(profile, granted, kernel, table, number, args) if judged else KILL_THREAD
                assert run(program, number, arch, args) == want, (hex(arch), number, args)
    assert run(program, 0, 0xC00000B7) == KILL_THREAD  # another machine's
    return program


@pytest.mark.parametrize("granted", [DEFAULT, ALL, frozenset(), DEFAULT | {"CAP_SYS_PTRACE"}], ids=range(4))
@pytest.mark.parametrize("kernel", [(6, 1), (4, 4)])
def test_dockers_default_for_every_call(granted: frozenset[str], kernel: tuple[int, int]) -> None:
    program = check(PROFILE, granted, kernel)
    assert len(program) < 1000


def default_verdict(
    call: str, *args: int, granted: frozenset[str] = DEFAULT, kernel: tuple[int, int] = (6, 1)
) -> int:
    program = disassembled(compile_filter(PROFILE, granted, kernel))
    padded = (*args, *ZERO)[:6]
    return run(program, syscalls.X86_64[call], AUDIT_X86_64, padded)


def test_dockers_default_in_words() -> None:
    assert default_verdict("read") == ALLOW
    assert default_verdict("keyctl") == EPERM
    assert default_verdict("add_key") == EPERM
    assert default_verdict("io_uring_setup") == EPERM
    assert default_verdict("userfaultfd") == EPERM
    assert default_verdict("kexec_load", granted=ALL) == EPERM
    assert default_verdict("mount") == EPERM
    assert default_verdict("mount", granted=DEFAULT | {"CAP_SYS_ADMIN"}) == ALLOW
    assert default_verdict("clone3") == ENOSYS
    assert default_verdict("clone3", granted=DEFAULT | {"CAP_SYS_ADMIN"}) == ALLOW
    assert default_verdict("clone", 0x1200011) == ALLOW  # fork
    for flag in (1 << bit for bit in range(32)):
        assert default_verdict("clone", flag) == (EPERM if flag & CLONE_NAMESPACES else ALLOW)
    assert default_verdict("unshare", 0) == EPERM
    assert default_verdict("chroot") == ALLOW  # CAP_SYS_CHROOT is Docker's default
    assert default_verdict("chroot", granted=frozenset()) == EPERM
    assert default_verdict("ptrace") == ALLOW
    assert default_verdict("ptrace", kernel=(4, 7)) == EPERM
    assert default_verdict("ptrace", kernel=(4, 7), granted=DEFAULT | {"CAP_SYS_PTRACE"}) == ALLOW
    assert default_verdict("socket", 2) == ALLOW
    assert default_verdict("socket", 40) == EPERM
    assert default_verdict("personality", 0xFFFFFFFF) == ALLOW
    assert default_verdict("personality", 0x0040000) == EPERM  # ADDR_NO_RANDOMIZE
    program = disassembled(compile_filter(PROFILE, DEFAULT))
    assert run(program, 600) == ENOSYS  # from the future: programs fall back


@pytest.mark.parametrize("op", Op)
def test_comparisons_are_of_64_bits(op: Op) -> None:
    values = [
        0,
        1,
        5,
        1 << 31,
        (1 << 32) - 1,
        1 << 32,
        (1 << 32) + 5,
        (5 << 32) + 4,
        (5 << 32) + 5,
        1 << 63,
        U64,
    ]
    for value in values:
        for two in (0, 5, 1 << 32, value):
            arg = Arg(2, op, value, two)
            rule = Rule(("getpid",), ALLOW, (Arg(0, Op.EQ, 7), arg))
            other = Rule(("getpid",), TRAP, (Arg(1, Op.GT, 1),))
            program = disassembled(compile_filter(Profile(EPERM, (rule, other)), ()))
            for given in values:
                for first, second in ((7, 0), (7, 2), (8, 0), (8, 2)):
                    args = (first, second, given, 0, 0, 0)
                    want = ALLOW if first == 7 and arg.holds(given) else TRAP if second > 1 else EPERM
                    assert run(program, syscalls.X86_64["getpid"], AUDIT_X86_64, args) == want


def test_long_jumps() -> None:
    """Chains of conditions between two sparse calls push the tree's halves further apart than a jump reaches."""
    names = sorted(syscalls.X86_64)[::7]
    rules = tuple(
        Rule((name,), ALLOW, (Arg(0, Op.EQ, number), Arg(1, Op.MASKED_EQ, 0xFF, number)))
        for name in names
        for number in range(4)
    )
    profile = Profile(EPERM, rules, x86=False, x32=False)
    assert len(check(profile, frozenset())) > 1500


@pytest.mark.parametrize("seed", range(8))
def test_random_profiles(seed: int) -> None:
    generator = random.Random(seed)
    names = sorted({*syscalls.X86_64, *syscalls.I386})
    actions = [ALLOW, LOG, TRAP, KILL_THREAD, KILL_PROCESS, EPERM, ERRNO | 77, ENOSYS]
    rules = []
    for _ in range(generator.randrange(1, 40)):
        chosen = tuple(generator.sample(names, generator.choice([1, 1, 3, 60])))
        args = tuple(
            Arg(index, generator.choice(list(Op)), generator.getrandbits(64), generator.getrandbits(64))
            for index in generator.sample(range(6), generator.choice([0, 1, 2]) if len(chosen) < 5 else 0)
        )
        rules.append(Rule(chosen, generator.choice(actions), args))
    check(
        Profile(generator.choice(actions), tuple(rules), generator.random() < 0.5, generator.random() < 0.5),
        DEFAULT,
    )


def test_too_long_a_program_is_refused() -> None:
    rules = tuple(Rule(("getpid",), ALLOW, (Arg(0, Op.EQ, number),)) for number in range(1100))
    with pytest.raises(InvalidArgument, match="the kernel takes 4096"):
        compile_filter(Profile(EPERM, rules), ())


def test_a_rule_without_arguments_decides() -> None:
    rules = (Rule(("getpid",), TRAP, (Arg(0, Op.EQ, 1),)), Rule(("getpid",), ALLOW), Rule(("getpid",), LOG))
    decided, highest = verdicts(Profile(EPERM, rules), syscalls.X86_64, frozenset(), (6, 1))
    assert highest == syscalls.X86_64["getpid"]
    assert decided[highest].of((1, 0, 0, 0, 0, 0)) == ALLOW


# ------------------------------------------------------------------------------------- the users' JSON


def profile_text(**changes: object) -> str:
    base: dict[str, object] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "defaultErrno": "ENOSYS",  # this and "errno" are Podman's
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
        "syscalls": [
            {"names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
            {
                "names": ["ioctl"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 25,
                "errno": "ENOTTY",
                "args": [{"index": 1, "value": 21522, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
                "includes": {"caps": ["CAP_KILL"], "minKernel": "4.8", "arches": ["amd64"]},
                "excludes": {},
                "comment": "words",
            },
            {"name": "open", "action": "SCMP_ACT_KILL_PROCESS"},
        ],
    }
    return json.dumps(base | changes)


def test_dockers_json() -> None:
    profile = parse_profile(profile_text())
    assert (profile.default, profile.x86, profile.x32) == (ENOSYS, True, False)
    program = check(profile, DEFAULT)
    ioctl = syscalls.X86_64["ioctl"]
    assert run(program, ioctl, args=(0, 21522, 0, 0, 0, 0)) == ERRNO | 25
    assert run(program, ioctl) == ENOSYS
    assert run(program, syscalls.X86_64["open"]) == KILL_PROCESS
    without = disassembled(compile_filter(profile, frozenset()))
    assert run(without, ioctl, args=(0, 21522, 0, 0, 0, 0)) == ENOSYS


def test_several_comparisons_of_one_argument_mean_any() -> None:
    args = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (3, 5)]
    profile = parse_profile(
        profile_text(syscalls=[{"names": ["dup"], "action": "SCMP_ACT_ALLOW", "args": args}])
    )
    program = check(profile, DEFAULT)
    dup = syscalls.X86_64["dup"]
    assert [run(program, dup, args=(n, 0, 0, 0, 0, 0)) for n in (3, 4, 5)] == [ALLOW, ENOSYS, ALLOW]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "JSON"),
        ("[]", "object"),
        ("{" * 5000, "JSON"),
        ("[" * 100000, ""),
        (profile_text(defaultAction="SCMP_ACT_NOTIFY"), "not supported"),
        (profile_text(defaultAction="ALLOW"), "not supported"),
        (profile_text(defaultErrnoRet=5000), "out of range"),
        (profile_text(listenerPath="/x"), "listenerPath"),
        (profile_text(syscalls=[{"names": [], "action": "SCMP_ACT_ALLOW"}]), r"syscalls\[0\]"),
        (profile_text(syscalls=[{"names": ["a"], "action": "SCMP_ACT_TRACE"}]), r"syscalls\[0\]"),
        (profile_text(syscalls=[{"names": ["a"] * 40000, "action": "SCMP_ACT_ALLOW"}]), "more than"),
        (
            profile_text(
                syscalls=[
                    {
                        "names": ["a"],
                        "action": "SCMP_ACT_ALLOW",
                        "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}],
                    }
                ]
            ),
            "0 to 5",
        ),
        (
            profile_text(
                syscalls=[
                    {
                        "names": ["a"],
                        "action": "SCMP_ACT_ALLOW",
                        "args": [{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}],
                    }
                ]
            ),
            "64 bits",
        ),
        (
            profile_text(
                syscalls=[
                    {
                        "names": ["a"],
                        "action": "SCMP_ACT_ALLOW",
                        "args": [{"index": 0, "value": 0, "op": "EQ"}],
                    }
                ]
            ),
            "unknown comparison",
        ),
        (
            profile_text(
                syscalls=[{"names": ["a"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}]
            ),
            "minKernel",
        ),
        (" " * (1 << 20) + "{}", "too many"),
    ],
    ids=range(16),
)
def test_what_is_no_profile(text: str, what: str) -> None:
    with pytest.raises(InvalidArgument, match=f"seccomp: .*{what}"):
        parse_profile(text)


# ------------------------------------------------------------------------------------------- the kernel

HEADERS = Path("/usr/include/x86_64-linux-gnu/asm")


@pytest.mark.parametrize(
    ("header", "table", "bit"),
    [
        ("unistd_64.h", syscalls.X86_64, 0),
        ("unistd_32.h", syscalls.I386, 0),
        ("unistd_x32.h", syscalls.X32, syscalls.X32_BIT),
    ],
)
def test_numbers_are_the_headers(header: str, table: dict[str, int], bit: int) -> None:
    assert len(set(table.values())) == len(table)
    text = (HEADERS / header).read_text()
    found = re.findall(r"#define __NR_(\w+) (?:\(__X32_SYSCALL_BIT \+ )?(\d+)", text)
    assert len(found) > 300
    for name, number in found:
        assert table.get(name, int(number) | bit) == int(number) | bit


def test_every_name_of_the_default_profile_is_a_call() -> None:
    tables = (
        syscalls.X86_64,
        syscalls.I386,
        syscalls.ARM,
        syscalls.RISCV64,
        syscalls.PPC64LE,
        syscalls.S390X,
    )
    known = {name for table in tables for name in table}
    assert {name for rule in PROFILE.rules for name in rule.names} <= known


@pytest.mark.parametrize(
    ("machine", "audit", "numbers", "own", "others"),
    [
        ("arm64", AUDIT_ARM64, syscalls.ARM64, (), ("riscv_flush_icache",)),
        ("arm64", AUDIT_ARM, syscalls.ARM, ("cacheflush", "set_tls", "sync_file_range2"), ()),
        ("riscv64", AUDIT_RISCV64, syscalls.RISCV64, ("riscv_flush_icache", "riscv_hwprobe"), ()),
        ("ppc64le", AUDIT_PPC64LE, syscalls.PPC64LE, ("swapcontext", "sync_file_range2"), ("arch_prctl",)),
        ("s390x", AUDIT_S390X, syscalls.S390X, ("s390_pci_mmio_read",), ("swapcontext",)),
    ],
)
def test_the_default_on_other_machines(
    machine: str, audit: int, numbers: dict[str, int], own: tuple[str, ...], others: tuple[str, ...]
) -> None:
    """The calls that programs need, by the machine's own numbers; nothing of another architecture passes."""
    order = ">" if machine == "s390x" else "<"
    program = disassembled(compile_filter(PROFILE, DEFAULT, machine=machine), order)

    def verdict(name: str, *args: int) -> int:
        return run(program, numbers[name], audit, (*args, *ZERO)[:6])

    for name in ("read", "openat", "execve", "fstat", "rt_sigreturn", "clone", "exit_group", *own):
        assert verdict(name) == ALLOW, name
    for name in ("keyctl", "unshare", "mount", "init_module", "reboot"):
        assert verdict(name) == EPERM, name
    flags = (0, 0x10000000) if machine == "s390x" else (0x10000000, 0)
    assert (verdict("clone3"), verdict("clone", *flags)) == (ENOSYS, EPERM)
    assert verdict("clone", *reversed(flags)) == ALLOW
    assert (verdict("socket", 40), verdict("socket", 40 << 32)) == (EPERM, ALLOW)
    highest = max(number for number in numbers.values() if number < 0xF0000)
    assert run(program, highest + 40, audit, ZERO) == ENOSYS
    for foreign in {AUDIT_X86_64, AUDIT_I386, *_NATIVE_OF.values()} - {audit, _NATIVE_OF[machine]}:
        assert run(program, 0, foreign, ZERO) == KILL_THREAD
    assert not set(others) & set(numbers)


_NATIVE_OF = {"arm64": AUDIT_ARM64, "riscv64": AUDIT_RISCV64, "ppc64le": AUDIT_PPC64LE, "s390x": AUDIT_S390X}


def test_a_profile_may_leave_arms_calls_out() -> None:
    text = '{"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{"architecture": "SCMP_ARCH_AARCH64"%s}]}'
    for more, action in (("", KILL_THREAD), (', "subArchitectures": ["SCMP_ARCH_ARM"]', ALLOW)):
        program = disassembled(compile_filter(parse_profile(text % more), (), machine="arm64"))
        assert run(program, 1, AUDIT_ARM, ZERO) == action
        assert run(program, 1, AUDIT_ARM64, ZERO) == ALLOW


def in_child(program: bytes, script: str) -> int:
    """The exit status of a child that loads ``program`` and then runs one of the scripts below."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(program)
    fprog = struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    child = os.fork()
    if child == 0:
        status = 99
        try:
            libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
            if libc.prctl(22, 2, fprog, 0, 0) == 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
                ctypes.set_errno(0)
                number, *args = (int(word, 0) for word in script.split())
                result = libc.syscall(number, *(ctypes.c_ulong(arg) for arg in args))
                status = 0 if result >= 0 else ctypes.get_errno()
        finally:
            os._exit(status)
    _, waited = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(waited)


def test_the_kernel_takes_the_default_and_does_what_it_says() -> None:
    program = compile_filter(PROFILE, DEFAULT)
    call = syscalls.X86_64
    assert in_child(program, f"{call['getppid']}") == 0
    assert in_child(program, f"{call['unshare']} 0") == errno.EPERM
    assert in_child(program, f"{call['keyctl']} 0 0") == errno.EPERM
    assert in_child(program, f"{call['clone3']} 0 0") == errno.ENOSYS
    assert in_child(program, f"{call['clone']} {0x10000000 | 17} 0 0 0 0") == errno.EPERM
    assert in_child(program, f"{call['socket']} 40 1 0") == errno.EPERM
    assert in_child(program, f"{call['personality']} 0xffffffff") == 0
    assert in_child(program, f"{call['personality']} 0x40000") == errno.EPERM
    assert in_child(program, "600") == errno.ENOSYS


def test_the_kernel_kills_as_a_profile_says() -> None:
    rules = (Rule(("getppid",), KILL_PROCESS), Rule(("getpgid",), ERRNO | 77, (Arg(0, Op.GT, 1 << 33),)))
    program = compile_filter(Profile(ALLOW, rules), ())
    assert in_child(program, f"{syscalls.X86_64['getppid']}") == -31  # SIGSYS
    assert in_child(program, f"{syscalls.X86_64['getpgid']} 0") == 0
    assert in_child(program, f"{syscalls.X86_64['getpgid']} 0x200000001") == 77
