"""A guest of 64 KiB that does in a few milliseconds what every kernel does, and then says that it got there.

It replaces the firmware: from the reset vector it goes through real and protected mode to long mode, turns paging
on, runs in the upper half, takes timer interrupts while it sleeps, enters ring 3, comes back by a system call,
switches address spaces, and writes to the port of QEMU's ``isa-debug-exit``, which ends QEMU with an exit status
that nothing else gives.  An accelerator that cannot do one of these hangs, fails or resets instead.

Built here from instruction bytes, so that the check needs no assembler and no file; a test assembles the text
beside them and compares.  Sources: AMD64 Architecture Programmer's Manual, volume 2, chapters 4, 5, 6, 8, 12, 14.
"""

from __future__ import annotations

import struct

ROM_BYTES = 0x10000
# isa-debug-exit ends QEMU with (value << 1) | 1.
EXIT_PORT = 0xF4
EXIT_STATUS = (0x2A << 1) | 1

# Where the image is in memory: physically, and in the upper half.
_RAM = 0x10000
_HIGH = 0xFFFFFFFF80000000 + _RAM
# Offsets in the image.
_PML4, _PDPT, _PD_LOW, _PD_APIC = 0x1000, 0x2000, 0x3000, 0x4000
_GDT, _IDT, _IDTR, _GDTR, _TSS, _INTERRUPT_STACK = 0x5000, 0x5800, 0x5FE0, 0x5FF0, 0x6000, 0x9000
_RESET_VECTOR = 0xFFF0

_TICK = 0x128

# (bytes, the same for GNU as); the image begins with them.
CODE: tuple[tuple[str, str], ...] = (
    ("", ".code16"),
    ("fa", "cli"),
    ("fc", "cld"),
    # copy the 64 KiB of ROM to RAM at 0x10000
    ("8cc8", "mov %cs, %ax"),
    ("8ed8", "mov %ax, %ds"),
    ("b80010", "mov $0x1000, %ax"),
    ("8ec0", "mov %ax, %es"),
    ("31f6", "xor %si, %si"),
    ("31ff", "xor %di, %di"),
    ("b90080", "mov $0x8000, %cx"),
    ("f3a5", "rep movsw"),
    ("ea19000010", "ljmp $0x1000, $0x19"),
    # ram, at 0x19
    ("8cc8", "mov %cs, %ax"),
    ("8ed8", "mov %ax, %ds"),
    ("660f0116f05f", "lgdtl 0x5ff0"),
    # protected mode
    ("0f20c0", "mov %cr0, %eax"),
    ("0c01", "or $1, %al"),
    ("0f22c0", "mov %eax, %cr0"),
    ("66ea330001000800", "ljmpl $0x08, $0x10000+0x33"),
    ("", ".code32"),
    # pm, at 0x33
    ("66b81000", "mov $0x10, %ax"),
    ("8ed8", "mov %ax, %ds"),
    ("8ec0", "mov %ax, %es"),
    ("8ed0", "mov %ax, %ss"),
    # PAE, page tables, EFER.LME and .SCE, paging: long mode
    ("0f20e0", "mov %cr4, %eax"),
    ("83c820", "or $0x20, %eax"),
    ("0f22e0", "mov %eax, %cr4"),
    ("b800100100", "mov $0x11000, %eax"),
    ("0f22d8", "mov %eax, %cr3"),
    ("b9800000c0", "mov $0xc0000080, %ecx"),
    ("0f32", "rdmsr"),
    ("0d01010000", "or $0x101, %eax"),
    ("0f30", "wrmsr"),
    ("0f20c0", "mov %cr0, %eax"),
    ("0d00000080", "or $0x80000000, %eax"),
    ("0f22c0", "mov %eax, %cr0"),
    ("ea6e0001001800", "ljmp $0x18, $0x10000+0x6e"),
    ("", ".code64"),
    # lm, at 0x6e
    # to the upper half, where kernels live
    ("48b87a000180ffffffff", "movabs $0xffffffff80010000+0x7a, %rax"),
    ("ffe0", "jmp *%rax"),
    # high, at 0x7a
    ("48c7c400800180", "mov $0xffffffff80018000, %rsp"),
    ("0f011c25e05f0180", "lidt 0xffffffff80015fe0"),
    ("66b82800", "mov $0x28, %ax"),
    ("0f00d8", "ltr %ax"),
    ("b801000000", "mov $1, %eax"),
    ("0fa2", "cpuid"),
    # LSTAR, STAR, FMASK: where system calls go
    ("b9820000c0", "mov $0xc0000082, %ecx"),
    ("b81c010180", "mov $0x80010000+0x11c, %eax"),
    ("baffffffff", "mov $-1, %edx"),
    ("0f30", "wrmsr"),
    ("b9810000c0", "mov $0xc0000081, %ecx"),
    ("31c0", "xor %eax, %eax"),
    ("ba18003300", "mov $0x00330018, %edx"),
    ("0f30", "wrmsr"),
    ("b9840000c0", "mov $0xc0000084, %ecx"),
    ("b800020000", "mov $0x200, %eax"),
    ("31d2", "xor %edx, %edx"),
    ("0f30", "wrmsr"),
    # local APIC: on, LINT0 takes the PIC's interrupts
    ("be0000e0fe", "mov $0xfee00000, %esi"),
    ("c786f0000000ff010000", "movl $0x1ff, 0xf0(%rsi)"),
    ("c7865003000000070000", "movl $0x700, 0x350(%rsi)"),
    # PIC: vectors from 0x20, the timer's line open
    ("b011", "mov $0x11, %al"),
    ("e620", "out %al, $0x20"),
    ("b020", "mov $0x20, %al"),
    ("e621", "out %al, $0x21"),
    ("b004", "mov $4, %al"),
    ("e621", "out %al, $0x21"),
    ("b001", "mov $1, %al"),
    ("e621", "out %al, $0x21"),
    ("b0fe", "mov $0xfe, %al"),
    ("e621", "out %al, $0x21"),
    # PIT: 1 kHz
    ("b034", "mov $0x34, %al"),
    ("e643", "out %al, $0x43"),
    ("b0a9", "mov $0xa9, %al"),
    ("e640", "out %al, $0x40"),
    ("b004", "mov $4, %al"),
    ("e640", "out %al, $0x40"),
    ("31db", "xor %ebx, %ebx"),
    # three ticks, asleep in between
    ("fb", "sti"),
    # loop, at 0x100
    ("f4", "hlt"),
    ("83fb03", "cmp $3, %ebx"),
    ("72fa", "jb .-4"),
    # to ring 3 and back by a system call
    ("b914010100", "mov $0x10000+0x114, %ecx"),
    ("41bb02020000", "mov $0x202, %r11d"),
    ("480f07", "sysretq"),
    # user, at 0x114
    ("bd29000000", "mov $0x29, %ebp"),
    ("0f05", "syscall"),
    ("f4", "hlt"),
    # sysc, at 0x11c
    # a new address space, as at every switch between processes
    ("0f20d8", "mov %cr3, %rax"),
    ("0f22d8", "mov %rax, %cr3"),
    # 0x29 from ring 3 and 1 from here: 0x2a to the exit port
    ("8d4501", "lea 1(%rbp), %eax"),
    ("e6f4", "out %al, $0xf4"),
    ("f4", "hlt"),
    # tick, at 0x128
    ("ffc3", "inc %ebx"),
    ("b020", "mov $0x20, %al"),
    ("e620", "out %al, $0x20"),
    ("48cf", "iretq"),
)


def rom() -> bytes:
    """The image, for QEMU's ``-bios``."""
    image = bytearray(ROM_BYTES)
    code = bytes.fromhex("".join(hexadecimal for hexadecimal, _ in CODE))
    image[: len(code)] = code

    def put(offset: int, *quads: int) -> None:
        struct.pack_into(f"<{len(quads)}Q", image, offset, *quads)

    # 2 MiB of memory, for everybody (present, writable, user), at 0 and in the upper half; the APIC, uncached.
    for entry in (0, 511):
        put(_PML4 + 8 * entry, _RAM + _PDPT | 0x7)
    for entry in (0, 510):
        put(_PDPT + 8 * entry, _RAM + _PD_LOW | 0x7)
    put(_PDPT + 8 * 3, _RAM + _PD_APIC | 0x3)
    put(_PD_LOW, 0x87)
    put(_PD_APIC + 8 * 0x1F7, 0xFEE00000 | 0x9B)
    # Null, 32-bit code, data, 64-bit code, data, TSS (two entries), user data, user code.
    put(_GDT, 0, 0x00CF9B000000FFFF, 0x00CF93000000FFFF, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)
    tss = _HIGH + _TSS
    put(_GDT + 0x28, 0x67 | (tss & 0xFFFFFF) << 16 | 0x89 << 40 | (tss >> 24 & 0xFF) << 56, tss >> 32)
    put(_GDT + 0x38, 0x00CFF3000000FFFF, 0x00AFFB000000FFFF)
    struct.pack_into("<HI", image, _GDTR, 0x47, _RAM + _GDT)
    put(_TSS + 4, _HIGH + _INTERRUPT_STACK)
    # One interrupt gate, vector 0x20.
    tick = _HIGH + _TICK
    gate = (tick & 0xFFFF, 0x18, 0x8E00, tick >> 16 & 0xFFFF, tick >> 32, 0)
    struct.pack_into("<HHHHII", image, _IDT + 16 * 0x20, *gate)
    struct.pack_into("<HQ", image, _IDTR, 16 * 0x21 - 1, _HIGH + _IDT)
    image[_RESET_VECTOR : _RESET_VECTOR + 5] = b"\xea\x00\x00\x00\xf0"  # ljmp $0xf000, $0
    return bytes(image)
