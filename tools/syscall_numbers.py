"""Writes src/hypercontainer/linux/syscalls.py from the kernel's headers (Debian: linux-libc-dev).

usage: python tools/syscall_numbers.py > src/hypercontainer/linux/syscalls.py

Numbers that are younger than the headers are added from NEWER: since 5.1 a system call has one number on all
architectures, and numbers are never given twice.
"""

from __future__ import annotations

import re
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

HEAD = '''"""System call numbers.  Written by tools/syscall_numbers.py; do not edit."""

from __future__ import annotations

from typing import Final

X32_BIT: Final = 0x40000000


def _table(text: str, bit: int = 0) -> dict[str, int]:
    return {name: int(number) | bit for name, _, number in (item.partition("=") for item in text.split())}

'''


def numbers(header: Path) -> dict[str, int]:
    pattern = re.compile(r"^#define __NR_(\w+) (?:\(__X32_SYSCALL_BIT \+ )?(\d+)\)?$", re.MULTILINE)
    return {name: int(number) for name, number in pattern.findall(header.read_text())}


def table(name: str, header: str, added: dict[str, int], bit: str = "") -> str:
    found = added | numbers(HEADERS / header)
    words = " ".join(f"{call}={number}" for call, number in sorted(found.items(), key=lambda item: item[1]))
    body = textwrap.fill(words, 108, break_long_words=False, break_on_hyphens=False)
    return (
        f'\n{name}: Final = _table(\n    """\n{body}\n""",{bit}\n)\n'
        if bit
        else f'\n{name}: Final = _table("""\n{body}\n""")\n'
    )


def main() -> None:
    sys.stdout.write(HEAD)
    sys.stdout.write(table("X86_64", "unistd_64.h", NEWER | URETPROBE))
    sys.stdout.write(table("I386", "unistd_32.h", NEWER))
    sys.stdout.write(table("X32", "unistd_x32.h", NEWER, "\n    X32_BIT,"))


if __name__ == "__main__":
    main()
