"""From a ``VMSpec`` to the configuration that ``xl create`` reads: pure, and kept to the letter by golden tests.

Disks, network interfaces and the agent's line are no part of it: they are written into Xen's store (``devices``) while
the new domain stands still.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from hypercontainer.errors import InvalidArgument
from hypercontainer.hypervisor.spec import VMSpec

# In the guest: the console that xenconsoled has, and the second one, which is ours.  It loses nothing, but what is said
# before the guest has made it raw comes changed, and echoed: so it is a line of frames.
CONSOLE, LINE = "hvc0", "serial:/dev/hvc1"
# A domain's name.  Who lists domains sees by it whose they are; that it is ours we know by UUID and mark.
PREFIX = "hyper-"
# What a PV guest is told is a part of one page (start_info of xen.h), and is cut there.
PV_COMMAND_LINE_BYTES = 1023
_UNPRINTABLE = re.compile(r"[\0-\x1f\x7f]")


class Mode(StrEnum):
    """``PVH`` wants a processor with hardware virtualization; ``PV`` a kernel that works without."""

    PVH = "pvh"
    PV = "pv"


def domain_name(spec: VMSpec) -> str:
    return f"{PREFIX}{spec.id}"


def xl_config(spec: VMSpec, uuid: str, mode: Mode) -> str:
    """Of a specification that is checked."""
    told = " ".join((*spec.kernel_args, *_places(spec)))
    if mode is Mode.PV and (size := len(told.encode())) > PV_COMMAND_LINE_BYTES:
        raise InvalidArgument(
            f"kernel arguments: {size} bytes with its disks' places, "
            f"and a PV guest of Xen has {PV_COMMAND_LINE_BYTES}"
        )
    lines = [
        f"name = {quoted(domain_name(spec))}",
        f"uuid = {quoted(uuid)}",
        f"type = {quoted(mode.value)}",
        f"kernel = {quoted(str(spec.kernel))}",
    ]
    if spec.initrd is not None:
        lines.append(f"ramdisk = {quoted(str(spec.initrd))}")
    lines += [
        f"cmdline = {quoted(told)}",
        f"memory = {spec.memory_mib}",
        f"maxmem = {spec.memory_mib}",
        f"vcpus = {spec.vcpus}",
    ]
    if spec.limits is not None and spec.limits.cpus is not None and spec.limits.cpus < spec.vcpus:
        # Xen takes none that is beyond its processors.
        lines.append(f"cap = {max(1, round(spec.limits.cpus * 100))}")
    # What a domain has ended for can be asked as long as it is there.
    lines += [f"on_{event} = {quoted('preserve')}" for event in ("poweroff", "reboot", "crash", "watchdog")]
    return "\n".join([*lines, ""])


def _places(spec: VMSpec) -> tuple[str, ...]:
    """A disk of Xen has no serial: its guest is told where it stands."""
    told = ",".join(f"{disk_name(place)}:{disk.serial}" for place, disk in enumerate(spec.disks))
    return (f"hyper.disks={told}",) if told else ()


def disk_name(place: int) -> str:
    """xvda, ..., xvdz, xvdaa."""
    letters = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return f"xvd{letters}"


def disk_number(place: int) -> int:
    """By which Xen knows it (xen-vbd-interface(7))."""
    return 202 << 8 | place << 4 if place < 16 else 1 << 28 | place << 8


def quoted(text: str) -> str:
    """As xl reads it.  It misreads characters that are given by their numbers (4.17), so one that cannot stand between
    quotes is refused: ``InvalidArgument``."""
    if _UNPRINTABLE.search(text):
        raise InvalidArgument(f"{text!r}: xl reads no control characters")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def create_arguments(config: str) -> Sequence[str]:
    """Paused, and without a process that waits for the domain's end, which we do."""
    return ("create", "-p", "-e", "-q", config)
