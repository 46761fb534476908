"""Docker's options that change nothing in a virtual machine: a value that Docker would refuse is refused, and so is
one that asks for what cannot be."""

from __future__ import annotations

from hypercontainer.cli.options import UsageError
from hypercontainer.cli.units import bytes_of
from hypercontainer.errors import NotSupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hypercontainer.cli.options import Values

_SIZES = ("memory-swap", "memory-reservation", "kernel-memory")
_LISTS = ("cpuset-cpus", "cpuset-mems")
# option: (values that are as it is anyway, beginnings of those that cannot be)
_MODES = {
    "ipc": (("private", "shareable"), ("host", "container:", "none")),
    "uts": ((), ("host",)),
    "userns": (("host",), ()),
    "cgroupns": (("private",), ("host",)),
    "isolation": (("default",), ("process", "hyperv")),
}


def check_without_effect(values: Values) -> None:
    """UsageError, and NotSupported for what Docker could do."""
    for name in filter(values.given, _SIZES):
        if (name, values.text(name)) != ("memory-swap", "-1"):
            bytes_of(values.text(name), f"--{name}")
    for name in filter(values.given, _LISTS):
        _check_list(name, values.text(name))
    if values.given("memory-swappiness") and not -1 <= (values.number("memory-swappiness") or 0) <= 100:
        raise UsageError("--memory-swappiness is from 0 to 100, or -1")
    for name, (fine, impossible) in _MODES.items():
        mode = values.text(name) if values.given(name) else ""
        if mode and mode.startswith(impossible or ("\0",)):
            raise NotSupported(
                f"--{name} {mode}: every container has a kernel of its own here, and shares none of it",
                hint="containers of one pod share network and IPC" if name == "ipc" else "leave it out",
            )
        if mode and mode not in fine:
            raise UsageError(f"invalid --{name} {mode!r}", hint=" or ".join(fine) or "leave it out")


def _check_list(name: str, text: str) -> None:
    """As 0-3,5."""
    for part in text.split(","):
        first, dash, last = part.partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() for end in ends) or int(ends[0]) > int(ends[1]):
            raise UsageError(f"invalid argument {text!r} for --{name}", hint="such as 0-3 or 0,1")
