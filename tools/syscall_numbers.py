"""Writes src/hypercontainer/linux/syscalls.py from the kernel's headers (Debian: linux-libc-dev, and
linux-libc-dev-arm64-cross, -armhf-cross, -riscv64-cross, -ppc64el-cross and -s390x-cross).

usage: python tools/syscall_numbers.py > src/hypercontainer/linux/syscalls.py

Numbers that are younger than the headers are added from NEWER: since 5.1 a system call has one number on all
architectures, and numbers are never given twice.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

HEADERS = Path("/usr/include/x86_64-linux-gnu/asm")
X32_BIT = 0x40000000
NEWER = {
    "cachestat": 451,
    "fchmodat2": 452,
    "map_shadow_stack": 453,
    "futex_wake": 454,
    "futex_wait": 455,
    "futex_requeue": 456,
    "statmount": 457,
    "listmount": 458,
    "lsm_get_self_attr": 459,
    "lsm_set_self_attr": 460,
    "lsm_list_modules": 461,
    "mseal": 462,
    "setxattrat": 463,
    "getxattrat": 464,
    "listxattrat": 465,
    "removexattrat": 466,
    "open_tree_attr": 467,
}
URETPROBE = {"uretprobe": 335}  # x86_64 alone
HWPROBE = {"riscv_hwprobe": 258}
# Names of ranges, not of calls.
NO_CALLS = ("syscalls", "arch_specific_syscall", "SYSCALL_BASE", "OABI_SYSCALL_BASE", "BASE")


HEAD = '''"""System call numbers.  Written by tools/syscall_numbers.py; do not edit."""

from __future__ import annotations

from typing import Final

X32_BIT: Final = 0x40000000


def _table(text: str, bit: int = 0) -> dict[str, int]:
    return {name: int(number) | bit for name, _, number in (item.partition("=") for item in text.split())}

'''


def foreign(triplet: str, *macros: str) -> dict[str, int]:
    """Of another architecture, whose headers say it in several steps, which the preprocessor takes."""
    argv = ["gcc", "-E", "-nostdinc", "-undef", f"-I/usr/{triplet}/include", *macros]
    argv += ["-include", "asm/unistd.h", "-x", "c"]
    done = subprocess.run([*argv, "-dM", "/dev/null"], check=True, capture_output=True, text=True)
    names = re.findall(r"^#define (__(?:ARM_)?NR_(\w+)) ", done.stdout, re.MULTILINE)
    asked = "".join(f"= {short} {name}\n" for name, short in names if short not in NO_CALLS)
    done = subprocess.run([*argv, "-P", "-"], check=True, capture_output=True, text=True, input=asked)
    said = re.findall(r"^= (\w+) (.+)$", done.stdout, re.MULTILINE)
    return {name: sum(int(number, 0) for number in re.findall(r"\w+", sum_)) for name, sum_ in said}


def numbers(header: Path) -> dict[str, int]:
    pattern = re.compile(r"^#define __NR_(\w+) (?:\(__X32_SYSCALL_BIT \+ )?(\d+)\)?$", re.MULTILINE)
    return {name: int(number) for name, number in pattern.findall(header.read_text())}


def table(name: str, found: dict[str, int], bit: str = "") -> str:
    words = " ".join(f"{call}={number}" for call, number in sorted(found.items(), key=lambda item: item[1]))
    body = textwrap.fill(words, 108, break_long_words=False, break_on_hyphens=False)
    return (
        f'\n{name}: Final = _table(\n    """\n{body}\n""",{bit}\n)\n'
        if bit
        else f'\n{name}: Final = _table("""\n{body}\n""")\n'
    )


def main() -> None:
    sys.stdout.write(HEAD)
    sys.stdout.write(table("X86_64", NEWER | URETPROBE | numbers(HEADERS / "unistd_64.h")))
    sys.stdout.write(table("I386", NEWER | numbers(HEADERS / "unistd_32.h")))
    sys.stdout.write(table("X32", NEWER | numbers(HEADERS / "unistd_x32.h"), "\n    X32_BIT,"))
    generic = ("-D__LP64__", "-D__SIZEOF_POINTER__=8", "-D__BITS_PER_LONG=64")
    sys.stdout.write(table("ARM64", NEWER | foreign("aarch64-linux-gnu", *generic)))
    sys.stdout.write(
        table("RISCV64", NEWER | HWPROBE | foreign("riscv64-linux-gnu", "-D__riscv_xlen=64", *generic))
    )
    power = ("-D__powerpc64__", "-D__BITS_PER_LONG=64")
    sys.stdout.write(table("PPC64LE", NEWER | foreign("powerpc64le-linux-gnu", *power)))
    sys.stdout.write(
        table("S390X", NEWER | foreign("s390x-linux-gnu", "-D__s390x__", "-D__BITS_PER_LONG=64"))
    )
    sys.stdout.write(table("ARM", NEWER | foreign("arm-linux-gnueabihf", "-D__ARM_EABI__")))


if __name__ == "__main__":
    main()
