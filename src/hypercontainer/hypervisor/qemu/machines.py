"""The machines that QEMU makes, one for each architecture: what is its own in the command line and on the host."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypercontainer.linux.architectures import AMD64, ARM64, PPC64LE, RISCV64, S390X

QBOOT = "qboot.rom"
# Of a file, to tell whether it is a kernel.
HEAD_BYTES = 0x10100


@dataclass(frozen=True)
class Bus:
    """Where virtio's devices are; ``modern``: by which they have no older interface.

    ``slots``: what is plugged into a VM that runs needs a place that is there from the start.
    """

    name: str
    modern: dict[str, object] = field(default_factory=dict)
    slots: bool = True

    def device(self, kind: str) -> str:
        return f"{kind}-{self.name}"

    def plain(self, kind: str) -> str:
        """One without properties, as an argument."""
        return ",".join([self.device(kind), *(f"{key}={value}" for key, value in self.modern.items())])


PCI = Bus("pci", {"disable-legacy": "on"})
CCW = Bus("ccw", slots=False)


@dataclass(frozen=True)
class Machine:
    """``architecture`` in Go's words; ``package``: Debian's with the ``program``.

    ``kernels``: where and by what a file is known that QEMU can start as a kernel; it loads anything, and the guest
    then hangs.  ``firmware``: what may be read of it, where there is any.  ``plugs``: what is plugged in works with
    packaged kernels.  ``quick_firmware``: one that does nothing but start a kernel.  ``clones_name_kernel``: a QEMU
    that starts where a saved one stopped is told of a kernel all the same, since it picks its firmware by that.
    ``memory_step_mib``: its memory is a multiple of so much.  ``clones``: one that was saved goes on elsewhere.
    """

    architecture: str
    program: str
    package: str
    options: str
    cpu: str
    console: str
    kernels: tuple[tuple[int, bytes], ...]
    firmware: tuple[str, ...] = ()
    plugs: bool = True
    quick_firmware: str = ""
    clones_name_kernel: bool = False
    bus: Bus = PCI
    clones: bool = True
    memory_step_mib: int = 1

    def is_kernel(self, head: bytes) -> bool:
        """Whether a file begins like a kernel."""
        return any(head[at : at + len(magic)] == magic for at, magic in self.kernels)


# Guests' pages are not merged with others': that tells them about each other.
_ALONE = "mem-merge=off,dump-guest-core=off"
_ELF = (0, b"\x7fELF")

MACHINES: dict[str, Machine] = {
    machine.architecture: machine
    for machine in (
        # `q35`, because a kernel finds its interrupts there in a table: for `pc`, QEMU's ACPI code computes them in a
        # loop, once for each device, at 0.2 to 0.3 s of emulation.  Off is what costs start time or is one more thing
        # for a guest to attack.  ACPI stays: it is how disks are plugged in and how a guest powers off.
        Machine(
            AMD64,
            "qemu-system-x86_64",
            "qemu-system-x86",
            f"q35,sata=off,smm=off,usb=off,hpet=off,smbus=off,vmport=off,i8042=off,{_ALONE}",
            "max",  # a named model may be unknown to an older QEMU; max is not
            "ttyS0",
            (_ELF, (0x202, b"HdrS")),  # PVH, a bzImage (Linux boot protocol 2.00)
            (
                *(QBOOT, "bios-256k.bin", "kvmvapic.bin", "pvh.bin", "linuxboot.bin", "linuxboot_dma.bin"),
                *("multiboot.bin", "multiboot_dma.bin"),
            ),
            quick_firmware=QBOOT,
            clones_name_kernel=True,
        ),
        # Pointers are authenticated by a quick hash in place of the architecture's, which takes an emulator a third of
        # all its time.
        Machine(
            ARM64,
            "qemu-system-aarch64",
            "qemu-system-arm",
            f"virt,{_ALONE}",
            "max,pauth-impdef=on",
            "ttyAMA0",
            ((0x38, b"ARM\x64"),),  # Documentation/arm64/booting.rst
        ),
        # Debian's kernel has no driver for root ports into which something is plugged.
        Machine(
            RISCV64,
            "qemu-system-riscv64",
            "qemu-system-misc",
            f"virt,{_ALONE}",
            "rv64",
            "ttyS0",
            ((0x38, b"RSC\x05"),),  # Documentation/riscv/boot-image-header.rst
            ("opensbi-riscv64-generic-fw_dynamic.bin",),
            plugs=False,
        ),
        # x-vof: a firmware of QEMU's own, which does nothing but start a kernel.  The rest is what an emulator has not,
        # and would warn of at each start.  A clone stands still (QEMU 7.2): nothing wakes it any more.
        Machine(
            PPC64LE,
            "qemu-system-ppc64",
            "qemu-system-ppc",
            f"pseries,x-vof=on,cap-cfpc=broken,cap-sbbc=broken,cap-ibs=broken,cap-ccf-assist=off,{_ALONE}",
            "max",
            "hvc0",
            ((18, b"\x15\0\1\0\0\0"),),  # e_machine, e_version
            ("vof.bin",),
            plugs=False,
            clones=False,
            memory_step_mib=256,
        ),
        # Its channels take what is plugged in as it comes.
        Machine(
            S390X,
            "qemu-system-s390x",
            "qemu-system-misc",
            f"s390-ccw-virtio,{_ALONE}",
            "max",
            "ttysclp0",
            ((0x10008, b"S390EP"),),  # arch/s390/boot/head.S
            ("s390-ccw.img",),
            clones_name_kernel=True,
            bus=CCW,
        ),
    )
}
